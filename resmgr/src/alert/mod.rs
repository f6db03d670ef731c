//! Alerts: raised at once, cleared and repeated with patience, so that nothing floods; kept, acknowledged, delivered.

mod hook;

use std::collections::{BTreeMap, VecDeque};

use crate::model::{Alert, AlertKind, AlertState, ResourceStatus, Timestamp, ToolName};

pub use hook::Hook;

/// Alerts that are kept.
const KEPT: usize = 1024;
/// How long something has to be over before that is said, in nanoseconds.
const CLEARED_AFTER_NS: u64 = 5 * 1_000_000_000;
/// Time between two alerts of something that goes on, in nanoseconds.
const REPEATED_AFTER_NS: u64 = 300 * 1_000_000_000;

/// What is seen of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The tool's name.
    pub tool: ToolName,
    /// Which instance.
    pub instance: u64,
    /// The user whose tool it is.
    pub uid: u32,
    /// What it is about.
    pub kind: AlertKind,
    /// How bad it is.
    pub level: ResourceStatus,
    /// What was seen.
    pub value: Option<u64>,
    /// What that is compared with.
    pub limit: Option<u64>,
    /// The limit is as high as it may become: beyond is what the kernel refuses or kills for.
    pub is_last: bool,
}

/// Something that has been told and is not over.
#[derive(Clone, Copy, Debug)]
struct Raised {
    level: ResourceStatus,
    /// It was told of the last line that there is.
    is_last: bool,
    told_ns: u64,
    /// Since when it has been less bad than was told.
    better_since_ns: Option<u64>,
}

/// An alert, and whose.
#[derive(Clone, Debug)]
struct Kept {
    uid: u32,
    alert: Alert,
}

/// The alerts of a host.
#[derive(Debug, Default)]
pub struct Alerts {
    raised: BTreeMap<(u64, AlertKind), Raised>,
    kept: VecDeque<Kept>,
    total: u64,
}

impl Alerts {
    /// Takes in how things stand; returns the alert, where one is due.
    pub fn see(&mut self, seen: &Seen, message: impl FnOnce() -> String, now: Timestamp) -> Option<Alert> {
        let key = (seen.instance, seen.kind);
        let now_ns = now.monotonic_ns;
        let fresh = Raised {
            level: seen.level,
            is_last: seen.is_last,
            told_ns: now_ns,
            better_since_ns: None,
        };
        let Some(raised) = self.raised.get_mut(&key) else {
            if seen.level == ResourceStatus::Normal {
                return None;
            }
            self.raised.insert(key, fresh);
            return Some(self.tell(seen, seen.level, AlertState::Raised, message(), now));
        };
        // What was told of a limit that has been raised since says nothing of the last one.
        let is_news = seen.is_last && !raised.is_last && seen.level != ResourceStatus::Normal;
        if seen.level > raised.level || is_news {
            *raised = fresh;
            return Some(self.tell(seen, seen.level, AlertState::Raised, message(), now));
        }
        if seen.level == raised.level {
            raised.better_since_ns = None;
            if now_ns.saturating_sub(raised.told_ns) < REPEATED_AFTER_NS {
                return None;
            }
            raised.told_ns = now_ns;
            return Some(self.tell(seen, seen.level, AlertState::Repeated, message(), now));
        }
        let since = *raised.better_since_ns.get_or_insert(now_ns);
        if now_ns.saturating_sub(since) < CLEARED_AFTER_NS {
            return None;
        }
        let was = raised.level;
        if seen.level == ResourceStatus::Normal {
            self.raised.remove(&key);
            return Some(self.tell(seen, was, AlertState::Cleared, message(), now));
        }
        // Less bad, and not over: nothing that anybody has to be told, until it gets worse again.
        raised.level = seen.level;
        raised.better_since_ns = None;
        None
    }

