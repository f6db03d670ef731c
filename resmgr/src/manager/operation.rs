//! An operation under way: it ends when it is ended, dropped, panicked through or cancelled.

use std::sync::Arc;

use super::{Account, AdaptiveResourceManager, ResourceError};
use crate::model::OperationUse;

/// An operation of a tool, for as long as it is kept. It may be moved to and dropped on any thread.
#[derive(Debug)]
#[must_use = "an operation that is dropped has ended"]
pub struct Operation {
    account: Account,
    adaptive_manager: Arc<AdaptiveResourceManager>,
    number: Option<u64>,
}

impl Operation {
    pub(super) fn new(account: Account, adaptive_manager: Arc<AdaptiveResourceManager>, number: u64) -> Self {
        Self {
            account,
            adaptive_manager,
            number: Some(number),
        }
    }

    /// Ends it: what it has used.
    pub async fn end(mut self) -> Result<OperationUse, ResourceError> {
        let Some(number) = self.number else {
            return Ok(OperationUse::default());
        };
        let used = self.adaptive_manager.end(&self.account, number).await;
        // Where nobody waited for that, it was dropped, and has ended so.
        self.number = None;
        used
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.adaptive_manager.drop_operation(&self.account, number);
        }
    }
}
