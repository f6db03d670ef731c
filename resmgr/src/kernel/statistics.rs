//! What the programs themselves cost, by the kernel's own statistics. Those cost time too, so they are on for one pass in
//! sixteen only.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    programs::{ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};

use crate::model::{ProgramCost, Timestamp};

/// Passes from one sample to the next.
const PASSES: u32 = 16;

/// A sample under way.
struct Sample {
    /// Holds the statistics on.
    _on: OwnedFd,
    began: Timestamp,
    before: (u64, u64),
}

/// The programs whose cost is sampled.
#[derive(Default)]
pub(super) struct Statistics {
    /// Identities of the programs.
    programs: Vec<u32>,
    passes: u32,
    sample: Option<Sample>,
    last: ProgramCost,
}

impl Statistics {
    /// Adds a program.
    pub(super) fn follow(&mut self, program: u32) {
        if !self.programs.contains(&program) {
            self.programs.push(program);
        }
    }

    /// Begins or ends a sample, where it is time; returns the last whole one.
    pub(super) fn pass(&mut self, now: Timestamp) -> ProgramCost {
        if let Some(sample) = self.sample.take() {
            let (run_ns, runs) = self.total();
            self.last = ProgramCost {
                sampled_ns: now.monotonic_ns.saturating_sub(sample.began.monotonic_ns),
                run_ns: run_ns.saturating_sub(sample.before.0),
                runs: runs.saturating_sub(sample.before.1),
            };
        } else if self.passes.is_multiple_of(PASSES) {
            // Kernels before 5.8 and hosts that forbid it have none.
            self.sample = enable_stats(Stats::RunTime).ok().map(|on| Sample {
                _on: on,
                began: now,
                before: self.total(),
            });
        }
        self.passes = self.passes.wrapping_add(1);
        self.last
    }

    /// Runs that the kernel left out of its programs.
    pub(super) fn missed(&self) -> u64 {
        missed(&self.programs)
    }

    /// Run time in nanoseconds and runs of all programs.
    fn total(&self) -> (u64, u64) {
        loaded_programs()
            .filter_map(Result::ok)
            .filter(|program| self.programs.contains(&program.id()))
            .fold((0, 0), |(time, runs), program| {
                let ns = u64::try_from(program.run_time().as_nanos()).unwrap_or(u64::MAX);
                (time + ns, runs + program.run_count())
            })
    }
}

/// Runs that the kernel left out of some programs, because the same program was under way on that CPU: it had been
/// preempted there, which kernels since about 7.0 do. aya does not tell; Linux before 5.12 does not either.
pub(super) fn missed(programs: &[u32]) -> u64 {
    let of = |program: ProgramInfo| {
        let fd = program.fd().ok()?;
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(path).ok()?;
        let missed = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
        missed.trim().parse::<u64>().ok()
    };
    loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| programs.contains(&program.id()))
        .filter_map(of)
        .sum()
}
