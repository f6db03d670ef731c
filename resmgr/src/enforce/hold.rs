//! What a leaf holds its tool by: the numbers in its files, written by nobody but the agent.

use std::{fs, path::Path, thread::sleep, time::Duration};

use super::leaf::{Leaf, LeafError};

/// The period of a CPU quota in microseconds, the kernel's own default.
const PERIOD_US: u64 = 100_000;
/// How often usage is looked at again before a hard line is drawn below it, and the time between.
const LOOKS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(25);

/// Numbers that hold a tool; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Memory in bytes beyond which the tool is slowed and reclaimed from: `memory.high`.
    pub memory_high: Option<u64>,
    /// Memory in bytes beyond which the kernel kills: `memory.max`.
    pub memory_max: Option<u64>,
    /// Swap in bytes: `memory.swap.max`.
    pub swap_max: Option<u64>,
    /// What is killed for memory is the whole tool: `memory.oom.group`.
    pub oom_group: bool,
    /// Processes and threads: `pids.max`.
    pub pids_max: Option<u64>,
    /// CPU time in percent of one core: `cpu.max`.
    pub cpu_percent: Option<u64>,
}

/// Which of them a leaf can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// `memory.*`.
    pub memory: bool,
    /// `cpu.max`.
    pub cpu: bool,
    /// `pids.max`.
    pub pids: bool,
}

impl Controllers {
    /// The controllers that a cgroup has, by its `cgroup.controllers`.
    pub fn of(cgroup: &Path) -> Self {
        Self::named(&fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default())
    }

    /// The controllers in a list of their names.
    pub(super) fn named(text: &str) -> Self {
        let has = |name| text.split_whitespace().any(|controller| controller == name);
        Self {
            memory: has("memory"),
            cpu: has("cpu"),
            pids: has("pids"),
        }
    }
}

impl Hold {
    /// What of it can be held.
    #[must_use]
    pub fn by(self, controllers: Controllers) -> Self {
        Self {
            memory_high: self.memory_high.filter(|_| controllers.memory),
            memory_max: self.memory_max.filter(|_| controllers.memory),
            swap_max: self.swap_max.filter(|_| controllers.memory),
            oom_group: self.oom_group && controllers.memory,
            pids_max: self.pids_max.filter(|_| controllers.pids),
            cpu_percent: self.cpu_percent.filter(|_| controllers.cpu),
        }
    }
}

/// What came of holding a tool.
#[derive(Debug, Default)]
pub struct Holding {
    /// What holds now.
    pub now: Hold,
    /// What could not be written.
    pub failed: Vec<LeafError>,
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

fn quota(percent: Option<u64>) -> String {
    match percent {
        Some(percent) => format!("{} {PERIOD_US}", percent * PERIOD_US / 100),
        None => format!("max {PERIOD_US}"),
    }
}

impl Leaf {
    /// What holds now, by the files; what is not there holds nothing.
    pub fn held(&self) -> Hold {
        let text = |file: &str| fs::read_to_string(self.path().join(file)).unwrap_or_default();
        let number = |file: &str| text(file).trim().parse().ok();
        let quota = text("cpu.max");
        let mut parts = quota.split_whitespace().map(str::parse::<u64>);
        let cpu_percent = match (parts.next(), parts.next()) {
            (Some(Ok(quota)), Some(Ok(period))) if period > 0 => Some(quota * 100 / period),
            _ => None,
        };
        Hold {
            memory_high: number("memory.high"),
            memory_max: number("memory.max"),
            swap_max: number("memory.swap.max"),
            oom_group: text("memory.oom.group").trim() == "1",
            pids_max: number("pids.max"),
            cpu_percent,
        }
    }

    /// Writes what is to hold, as far as it differs from what does. May block for long, where the kernel reclaims memory
    /// inside of a write: before Linux 6.16 it does.
    pub fn hold(&self, wanted: &Hold, before: &Hold) -> Holding {
        let mut done = Holding {
            now: *before,
            failed: Vec::new(),
        };
        if wanted.swap_max != before.swap_max && !self.path().join("memory.swap.max").exists() {
            // A kernel without swap has nothing to hold.
            done.now.swap_max = wanted.swap_max;
        } else if wanted.swap_max != before.swap_max {
            self.put("memory.swap.max", &number(wanted.swap_max), &mut done, |now| {
                now.swap_max = wanted.swap_max;
            });
        }
        if wanted.oom_group != before.oom_group {
            let text = if wanted.oom_group { "1" } else { "0" };
            self.put("memory.oom.group", text, &mut done, |now| {
                now.oom_group = wanted.oom_group;
            });
        }
        self.hold_memory(wanted, before, &mut done);
        if wanted.pids_max != before.pids_max {
            self.put("pids.max", &number(wanted.pids_max), &mut done, |now| {
                now.pids_max = wanted.pids_max;
            });
        }
        if wanted.cpu_percent != before.cpu_percent {
            self.put("cpu.max", &quota(wanted.cpu_percent), &mut done, |now| {
                now.cpu_percent = wanted.cpu_percent;
            });
        }
        done
    }

