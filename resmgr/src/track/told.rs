//! Operations that somebody tells of: what a tool uses is shared out among those under way. Reads no clock.

use std::collections::{BTreeMap, VecDeque};

use crate::model::OperationUse;

/// Operations that have ended and are still known.
const ENDED_KEPT: usize = 16;

/// The operations of a tool.
#[derive(Clone, Debug, Default)]
pub struct ToldOperations {
    under_way: BTreeMap<u64, UnderWay>,
    ended: VecDeque<OperationUse>,
    ended_total: u64,
    /// CPU time in nanoseconds of the tool when it was last shared out.
    shared_ns: u64,
}

#[derive(Clone, Debug)]
struct UnderWay {
    used: OperationUse,
    began_ns: u64,
}

impl UnderWay {
    fn at(&self, now_ns: u64) -> OperationUse {
        OperationUse {
            duration_ns: now_ns.saturating_sub(self.began_ns),
            ..self.used.clone()
        }
    }
}

impl ToldOperations {
    /// One begins. What was used until now has been shared out.
    pub fn begin(&mut self, operation: u64, name: String, now_ns: u64) {
        let used = OperationUse {
            operation,
            name,
            ..OperationUse::default()
        };
        self.under_way.insert(operation, UnderWay { used, began_ns: now_ns });
        if self.under_way.len() > 1 {
            self.overlap();
        }
    }

    /// One ends: what it used. What was used until now has been shared out.
    pub fn end(&mut self, operation: u64, now_ns: u64) -> Option<OperationUse> {
        let used = self.under_way.remove(&operation)?.at(now_ns);
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(used.clone());
        self.ended_total += 1;
        Some(used)
    }

    /// Shares out the CPU time that the tool has used since the last time, evenly; `cpu_ns` is all that it ever used. Of
    /// memory, descriptors and connections each has seen what there is now.
    pub(super) fn share_out(&mut self, cpu_ns: u64, [memory_bytes, open_fds, connections]: [u64; 3]) {
        // What was running may be counted a little later than it was read.
        let new_ns = cpu_ns.saturating_sub(self.shared_ns);
        self.shared_ns = self.shared_ns.max(cpu_ns);
        let count = self.under_way.len() as u64;
        let (Some(each_ns), Some(mut left_ns)) = (new_ns.checked_div(count), new_ns.checked_rem(count)) else {
            return;
        };
        for UnderWay { used, .. } in self.under_way.values_mut() {
            used.cpu_time_ns += each_ns + left_ns.min(1);
            left_ns = left_ns.saturating_sub(1);
            used.peak_memory_bytes = used.peak_memory_bytes.max(memory_bytes);
            used.peak_open_fds = used.peak_open_fds.max(open_fds);
            used.peak_connections = used.peak_connections.max(connections);
        }
    }

    /// The most CPU time in nanoseconds that one under way has used.
    pub fn most_cpu_ns(&self) -> u64 {
        let used = self.under_way.values().map(|one| one.used.cpu_time_ns);
        used.max().unwrap_or(0)
    }

    /// Whether there is one under way.
    pub fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Those under way, with what they have used until it was last shared out.
    pub fn under_way(&self, now_ns: u64) -> impl Iterator<Item = OperationUse> {
        self.under_way.values().map(move |one| one.at(now_ns))
    }

    /// Those that have ended lately, the latest last.
    pub fn ended(&self) -> impl Iterator<Item = &OperationUse> {
        self.ended.iter()
    }

    /// How many have ended.
    pub fn ended_total(&self) -> u64 {
        self.ended_total
    }

    fn overlap(&mut self) {
        for one in self.under_way.values_mut() {
            one.used.overlapped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Numbers as the programs would have them.
    use super::*;

    fn cpu_ns(told: &ToldOperations, operation: u64) -> (u64, bool) {
        let found = told.under_way(0).find(|used| used.operation == operation);
        found.map(|used| (used.cpu_time_ns, used.overlapped)).unwrap()
    }

    #[test]
    fn what_is_used_while_two_go_on_is_split_evenly_and_marked() {
        let mut told = ToldOperations::default();
        told.share_out(100, [0; 3]);
        told.begin(1, "one".to_owned(), 5);
        told.share_out(150, [7, 0, 0]);
        assert_eq!(cpu_ns(&told, 1), (50, false), "what was used before it is not its");
        told.begin(2, "two".to_owned(), 6);
        told.share_out(161, [3, 9, 1]);
        assert_eq!(cpu_ns(&told, 1), (56, true), "of eleven, the odd one is lost to nobody");
        assert_eq!(cpu_ns(&told, 2), (5, true));
        let one = told.end(1, 25).unwrap();
        assert_eq!((one.duration_ns, one.cpu_time_ns), (20, 56));
        assert_eq!(
            (one.peak_memory_bytes, one.peak_open_fds, one.peak_connections),
            (7, 9, 1)
        );
        told.share_out(171, [0; 3]);
        assert_eq!(cpu_ns(&told, 2), (15, true));
        assert_eq!(told.most_cpu_ns(), 15);
        assert!(told.end(1, 30).is_none(), "it has ended");
        told.end(2, 30).unwrap();
        told.share_out(1000, [0; 3]);
        assert_eq!(told.most_cpu_ns(), 0, "nothing goes on");
        assert_eq!(told.ended().map(|used| used.operation).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_is_counted_later_than_it_was_read_is_not_counted_twice() {
        let mut told = ToldOperations::default();
        told.begin(1, String::new(), 0);
        told.share_out(1_000, [0; 3]);
        told.share_out(990, [0; 3]);
        told.share_out(1_010, [0; 3]);
        assert_eq!(cpu_ns(&told, 1).0, 1_010);
    }
}
