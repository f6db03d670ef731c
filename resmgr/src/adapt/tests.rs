//! Series as they come, real and made, and what is said of them.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is made up is small"
)]
#![expect(clippy::float_cmp, reason = "what is claimed is the very same number")]

use chrono::DateTime;

use super::*;
use crate::{
    model::{PatternKind, Tuning},
    pattern::{
        profile::Season,
        season::{self, Confirmed},
    },
};

const MIB: f64 = 1_048_576.0;
const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp {
        monotonic_ns: seconds * SECOND,
        wall: DateTime::from_timestamp_nanos(i64::try_from(seconds * SECOND).unwrap()),
    }
}

/// Numbers that look random: xorshift, and Box and Muller's normal ones.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, (self.uniform() * (last + 1) as f64) as usize);
        }
    }
}

fn memory(tuning: Tuning) -> Estimator {
    Estimator::new(Quantity::Stock, tuning, MIB, SECOND)
}

fn recorded(text: &str) -> Vec<f64> {
    text.lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap().1.parse().unwrap())
        .collect()
}

const DISK: &str = include_str!("../../../tests/data/series/dc_alibaba2018_300s_disk_io_percent.csv");
const CPU: &str = include_str!("../../../tests/data/series/dc_google2019_300s_avg_cpu.csv");
const SQUARE: &str = include_str!("../../../tests/data/series/nab_art_daily_perfect_square_wave.csv");
const FRONTEND: &str = include_str!("../../../tests/data/series/nezha_frontend_memory.csv");

#[test]
fn a_day_of_288_samples_is_found_within_one_on_real_series_and_in_at_most_1_percent_of_shuffled_ones() {
    let mut random = Random(1);
    let (mut wrong, mut copies) = (0, 0);
    for text in [DISK, CPU, SQUARE] {
        let mut history: Vec<f32> = recorded(text).into_iter().map(|value| value as f32).collect();
        let found = season::find(&history).unwrap();
        assert!((found.period - 288.0).abs() <= 1.0, "{found:?}");
        for _ in 0..334 {
            random.shuffle(&mut history);
            wrong += i32::from(season::find(&history[..2000]).is_some());
            copies += 1;
        }
    }
    assert!(copies >= 1000 && wrong <= 10, "{wrong} of {copies}");
}

/// 200 MiB that grow by 23 MiB an hour, with noise of 2 MiB.
fn growing(second: u64, random: &mut Random) -> f64 {
    MIB * (200.0 + 23.0 * second as f64 / 3600.0 + 2.0 * random.normal())
}

#[test]
fn steady_growth_is_named_within_half_an_hour_and_a_flat_series_is_not() {
    let mut named = 0;
    for seed in 1..=20 {
        let (mut estimator, mut random) = (memory(Tuning::Calm), Random(seed * 7919));
        let soon = (0..1800).any(|second| {
            estimator.observe(at(second), growing(second, &mut random));
            estimator.pattern(at(second)).kind == PatternKind::Linear
        });
        named += i32::from(soon);
    }
    assert!(named >= 19, "{named} of 20");
    let mut misnamed = 0;
    for seed in 1..=1000 {
        let (mut estimator, mut random) = (memory(Tuning::Calm), Random(seed * 104_729));
        for second in 0..1800 {
            estimator.observe(at(second), MIB * (200.0 + 2.0 * random.normal()));
        }
        misnamed += i32::from(estimator.pattern(at(1800)).kind == PatternKind::Linear);
    }
    assert!(misnamed <= 10, "{misnamed} of 1000");
}

#[test]
fn the_time_to_a_limit_is_within_a_fifth_at_half_way() {
    for seed in 1..=20 {
        let (mut estimator, mut random) = (memory(Tuning::Calm), Random(seed * 6007));
        // 300 MiB are reached after 100 / 23 hours: at half-way, as long is left.
        let half = 100 * 3600 / 23 / 2;
        for second in 0..half {
            estimator.observe(at(second), growing(second, &mut random));
        }
        let reached = estimator.reaches(300.0 * MIB).unwrap();
        let left = half as f64;
        assert!((reached.after_s - left).abs() < 0.2 * left, "{reached:?}, not {left}");
        assert!(reached.earliest_s < reached.after_s && reached.after_s < reached.latest_s);
        assert_eq!(estimator.reaches(100.0 * MIB), None, "passed already");
    }
}

