//! Uses as they come, and the limits that follow.
use std::sync::LazyLock;

use chrono::DateTime;

use super::*;
use crate::model::ResourceStatus;

fn at(seconds: u64) -> Timestamp {
    Timestamp {
        monotonic_ns: seconds * 1_000_000_000,
        wall: DateTime::UNIX_EPOCH,
    }
}

static NAME: LazyLock<ToolName> = LazyLock::new(|| "tool".parse().unwrap());

fn fds(value: u64, limits: ToolLimits) -> Observed<'static> {
    Observed {
        instance: 1,
        name: &NAME,
        uid: 0,
        limits,
        uses: [0, 0, value, 0],
        cpu_share: None,
        ended_operation_ms: None,
        oom_kills: 0,
        mode: Mode::Throttle,
        is_sample: true,
        may_lower: true,
    }
}

fn with_current(current: u64) -> ToolLimits {
    let mut limits = ToolLimits::LIGHT;
    limits.fds.current = current;
    limits
}

#[test]
fn a_limit_is_raised_at_once_by_a_quarter_more_than_is_used_and_never_beyond_the_maximum() {
    let mut manager = AdaptiveResourceManager::default();
    let mut decide = |value, current| {
        let decisions = manager.decide(&fds(value, with_current(current)), at(0));
        decisions.first().map(|decision| decision.current)
    };
    assert_eq!(decide(39, 50), None, "under 80 %");
    // 40 and a quarter of it are 50, which is 80 % of 63.
    assert_eq!(decide(40, 50), Some(63));
    assert_eq!(decide(160, 63), Some(200), "the maximum");
    assert_eq!(decide(199, 200), None, "it is there already");
    assert_eq!(decide(u64::MAX, 50), Some(200));
}

#[test]
fn after_it_was_raised_a_limit_is_not_near() {
    for value in 1..1_000_000_u64 {
        let limit = held::given(value);
        assert_eq!(ResourceStatus::of(value, limit), ResourceStatus::Normal, "{value}");
    }
}

#[test]
fn a_limit_is_lowered_slowly_after_use_was_low_for_long() {
    let mut manager = AdaptiveResourceManager::default();
    let mut current = 200;
    let mut seen = Vec::new();
    for second in 0..3600 {
        // A moment of more use holds it up.
        let value = if second == 400 { 90 } else { 20 };
        for decision in manager.decide(&fds(value, with_current(current)), at(second)) {
            assert_eq!(decision.reason, Reason::Rest);
            assert!(decision.current >= value * 5 / 4);
            current = decision.current;
            seen.push((second, current));
        }
    }
    assert_eq!(&seen[..3], [(300, 180), (600, 162), (900, 146)]);
    assert_eq!(current, 66, "a tenth a hold, eleven times");
    for second in 3600..36_000 {
        for decision in manager.decide(&fds(20, with_current(current)), at(second)) {
            current = decision.current;
        }
    }
    assert_eq!(current, 50, "the base");
}

#[test]
fn nothing_is_lowered_while_something_was_lost_and_nothing_changed_for_who_is_observed() {
    let mut manager = AdaptiveResourceManager::default();
    let lossy = Observed {
        may_lower: false,
        ..fds(20, with_current(200))
    };
    for second in 0..1000 {
        assert_eq!(manager.decide(&lossy, at(second)), []);
    }
    let whole = fds(20, with_current(200));
    assert_eq!(manager.decide(&whole, at(1100)), [], "the time begins anew");
    assert_eq!(manager.decide(&whole, at(1300)).len(), 1);
    let observed = Observed {
        mode: Mode::Observe,
        ..fds(200, with_current(50))
    };
    assert_eq!(manager.decide(&observed, at(1300)), []);
}

#[test]
fn a_limit_is_raised_ahead_of_a_use_that_grows_steadily_and_says_so() {
    let mut manager = AdaptiveResourceManager::default();
    let mut limits = ToolLimits::LIGHT;
    let (mut near, mut grows) = (0, 0);
    // From 40 to 400 MiB in two hours, of a limit from 100 to 500 MiB.
    for second in 0..7200 {
        let value = (40 << 20) + second * (360 << 20) / 7200;
        let observed = Observed {
            uses: [value, 0, 0, 0],
            ..fds(0, limits)
        };
        near += u32::from(ResourceStatus::of(value, limits.memory.current) >= ResourceStatus::Warning);
        for decision in manager.decide(&observed, at(second)) {
            assert!(decision.current > limits.memory.current);
            grows += u32::from(decision.reason == Reason::Grows && decision.evidence.over_s.is_some());
            limits.memory.current = decision.current;
        }
    }
    assert_eq!(near, 0, "raised before it was near");
    assert!(grows > 3, "{grows}");
    assert!(limits.memory.current > 490 << 20);
}

