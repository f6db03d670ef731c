//! Numbers worked out by hand.

use super::*;
use crate::audit::{Compared, quantity::TICK_NS as TICK};

fn truth(fds: u64, cpu_ns: u64) -> Truths {
    let truth = Truth {
        comm: "a".to_owned(),
        threads: 2,
        cpu_ns: Some(cpu_ns),
        anon_bytes: Some(0),
        tables: vec![(5, fds)],
        ..Truth::default()
    };
    Truths::from([(5, truth)])
}

fn shown(quantity: Quantity, value: u64) -> Vec<Shown> {
    vec![Shown {
        subject: Subject::Process(5),
        name: "a".to_owned(),
        pids: vec![5],
        values: BTreeMap::from([(quantity, value), (Quantity::Processes, 1)]),
    }]
}

fn look<'a>(shown: &'a [Shown], before: &'a Truths, after: &'a Truths) -> Look<'a> {
    Look {
        shown,
        before,
        after,
        charged: const { &BTreeMap::new() },
        share_descriptors: |one, other| Ok(one == other),
    }
}

fn finish(round: Round) -> Audit {
    let mut audit = Audit::default();
    round.finish(&mut audit);
    audit
}

fn of(audit: &Audit, quantity: Quantity) -> &Compared {
    let mut all = audit.quantities.iter();
    all.find(|compared| compared.quantity == quantity).unwrap()
}

/// One look and `again` more like it.
fn judge(shown: &[Shown], before: &Truths, after: &Truths, again: u32) -> Audit {
    let mut round = Round::begin(look(shown, before, after));
    for _ in 0..again {
        round.look_again(look(shown, before, after));
    }
    finish(round)
}

#[test]
fn what_did_not_change_has_to_be_equal() {
    let audit = judge(&shown(Quantity::Fds, 3), &truth(3, 0), &truth(3, 0), 0);
    assert!(audit.ok);
    let fds = of(&audit, Quantity::Fds);
    assert_eq!((fds.compared, fds.quiet, fds.equal, fds.settled), (1, 1, 1, 0));

    let audit = judge(&shown(Quantity::Fds, 4), &truth(3, 0), &truth(3, 0), 2);
    assert!(!audit.ok);
    let fds = of(&audit, Quantity::Fds);
    assert_eq!((fds.quiet, fds.equal, fds.largest, fds.mean), (1, 0, 1, 1.0));
    let expected = Beyond {
        pid: 5,
        name: "a".to_owned(),
        before: 3,
        shown: 4,
        after: 3,
        looks: 3,
    };
    assert_eq!(fds.beyond, [expected]);
}

#[test]
fn what_changed_lies_in_between() {
    for (value, ok) in [(2, false), (3, true), (5, true), (9, true), (10, false)] {
        let (before, after) = (truth(9, 0), truth(3, 0));
        assert_eq!(
            judge(&shown(Quantity::Fds, value), &before, &after, 1).ok,
            ok,
            "{value}"
        );
    }
}

#[test]
fn cpu_time_may_be_a_tick_behind_for_each_thread_and_never_ahead() {
    let (before, after) = (truth(0, 10 * TICK), truth(0, 20 * TICK));
    for (value, ok) in [
        (8 * TICK, true),
        (8 * TICK - 1, false),
        (15 * TICK, true),
        (20 * TICK, true),
        (20 * TICK + 1, false),
    ] {
        let audit = judge(&shown(Quantity::CpuTimeNs, value), &before, &after, 1);
        assert_eq!(audit.ok, ok, "{value}");
    }
    // One that did not run is not behind by anything.
    let audit = judge(&shown(Quantity::CpuTimeNs, 10 * TICK - 1), &before, &before, 1);
    assert!(!audit.ok);
}

#[test]
fn what_moves_is_judged_by_all_that_was_seen_of_it() {
    let (three, nine) = (truth(3, 0), truth(9, 0));
    // It went to 9 and back between the two readings.
    let first = shown(Quantity::Fds, 9);
    let mut round = Round::begin(look(&first, &three, &three));
    assert_eq!(round.doubted_pids(), BTreeSet::from([5]));
    round.look_again(look(&first, &three, &nine));
    assert_eq!(round.doubted_pids(), BTreeSet::new());
    let audit = finish(round);
    let fds = of(&audit, Quantity::Fds);
    assert_eq!((audit.ok, fds.settled, fds.quiet), (true, 1, 0));
}

#[test]
fn cpu_time_of_an_earlier_look_excuses_nothing() {
    let (early, late) = (truth(0, TICK), truth(0, 100 * TICK));
    let behind = shown(Quantity::CpuTimeNs, 50 * TICK);
    let mut round = Round::begin(look(&behind, &early, &early));
    round.look_again(look(&behind, &late, &late));
    assert!(!finish(round).ok);
}

