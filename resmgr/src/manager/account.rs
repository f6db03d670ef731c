//! `Account`: what one tool of this process uses, beside its limits as the agent last told them. Waits for nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    ResourceError,
    counted::{Counted, Which},
    sync::{Mutex, OneLock, PoisonError},
};
use crate::{
    model::{LimitsAsked, Mode, OperationKind, Resource, ResourceStatus, ToolName},
    protocol::{InitializeParams, ToldStatus},
};

const MS: u64 = 1_000_000;

/// What one tool of this process uses. Clones are handles of the same account; each call takes some nanoseconds, and may
/// come from any thread.
///
/// ```no_run
/// # async fn example(manager: resmgr::manager::EnhancedResourceManager) -> Result<(), Box<dyn std::error::Error>> {
/// let account = manager.account(&"search".parse()?)?;
/// account.track_memory_allocation(4096)?;
/// account.release_memory(4096);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tool: ToolName,
    counted: Counted,
    instance: AtomicU64,
    is_tracking: AtomicBool,
    has_ended: AtomicBool,
    operation: OperationKind,
    /// What was asked for, to be asked for again where an agent knows nothing of the tool.
    asked: Mutex<LimitsAsked>,
    /// By resource: what its use is beside what was told here (of CPU time in nanoseconds, and wrapping: what was told
    /// before the operation under way is none of it).
    beside: [AtomicU64; 4],
    /// By resource: the limit in force, and beyond what is refused.
    current: [AtomicU64; 4],
    most: [AtomicU64; 4],
    refuses_operations: AtomicBool,
}

/// What was told at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) memory_bytes: u64,
    pub(super) cpu_ns: u64,
    pub(super) fds: u64,
    pub(super) connections: u64,
}

impl Account {
    /// An account of a tool that the agent has just begun.
    pub(super) fn new(asked: LimitsAsked, operation: OperationKind, stands: &ToldStatus) -> Self {
        let account = Self(Arc::new(Inner {
            tool: stands.tool.clone(),
            counted: Counted::new(),
            instance: AtomicU64::new(0),
            is_tracking: AtomicBool::new(true),
            has_ended: AtomicBool::new(false),
            operation,
            asked: Mutex::new(asked),
            beside: Default::default(),
            current: Default::default(),
            most: Default::default(),
            refuses_operations: AtomicBool::new(false),
        }));
        account.begins(stands);
        account
    }

    /// The tool.
    pub fn tool(&self) -> &ToolName {
        &self.0.tool
    }

    /// Which instance it is for the agent. It is another once an agent that knows nothing of it was started.
    pub fn instance(&self) -> u64 {
        self.0.instance.load(Relaxed)
    }

    /// The tool takes memory. Where that makes more than its maximum, and its mode is not `observe`, it is refused.
    pub fn track_memory_allocation(&self, bytes: u64) -> Result<(), ResourceError> {
        if !self.is_tracking()? {
            return Ok(());
        }
        let taken = self.0.counted.allocate(bytes, self.most(Resource::Memory));
        taken.map_err(|held| self.exceeded(Resource::Memory, held.saturating_add(bytes)))
    }

    /// The tool gives memory back.
    pub fn release_memory(&self, bytes: u64) {
        self.0.counted.free(bytes);
    }

