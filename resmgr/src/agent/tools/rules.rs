//! Processes become tools by rules: when they execute a program, and at the start those that run.

use std::{collections::BTreeSet, fs, path::Path};

use super::Tools;
use crate::{
    agent::proc,
    config::{Executed, Rule},
    enforce,
    engine::{Engine, NewTool, RegisterError},
    model::{
        Clock, ImageEvent, LimitsAsked, OperationKind, ProcessId, ProcessSample, Source, SourceError, ToolName,
        ToolOrigin,
    },
};

impl Tools {
    /// Matches rules with what has been executed; true where processes are to be taken in.
    pub(in crate::agent) fn match_executed<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        images: &[ImageEvent],
        clock: &impl Clock,
        track_all: bool,
    ) -> Result<bool, SourceError> {
        let mut decided = false;
        for image in images {
            let id = image.event.id;
            // It is one tool's, however many programs it has become by now.
            if engine.tracker().is_decided(id) {
                continue;
            }
            let executed = self.executed(image);
            match self.rules.iter().find(|rule| rule.matches(&executed)) {
                Some(rule) if !is_untouchable(id.pid) => {
                    let what = (rule.tool.clone(), rule.operation);
                    decided |= self.begin_by_rule(engine, what, id, image.event.ppid, image.event.uid, clock)?;
                }
                _ if track_all => {}
                _ => engine.source_mut().dismiss(id),
            }
        }
        Ok(decided)
    }

    /// What was executed: from `/proc` where the process lives, else from what the programs have copied.
    fn executed(&self, image: &ImageEvent) -> Executed {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let arguments: Vec<String> = image.arguments.iter().map(|argument| lossy(argument)).collect();
        let path = lossy(&image.path);
        // A path that was given relative to a folder is whole in `/proc` only.
        let whole = (!path.starts_with('/'))
            .then(|| fs::read_link(format!("/proc/{}/exe", image.event.id.pid)).ok())
            .flatten();
        let asks_for_cgroup = self.rules.iter().any(Rule::asks_for_cgroup);
        let cgroup = if asks_for_cgroup {
            proc::cgroup(image.event.id.pid).or_else(|| cgroup_path(self.cgroup2.as_deref()?, image.cgroup))
        } else {
            None
        };
        Executed {
            path: whole.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(path),
            command: arguments.join(" "),
            cgroup,
            uid: image.event.uid,
        }
    }

    /// Matches rules with what runs already.
    pub(super) fn match_running<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        clock: &impl Clock,
    ) -> Result<(), SourceError> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let mut running: Vec<ProcessSample> = engine
            .tracker()
            .processes()
            .map(|process| process.sample.clone())
            .filter(|sample| !sample.kernel_thread && !sample.zombie && sample.tool.is_none())
            .collect();
        // Parents first: what descends from a tool's process is the tool's, whatever else it matches.
        running.sort_by_key(|sample| sample.id.start_ns);
        let mut taken: BTreeSet<u32> = BTreeSet::new();
        for sample in running {
            if taken.contains(&sample.ppid) {
                taken.insert(sample.id.pid);
                continue;
            }
            let executed = proc::executed(sample.id, sample.uid);
            let rule = executed.and_then(|executed| self.rules.iter().find(|rule| rule.matches(&executed)));
            if let Some(rule) = rule
                && !is_untouchable(sample.id.pid)
                && self.begin_by_rule(
                    engine,
                    (rule.tool.clone(), rule.operation),
                    sample.id,
                    sample.ppid,
                    sample.uid,
                    clock,
                )?
            {
                taken.insert(sample.id.pid);
            }
        }
        if taken.is_empty() {
            Ok(())
        } else {
            engine.take_in(clock)
        }
    }

    /// Begins an instance of a rule's tool with a process; false where there is no room.
    fn begin_by_rule<S: Source>(
        &mut self,
        engine: &mut Engine<S>,
        (name, operation): (ToolName, OperationKind),
        root: ProcessId,
        ppid: u32,
        uid: u32,
        clock: &impl Clock,
    ) -> Result<bool, SourceError> {
        let (limits, enforcement) = self.policy.resolve(&name, &LimitsAsked::default(), ToolOrigin::Rule);
        let new = NewTool {
            name,
            origin: ToolOrigin::Rule,
            operation,
            uid,
            root: Some(root),
            owner: enforce::describe(ppid).map(|owner| owner.id),
            cgroup: None,
            limits,
            enforcement,
        };
        match engine.register(new, clock) {
            Ok(slot) => {
                engine.decide(root, slot)?;
                Ok(true)
            }
            Err(RegisterError::Source(error)) => Err(error),
            Err(error @ RegisterError::Full(_)) => {
                self.refused_by_rule += 1;
                // Told the more seldom, the more there are: a rule may match whatever is executed.
                if self.refused_by_rule.is_power_of_two() {
                    let refused = self.refused_by_rule;
                    tracing::warn!(pid = root.pid, refused, %error, "a process matches a rule, and is no tool");
                }
                Ok(false)
            }
        }
    }
}

/// Processes that are never a tool's by a rule: the host's first, and the agent.
fn is_untouchable(pid: u32) -> bool {
    pid == 1 || pid == std::process::id()
}

/// The path of a cgroup as `/proc/PID/cgroup` would have it, by its identity.
fn cgroup_path(root: &Path, id: u64) -> Option<String> {
    let folder = enforce::below(root)
        .into_iter()
        .find(|path| enforce::identity(path).is_ok_and(|own| own == id))?;
    Some(format!("/{}", folder.strip_prefix(root).ok()?.display()))
}