    /// A line that goes up is drawn at once, the hard one first. One that goes down is drawn below no usage: the soft one
    /// first, and the hard one once usage is below it.
    fn hold_memory(&self, wanted: &Hold, before: &Hold, done: &mut Holding) {
        let infinite = |line: Option<u64>| line.unwrap_or(u64::MAX);
        let max_rises = infinite(wanted.memory_max) > infinite(before.memory_max);
        let max_falls = infinite(wanted.memory_max) < infinite(before.memory_max);
        let draw_max = |done: &mut Holding| {
            self.put("memory.max", &number(wanted.memory_max), done, |now| {
                now.memory_max = wanted.memory_max;
            });
        };
        if max_rises {
            draw_max(done);
        }
        if wanted.memory_high != before.memory_high {
            self.put("memory.high", &number(wanted.memory_high), done, |now| {
                now.memory_high = wanted.memory_high;
            });
        }
        if !max_falls {
            return;
        }
        let Some(max) = wanted.memory_max else { return };
        let mut squeezed = false;
        for _ in 0..LOOKS {
            // Page cache is reclaimed inside the write, and kills nobody; what is in use would be killed.
            let in_use = self.working_set_bytes().unwrap_or(0);
            if in_use < max - max / 32 {
                draw_max(done);
                break;
            }
            if !squeezed && wanted.memory_high.is_none() {
                // To reclaim what can be; taken back below.
                squeezed = self.write("memory.high", &max.to_string()).is_ok();
            }
            sleep(BETWEEN);
        }
        if squeezed && let Err(error) = self.write("memory.high", &number(wanted.memory_high)) {
            done.failed.push(error);
        }
    }

    fn put(&self, file: &'static str, text: &str, done: &mut Holding, applied: impl FnOnce(&mut Hold)) {
        match self.write(file, text) {
            Ok(()) => applied(&mut done.now),
            Err(error) => done.failed.push(error),
        }
    }

    /// How often the kernel has killed in it for want of memory: `oom_kill` of `memory.events`, cgroups below included.
    pub fn oom_kills(&self) -> u64 {
        self.memory_event("oom_kill")
    }

    /// How often it was slowed at its soft line: `high` of `memory.events`.
    pub fn high_events(&self) -> u64 {
        self.memory_event("high")
    }

    /// How long something in it has been ready to run and waited for a CPU, in microseconds (`some` of `cpu.pressure`);
    /// `None` where the kernel does not tell.
    pub fn waited_us(&self) -> Option<u64> {
        self.pressure_us("cpu.pressure")
    }

    /// How long something in it has waited for memory, in microseconds (`some` of `memory.pressure`); `None` where the kernel
    /// does not tell.
    pub fn waited_for_memory_us(&self) -> Option<u64> {
        self.pressure_us("memory.pressure")
    }

    fn pressure_us(&self, file: &str) -> Option<u64> {
        let text = fs::read_to_string(self.path().join(file)).ok()?;
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let total = some.split_whitespace().find_map(|field| field.strip_prefix("total="))?;
        total.parse().ok()
    }

    fn memory_event(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.path().join("memory.events")).unwrap_or_default();
        let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        text.lines().find_map(of_line).unwrap_or(0)
    }
}

impl Leaf {
    /// Lifts every number that holds it, and lets its processes run. What cannot be lifted is returned.
    pub fn lift(&self) -> Vec<LeafError> {
        // One that cannot be frozen is not.
        let _ = self.thaw();
        self.hold(&Hold::default(), &self.held()).failed
    }
}

#[cfg(test)]
mod tests {
    //! A folder in the place of a cgroup: what is written where, and in which order.
    use super::*;

    fn leaf(current: &str) -> (tempfile::TempDir, Leaf) {
        let folder = tempfile::TempDir::new().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        file("cgroup.controllers", "cpu memory pids\n");
        for name in ["memory.high", "memory.max", "memory.swap.max", "pids.max"] {
            file(name, "max\n");
        }
        file("memory.oom.group", "0\n");
        file("cpu.max", "max 100000\n");
        file("memory.current", current);
        file("memory.stat", "inactive_file 0\n");
        let leaf = Leaf::at(folder.path().to_owned());
        (folder, leaf)
    }

    const SOME: Hold = Hold {
        memory_high: Some(90 << 20),
        memory_max: Some(100 << 20),
        swap_max: Some(0),
        oom_group: true,
        pids_max: Some(64),
        cpu_percent: Some(25),
    };

    #[test]
    fn what_is_written_is_read_again() {
        let (_folder, leaf) = leaf("0");
        assert_eq!(leaf.held(), Hold::default());
        let done = leaf.hold(&SOME, &Hold::default());
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        assert_eq!((done.now, leaf.held()), (SOME, SOME));
        assert_eq!(fs::read_to_string(leaf.path().join("cpu.max")).unwrap(), "25000 100000");
        leaf.hold(&Hold::default(), &SOME);
        assert_eq!(leaf.held(), Hold::default());
    }

    #[test]
    fn a_hard_line_is_not_drawn_below_what_is_in_use() {
        let (_folder, leaf) = leaf(&(99_u64 << 20).to_string());
        let wanted = Hold {
            memory_high: None,
            ..SOME
        };
        let done = leaf.hold(&wanted, &Hold::default());
        assert_eq!(done.now.memory_max, None);
        assert_eq!(leaf.held().memory_max, None);
        assert_eq!(leaf.held().memory_high, None, "what was tried is taken back");
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_the_others_are_written() {
        let (_folder, leaf) = leaf("0");
        fs::remove_file(leaf.path().join("memory.oom.group")).unwrap();
        // A kernel without swap does not have this one.
        fs::remove_file(leaf.path().join("memory.swap.max")).unwrap();
        let done = leaf.hold(&SOME, &Hold::default());
        assert_eq!(done.failed.len(), 1);
        assert!(done.failed[0].to_string().contains("memory.oom.group"));
        assert_eq!(
            done.now,
            Hold {
                oom_group: false,
                ..SOME
            }
        );
        assert_eq!(SOME.by(Controllers::of(leaf.path())), SOME);
        fs::write(leaf.path().join("cgroup.controllers"), "memory\n").unwrap();
        let held = Hold {
            pids_max: None,
            cpu_percent: None,
            ..SOME
        };
        assert_eq!(SOME.by(Controllers::of(leaf.path())), held);
    }
}
