//! What follows from seeing processes more than once.

use chrono::DateTime;

use super::*;
use crate::model::{
    Comm, Enforcement, ExitStatus, OperationKind, SocketId, ToolIdentity, ToolLimits, ToolOrigin, ToolSums,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp {
        monotonic_ns: seconds * 1_000_000_000,
        wall: DateTime::UNIX_EPOCH,
    }
}

fn sample(pid: u32, start_ns: u64, cpu_ns: u64) -> ProcessSample {
    ProcessSample {
        memory: Some(Memory::default()),
        events: None,
        ..seen_by_events(
            ProcessId { pid, start_ns },
            &EventCounts {
                cpu_time_ns: cpu_ns,
                ..EventCounts::default()
            },
        )
    }
}

fn sweep(processes: Vec<ProcessSample>) -> Sweep {
    Sweep {
        processes,
        ..Sweep::default()
    }
}

fn event(kind: ProcessEventKind, pid: u32, start_ns: u64, cpu_ns: u64) -> ProcessEvent {
    ProcessEvent {
        kind,
        id: ProcessId { pid, start_ns },
        ppid: 1,
        uid: 0,
        euid: 0,
        comm: Comm::default(),
        at_ns: 0,
        tool: None,
        peak_rss_bytes: 0,
        exit: ExitStatus::default(),
        counts: EventCounts {
            cpu_time_ns: cpu_ns,
            ..EventCounts::default()
        },
    }
}

fn identity(slot: ToolSlot) -> ToolIdentity {
    ToolIdentity {
        slot,
        instance: 1,
        name: "tool".parse().unwrap(),
        origin: ToolOrigin::Rule,
        operation: OperationKind::Busy,
        enforcement: Enforcement::default(),
        uid: 0,
        root: None,
        owner: None,
        cgroup: None,
        registered_unix_ns: 0,
    }
}

#[test]
fn cpu_use_is_what_was_used_between_two_looks() {
    let mut tracker = ResourceTracker::default();
    tracker.apply_sweep(sweep(vec![sample(7, 1, 100)]), at(10));
    assert_eq!(tracker.process(7).unwrap().cpu_share, None);
    tracker.apply_sweep(sweep(vec![sample(7, 1, 1_500_000_100)]), at(12));
    assert_eq!(tracker.process(7).unwrap().cpu_share, Some(0.75));
}

#[test]
fn looks_in_quick_succession_do_not_make_cpu_use_jump() {
    let mut tracker = ResourceTracker::default();
    let soon = |ms: u64| Timestamp {
        monotonic_ns: 10_000_000_000 + ms * 1_000_000,
        ..at(10)
    };
    tracker.apply_sweep(sweep(vec![sample(7, 1, 0)]), soon(0));
    // The kernel brings the time of a running thread up to date in steps.
    tracker.apply_sweep(sweep(vec![sample(7, 1, 4_000_000)]), soon(1));
    assert_eq!(tracker.process(7).unwrap().cpu_share, None);
    tracker.apply_sweep(sweep(vec![sample(7, 1, 100_000_000)]), soon(200));
    assert_eq!(tracker.process(7).unwrap().cpu_share, Some(0.5));
    tracker.apply_sweep(sweep(vec![sample(7, 1, 104_000_000)]), soon(201));
    assert_eq!(tracker.process(7).unwrap().cpu_share, Some(0.5));
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let mut tracker = ResourceTracker::default();
    tracker.apply_sweep(sweep(vec![sample(7, 1, 5_000_000_000)]), at(10));
    tracker.apply_sweep(sweep(vec![sample(7, 2, 100)]), at(11));
    let process = tracker.process(7).unwrap();
    assert_eq!((process.sample.cpu_ns, process.cpu_share), (100, None));
    tracker.apply_events(&[event(ProcessEventKind::Exit, 7, 1, 5_000_000_000)], at(11));
    assert!(
        tracker.process(7).is_some(),
        "the end of the former must not end the latter"
    );
}

