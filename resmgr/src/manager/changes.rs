//! A stream of how tools come to stand otherwise.

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::model::{ResourceStatus, ToolName};

/// A tool stands otherwise than it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The tool.
    pub tool: ToolName,
    /// How it stood when it was last looked at.
    pub from: ResourceStatus,
    /// How it stands.
    pub to: ResourceStatus,
}

/// Changes from now on, looked for with each batch that is told.
///
/// ```no_run
/// # async fn example(manager: resmgr::manager::EnhancedResourceManager) {
/// let mut changes = manager.status_changes();
/// while let Some(change) = changes.next().await {
///     println!("{}: {:?}", change.tool, change.to);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct StatusChanges(pub(super) Receiver<StatusChange>);

impl StatusChanges {
    /// The next one; `None` once there is no manager any more. Who is far behind misses the oldest.
    pub async fn next(&mut self) -> Option<StatusChange> {
        loop {
            match self.0.recv().await {
                Ok(change) => return Some(change),
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "changes of status came too fast"),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
