//! The library's face: `EnhancedResourceManager`, for programs that run tools. It counts what they tell, in this process, and
//! has an agent do all else: one that runs on the host, or one within this process. Decides nothing, and loads nothing itself.
//!
//! Of the locks here a thread holds one at a time, and none while it waits. A debug build finds any that is taken otherwise.

mod account;
mod adaptive;
mod changes;
mod counted;
mod embedded;
mod error;
mod link;
mod operation;
mod sync;
mod tracker;

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::{broadcast, mpsc};

use self::{embedded::Embedded, link::Link};
use crate::{
    agent::{AgentOptions, SystemClock},
    model::{
        Clock as _, ForecastStep, LimitsAsked, OperationKind, Resource, ResourceLimits, ResourcePattern,
        ResourceStatus, ResourceUsage, ToolLimits, ToolName,
    },
    protocol::{Client, HistoryParams, HistoryReport, InitializeParams, StatusParams, ToolStatus},
};

pub use account::Account;
pub use adaptive::AdaptiveResourceManager;
pub use changes::{StatusChange, StatusChanges};
pub use error::ResourceError;
pub use operation::Operation;
pub use tracker::ResourceTracker;

/// Orders that wait for the task that talks to the agent, at most; others wait where they come from.
const ORDERS: usize = 256;
/// Changes that somebody who listens may be behind.
const CHANGES: usize = 1024;

/// The time, by the agent's clock.
pub(crate) fn now() -> DateTime<Utc> {
    SystemClock.now().wall
}

/// The resources of a program's tools: what they use, what they may, and what is to be expected.
///
/// A clone is another handle of the same. All of it is `Send` and `Sync`; what asks the agent is `async`, what is told or looked
/// up in this process is not and takes well under a microsecond.
///
/// ```no_run
/// use resmgr::{manager::EnhancedResourceManager, model::{ResourceStatus, ToolLimits}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = EnhancedResourceManager::connect("/run/resmgr/resmgr.sock").await?;
/// let tool = "search".parse()?;
/// let (base, max) = (ToolLimits::LIGHT.bases(), ToolLimits::LIGHT.maxima());
/// manager.initialize_tool(&tool, base, max).await?;
/// manager.track_memory_allocation(&tool, 10 << 20)?;
/// assert_eq!(manager.status(&tool)?, ResourceStatus::Normal);
/// manager.cleanup_tool(&tool).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EnhancedResourceManager {
    tracker: ResourceTracker,
    adaptive_manager: Arc<AdaptiveResourceManager>,
    /// Dropped after the way to it.
    embedded: Option<Arc<Embedded>>,
}

impl EnhancedResourceManager {
    /// Asks the agent at a socket. Needs no root: an ordinary user has their own tools.
    pub async fn connect(socket: impl AsRef<Path>) -> Result<Self, ResourceError> {
        let socket = socket.as_ref();
        // That somebody answers is known from here on, and who does not is known now.
        Client::connect(socket).await?.status(StatusParams::default()).await?;
        Ok(Self::over(socket, None))
    }

