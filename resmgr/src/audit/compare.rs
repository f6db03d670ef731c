//! Judges: each number that was shown, between the truth before and the truth after.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Truth;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Open descriptors.
    Fds,
    /// Connections.
    Connections,
    /// CPU time in nanoseconds.
    CpuTimeNs,
    /// Resident anonymous memory in bytes.
    AnonBytes,
    /// Resident memory of all kinds in bytes.
    ResidentBytes,
    /// Virtual memory in bytes.
    VirtualBytes,
    /// Threads.
    Threads,
    /// Open descriptors of a tool, each table once.
    ToolFds,
    /// Connections of a tool, each once.
    ToolConnections,
    /// CPU time in nanoseconds of a tool: no less than its processes'.
    ToolCpuTimeNs,
}

/// A tick of the scheduler's at most, in nanoseconds: as late as it brings a running thread's time up to date.
const TICK_NS: u64 = 10_000_000;
/// What may come and go unseen between two looks at a number that changes: descriptors, connections, threads.
const COUNT_SLACK: u64 = 64;
/// Likewise bytes.
const BYTE_SLACK: u64 = 16 << 20;

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Fds,
        Self::Connections,
        Self::CpuTimeNs,
        Self::AnonBytes,
        Self::ResidentBytes,
        Self::VirtualBytes,
        Self::Threads,
        Self::ToolFds,
        Self::ToolConnections,
        Self::ToolCpuTimeNs,
    ];

    /// How far outside of what was seen before and after a number may be that changed in between.
    pub const fn slack(self) -> u64 {
        match self {
            Self::Fds | Self::Connections | Self::Threads | Self::ToolFds | Self::ToolConnections => COUNT_SLACK,
            Self::CpuTimeNs | Self::ToolCpuTimeNs => TICK_NS,
            Self::AnonBytes | Self::ResidentBytes | Self::VirtualBytes => BYTE_SLACK,
        }
    }
}

/// What the agent showed of a process, or of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Who it is, for a person.
    pub name: String,
    /// The processes: one, or a tool's.
    pub pids: Vec<u32>,
    /// The numbers.
    pub values: BTreeMap<Quantity, u64>,
}

/// A number that is beyond its bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// Process id, or that of a tool's first process.
    pub pid: u32,
    /// Who it is.
    pub name: String,
    /// The truth before the agent was asked.
    pub before: u64,
    /// What it showed.
    pub shown: u64,
    /// The truth after.
    pub after: u64,
}

/// One quantity over all processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Which.
    pub quantity: Quantity,
    /// How many were compared.
    pub compared: u64,
    /// How many of them did not change meanwhile: these have to be equal.
    pub quiet: u64,
    /// How many of the quiet ones were.
    pub equal: u64,
    /// The largest difference of a quiet one.
    pub largest: u64,
    /// The mean difference of the quiet ones.
    pub mean: f64,
    /// The farthest outside of what was seen before and after, of those that changed.
    pub largest_changing: u64,
    /// How far that may be.
    pub slack: u64,
    /// Those that are beyond.
    pub beyond: Vec<Beyond>,
}

/// The whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Version of this shape.
    pub version: u32,
    /// Whether all is within bounds.
    pub ok: bool,
    /// Processes that were compared.
    pub processes: u64,
    /// Tools that were compared.
    pub tools: u64,
    /// Processes that came or went meanwhile, and were not.
    pub left_out: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// By quantity.
    pub quantities: Vec<Compared>,
}

/// Sums over some processes, each table and connection once.
fn together(
    truths: &BTreeMap<u32, Truth>,
    pids: &[u32],
    share: fn(u32, u32) -> std::io::Result<bool>,
) -> Option<Truth> {
    let mut sum = Truth {
        cpu_ns: Some(0),
        ..Truth::default()
    };
    for pid in pids {
        let truth = truths.get(pid)?;
        sum.threads += truth.threads;
        sum.cpu_ns = Some(sum.cpu_ns? + truth.cpu_ns?);
        sum.connections.extend(&truth.connections);
        for &(thread, fds) in &truth.tables {
            if !sum
                .tables
                .iter()
                .any(|&(other, _)| share(thread, other).unwrap_or(false))
            {
                sum.tables.push((thread, fds));
            }
        }
    }
    Some(sum)
}

fn value(truth: &Truth, quantity: Quantity) -> Option<u64> {
    match quantity {
        Quantity::Fds | Quantity::ToolFds => Some(truth.fds()),
        Quantity::Connections | Quantity::ToolConnections => Some(truth.connections.len() as u64),
        Quantity::CpuTimeNs | Quantity::ToolCpuTimeNs => truth.cpu_ns,
        Quantity::AnonBytes => truth.anon_bytes,
        Quantity::ResidentBytes => truth.resident_bytes,
        Quantity::VirtualBytes => truth.virtual_bytes,
        Quantity::Threads => Some(truth.threads),
    }
}

