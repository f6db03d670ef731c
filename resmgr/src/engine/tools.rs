//! Tools under an engine: registered, joined by processes, brought up to date, ended.

use std::{collections::BTreeSet, path::PathBuf};

use super::Engine;
use crate::{
    model::{
        BudgetUse, Clock, Enforcement, Joining, OperationKind, ProcessId, Source, SourceError, ToolAdjustment,
        ToolIdentity, ToolLimits, ToolName, ToolOrigin, ToolSlot, ToolSums,
    },
    track::TrackedTool,
};

/// Tools that have ended and are still known.
const ENDED_KEPT: usize = 64;
/// Sweeps that an attached tree is looked for in: each finds at least one more generation.
const ADOPTING_SWEEPS: usize = 8;

/// A tool to register.
#[derive(Clone, Debug)]
pub struct NewTool {
    /// Its name.
    pub name: ToolName,
    /// How it comes to be.
    pub origin: ToolOrigin,
    /// What its CPU limit counts over.
    pub operation: OperationKind,
    /// The user whose tool it is.
    pub uid: u32,
    /// Its first process, where it begins with one.
    pub root: Option<ProcessId>,
    /// Who started it.
    pub owner: Option<ProcessId>,
    /// The cgroup that it is in or that makes it up.
    pub cgroup: Option<PathBuf>,
    /// Its limits.
    pub limits: ToolLimits,
    /// How they are held.
    pub enforcement: Enforcement,
}