#[test]
fn after_a_burst_the_need_is_as_it_was_within_the_cool_down() {
    let (mut estimator, mut random) = (memory(Tuning::Calm), Random(3));
    let usual = |random: &mut Random| MIB * (100.0 + random.normal());
    for second in 0..3000 {
        estimator.observe(at(second), usual(&mut random));
    }
    let before = estimator.need().value;
    estimator.observe(at(3000), 400.0 * MIB);
    // docs/learning.md: at most 1,280 samples, the longest window and a quarter.
    for second in 3001..=3000 + 1280 {
        estimator.observe(at(second), usual(&mut random));
    }
    let after = estimator.need().value;
    assert!(after < 1.1 * before, "{before} and then {after}");
    assert_eq!(estimator.pattern(at(5000)).kind, PatternKind::Steady);
}

#[test]
fn a_burst_is_named_while_it_lasts() {
    let (mut estimator, mut random) = (memory(Tuning::Calm), Random(5));
    for second in 0..600 {
        estimator.observe(at(second), MIB * (100.0 + random.normal()));
    }
    for second in 600..620 {
        estimator.observe(at(second), 200.0 * MIB);
    }
    assert_eq!(estimator.pattern(at(620)).kind, PatternKind::Burst);
    for second in 620..680 {
        estimator.observe(at(second), MIB * (100.0 + random.normal()));
    }
    assert_eq!(estimator.pattern(at(680)).kind, PatternKind::Steady);
}

#[test]
fn a_need_is_raised_ahead_of_a_season_that_is_known() {
    let day = recorded(SQUARE);
    let interval = 300 * SECOND;
    let mut beyond = [0, 0];
    for (known, beyond) in [false, true].into_iter().zip(&mut beyond) {
        let mut estimator = Estimator::new(Quantity::Flow, Tuning::Calm, 1.0, interval);
        let (mut history, mut confirmed) = (Vec::new(), Confirmed::default());
        for (row, value) in (0_u64..).zip(&day) {
            // Of the last week.
            *beyond += i32::from(row > 2016 && *value > estimator.need().value);
            estimator.observe(at(row * 300), *value);
            history.push(*value as f32);
            if known && row % 288 == 0 {
                let found = confirmed.look(season::find(&history));
                let last = at(row * 300).monotonic_ns;
                estimator.set_season(found.and_then(|found| Season::of(&history, last, interval, found)));
            }
        }
        assert_eq!(estimator.pattern(at(0)).kind == PatternKind::Seasonal, known);
    }
    assert!(beyond[1] < beyond[0] || beyond[1] == 0, "{beyond:?}");
}

#[test]
fn what_is_no_sample_is_left_out_and_what_is_bad_breaks_nothing() {
    let bad = [
        f64::NAN,
        -1.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        0.0,
        f64::MIN_POSITIVE,
    ];
    let mut random = Random(11);
    let mut estimator = memory(Tuning::Safe);
    assert!(estimator.forecast().is_none() && estimator.need().value >= MIB);
    for turn in 0..20_000_u64 {
        // Gaps of hours, and a clock that is set back.
        let second = if turn % 1000 == 999 { turn * 10_000 } else { turn };
        let value = match (random.uniform() * 40.0) as usize {
            place if place < bad.len() => bad[place],
            _ => 50.0 * MIB * (1.0 + random.uniform()),
        };
        let need = estimator.observe(at(second), value);
        assert!(need.is_finite() && need >= 0.999 * MIB, "{need} after {value}");
        for step in estimator.forecast().into_iter().flatten() {
            assert!(step.low <= step.point && step.point <= step.high && step.high.is_finite());
        }
        assert!(estimator.pattern(at(second)).trend.is_finite());
    }
    let before = memory(Tuning::Calm);
    let mut untouched = before.clone();
    for value in [f64::NAN, -1.0, f64::INFINITY] {
        untouched.observe(at(5), value);
    }
    assert_eq!(untouched, before);
}

