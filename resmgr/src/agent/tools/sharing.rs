//! Pages that a tool's processes share, where no leaf counts memory: the kernel divides each page by those who map it.
//!
//! It walks every page for that, so it is asked seldom, and on a thread of its own.

use std::{
    collections::HashMap,
    fs,
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    engine::Engine,
    model::{Clock, Source, ToolSlot},
    track::TrackedTool,
};

/// Bytes that might be shared, from which on it is worth asking.
const WORTH_BYTES: u64 = 1 << 20;
/// Ticks between two readings of a tool.
const TICKS: u64 = 10;
/// At most one part in this many of the time is spent on a tool.
const SPARING: u32 = 100;

/// What a reading came to.
#[derive(Debug)]
struct Reading {
    shared_bytes: u64,
    took: Duration,
}

/// When a tool is to be read next.
#[derive(Clone, Copy, Debug)]
struct Due {
    instance: u64,
    tick: u64,
    at_ns: u64,
}

/// Reads what tools' processes share, one tool at a time.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    ticks: u64,
    due: HashMap<ToolSlot, Due>,
    under_way: Option<(ToolSlot, u64, JoinHandle<Reading>)>,
}

impl Sharing {
    /// Takes in what was read, and begins to read what is due.
    pub(super) fn tick<S: Source>(&mut self, engine: &mut Engine<S>, clock: &impl Clock) {
        self.ticks += 1;
        let now_ns = clock.now().monotonic_ns;
        if let Some((slot, instance, thread)) = self.under_way.take() {
            if !thread.is_finished() {
                self.under_way = Some((slot, instance, thread));
                return;
            }
            // A thread that panicked has read nothing.
            if let Ok(reading) = thread.join() {
                self.finish(slot, instance, &reading, now_ns, engine);
            }
        }
        self.due.retain(|&slot, due| {
            engine
                .tracker()
                .tool(slot)
                .is_some_and(|tool| tool.identity.instance == due.instance)
        });
        let due_tick = |tool: &&TrackedTool| self.due.get(&tool.identity.slot).map_or(0, |due| due.tick);
        let is_due = |tool: &&TrackedTool| {
            let due = self.due.get(&tool.identity.slot);
            tool.charged_bytes.is_none()
                && tool.usage.most_shared_bytes() >= WORTH_BYTES
                && due.is_none_or(|due| due.tick <= self.ticks && due.at_ns <= now_ns)
        };
        // Of many, the one that has waited longest.
        let Some(tool) = engine.tracker().tools().filter(is_due).min_by_key(due_tick) else {
            return;
        };
        let pids = tool.usage.pids.clone();
        let thread = Builder::new().name("sharing".to_owned()).spawn(move || read(&pids));
        if let Ok(thread) = thread {
            self.under_way = Some((tool.identity.slot, tool.identity.instance, thread));
        }
    }

    fn finish<S: Source>(
        &mut self,
        slot: ToolSlot,
        instance: u64,
        reading: &Reading,
        now_ns: u64,
        engine: &mut Engine<S>,
    ) {
        let pause = u64::try_from((reading.took * SPARING).as_nanos()).unwrap_or(u64::MAX);
        self.due.insert(
            slot,
            Due {
                instance,
                tick: self.ticks + TICKS,
                at_ns: now_ns.saturating_add(pause),
            },
        );
        if let Some(tool) = engine.tool_mut(slot).filter(|tool| tool.identity.instance == instance) {
            tool.shares(reading.shared_bytes);
        }
    }
}

/// Reads by how much processes' pages, counted in each, are more than they are together.
fn read(pids: &[u32]) -> Reading {
    let began = Instant::now();
    let text = |pid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let shared_bytes = pids
        .iter()
        .filter_map(|&pid| shared_of(&text(pid, "smaps_rollup").ok()?, &text(pid, "status").ok()?))
        .sum();
    Reading {
        shared_bytes,
        took: began.elapsed(),
    }
}

/// What of a process's anonymous, shared and swapped-out pages is the part of others; `None` where the texts do not tell.
fn shared_of(rollup: &str, status: &str) -> Option<u64> {
    let kib = |text: &str, kind: &str| -> Option<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    let held = kib(rollup, "Anonymous")? + kib(status, "RssShmem")? + kib(rollup, "Swap")?;
    let own = kib(rollup, "Pss_Anon")? + kib(rollup, "Pss_Shmem")? + kib(rollup, "SwapPss")?;
    Some(held.saturating_sub(own) << 10)
}

#[cfg(test)]
mod tests {
    //! Texts as the kernel writes them.
    use super::*;

    const ROLLUP: &str = "56-7f r\nRss:  900 kB\nPss:  500 kB\nPss_Anon:  100 kB\nPss_File:  40 kB\nPss_Shmem:  30 kB\n\
                          Anonymous:  300 kB\nSwap:  20 kB\nSwapPss:  10 kB\n";

    #[test]
    fn shared_is_what_is_held_less_the_part_that_is_its_own() {
        assert_eq!(shared_of(ROLLUP, "RssShmem:\t  60 kB\n"), Some((200 + 30 + 10) << 10));
    }

    #[test]
    fn a_kernel_that_does_not_tell_is_not_guessed_at() {
        assert_eq!(shared_of(ROLLUP, ""), None);
        assert_eq!(shared_of("", "RssShmem: 60 kB\n"), None);
    }
}
