//! Rest and starvation of a tool that is slowed: both use little CPU time, and only one of them ends an operation.

use crate::enforce::Leaf;

/// Who waits for a CPU for less than this share of the time does not wait.
const WAITS_PERCENT: u64 = 5;
/// The time over which waiting is measured at least, in nanoseconds.
const MEASURED_NS: u64 = 100_000_000;

/// What is known of a tool while it is slowed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slowed {
    /// CPU time of its operation in milliseconds, which the programs take for ended when it gets too little.
    operation_ms: u64,
    /// How long it had waited in all, in microseconds, and when that was looked at.
    waited: Option<(u64, u64)>,
    waits: bool,
}

impl Slowed {
    /// CPU time in milliseconds that counts for its operation, of which the programs say `value_ms`. One that `rests` does
    /// so only where nothing of it waits for a CPU.
    pub(super) fn operation_ms(&mut self, value_ms: u64, rests: bool, leaf: Option<&Leaf>, now_ns: u64) -> u64 {
        self.look(leaf.and_then(Leaf::waited_us), now_ns);
        self.operation_ms = if rests && !self.waits {
            0
        } else {
            self.operation_ms.max(value_ms)
        };
        self.operation_ms
    }

    fn look(&mut self, waited_us: Option<u64>, now_ns: u64) {
        let Some(now_us) = waited_us else {
            // A kernel that cannot tell: rest is believed.
            self.waits = false;
            return;
        };
        let Some((before_us, at_ns)) = self.waited else {
            self.waited = Some((now_us, now_ns));
            return;
        };
        let elapsed_ns = now_ns.saturating_sub(at_ns);
        if elapsed_ns >= MEASURED_NS {
            let waited_ns = now_us.saturating_sub(before_us).saturating_mul(1000);
            self.waits = waited_ns.saturating_mul(100) >= elapsed_ns.saturating_mul(WAITS_PERCENT);
            self.waited = Some((now_us, now_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    //! A folder in the place of a cgroup.
    use std::fs;

    use super::*;

    #[test]
    fn who_waits_for_a_cpu_does_not_rest() {
        let folder = tempfile::TempDir::new().unwrap();
        let leaf = Leaf::at(folder.path().to_owned());
        let waited = |ms: u64| {
            let text = format!(
                "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
                ms * 1000
            );
            fs::write(folder.path().join("cpu.pressure"), text).unwrap();
        };
        let second = 1_000_000_000;
        let mut slowed = Slowed::default();
        waited(10_000);
        assert_eq!(slowed.operation_ms(120_500, false, Some(&leaf), second), 120_500);
        // Starved: the programs took the operation for ended, and began another.
        waited(10_900);
        assert_eq!(slowed.operation_ms(3, true, Some(&leaf), 2 * second), 120_500);
        // It waits no more, and uses nothing.
        waited(10_901);
        assert_eq!(slowed.operation_ms(3, true, Some(&leaf), 3 * second), 0);
        assert_eq!(slowed.operation_ms(4, false, Some(&leaf), 4 * second), 4);
        assert_eq!(slowed.operation_ms(5, true, None, 5 * second), 0, "nobody can tell");
    }
}