    fn tell(
        &mut self,
        seen: &Seen,
        level: ResourceStatus,
        state: AlertState,
        message: String,
        now: Timestamp,
    ) -> Alert {
        self.total += 1;
        let alert = Alert {
            id: self.total,
            at: now.wall,
            tool: seen.tool.clone(),
            instance: seen.instance,
            kind: seen.kind,
            level,
            state,
            value: seen.value,
            limit: seen.limit,
            message,
            acknowledged: false,
        };
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept {
            uid: seen.uid,
            alert: alert.clone(),
        });
        alert
    }

    /// Only these instances are there still: of others nothing is raised any more, and nobody needs to be told.
    pub fn retain(&mut self, is_there: impl Fn(u64) -> bool) {
        self.raised.retain(|(instance, _), _| is_there(*instance));
    }

    /// The alerts that are kept of a user's tools, or of all, after the one with this id, the oldest first.
    pub fn after(&self, id: u64, of_user: Option<u32>) -> impl Iterator<Item = &Alert> {
        let is_theirs = move |kept: &&Kept| of_user.is_none_or(|uid| kept.uid == uid);
        let theirs = self.kept.iter().filter(is_theirs).map(|kept| &kept.alert);
        theirs.filter(move |alert| alert.id > id)
    }

    /// Somebody has seen these alerts of a user's tools, or of all: up to the one with this id. Returns how many are news.
    pub fn acknowledge(&mut self, up_to: u64, of_user: Option<u32>) -> u64 {
        let mut news = 0;
        for kept in &mut self.kept {
            let is_theirs = of_user.is_none_or(|uid| kept.uid == uid);
            if is_theirs && kept.alert.id <= up_to && !kept.alert.acknowledged {
                kept.alert.acknowledged = true;
                news += 1;
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    //! Levels as they come, and what is told of them.
    use chrono::DateTime;

    use super::*;
    use crate::model::Resource;

    fn at(seconds: u64) -> Timestamp {
        Timestamp {
            monotonic_ns: seconds * 1_000_000_000,
            wall: DateTime::UNIX_EPOCH,
        }
    }

    fn seen(level: ResourceStatus) -> Seen {
        Seen {
            tool: "tool".parse().unwrap(),
            instance: 1,
            uid: 1000,
            kind: AlertKind::Limit(Resource::Fds),
            level,
            value: Some(40),
            limit: Some(50),
            is_last: false,
        }
    }

    /// What is told when levels are seen, each at a second.
    fn told(levels: &[(u64, ResourceStatus)]) -> Vec<(u64, ResourceStatus, AlertState)> {
        let mut alerts = Alerts::default();
        let mut told = Vec::new();
        for &(second, level) in levels {
            let alert = alerts.see(&seen(level), String::new, at(second));
            told.extend(alert.map(|alert| (second, alert.level, alert.state)));
        }
        told
    }

    use AlertState::{Cleared, Raised, Repeated};
    use ResourceStatus::{Critical, Emergency, Normal, Warning};

    #[test]
    fn what_is_worse_is_told_at_once_and_what_is_better_when_it_stays_so() {
        let levels = [
            (0, Normal),
            (1, Warning),
            (1, Critical),
            (2, Emergency),
            (3, Normal),
            (4, Emergency),
            (5, Normal),
            (9, Normal),
            (10, Normal),
            (11, Normal),
        ];
        let expected = [
            (1, Warning, Raised),
            (1, Critical, Raised),
            (2, Emergency, Raised),
            (10, Emergency, Cleared),
        ];
        assert_eq!(told(&levels), expected);
    }

    #[test]
    fn what_goes_to_and_fro_or_goes_on_does_not_flood() {
        let to_and_fro: Vec<_> = (0..200)
            .map(|n| (n, if n % 2 == 0 { Warning } else { Normal }))
            .collect();
        assert_eq!(told(&to_and_fro), [(0, Warning, Raised)]);
        let on_and_on: Vec<_> = (0..1000).map(|n| (n, Critical)).collect();
        let expected = [
            (0, Critical, Raised),
            (300, Critical, Repeated),
            (600, Critical, Repeated),
            (900, Critical, Repeated),
        ];
        assert_eq!(told(&on_and_on), expected);
    }

    #[test]
    fn the_last_line_is_told_of_though_a_lower_one_was() {
        let mut alerts = Alerts::default();
        let mut told = Vec::new();
        for (second, level, is_last) in [
            (0, Emergency, false),
            (1, Normal, false),
            (2, Warning, false),
            (3, Normal, true),
            (3, Warning, true),
            (3, Warning, true),
            (4, Critical, true),
            (4, Warning, true),
            (4, Critical, true),
        ] {
            let seen = Seen { is_last, ..seen(level) };
            let alert = alerts.see(&seen, String::new, at(second));
            told.extend(alert.map(|alert| (second, alert.level)));
        }
        assert_eq!(told, [(0, Emergency), (3, Warning), (4, Critical)]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_shown_to_whose_it_is() {
        let mut alerts = Alerts::default();
        for instance in 0..2000 {
            let of = Seen {
                instance,
                uid: u32::try_from(instance % 2).unwrap(),
                ..seen(Warning)
            };
            alerts.see(&of, String::new, at(0));
        }
        assert_eq!(alerts.after(0, None).count(), KEPT);
        assert_eq!(alerts.after(1990, None).count(), 10);
        assert_eq!(alerts.after(1990, Some(1)).count(), 5);
        assert_eq!(alerts.acknowledge(1992, Some(1)), (KEPT as u64 - 8) / 2);
        assert_eq!(alerts.acknowledge(1992, Some(1)), 0);
        let seen = alerts.after(1990, Some(1)).filter(|alert| alert.acknowledged).count();
        assert_eq!(seen, 1);
        alerts.retain(|instance| instance != 1999);
        assert!(
            alerts.see(&seen_of(1999), String::new, at(1)).is_some(),
            "it was forgotten"
        );
        assert!(alerts.see(&seen_of(1998), String::new, at(1)).is_none());
    }

    fn seen_of(instance: u64) -> Seen {
        Seen {
            instance,
            ..seen(Warning)
        }
    }
}