#[test]
fn between_samples_nothing_is_learned() {
    let mut manager = AdaptiveResourceManager::default();
    let between = Observed {
        is_sample: false,
        ..fds(39, with_current(50))
    };
    for second in 0..1000 {
        assert_eq!(manager.decide(&between, at(second)), []);
    }
    assert_eq!(manager.tools[&1].held[2].estimator.samples(), 0);
}

/// What the limit of memory is after each second of a use in MiB, and why it changed.
fn followed(manager: &mut AdaptiveResourceManager, uses: impl Iterator<Item = u64>) -> Vec<(u64, Vec<Reason>)> {
    let mut limits = ToolLimits::LIGHT;
    let mut seen = Vec::new();
    for (second, mib) in (0..).zip(uses) {
        let observed = Observed {
            uses: [mib << 20, 0, 0, 0],
            ..fds(0, limits)
        };
        let decisions = manager.decide(&observed, at(second));
        for decision in &decisions {
            limits.memory.current = decision.current;
        }
        let reasons = decisions.iter().map(|decision| decision.reason).collect();
        seen.push((limits.memory.current >> 20, reasons));
    }
    seen
}

/// What goes to and fro a little.
fn flat(second: u64) -> u64 {
    50 + second * 7919 % 5
}

#[test]
fn a_burst_raises_a_limit_at_once_and_gives_it_back_by_halves_within_two_minutes() {
    let mut manager = AdaptiveResourceManager::default();
    let uses = (0..1000).map(|second| if second == 600 { 300 } else { flat(second) });
    let seen = followed(&mut manager, uses);
    let changes: Vec<(usize, u64, Reason)> = (0..)
        .zip(&seen)
        .filter_map(|(second, (limit, reasons))| Some((second, *limit, *reasons.first()?)))
        .collect();
    // 300 and a quarter of it are 80 % of 468.
    let expected = [
        (600, 468, Reason::Near),
        (631, 284, Reason::Cooled),
        (661, 192, Reason::Cooled),
        (691, 146, Reason::Cooled),
        (721, 100, Reason::Cooled),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn what_stays_up_is_no_burst_and_is_given_back_slowly() {
    let mut manager = AdaptiveResourceManager::default();
    let uses = (0..1800).map(|second| {
        if (600..720).contains(&second) {
            300
        } else {
            flat(second)
        }
    });
    let seen = followed(&mut manager, uses);
    assert!(seen[719].0 >= 468);
    assert!(seen.iter().all(|(_, reasons)| !reasons.contains(&Reason::Cooled)));
    assert!(seen[1000].0 >= 450, "{}", seen[1000].0);
}

#[test]
fn a_burst_of_a_limit_that_somebody_has_set_meanwhile_takes_nothing_back() {
    let mut manager = AdaptiveResourceManager::default();
    let near = manager.decide(&fds(45, with_current(50)), at(0));
    assert_eq!(near[0].reason, Reason::Near);
    for second in 1..200 {
        assert_eq!(manager.decide(&fds(10, with_current(150)), at(second)), []);
    }
}

/// What is decided when an instance begins.
fn begun(manager: &mut AdaptiveResourceManager, instance: u64, at_s: u64) -> Vec<(Resource, u64, Reason)> {
    let first = Observed {
        instance,
        ..fds(0, ToolLimits::LIGHT)
    };
    let decisions = manager.begin(&first, at(at_s));
    let told = |decision: &Decision| (decision.resource, decision.current, decision.reason);
    decisions.iter().map(told).collect()
}

#[test]
fn another_instance_begins_by_what_those_before_it_used() {
    let mut manager = AdaptiveResourceManager::default();
    for instance in 1..=3 {
        // Until enough have ended, nothing is known.
        assert_eq!(begun(&mut manager, instance, instance * 100), []);
        let last = Observed {
            instance,
            uses: [200 << 20, 0, 20, 8],
            ended_operation_ms: Some(40_000),
            ..fds(0, ToolLimits::LIGHT)
        };
        manager.end(&last, at(instance * 100 + 50));
    }
    let known = begun(&mut manager, 5, 1000);
    let of = |resource| known.iter().find(|(of, ..)| *of == resource);
    let (_, memory, reason) = of(Resource::Memory).unwrap();
    // A need of at least what was used, of which the limit is the 1.25-fold.
    assert!((250..=500).contains(&(memory >> 20)), "{}", memory >> 20);
    assert_eq!(*reason, Reason::Learned);
    let (_, cpu, _) = of(Resource::Cpu).unwrap();
    assert!((50_000..=120_000).contains(cpu), "{cpu}");
    let (_, connections, _) = of(Resource::Connections).unwrap();
    assert!((10..=50).contains(connections));
    // 20 are far below what is in force anyway.
    assert_eq!(of(Resource::Fds), None);
    // Another user's tool of that name, and one that is only observed.
    let other = Observed {
        instance: 6,
        uid: 7,
        ..fds(0, ToolLimits::LIGHT)
    };
    assert_eq!(manager.begin(&other, at(1000)), []);
    let observed = Observed {
        instance: 7,
        mode: Mode::Observe,
        ..fds(0, ToolLimits::LIGHT)
    };
    assert_eq!(manager.begin(&observed, at(1000)), []);
}

#[test]
fn what_was_learned_goes_on_after_a_restart() {
    let mut before = AdaptiveResourceManager::default();
    let sample = |instance, second| Observed {
        instance,
        uses: [(60 + second % 7) << 20, 500, 20, 2],
        mode: Mode::Observe,
        ..fds(0, ToolLimits::LIGHT)
    };
    for second in 0..400 {
        before.decide(&sample(1, second), at(second));
        before.decide(&sample(2, second), at(second));
    }
    for instance in 3..6 {
        before.begin(&sample(instance, 0), at(400));
        before.end(&sample(instance, 0), at(401));
    }
    let kept = before.keep(|_| true);
    assert_eq!(kept.len(), 3, "two instances and a name");
    assert_eq!(before.keep(|_| false), [], "nothing is new");
    let mut after = AdaptiveResourceManager::default();
    for kept in kept {
        assert!(after.resume(kept));
    }
    assert!(!after.resume(Kept::Instance(9, vec![1, 2, 3])));
    // One went on, and one ended while nobody looked.
    let gone = PastTool {
        instance: 2,
        name: NAME.clone(),
        uid: 0,
        began: DateTime::UNIX_EPOCH,
        ended: None,
        peaks: [70 << 20, 500, 21, 3],
    };
    after.settle(&[gone], at(410));
    assert_eq!(begun(&mut after, 1, 410), []);
    for second in 410..420 {
        before.decide(&sample(1, second), at(second));
        after.decide(&sample(1, second), at(second));
    }
    assert_eq!(after.needs(1), before.needs(1));
    assert!(after.needs(1)[0] > 60 << 20);
    let limits = ToolLimits::LIGHT;
    let learned = |manager: &AdaptiveResourceManager| manager.learned(1, Resource::Memory, &limits, at(420), true);
    assert_eq!(learned(&after), learned(&before));
    assert_eq!(
        after.names[&(NAME.clone(), 0)].need(Resource::Fds),
        Some(21 * 103 / 100 + 1)
    );
}

#[test]
fn after_the_kernel_has_killed_for_memory_nothing_is_lowered_for_a_while() {
    let mut manager = AdaptiveResourceManager::default();
    let sample = |second| Observed {
        oom_kills: u64::from(second >= 200),
        ..fds(20, with_current(200))
    };
    let first = (0..2000).find(|second| !manager.decide(&sample(*second), at(*second)).is_empty());
    assert_eq!(first, Some(200 + 600 + 300));
}

/// The finding after each minute, of uses by second.
fn findings(uses: impl Fn(u64) -> ([u64; 4], f64), seconds: u64) -> Vec<Option<Growth>> {
    let mut manager = AdaptiveResourceManager::default();
    let mut found = Vec::new();
    for second in 0..seconds {
        let (uses, cores) = uses(second);
        let sample = Observed {
            uses,
            cpu_share: Some(cores),
            mode: Mode::Observe,
            ..fds(0, ToolLimits::LIGHT)
        };
        manager.decide(&sample, at(second));
        if second % 60 == 59 {
            found.push(manager.growth(1).cloned());
        }
    }
    found
}

#[test]
fn a_leak_of_descriptors_with_memory_is_one_finding_and_is_told_from_work_that_grows() {
    let leaking = |second: u64| {
        (
            [
                (60 << 20) + second * 20_000 + second * 7919 % 9973,
                0,
                20 + second / 40,
                3,
            ],
            0.05,
        )
    };
    let found = findings(leaking, 1800);
    let last = found.last().unwrap().as_ref().unwrap();
    let resources: Vec<Resource> = last.growing.iter().map(|growing| growing.resource).collect();
    // (200 - 65) / (1 / 40) = 5,400 s; (500 MiB - 95 MiB) / 20,000 = 21,000 s.
    assert_eq!(resources, [Resource::Fds, Resource::Memory]);
    assert!(last.is_leak);
    let reached = last.growing[0].reaches_max.unwrap();
    assert!((reached.after_s / 5400.0 - 1.0).abs() < 0.2, "{reached:?}");
    assert!((last.growing[0].per_hour / 90.0 - 1.0).abs() < 0.2);
    assert!(
        !found[8].as_ref().is_some_and(|growth| growth.is_leak),
        "not before ten minutes"
    );
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let working = |second: u64| (leaking(second).0, 0.05 + second as f64 / 3000.0);
    let found = findings(working, 1800);
    assert!(found.iter().flatten().all(|growth| !growth.is_leak));
    let flat = |second: u64| ([(60 << 20) + second * 7919 % 99_733, 0, 20 + second % 3, 3], 0.05);
    assert!(findings(flat, 3600).iter().all(Option::is_none));
}