#[test]
fn cpu_time_never_falls_when_a_sweep_misses_a_thread_that_just_ended() {
    let mut tracker = ResourceTracker::default();
    tracker.apply_sweep(sweep(vec![sample(7, 1, 900)]), at(10));
    tracker.apply_sweep(sweep(vec![sample(7, 1, 400)]), at(11));
    assert_eq!(tracker.process(7).unwrap().sample.cpu_ns, 900);
}

#[test]
fn a_process_that_no_sweep_saw_is_counted_when_it_ends() {
    let mut tracker = ResourceTracker::default();
    tracker.apply_events(
        &[
            event(ProcessEventKind::Fork, 7, 1, 0),
            event(ProcessEventKind::Exit, 7, 1, 2_000_000),
        ],
        at(10),
    );
    assert_eq!(
        tracker.ended(),
        EndedTotals {
            processes: 1,
            cpu_time_ns: 2_000_000
        }
    );
    assert!(tracker.process(7).is_none());
}

#[test]
fn a_socket_that_two_processes_share_is_one_connection_of_the_host() {
    let mut tracker = ResourceTracker::default();
    let sharing = |pid| ProcessSample {
        connections: 1,
        sockets: vec![SocketId(0xabc)],
        ..sample(pid, 1, 0)
    };
    tracker.apply_sweep(sweep(vec![sharing(7), sharing(8)]), at(10));
    assert_eq!(tracker.totals(|_| true).connections, 1);
    assert_eq!(tracker.totals(|sample| sample.id.pid == 9).connections, 0);
}

#[test]
fn drift_is_the_sum_of_absolute_differences_since_the_last_sweep() {
    let mut tracker = ResourceTracker::default();
    let drifted = |pid, estimate, truth| {
        let mut sample = sample(pid, 1, 0);
        sample.open_fds = truth;
        sample.events = Some(EventCounts {
            fds_open: estimate,
            ..EventCounts::default()
        });
        sample
    };
    tracker.apply_sweep(sweep(vec![drifted(7, 8, 8), drifted(8, 7, 7)]), at(10));
    tracker.apply_sweep(sweep(vec![drifted(7, 5, 8), drifted(8, 9, 7)]), at(11));
    assert_eq!(tracker.drift().0.fds, 5);
    tracker.apply_sweep(sweep(vec![drifted(7, 8, 8)]), at(12));
    let (last, total) = tracker.drift();
    assert_eq!((last.fds, total.fds), (0, 5));
}

#[test]
fn cpu_time_that_events_missed_once_drifted_once() {
    let mut tracker = ResourceTracker::default();
    let seen = |truth, counted| {
        let mut sample = sample(7, 1, truth);
        sample.events = Some(EventCounts {
            cpu_time_ns: counted,
            ..EventCounts::default()
        });
        sample
    };
    for (second, truth, counted, expected) in [(10, 100, 100, 0), (11, 200, 150, 50), (12, 300, 250, 0)] {
        tracker.apply_sweep(sweep(vec![seen(truth, counted)]), at(second));
        assert_eq!(tracker.drift().0.cpu_time_ns, expected);
    }
}

#[test]
fn without_sweeps_counters_are_what_is_known_and_names_stay() {
    let mut tracker = ResourceTracker::default();
    let mut named = sample(7, 1, 0);
    named.comm = Comm(*b"worker\0\0\0\0\0\0\0\0\0\0");
    tracker.apply_sweep(sweep(vec![named]), at(10));
    let counts = EventCounts {
        fds_open: 37,
        connections_open: 5,
        ..EventCounts::default()
    };
    tracker.apply_counts(vec![(ProcessId { pid: 7, start_ns: 1 }, None, counts)], at(11));
    let process = &tracker.process(7).unwrap().sample;
    assert_eq!(
        (process.open_fds, process.connections, process.comm.to_string().as_str()),
        (37, 5, "worker")
    );
    assert_eq!(process.memory, None, "events do not tell it, and missing is not zero");
}