    /// Starts an agent within this process, which needs root: the same loop as `resmgr agent`, on a thread of its own. It heeds
    /// no signals, pins nothing, and is undone when the last handle is dropped.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use resmgr::{agent::AgentOptions, config::Config, manager::EnhancedResourceManager};
    ///
    /// let options = AgentOptions::embedded("/run/my-host".as_ref(), Config::default());
    /// let manager = EnhancedResourceManager::embedded(options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn embedded(options: AgentOptions) -> Result<Self, ResourceError> {
        let socket = options.socket.clone();
        let embedded = Embedded::start(options).await?;
        Ok(Self::over(&socket, Some(embedded)))
    }

    fn over(socket: &Path, embedded: Option<Embedded>) -> Self {
        let tracker = ResourceTracker::new();
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (changes, _) = broadcast::channel(CHANGES);
        let link = Link::new(socket.to_owned(), tracker.clone(), ordered, changes.clone());
        tokio::spawn(link.run());
        Self {
            tracker,
            adaptive_manager: Arc::new(AdaptiveResourceManager::new(socket.to_owned(), orders, changes)),
            embedded: embedded.map(Arc::new),
        }
    }

    /// Stops what belongs to this manager alone, and waits for it: of an embedded agent, until everything is undone. While
    /// there are other handles nothing happens.
    pub async fn close(self) -> Result<(), ResourceError> {
        drop(self.adaptive_manager);
        let Some(mut embedded) = self.embedded.and_then(Arc::into_inner) else {
            return Ok(());
        };
        let stopped = tokio::task::spawn_blocking(move || embedded.stop()).await;
        stopped.map_err(|_| ResourceError::Panicked)?
    }

    /// The agent's socket, where `resmgr --socket` finds the same numbers.
    pub fn socket(&self) -> &Path {
        self.adaptive_manager.socket()
    }

    /// A tool begins that lives in this process, with limits that adapt between a base and a maximum. Its mode is `enforce`
    /// unless the operator's configuration says otherwise.
    pub async fn initialize_tool(
        &self,
        id: &ToolName,
        base: ResourceLimits,
        max: ResourceLimits,
    ) -> Result<(), ResourceError> {
        self.initialize_tool_with(id, LimitsAsked::between(&base, &max), OperationKind::Busy)
            .await
    }

    /// The same with all that can be asked for, and what its CPU limit counts over.
    pub async fn initialize_tool_with(
        &self,
        id: &ToolName,
        limits: LimitsAsked,
        operation: OperationKind,
    ) -> Result<(), ResourceError> {
        if self.tracker.account(id).is_some() {
            return Err(ResourceError::Known(id.clone()));
        }
        let params = InitializeParams {
            tool: id.clone(),
            operation,
            limits,
        };
        let stands = self.adaptive_manager.initialize(params).await?;
        let account = Account::new(limits, operation, &stands);
        if self.tracker.insert(account.clone()) {
            return Ok(());
        }
        // Another task was first.
        link::end(self.socket(), id, account.instance()).await?;
        Err(ResourceError::Known(id.clone()))
    }

    /// Sets base and maximum of every resource.
    pub async fn set_limits(
        &self,
        id: &ToolName,
        base: ResourceLimits,
        max: ResourceLimits,
    ) -> Result<ToolLimits, ResourceError> {
        self.update_limits(id, LimitsAsked::between(&base, &max)).await
    }

    /// Sets what is given, and leaves the rest: limits, mode, strictness.
    pub async fn update_limits(&self, id: &ToolName, limits: LimitsAsked) -> Result<ToolLimits, ResourceError> {
        let account = self.told(id).await?;
        let set = self.adaptive_manager.set_limits(&account, limits).await?;
        account.asks(limits.over(&account.asked()));
        self.adaptive_manager.tell(&account).await?;
        let of_it = set.tools.first().map(|tool| tool.limits);
        of_it.ok_or_else(|| ResourceError::Ended(id.clone()))
    }

    /// What a tool uses now: what was told, and what its processes use.
    pub async fn usage(&self, id: &ToolName) -> Result<ResourceUsage, ResourceError> {
        Ok(self.report(id).await?.usage)
    }

    /// A tool's limits: base, in force and maximum.
    pub async fn limits(&self, id: &ToolName) -> Result<ToolLimits, ResourceError> {
        Ok(self.report(id).await?.limits)
    }

    /// All that the agent knows of a tool, as `resmgr status --json` prints it.
    pub async fn report(&self, id: &ToolName) -> Result<ToolStatus, ResourceError> {
        let account = self.told(id).await?;
        self.adaptive_manager.status(&account, false).await
    }

    /// The same of a tool that may have ended.
    pub(crate) async fn last_report(&self, account: &Account) -> Result<ToolStatus, ResourceError> {
        self.adaptive_manager.last_status(account, false).await
    }

    /// How close a tool is to its limits: its worst resource. Asks nobody: it goes by what was told up to now, and by what the
    /// agent said within the last second of the limits and of the tool's processes.
    pub fn status(&self, id: &ToolName) -> Result<ResourceStatus, ResourceError> {
        self.with(id, |account| Ok(account.status()))
    }

    /// What tools of a name used over time, this one and those before it.
    pub async fn history(&self, id: &ToolName) -> Result<HistoryReport, ResourceError> {
        self.told(id).await?;
        let params = HistoryParams {
            tool: id.clone(),
            instance: None,
            from: None,
            until: None,
            resolution: None,
        };
        self.adaptive_manager.history(params).await
    }

    /// How a resource is used; `None` before the agent has seen two samples.
    pub async fn pattern(&self, id: &ToolName, resource: Resource) -> Result<Option<ResourcePattern>, ResourceError> {
        let mut report = self.report(id).await?;
        Ok(report.learned.remove(&resource).map(|learned| learned.pattern))
    }

    /// What is expected of a resource's next samples; nothing before the agent has seen two.
    pub async fn predict_usage(&self, id: &ToolName, resource: Resource) -> Result<Vec<ForecastStep>, ResourceError> {
        let account = self.told(id).await?;
        let mut report = self.adaptive_manager.status(&account, true).await?;
        let learned = report.learned.remove(&resource);
        Ok(learned.map(|learned| learned.forecast).unwrap_or_default())
    }

    /// Has a tool's use looked at and its limits in force raised where it needs that; returns what they are then. The agent does
    /// so by itself, too, and lowers them in time.
    pub async fn adjust_limits(&self, id: &ToolName) -> Result<ToolLimits, ResourceError> {
        let account = self.told(id).await?;
        let limits = self.adaptive_manager.adjust(&account).await?;
        self.adaptive_manager.tell(&account).await?;
        Ok(limits)
    }

    /// Ends a tool, and its processes where it has some: asked first, then made to.
    pub async fn cleanup_tool(&self, id: &ToolName) -> Result<(), ResourceError> {
        let account = self.account(id)?;
        link::end(self.socket(), id, account.instance()).await?;
        self.tracker.remove(id);
        Ok(())
    }

    /// Ends a tool and begins it anew: nothing is used, limits are at their base. What was learned of its name stays.
    pub async fn reset_tool(&self, id: &ToolName) -> Result<(), ResourceError> {
        let begins = self.account(id)?.begins_with();
        self.cleanup_tool(id).await?;
        self.initialize_tool_with(id, begins.limits, begins.operation).await
    }

    /// Ends an instance of a tool, which may be being ended already; the account stays, to be begun anew.
    pub(crate) async fn end_instance(&self, account: &Account, instance: u64) -> Result<(), ResourceError> {
        link::end(self.socket(), account.tool(), instance).await?;
        account.ends(instance);
        Ok(())
    }

    /// Begins a tool anew that was ended from outside, with all that it holds.
    pub(crate) async fn begin_anew(&self, account: &Account) -> Result<(), ResourceError> {
        let stands = self.adaptive_manager.initialize(account.begins_with()).await?;
        if !account.begins_again(&stands) {
            // Another task was first.
            link::end(self.socket(), &stands.tool, stands.instance).await?;
        }
        Ok(())
    }

    /// What is told of a tool counts, again.
    pub fn enable_tracking(&self, id: &ToolName) -> Result<(), ResourceError> {
        self.with(id, |account| {
            account.set_tracking(true);
            Ok(())
        })
    }

    /// What is told of a tool from now on does not count, and is not refused. What it gives back does.
    pub fn disable_tracking(&self, id: &ToolName) -> Result<(), ResourceError> {
        self.with(id, |account| {
            account.set_tracking(false);
            Ok(())
        })
    }

    /// How tools come to stand otherwise, from now on.
    pub fn status_changes(&self) -> StatusChanges {
        StatusChanges(self.adaptive_manager.changes())
    }

    /// An operation of a tool begins, whose operations are of the kind `api`. Refused where the tool stands at Critical or above
    /// after a raise of its limits was considered, unless it is only observed.
    pub async fn begin_operation(&self, id: &ToolName, name: &str) -> Result<Operation, ResourceError> {
        let account = self.account(id)?;
        let (manager, name) = (self.adaptive_manager.clone(), name.to_owned());
        // By itself: where nobody waits for it any more, it begins all the same, and ends at once.
        let begun = tokio::spawn(async move {
            let number = manager.begin(&account, name).await?;
            Ok(Operation::new(account, manager, number))
        });
        begun.await.unwrap_or(Err(ResourceError::Closed))
    }

    /// A tool's account: what is told through it needs no look-up.
    pub fn account(&self, id: &ToolName) -> Result<Account, ResourceError> {
        self.with(id, |account| Ok(account.clone()))
    }

    /// The accounts of this program.
    pub fn tracker(&self) -> &ResourceTracker {
        &self.tracker
    }

    /// See [`Account::track_memory_allocation`].
    pub fn track_memory_allocation(&self, id: &ToolName, bytes: u64) -> Result<(), ResourceError> {
        self.with(id, |account| account.track_memory_allocation(bytes))
    }

    /// See [`Account::release_memory`].
    pub fn release_memory(&self, id: &ToolName, bytes: u64) -> Result<(), ResourceError> {
        self.with(id, |account| {
            account.release_memory(bytes);
            Ok(())
        })
    }

    /// See [`Account::track_cpu_time`].
    pub fn track_cpu_time(&self, id: &ToolName, time: Duration) -> Result<(), ResourceError> {
        self.with(id, |account| account.track_cpu_time(time))
    }

    /// See [`Account::track_file_handle`].
    pub fn track_file_handle(&self, id: &ToolName, handle: u32) -> Result<(), ResourceError> {
        self.with(id, |account| account.track_file_handle(handle))
    }

    /// See [`Account::release_file_handle`].
    pub fn release_file_handle(&self, id: &ToolName, handle: u32) -> Result<bool, ResourceError> {
        self.with(id, |account| Ok(account.release_file_handle(handle)))
    }

    /// See [`Account::track_network_connection`].
    pub fn track_network_connection(&self, id: &ToolName, connection: u32) -> Result<(), ResourceError> {
        self.with(id, |account| account.track_network_connection(connection))
    }

    /// See [`Account::release_network_connection`].
    pub fn release_network_connection(&self, id: &ToolName, connection: u32) -> Result<bool, ResourceError> {
        self.with(id, |account| Ok(account.release_network_connection(connection)))
    }

    fn with<T>(
        &self,
        id: &ToolName,
        action: impl FnOnce(&Account) -> Result<T, ResourceError>,
    ) -> Result<T, ResourceError> {
        let found = self.tracker.with(id, action);
        found.unwrap_or_else(|| Err(ResourceError::Unknown(id.clone())))
    }

    /// An account, of which the agent has been told all.
    async fn told(&self, id: &ToolName) -> Result<Account, ResourceError> {
        let account = self.account(id)?;
        self.adaptive_manager.tell(&account).await?;
        Ok(account)
    }
}
