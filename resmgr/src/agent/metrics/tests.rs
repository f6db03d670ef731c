//! What stays of tools that have ended, as time passes.

use super::*;
use crate::model::{Enforcement, OperationKind, ToolIdentity, ToolOrigin, ToolSlot};

fn at(seconds: u64) -> Timestamp {
    Timestamp {
        monotonic_ns: seconds * 1_000_000_000,
        wall: chrono::DateTime::from_timestamp_nanos(0),
    }
}

fn tool(name: &str, instance: u64, fds_opened: u64) -> TrackedTool {
    let identity = ToolIdentity {
        slot: ToolSlot(1),
        instance,
        name: name.parse().unwrap(),
        origin: ToolOrigin::Exec,
        operation: OperationKind::Busy,
        enforcement: Enforcement::default(),
        uid: 0,
        root: None,
        owner: None,
        cgroup: None,
        registered_unix_ns: 0,
    };
    let mut tool = TrackedTool::new(identity, ToolLimits::LIGHT);
    tool.sums.fds_opened = fds_opened;
    tool
}

fn swept(metrics: &mut Metrics, running: &[TrackedTool], ended: &[TrackedTool], seconds: u64) {
    metrics.swept(running.iter(), ended, Raised::new(), at(seconds));
}

fn opened(metrics: &Metrics, name: &str) -> Option<u64> {
    let past = metrics.past.get(&(name.parse().unwrap(), 0));
    past.map(|past| past.totals.fds_opened)
}

#[test]
fn ten_thousand_short_tools_leave_a_bounded_number_behind_and_then_none() {
    let mut metrics = Metrics::default();
    for second in 0..100 {
        let ended: Vec<TrackedTool> = (0..100)
            .map(|n| tool(&format!("short-{second}-{n}"), second * 100 + n, 1))
            .collect();
        swept(&mut metrics, &[], &ended, second);
        assert!(metrics.past.len() <= KEPT);
    }
    // Those that ended last are there.
    assert_eq!((metrics.past.len(), metrics.forgotten), (KEPT, 10_000 - KEPT as u64));
    assert!(opened(&metrics, "short-99-99").is_some() && opened(&metrics, "short-0-0").is_none());
    swept(&mut metrics, &[], &[], 99 + 300);
    assert_eq!(metrics.past.len(), 0);
}

#[test]
fn totals_of_a_name_go_on_with_its_next_instance() {
    let mut metrics = Metrics::default();
    swept(&mut metrics, &[], &[tool("again", 1, 5)], 10);
    // It runs again for longer than the past of one that does not would be kept.
    for seconds in (20..2000).step_by(100) {
        swept(&mut metrics, &[tool("again", 2, 7)], &[], seconds);
    }
    swept(&mut metrics, &[], &[tool("again", 2, 8), tool("again", 3, 1)], 2000);
    assert_eq!(opened(&metrics, "again"), Some(14));
    let ended = &metrics.past[&("again".parse().unwrap(), 0)].totals.ended;
    assert_eq!(ended[&None], 3);
}

#[test]
fn alerts_of_a_name_are_counted_by_what_they_are_about() {
    let mut metrics = Metrics::default();
    let key: Key = ("loud".parse().unwrap(), 1000);
    let about = (key.clone(), AlertKind::SpawnRate, ResourceStatus::Warning);
    for seconds in [1, 2] {
        let raised = Raised::from([(about.clone(), 2)]);
        metrics.swept(std::iter::empty(), &[], raised, at(seconds));
    }
    let alerts = &metrics.past[&key].totals.alerts;
    assert_eq!(alerts[&(AlertKind::SpawnRate, ResourceStatus::Warning)], 4);
}

#[test]
fn what_runs_is_never_forgotten_for_what_does_not() {
    let mut metrics = Metrics::default();
    swept(&mut metrics, &[], &[tool("runs", 1, 5)], 0);
    let running = [tool("runs", 2, 0)];
    for n in 0..1000 {
        swept(&mut metrics, &running, &[tool(&format!("short-{n}"), 10 + n, 1)], 1);
    }
    assert_eq!((opened(&metrics, "runs"), metrics.past.len()), (Some(5), KEPT + 1));
}