#[test]
fn what_is_forked_by_one_whose_tool_is_decided_is_the_tools_though_a_sweep_came_after_its_end() {
    let mut tracker = ResourceTracker::default();
    let tool = ToolSlot(3);
    tracker.apply_events(&[event(ProcessEventKind::Exec, 7, 20, 0)], at(10));
    tracker.decide(ProcessId { pid: 7, start_ns: 20 }, tool);
    tracker.apply_sweep(sweep(Vec::new()), at(11));
    let child = |pid, start_ns| ProcessEvent {
        ppid: 7,
        ..event(ProcessEventKind::Fork, pid, start_ns, 0)
    };
    tracker.apply_events(&[child(8, 21), child(9, 19)], at(12));
    assert_eq!(tracker.process(8).unwrap().sample.tool, Some(tool));
    // Born before: to whoever had the pid then.
    assert_eq!(tracker.process(9).unwrap().sample.tool, None);
    tracker.apply_events(&[event(ProcessEventKind::Exit, 7, 20, 0), child(10, 22)], at(13));
    assert_eq!(tracker.process(10).unwrap().sample.tool, None);
}

#[test]
fn what_is_decided_stays_decided_until_the_programs_know_it() {
    let mut tracker = ResourceTracker::default();
    let (id, tool) = (ProcessId { pid: 7, start_ns: 20 }, ToolSlot(3));
    tracker.apply_events(&[event(ProcessEventKind::Exec, 7, 20, 0)], at(10));
    tracker.decide(id, tool);
    let swept = |tool| {
        let events = Some(EventCounts::default());
        sweep(vec![ProcessSample {
            events,
            tool,
            ..sample(7, 20, 0)
        }])
    };
    tracker.apply_sweep(swept(None), at(11));
    assert_eq!(tracker.process(7).unwrap().sample.tool, Some(tool));
    assert!(tracker.is_decided(id));
    tracker.apply_sweep(swept(Some(tool)), at(12));
    assert!(!tracker.is_decided(id));
}

#[test]
fn what_a_tools_process_forked_is_the_tools_though_a_sweep_came_first() {
    let mut tracker = ResourceTracker::driven_by(9);
    let tool = Some(ToolSlot(3));
    let events = Some(EventCounts::default());
    tracker.apply_sweep(
        sweep(vec![ProcessSample {
            events,
            tool,
            ..sample(7, 20, 0)
        }]),
        at(10),
    );
    let child = |pid| ProcessEvent {
        ppid: 7,
        ..event(ProcessEventKind::Fork, pid, 21, 0)
    };
    tracker.apply_events(&[child(8), child(9)], at(10));
    assert_eq!(tracker.process(8).unwrap().sample.tool, tool);
    // Who observes is no tool's, whoever started it.
    assert_eq!(tracker.process(9).unwrap().sample.tool, None);
    tracker.apply_sweep(sweep(Vec::new()), at(11));
    tracker.apply_events(&[child(10)], at(12));
    assert_eq!(tracker.process(10).unwrap().sample.tool, tool);
    tracker.apply_events(&[event(ProcessEventKind::Exit, 7, 20, 0), child(11)], at(13));
    assert_eq!(tracker.process(11).unwrap().sample.tool, None);
}

#[test]
fn what_has_ended_is_its_tools_until_its_parent_reaps_it() {
    let mut tracker = ResourceTracker::default();
    let tool = Some(ToolSlot(1));
    let mut running = sample(7, 1, 0);
    running.tool = tool;
    let zombie = ProcessSample {
        zombie: true,
        ..sample(7, 1, 0)
    };
    tracker.apply_sweep(sweep(vec![running]), at(10));
    // Its end is told before a sweep sees it wait, and nobody of the tool is its parent.
    tracker.apply_events(&[event(ProcessEventKind::Exit, 7, 1, 0)], at(10));
    for second in 11..14 {
        tracker.apply_sweep(sweep(vec![zombie.clone()]), at(second));
        assert_eq!(tracker.process(7).unwrap().sample.tool, tool);
    }
    tracker.apply_sweep(sweep(Vec::new()), at(14));
    tracker.apply_sweep(sweep(vec![zombie]), at(15));
    assert_eq!(
        tracker.process(7).unwrap().sample.tool,
        None,
        "it is remembered for ever"
    );
}