#[test]
fn who_came_or_went_is_left_out() {
    let none = Truths::new();
    let audit = judge(&shown(Quantity::Fds, 4), &truth(3, 0), &none, 1);
    assert_eq!((audit.ok, audit.left_out, audit.processes), (true, 1, 0));
    // The pid is another process's now.
    let mut other = truth(3, 0);
    other.get_mut(&5).unwrap().started = 1;
    let audit = judge(&shown(Quantity::Fds, 4), &truth(3, 0), &other, 1);
    assert_eq!((audit.ok, audit.left_out, audit.processes), (true, 1, 0));
}

#[test]
fn who_went_before_the_second_look_is_not_judged() {
    let first = shown(Quantity::Fds, 4);
    let (there, none) = (truth(3, 0), Truths::new());
    let mut round = Round::begin(look(&first, &there, &there));
    round.look_again(look(&[], &none, &none));
    let audit = finish(round);
    let fds = of(&audit, Quantity::Fds);
    assert_eq!((audit.ok, fds.compared, fds.unconfirmed), (true, 0, 1));
}

#[test]
fn a_process_that_is_not_shown_is_found() {
    let there = truth(3, 0);
    let audit = judge(&[], &there, &there, 1);
    let processes = of(&audit, Quantity::Processes);
    assert!(!audit.ok);
    assert_eq!((processes.beyond[0].pid, processes.beyond[0].shown), (5, 0));
    // One that was born after the agent was asked could not be.
    assert!(judge(&[], &Truths::new(), &there, 1).ok);
}

#[test]
fn a_process_that_is_shown_but_not_there_is_found() {
    let (ghost, none) = (shown(Quantity::Fds, 4), Truths::new());
    let audit = judge(&ghost, &none, &none, 1);
    assert!(!audit.ok);
    assert_eq!(of(&audit, Quantity::Processes).beyond[0].before, 0);
    assert_eq!(of(&audit, Quantity::Fds).compared, 0);
    // One that lived in between only is not shown again.
    let mut round = Round::begin(look(&ghost, &none, &none));
    round.look_again(look(&[], &none, &none));
    let audit = finish(round);
    assert_eq!((audit.ok, audit.left_out), (true, 1));
}

#[test]
fn who_may_not_be_looked_into_is_named_and_not_judged() {
    let mut guarded = truth(0, 0);
    guarded.get_mut(&5).unwrap().is_guarded = true;
    for (shown, is_shown) in [(Vec::new(), false), (shown(Quantity::Fds, 3), true)] {
        let audit = judge(&shown, &guarded, &guarded, 1);
        assert_eq!((audit.ok, audit.processes), (true, 0));
        assert_eq!((audit.guarded[0].pid, audit.guarded[0].shown), (5, is_shown));
    }
}

#[test]
fn a_tool_is_the_sum_of_its_processes_each_table_once() {
    let mut both = truth(3, 10);
    let mut second = both[&5].clone();
    second.connections = BTreeSet::from([77]);
    second.tables = vec![(5, 3), (6, 4)];
    both.insert(6, second);
    both.get_mut(&5).unwrap().connections = BTreeSet::from([77]);
    let tool = |fds, connections, cpu_ns, threads| {
        let values = [
            (Quantity::ToolFds, fds),
            (Quantity::ToolConnections, connections),
            (Quantity::ToolCpuTimeNs, cpu_ns),
            (Quantity::ToolThreads, threads),
        ];
        let mut shown = shown(Quantity::Fds, 3);
        shown[0].values.remove(&Quantity::Fds);
        let mut other = shown[0].clone();
        (other.subject, other.pids) = (Subject::Process(6), vec![6]);
        let tool = Shown {
            subject: Subject::Tool(1),
            name: "tool".to_owned(),
            pids: vec![5, 6],
            values: BTreeMap::from(values),
        };
        shown.extend([other, tool]);
        judge(&shown, &both, &both, 1)
    };
    let audit = tool(7, 1, 20, 4);
    assert!(audit.ok, "{audit:?}");
    assert_eq!((audit.processes, audit.tools), (2, 1));
    assert!(tool(7, 1, 25, 4).ok, "the ended ones' CPU time is in it");
    for wrong in [
        tool(10, 1, 20, 4),
        tool(7, 2, 20, 4),
        tool(7, 1, 19, 4),
        tool(7, 1, 20, 3),
    ] {
        assert!(!wrong.ok);
    }
}

#[test]
fn rounds_add_up() {
    let mut audit = Audit::default();
    for value in [3, 4, 3] {
        let shown = shown(Quantity::Fds, value);
        let there = truth(3, 0);
        let mut round = Round::begin(look(&shown, &there, &there));
        round.look_again(look(&shown, &there, &there));
        round.finish(&mut audit);
    }
    let fds = of(&audit, Quantity::Fds);
    assert_eq!((audit.rounds, audit.processes, audit.ok), (3, 3, false));
    assert_eq!((fds.compared, fds.equal, audit.beyond()), (3, 2, 1));
}