/// A tool cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// There is no room.
    #[error("there are {0} tools already, and room for no more: end some")]
    Full(u32),
    /// The kernel refused.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl<S: Source> Engine<S> {
    /// Takes in the tools that an earlier agent left: the kernel has counted on for them.
    pub fn adopt_tools(&mut self, clock: &impl Clock) -> Result<usize, SourceError> {
        let kept = self.source.kept_tools()?;
        let count = kept.len();
        for (identity, limits) in kept {
            self.next_instance = self.next_instance.max(identity.instance + 1);
            let tool = TrackedTool::new(identity, limits);
            self.adopt_adapting(&tool, clock);
            self.tracker.begin_tool(tool);
        }
        Ok(count)
    }

    /// Instances get numbers above this one.
    pub fn begin_instances_after(&mut self, instance: u64) {
        self.next_instance = self.next_instance.max(instance.saturating_add(1));
    }

    /// Registers a tool; nothing belongs to it yet.
    pub fn register(&mut self, tool: NewTool, clock: &impl Clock) -> Result<ToolSlot, RegisterError> {
        let room = self.source.tool_slots() - 1;
        let slot = in_turn(self.next_instance, room)
            .find(|&slot| self.tracker.tool(slot).is_none())
            .ok_or(RegisterError::Full(room))?;
        let identity = ToolIdentity {
            slot,
            instance: self.next_instance,
            name: tool.name,
            origin: tool.origin,
            operation: tool.operation,
            enforcement: tool.enforcement,
            uid: tool.uid,
            root: tool.root,
            owner: tool.owner,
            cgroup: tool.cgroup,
            registered_unix_ns: clock.now().wall.timestamp_nanos_opt().map_or(0, i64::unsigned_abs),
        };
        self.source.begin_tool(&identity, &tool.limits)?;
        self.next_instance += 1;
        self.tracker.begin_tool(TrackedTool::new(identity, tool.limits));
        self.begin_adapting(slot, clock)?;
        Ok(slot)
    }

    /// Changes who a tool is.
    pub fn describe(&mut self, slot: ToolSlot, change: impl FnOnce(&mut TrackedTool)) -> Result<(), SourceError> {
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(());
        };
        change(tool);
        self.source.describe_tool(&tool.identity, &tool.limits)
    }

    /// Changes a tool's limits and how they are held; the kernel goes by the new ones from now on.
    pub fn set_limits(
        &mut self,
        slot: ToolSlot,
        limits: ToolLimits,
        enforcement: Enforcement,
    ) -> Result<(), SourceError> {
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(());
        };
        tool.limits = limits;
        tool.identity.enforcement = enforcement;
        self.source
            .set_lines(&tool.identity, &tool.limits_now(), tool.lined())?;
        self.source.describe_tool(&tool.identity, &limits)
    }

    /// A tool shares budgets with others of its name, of which so much is used.
    pub fn share(&mut self, slot: ToolSlot, budgets: [Option<BudgetUse>; 4]) -> Result<(), SourceError> {
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(());
        };
        let before = tool.limits_now();
        tool.budgets = budgets;
        let now = tool.limits_now();
        if now == before {
            return Ok(());
        }
        self.source.set_lines(&tool.identity, &now, tool.lined())
    }

    /// Has a process taken into a tool when it executes a program, or by the next sweep.
    pub fn join(&mut self, joining: Joining) -> Result<(), SourceError> {
        self.source.join(joining)
    }

    /// Withdraws that.
    pub fn unjoin(&mut self, pid: u32) -> Result<(), SourceError> {
        self.source.unjoin(pid)
    }

    /// A process belongs to a tool, and the programs are to know it by the next sweep.
    pub fn decide(&mut self, process: ProcessId, tool: ToolSlot) -> Result<(), SourceError> {
        self.tracker.decide(process, tool);
        self.deciding.push(process);
        self.source.join(Joining {
            pid: process.pid,
            start_ns: process.start_ns,
            tick_ns: 1,
            tool,
        })
    }

    /// Withdraws what the programs were told of processes that they have taken in since, or that have ended.
    pub(super) fn settle_decided(&mut self) -> Result<(), SourceError> {
        for process in std::mem::take(&mut self.deciding) {
            if self.tracker.is_decided(process) {
                self.deciding.push(process);
            } else {
                self.source.unjoin(process.pid)?;
            }
        }
        Ok(())
    }

    /// Processes that the programs wait for, as an earlier agent told them.
    pub fn joining(&mut self) -> Result<Vec<Joining>, SourceError> {
        self.source.joining()
    }

    /// Sweeps until nothing new is found that belongs to a tool: processes that were named, and their descendants.
    pub fn take_in(&mut self, clock: &impl Clock) -> Result<(), SourceError> {
        for _ in 0..ADOPTING_SWEEPS {
            let before = self.cost.adopted;
            self.pass(clock, true)?;
            if self.cost.adopted == before {
                break;
            }
        }
        Ok(())
    }

    /// The tools that have no process any more and can have none again.
    pub fn finished(&self) -> Vec<ToolSlot> {
        let is_finished = |tool: &&TrackedTool| {
            tool.sums.processes == 0
                && tool.processes_total() > 0
                && tool.usage.pids.is_empty()
                && !matches!(tool.identity.origin, ToolOrigin::Cgroup | ToolOrigin::Api)
        };
        self.tracker
            .tools()
            .filter(is_finished)
            .map(|tool| tool.identity.slot)
            .collect()
    }

    /// Ends a tool; what it used stays known for a while.
    pub fn end_tool(&mut self, slot: ToolSlot, clock: &impl Clock) -> Result<Option<TrackedTool>, SourceError> {
        // Its last processes may have ended since it was looked at.
        self.read_sums()?;
        let Some(mut tool) = self.tracker.end_tool(slot) else {
            return Ok(None);
        };
        tool.used(crate::track::ToolUse::default());
        tool.ended_at_ns = Some(clock.now().monotonic_ns);
        self.source.end_tool(slot)?;
        self.end_adapting(&tool, clock);
        if self.ended_tools.len() == ENDED_KEPT {
            self.ended_tools.pop_front();
        }
        self.ended_tools.push_back(tool.clone());
        Ok(Some(tool))
    }

    /// The tools that have ended lately.
    pub fn ended_tools(&self) -> impl Iterator<Item = &TrackedTool> {
        self.ended_tools.iter()
    }

    /// Reads what the programs have summed up for each tool.
    pub fn read_sums(&mut self) -> Result<(), SourceError> {
        let slots: Vec<ToolSlot> = self.tracker.tools().map(|tool| tool.identity.slot).collect();
        for slot in slots {
            let sums = self.source.tool_sums(slot)?;
            if let Some(tool) = self.tracker.tool_mut(slot) {
                tool.sums = sums;
            }
        }
        Ok(())
    }

    /// Corrects what the programs compare with lines.
    pub(super) fn adjust_sums(&mut self) -> Result<(), SourceError> {
        let slots: Vec<ToolSlot> = self.tracker.tools().map(|tool| tool.identity.slot).collect();
        for slot in slots {
            self.adjust(slot, TrackedTool::adjust)?;
        }
        Ok(())
    }

    /// The same for tools of whose leaves the charge was read, by that alone.
    pub fn adjust_charges(&mut self, slots: &BTreeSet<ToolSlot>) -> Result<(), SourceError> {
        for slot in slots {
            self.adjust(*slot, TrackedTool::adjust_charge)?;
        }
        Ok(())
    }

    pub(super) fn adjust(
        &mut self,
        slot: ToolSlot,
        by: impl Fn(&mut TrackedTool, &ToolSums) -> Option<ToolAdjustment>,
    ) -> Result<(), SourceError> {
        let now = self.source.tool_sums(slot)?;
        let uncounted_ns = self.uncounted_ns(slot)?;
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(());
        };
        tool.share_out(now.cpu_ns + uncounted_ns);
        let adjustment = by(tool, &now);
        tool.sums = now;
        if let Some(adjustment) = adjustment {
            self.source.set_lines(&tool.identity, &tool.limits_now(), adjustment)?;
        }
        Ok(())
    }
}

/// All slots of so many, each once. Each instance begins at another: the last that a process which has just ended has used is
/// counted where it belonged, and is not to be the next tool's.
fn in_turn(instance: u64, room: u32) -> impl Iterator<Item = ToolSlot> {
    let first = u32::try_from(instance % u64::from(room)).unwrap_or(0);
    (0..room).map(move |n| ToolSlot((first + n) % room + 1))
}

#[cfg(test)]
mod tests {
    //! Which slot a tool gets.
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_slot_that_was_just_left_is_the_last_to_be_taken_again() {
        for instance in [1, 7, 8, 1 << 40] {
            let slots: Vec<u32> = in_turn(instance, 7).map(|slot| slot.0).collect();
            assert_eq!(slots.iter().copied().collect::<BTreeSet<_>>(), (1..=7).collect());
            let next: Vec<u32> = in_turn(instance + 1, 7).map(|slot| slot.0).collect();
            assert_eq!(next.last(), slots.first());
        }
    }
}