#[test]
fn one_sample_or_nothing_but_zeros_is_enough_to_say_something() {
    let mut single = memory(Tuning::Calm);
    single.observe(at(0), 10.0 * MIB);
    let need = single.need();
    assert!(need.value >= 10.0 * MIB && need.value <= 40.0 * MIB, "{need:?}");
    assert!(single.forecast().is_none());
    let mut zeros = memory(Tuning::Calm);
    for second in 0..5000 {
        zeros.observe(at(second), 0.0);
    }
    assert_eq!(zeros.need().value, MIB, "the floor");
    let expected = zeros.forecast().unwrap();
    assert!(expected.iter().all(|step| step.point == 0.0 && step.high == 0.0));
    assert_eq!(zeros.pattern(at(5000)).kind, PatternKind::Steady);
}

#[test]
fn what_was_learned_survives_as_text_and_goes_to_a_successor() {
    let rows = recorded(FRONTEND);
    let mut first = memory(Tuning::Calm);
    for (second, value) in (0..).zip(&rows) {
        first.observe(at(second), *value);
    }
    let text = serde_json::to_string(&first).unwrap();
    let mut again: Estimator = serde_json::from_str(&text).unwrap();
    assert_eq!(again, first);
    first.observe(at(5000), rows[0]);
    again.observe(at(5000), rows[0]);
    assert_eq!(again, first, "it goes on in the same way");

    let beyond = |mut estimator: Estimator| {
        let mut idle = 0.0;
        for (second, value) in (0..).zip(&rows[..200]) {
            idle += (1.0 - value / estimator.need().value).max(0.0);
            estimator.observe(at(second), *value);
        }
        idle
    };
    let successor = first.successor();
    assert_eq!(successor.samples(), 0);
    assert!(beyond(successor) <= beyond(memory(Tuning::Calm)));
}

#[test]
fn a_safer_tuning_has_fewer_uses_beyond_the_need_and_more_room() {
    let mut seen = Vec::new();
    for tuning in [Tuning::Balanced, Tuning::Calm, Tuning::Safe] {
        let (mut beyond, mut idle) = (0, 0.0);
        for text in [DISK, FRONTEND] {
            let mut estimator = Estimator::new(Quantity::Flow, tuning, 1e-4, SECOND);
            for (second, value) in (0..).zip(recorded(text)) {
                beyond += i32::from(value > estimator.need().value);
                idle += (1.0 - value / estimator.need().value).max(0.0);
                estimator.observe(at(second), value);
            }
        }
        seen.push((beyond, idle));
    }
    assert!(
        seen.windows(2)
            .all(|pair| pair[1].0 < pair[0].0 && pair[1].1 > pair[0].1),
        "{seen:?}"
    );
}

#[test]
fn a_series_state_is_within_1_5_kib() {
    // Nothing of it is on the heap.
    assert!(size_of::<Estimator>() <= 1536, "{}", size_of::<Estimator>());
}

#[test]
fn a_rate_is_by_the_time_that_samples_take_whatever_was_said_of_it_and_whoever_pauses() {
    let mut random = Random(7);
    let mut estimator = memory(Tuning::Calm);
    let mut now_ns = 0_u64;
    let mut rates = Vec::new();
    for sample in 0..1500 {
        // A sweep each 200 ms, late by up to 100, and once by ten seconds: the agent was started again.
        let late_ns = if sample == 1000 {
            10 * SECOND
        } else {
            (random.uniform() * 0.1 * SECOND as f64) as u64
        };
        now_ns += SECOND / 5 + late_ns;
        let seconds = now_ns as f64 / SECOND as f64;
        let now = Timestamp {
            monotonic_ns: now_ns,
            wall: DateTime::from_timestamp_nanos(i64::try_from(now_ns).unwrap()),
        };
        estimator.observe(now, 50.0 * MIB + 0.4 * MIB * seconds + 0.05 * MIB * random.normal());
        if sample > 200 {
            rates.extend(estimator.grows().map(|(per_second, _)| per_second / MIB));
        }
    }
    assert!(rates.len() > 1000, "{}", rates.len());
    for rate in rates {
        assert!((rate / 0.4 - 1.0).abs() < 0.08, "{rate}");
    }
}
