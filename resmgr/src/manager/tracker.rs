//! `ResourceTracker` of a program: the accounts of its tools, by name, in shards.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, PoisonError, RwLock},
};

use super::{Account, sync::OneLock};
use crate::model::ToolName;

/// Maps that are locked each by itself.
const SHARDS: usize = 16;

/// What the tools of this process have told that they use. What the kernel sees of processes, the agent's tracker has.
#[derive(Clone, Debug)]
pub struct ResourceTracker {
    shards: Arc<[RwLock<HashMap<ToolName, Account>>; SHARDS]>,
    hasher: RandomState,
}

impl ResourceTracker {
    pub(super) fn new() -> Self {
        Self {
            shards: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, tool: &ToolName) -> &RwLock<HashMap<ToolName, Account>> {
        let hash = self.hasher.hash_one(tool);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is less than the shards")]
        let index = (hash % SHARDS as u64) as usize;
        &self.shards[index]
    }

    /// A tool's account, for something that is short and waits for nothing.
    pub(super) fn with<T>(&self, tool: &ToolName, action: impl FnOnce(&Account) -> T) -> Option<T> {
        let shard = self.shard(tool);
        let account = {
            let _one = OneLock::take();
            // A map is whole between any two of its calls, whoever panicked.
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.get(tool).cloned()?
        };
        Some(action(&account))
    }

    /// A tool's account.
    pub fn account(&self, tool: &ToolName) -> Option<Account> {
        self.with(tool, Account::clone)
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> Vec<Account> {
        let mut accounts = Vec::new();
        for shard in self.shards.iter() {
            let _one = OneLock::take();
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            accounts.extend(shard.values().cloned());
        }
        accounts
    }

    /// Adds an account, where there is none of its name.
    pub(super) fn insert(&self, account: Account) -> bool {
        let shard = self.shard(account.tool());
        let _one = OneLock::take();
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.contains_key(account.tool()) {
            return false;
        }
        shard.insert(account.tool().clone(), account);
        true
    }

    /// Takes an account out.
    pub(super) fn remove(&self, tool: &ToolName) -> Option<Account> {
        let shard = self.shard(tool);
        let _one = OneLock::take();
        shard.write().unwrap_or_else(PoisonError::into_inner).remove(tool)
    }
}