    /// The tool has used CPU time. That is never refused: new operations are.
    pub fn track_cpu_time(&self, time: Duration) -> Result<(), ResourceError> {
        if self.is_tracking()? {
            self.0
                .counted
                .use_cpu(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// The tool has opened something, known by a number of its own. Refused like memory.
    pub fn track_file_handle(&self, handle: u32) -> Result<(), ResourceError> {
        self.open(Resource::Fds, Which::Files, handle)
    }

    /// The tool has closed it. Tells whether it was open.
    pub fn release_file_handle(&self, handle: u32) -> bool {
        self.0.counted.close(Which::Files, handle)
    }

    /// The tool has made a connection, known by a number of its own. Refused like memory.
    pub fn track_network_connection(&self, connection: u32) -> Result<(), ResourceError> {
        self.open(Resource::Connections, Which::Connections, connection)
    }

    /// The connection is no more. Tells whether it was there.
    pub fn release_network_connection(&self, connection: u32) -> bool {
        self.0.counted.close(Which::Connections, connection)
    }

    /// How close the tool is to its limits: by what was told up to now, and by what the agent last said of its limits and its
    /// processes.
    pub fn status(&self) -> ResourceStatus {
        let level = |resource: Resource| {
            let limit = self.0.current[resource as usize].load(Relaxed);
            ResourceStatus::of(self.value(resource), limit)
        };
        Resource::ALL.into_iter().map(level).max().unwrap_or_default()
    }

    /// Whether a new operation is to be refused: at Critical and above, unless the tool is only observed.
    pub fn refuses_operations(&self) -> bool {
        self.0.refuses_operations.load(Relaxed) && self.status() >= ResourceStatus::Critical
    }

    /// What the tool uses of a resource, in its unit.
    pub fn value(&self, resource: Resource) -> u64 {
        let counted = &self.0.counted;
        let beside = self.0.beside[resource as usize].load(Relaxed);
        match resource {
            Resource::Memory => beside.saturating_add(counted.memory_bytes()),
            Resource::Cpu => beside.wrapping_add(counted.cpu_ns()) / MS,
            Resource::Fds => beside.saturating_add(counted.count(Which::Files)),
            Resource::Connections => beside.saturating_add(counted.count(Which::Connections)),
        }
    }

    fn open(&self, resource: Resource, which: Which, number: u32) -> Result<(), ResourceError> {
        if !self.is_tracking()? {
            return Ok(());
        }
        let opened = self.0.counted.open(which, number, self.most(resource));
        opened.map_err(|count| self.exceeded(resource, count + 1))
    }

    /// What may be told of a resource, beside what the tool's processes use.
    fn most(&self, resource: Resource) -> u64 {
        let most = self.0.most[resource as usize].load(Relaxed);
        match most {
            u64::MAX => u64::MAX,
            most => most.saturating_sub(self.0.beside[resource as usize].load(Relaxed)),
        }
    }

    fn exceeded(&self, resource: Resource, wanted: u64) -> ResourceError {
        ResourceError::LimitExceeded {
            tool: self.0.tool.clone(),
            resource,
            wanted: wanted.saturating_add(self.0.beside[resource as usize].load(Relaxed)),
            limit: self.0.most[resource as usize].load(Relaxed),
        }
    }

    /// Whether what is told is counted; of a tool that was ended nothing can be told.
    fn is_tracking(&self) -> Result<bool, ResourceError> {
        if self.0.has_ended.load(Relaxed) {
            return Err(ResourceError::Ended(self.0.tool.clone()));
        }
        Ok(self.0.is_tracking.load(Relaxed))
    }

    pub(super) fn set_tracking(&self, tracking: bool) {
        self.0.is_tracking.store(tracking, Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended.load(Relaxed)
    }

    /// Somebody has ended an instance: nothing is counted any more, unless it was begun anew meanwhile.
    pub(super) fn ends(&self, instance: u64) {
        if self.instance() == instance {
            self.0.has_ended.store(true, Relaxed);
        }
    }

    pub(super) fn counted(&self) -> &Counted {
        &self.0.counted
    }

    /// What is told now.
    pub(super) fn totals(&self) -> Totals {
        let counted = &self.0.counted;
        Totals {
            memory_bytes: counted.memory_bytes(),
            cpu_ns: counted.cpu_ns(),
            fds: counted.count(Which::Files),
            connections: counted.count(Which::Connections),
        }
    }

    /// What it is begun with, where an agent knows nothing of it.
    pub(super) fn begins_with(&self) -> InitializeParams {
        InitializeParams {
            tool: self.0.tool.clone(),
            operation: self.0.operation,
            limits: self.asked(),
        }
    }

    pub(super) fn asked(&self) -> LimitsAsked {
        let _one = OneLock::take();
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn asks(&self, asked: LimitsAsked) {
        let _one = OneLock::take();
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    /// The agent has begun it, and knows of nothing that it uses.
    pub(super) fn begins(&self, stands: &ToldStatus) {
        self.0.instance.store(stands.instance, Relaxed);
        self.0.counted.mark();
        let nothing = Totals {
            memory_bytes: 0,
            cpu_ns: 0,
            fds: 0,
            connections: 0,
        };
        self.stands(stands, &nothing);
    }

    /// It has been ended, and the agent has begun it anew, with all that it holds. False where another task was first.
    pub(super) fn begins_again(&self, stands: &ToldStatus) -> bool {
        let was_ended = self.0.has_ended.swap(false, Relaxed);
        if was_ended {
            self.begins(stands);
        }
        was_ended
    }

    /// The agent says how it stands, having been told this.
    pub(super) fn stands(&self, stands: &ToldStatus, told: &Totals) {
        for resource in Resource::ALL {
            let value = stands.values.get(&resource).copied().unwrap_or(0);
            let beside = match resource {
                Resource::Memory => value.saturating_sub(told.memory_bytes),
                Resource::Cpu => value.saturating_mul(MS).wrapping_sub(told.cpu_ns),
                Resource::Fds => value.saturating_sub(told.fds),
                Resource::Connections => value.saturating_sub(told.connections),
            };
            let range = stands.limits.range(resource);
            let most = stands.enforcement.most(range).unwrap_or(u64::MAX);
            self.0.beside[resource as usize].store(beside, Relaxed);
            self.0.current[resource as usize].store(range.current, Relaxed);
            self.0.most[resource as usize].store(most, Relaxed);
        }
        let refuses = stands.enforcement.mode != Mode::Observe;
        self.0.refuses_operations.store(refuses, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    //! An agent's answers, made by hand.
    use super::*;
    use crate::model::{Enforcement, ToolLimits};

    fn stands(values: [u64; 4], mode: Mode) -> ToldStatus {
        ToldStatus {
            tool: "tool".parse().unwrap(),
            instance: 1,
            status: ResourceStatus::Normal,
            values: Resource::ALL.into_iter().zip(values).collect(),
            limits: ToolLimits::LIGHT,
            enforcement: Enforcement {
                mode,
                ..Enforcement::default()
            },
        }
    }

    #[test]
    fn what_goes_beyond_the_maximum_is_refused_and_what_processes_use_counts() {
        let account = Account::new(
            LimitsAsked::default(),
            OperationKind::Busy,
            &stands([0; 4], Mode::Throttle),
        );
        for handle in 0..200 {
            account.track_file_handle(handle).unwrap();
        }
        let error = account.track_file_handle(200).unwrap_err();
        assert!(
            error.to_string().contains("201 descriptors, and at most 200"),
            "{error}"
        );
        account.track_file_handle(199).unwrap();
        assert!(account.release_file_handle(0) && !account.release_file_handle(0));
        account.track_file_handle(200).unwrap();

        let told = Totals {
            memory_bytes: 0,
            cpu_ns: 0,
            fds: 200,
            connections: 0,
        };
        account.stands(&stands([400 << 20, 0, 210, 0], Mode::Throttle), &told);
        assert!(account.track_memory_allocation(101 << 20).is_err());
        account.track_memory_allocation(100 << 20).unwrap();
        account.release_file_handle(1);
        assert!(account.track_file_handle(1).is_err(), "ten are processes'");
        assert_eq!(account.value(Resource::Fds), 209);
    }

    #[test]
    fn what_is_only_observed_is_never_refused() {
        let account = Account::new(
            LimitsAsked::default(),
            OperationKind::Busy,
            &stands([0; 4], Mode::Observe),
        );
        account.track_memory_allocation(1 << 40).unwrap();
        assert_eq!(account.status(), ResourceStatus::Emergency);
        assert!(!account.refuses_operations());
    }

    #[test]
    fn an_operation_that_begins_is_counted_from_nothing() {
        let account = Account::new(
            LimitsAsked::default(),
            OperationKind::Busy,
            &stands([0; 4], Mode::Throttle),
        );
        account.track_cpu_time(Duration::from_secs(29)).unwrap();
        assert_eq!(account.status(), ResourceStatus::Critical);
        assert!(account.refuses_operations());
        let told = Totals {
            memory_bytes: 0,
            cpu_ns: 29_000_000_000,
            fds: 0,
            connections: 0,
        };
        account.stands(&stands([0; 4], Mode::Throttle), &told);
        assert_eq!(account.value(Resource::Cpu), 0);
        account.track_cpu_time(Duration::from_millis(20)).unwrap();
        assert_eq!(account.value(Resource::Cpu), 20);
        assert_eq!(account.status(), ResourceStatus::Normal);
    }

    #[test]
    fn of_a_tool_that_was_ended_nothing_is_counted_any_more() {
        let account = Account::new(
            LimitsAsked::default(),
            OperationKind::Busy,
            &stands([0; 4], Mode::Throttle),
        );
        account.ends(2);
        account.track_memory_allocation(1).unwrap();
        account.ends(1);
        assert!(matches!(
            account.track_memory_allocation(1),
            Err(ResourceError::Ended(_))
        ));
    }
}