/// Compares what was shown with the truth before and after.
pub fn compare(
    shown: &[Shown],
    before: &BTreeMap<u32, Truth>,
    after: &BTreeMap<u32, Truth>,
    share: fn(u32, u32) -> std::io::Result<bool>,
) -> Audit {
    let mut quantities: BTreeMap<Quantity, Compared> = Quantity::ALL.into_iter().map(|q| (q, empty(q))).collect();
    let (mut processes, mut tools, mut left_out) = (0, 0, 0);
    for entry in shown {
        let is_tool = entry.values.contains_key(&Quantity::ToolFds);
        let (Some(mut first), Some(mut last)) = (
            together(before, &entry.pids, share),
            together(after, &entry.pids, share),
        ) else {
            left_out += u64::from(!is_tool);
            continue;
        };
        if let (false, [pid]) = (is_tool, &entry.pids[..]) {
            (first, last) = (before[pid].clone(), after[pid].clone());
            processes += 1;
        } else {
            tools += 1;
        }
        for (&quantity, &shown) in &entry.values {
            if let (Some(first), Some(last), Some(compared)) = (
                value(&first, quantity),
                value(&last, quantity),
                quantities.get_mut(&quantity),
            ) {
                judge(compared, entry, shown, (first, last), last_threads(&entry.pids, after));
            }
        }
    }
    let quantities: Vec<Compared> = quantities.into_values().collect();
    Audit {
        version: 1,
        ok: quantities.iter().all(|compared| compared.beyond.is_empty()),
        processes,
        tools,
        left_out,
        seconds: 0.0,
        quantities,
    }
}

fn last_threads(pids: &[u32], after: &BTreeMap<u32, Truth>) -> u64 {
    pids.iter()
        .filter_map(|pid| after.get(pid))
        .map(|truth| truth.threads)
        .sum()
}

fn empty(quantity: Quantity) -> Compared {
    Compared {
        quantity,
        compared: 0,
        quiet: 0,
        equal: 0,
        largest: 0,
        mean: 0.0,
        largest_changing: 0,
        slack: quantity.slack(),
        beyond: Vec::new(),
    }
}

fn judge(compared: &mut Compared, entry: &Shown, shown: u64, (first, last): (u64, u64), threads: u64) {
    compared.compared += 1;
    let is_cpu = matches!(compared.quantity, Quantity::CpuTimeNs | Quantity::ToolCpuTimeNs);
    let (low, high) = (first.min(last), first.max(last));
    let mut outside = low.saturating_sub(shown).max(shown.saturating_sub(high));
    if compared.quantity == Quantity::ToolCpuTimeNs && shown > high {
        // Its ended processes are in it too, which nobody else remembers.
        outside = 0;
    }
    let is_fine = if first == last {
        compared.quiet += 1;
        compared.equal += u64::from(outside == 0);
        compared.largest = compared.largest.max(outside);
        #[expect(clippy::cast_precision_loss, reason = "a mean to show")]
        {
            compared.mean += (outside as f64 - compared.mean) / compared.quiet as f64;
        }
        outside == 0
    } else {
        compared.largest_changing = compared.largest_changing.max(outside);
        // A tick a thread that may run.
        outside <= compared.slack * if is_cpu { threads.max(1) } else { 1 }
    };
    if !is_fine {
        compared.beyond.push(Beyond {
            pid: entry.pids.first().copied().unwrap_or(0),
            name: entry.name.clone(),
            before: first,
            shown,
            after: last,
        });
    }
}

#[cfg(test)]
mod tests {
    //! Numbers worked out by hand.
    use super::*;

    fn truth(fds: u64, cpu_ns: u64) -> BTreeMap<u32, Truth> {
        let truth = Truth {
            threads: 2,
            cpu_ns: Some(cpu_ns),
            tables: vec![(5, fds)],
            ..Truth::default()
        };
        BTreeMap::from([(5, truth)])
    }

    fn shown(quantity: Quantity, value: u64) -> Vec<Shown> {
        vec![Shown {
            name: "a".to_owned(),
            pids: vec![5],
            values: BTreeMap::from([(quantity, value)]),
        }]
    }

    fn of(audit: &Audit, quantity: Quantity) -> &Compared {
        audit
            .quantities
            .iter()
            .find(|compared| compared.quantity == quantity)
            .unwrap()
    }

    #[test]
    fn what_did_not_change_has_to_be_equal() {
        let same = |_, _| Ok(false);
        let audit = compare(&shown(Quantity::Fds, 3), &truth(3, 0), &truth(3, 0), same);
        assert!(audit.ok);
        assert_eq!(
            (of(&audit, Quantity::Fds).quiet, of(&audit, Quantity::Fds).equal),
            (1, 1)
        );
        let audit = compare(&shown(Quantity::Fds, 4), &truth(3, 0), &truth(3, 0), same);
        assert!(!audit.ok);
        let fds = of(&audit, Quantity::Fds);
        assert_eq!((fds.equal, fds.largest, fds.mean), (0, 1, 1.0));
        assert_eq!((fds.beyond[0].pid, fds.beyond[0].shown), (5, 4));
    }

    #[test]
    fn what_changed_lies_in_between_or_near() {
        let same = |_, _| Ok(false);
        let tick = TICK_NS;
        for (value, ok) in [
            (15 * tick, true),
            (8 * tick, true),
            (7 * tick, false),
            (23 * tick, false),
        ] {
            let audit = compare(
                &shown(Quantity::CpuTimeNs, value),
                &truth(0, 10 * tick),
                &truth(0, 20 * tick),
                same,
            );
            assert_eq!(audit.ok, ok, "{value}: two threads may each be a tick late");
        }
    }

    #[test]
    fn who_came_or_went_is_left_out() {
        let audit = compare(&shown(Quantity::Fds, 4), &truth(3, 0), &BTreeMap::new(), |_, _| {
            Ok(false)
        });
        assert_eq!((audit.ok, audit.left_out, audit.processes), (true, 1, 0));
    }
}