#[test]
fn what_ended_before_the_programs_knew_it_is_counted_though_a_sweep_saw_it_first() {
    let tool = ToolSlot(1);
    let zombie = || ProcessSample {
        ppid: 7,
        zombie: true,
        ..sample(8, 2, 0)
    };
    let parent = || ProcessSample {
        tool: Some(tool),
        ..sample(7, 1, 0)
    };
    let fork = ProcessEvent {
        ppid: 7,
        ..event(ProcessEventKind::Fork, 8, 2, 0)
    };
    // The sweep finds it waiting for its parent, which is the tool's: and after one more it is gone.
    for sweeps in 1..3 {
        let mut tracker = ResourceTracker::default();
        tracker.begin_tool(TrackedTool::new(identity(tool), ToolLimits::LIGHT));
        tracker.apply_sweep(sweep(vec![parent(), zombie()]), at(10));
        if sweeps == 2 {
            tracker.apply_sweep(sweep(vec![parent()]), at(11));
        }
        tracker.apply_events(&[fork, event(ProcessEventKind::Exit, 8, 2, 5)], at(12));
        let latecomers = tracker.tool(tool).unwrap().latecomers;
        assert_eq!((latecomers.processes, latecomers.cpu_ns), (1, 5), "after {sweeps}");
    }
}

/// A tool with memory and so many connections, as a sweep saw it that began at some sums.
fn swept(tool: &mut TrackedTool, connections: u64, sums: ToolSums) {
    tool.used(ToolUse {
        connections,
        memory: Some(Memory::default()),
        ..ToolUse::default()
    });
    tool.sums = sums;
}

#[test]
fn connections_that_come_while_sweeps_run_give_a_tool_no_room_for_more() {
    let sums = |open: i64, made: u64| ToolSums {
        connections_open: open,
        connections_made: made,
        ..ToolSums::default()
    };
    let mut tool = TrackedTool::new(identity(ToolSlot(1)), ToolLimits::LIGHT);
    // Each sweep misses the two that were made while it ran.
    for (seen, before, after) in [(3, sums(3, 3), sums(5, 5)), (5, sums(5, 5), sums(7, 7))] {
        swept(&mut tool, seen, before);
        tool.adjust(&after);
        assert_eq!(tool.lined().connections, 0);
    }
    // Two go and two come: as many as before, and yet others.
    for seen in [6, 6] {
        swept(&mut tool, seen, sums(7, 7));
        tool.adjust(&sums(7, 9));
        assert_eq!(tool.lined().connections, 0);
    }
    // What stays is a difference: at the second look, not at the first.
    for expected in [0, -1] {
        swept(&mut tool, 6, sums(7, 9));
        tool.adjust(&sums(7, 9));
        assert_eq!(tool.lined().connections, expected);
    }
}

#[test]
fn who_was_born_to_a_parent_outside_is_an_orphan_once_it_has_another() {
    let slot = ToolSlot(1);
    let mut tracker = ResourceTracker::default();
    tracker.begin_tool(TrackedTool::new(identity(slot), ToolLimits::LIGHT));
    let born = ProcessEvent {
        ppid: 40,
        tool: Some(slot),
        ..event(ProcessEventKind::Fork, 41, 5, 0)
    };
    tracker.apply_events(&[born], at(1));
    let orphans = |tracker: &mut ResourceTracker, ppid| {
        let process = ProcessSample {
            ppid,
            tool: Some(slot),
            ..sample(41, 5, 10)
        };
        tracker.apply_sweep(sweep(vec![process]), at(2));
        tracker.tool(slot).unwrap().usage.orphans.clone()
    };
    assert_eq!(orphans(&mut tracker, 40), [0_u32; 0]);
    assert_eq!(orphans(&mut tracker, 1), [41]);
}
