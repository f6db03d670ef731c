//! From samples to what is kept: each sample, and what the minute and the hour that it lies in come to. Reads no clock,
//! writes nothing.

use std::collections::{HashMap, HashSet};

use super::spread::Spread;
use crate::model::{HistoryRow, Measure, Tier, UsageSample};

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Samples by instance, each in the order of time.
    pub samples: Vec<(u64, Vec<UsageSample>)>,
    /// Minutes and hours that are over.
    pub rows: Vec<(u64, Tier, HistoryRow)>,
}

impl Batch {
    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.rows.is_empty()
    }
}

/// Takes samples in, and hands out what is to be written.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    tools: HashMap<u64, Open>,
    rows: Vec<(u64, Tier, HistoryRow)>,
}

/// What is under way of an instance.
#[derive(Clone, Debug, Default)]
struct Open {
    samples: Vec<UsageSample>,
    minute: Gathering,
    hour: Gathering,
}

/// A span of time that is not over.
#[derive(Clone, Debug, Default)]
struct Gathering {
    /// Which span, counted from 1970, and its first sample's time.
    span: Option<(u64, u64)>,
    spreads: [Spread; 6],
    limits: [u64; 4],
    needs: [u64; 4],
}

impl Recorder {
    /// Takes a sample of an instance in.
    pub fn take(&mut self, instance: u64, sample: UsageSample) {
        let open = self.tools.entry(instance).or_default();
        for (tier, gathering) in [(Tier::Minute, &mut open.minute), (Tier::Hour, &mut open.hour)] {
            let over = gathering.take(&sample, tier);
            self.rows.extend(over.map(|row| (instance, tier, row)));
        }
        open.samples.push(sample);
    }

    /// Takes samples in that have been written already, as they are after a restart; `written` are the minutes and hours that
    /// have, too. Others that are over were not, since nobody was there when they were.
    pub fn resume(&mut self, instance: u64, rows: &[HistoryRow], written: &[(Tier, HistoryRow)]) {
        let spans: HashSet<(Tier, u64)> = written
            .iter()
            .map(|(tier, row)| (*tier, row.at_ms / tier.span_ms()))
            .collect();
        let open = self.tools.entry(instance).or_default();
        for row in rows {
            let sample = sample_of(row);
            for (tier, gathering) in [(Tier::Minute, &mut open.minute), (Tier::Hour, &mut open.hour)] {
                let over = gathering.take(&sample, tier);
                let over = over.filter(|row| !spans.contains(&(tier, row.at_ms / tier.span_ms())));
                self.rows.extend(over.map(|row| (instance, tier, row)));
            }
        }
    }

    /// An instance has ended: what is under way of it is over.
    pub fn end(&mut self, instance: u64) {
        let Some(open) = self.tools.get_mut(&instance) else {
            return;
        };
        for (tier, gathering) in [(Tier::Minute, &mut open.minute), (Tier::Hour, &mut open.hour)] {
            let row = std::mem::take(gathering).row();
            self.rows.extend(row.map(|row| (instance, tier, row)));
        }
    }

    /// Whether anything of an instance was taken in.
    pub fn knows(&self, instance: u64) -> bool {
        self.tools.contains_key(&instance)
    }

    /// What a minute or an hour that is not over comes to so far.
    pub fn under_way(&self, instance: u64, tier: Tier) -> Option<HistoryRow> {
        let open = self.tools.get(&instance)?;
        match tier {
            Tier::Second => None,
            Tier::Minute => open.minute.row(),
            Tier::Hour => open.hour.row(),
        }
    }

    /// Hands out what is to be written, and forgets instances that have ended.
    pub fn batch(&mut self) -> Batch {
        let mut samples: Vec<(u64, Vec<UsageSample>)> = Vec::new();
        self.tools.retain(|instance, open| {
            if !open.samples.is_empty() {
                samples.push((*instance, std::mem::take(&mut open.samples)));
            }
            open.minute.span.is_some()
        });
        samples.sort_unstable_by_key(|(instance, _)| *instance);
        Batch {
            samples,
            rows: std::mem::take(&mut self.rows),
        }
    }
}

impl Gathering {
    /// Takes a sample in; returns the span before, where it is over.
    fn take(&mut self, sample: &UsageSample, tier: Tier) -> Option<HistoryRow> {
        let span = sample.at_ms / tier.span_ms();
        // A clock that was set back ends a span, too: what was measured twice at one time is kept twice.
        let is_over = self.span.is_some_and(|(of, _)| of != span);
        let over = is_over.then(|| std::mem::take(self).row()).flatten();
        self.span.get_or_insert((span, sample.at_ms));
        for (spread, value) in self.spreads.iter_mut().zip(sample.values) {
            spread.take(value);
        }
        if let Some(ended_ms) = sample.ended_operation_ms {
            self.spreads[Measure::Operations as usize].take(ended_ms);
        }
        self.limits = sample.limits;
        for (most, need) in self.needs.iter_mut().zip(sample.needs) {
            *most = need.max(*most);
        }
        over
    }

    fn row(&self) -> Option<HistoryRow> {
        let (_, at_ms) = self.span?;
        Some(HistoryRow {
            at_ms,
            measures: self.spreads.each_ref().map(Spread::summary),
            limits: self.limits,
            needs: self.needs,
        })
    }
}

/// The sample that a row of the finest tier is.
fn sample_of(row: &HistoryRow) -> UsageSample {
    let mut values = [0; Measure::SAMPLED];
    for (value, summary) in values.iter_mut().zip(&row.measures) {
        *value = summary.map_or(0, |summary| summary.max);
    }
    UsageSample {
        at_ms: row.at_ms,
        values,
        ended_operation_ms: row.measure(Measure::Operations).map(|summary| summary.max),
        limits: row.limits,
        needs: row.needs,
    }
}

#[cfg(test)]
mod tests {
    //! Samples by hand, and the minutes that they come to.
    use super::*;

    fn sample(at_s: u64, memory: u64) -> UsageSample {
        UsageSample {
            at_ms: at_s * 1000 + 7,
            values: [memory, 0, 3, 1, 250],
            limits: [1000, 30_000, 50, 10],
            needs: [memory / 2, 0, 0, 0],
            ..UsageSample::default()
        }
    }

    #[test]
    fn a_minute_comes_to_what_its_samples_were() {
        let mut recorder = Recorder::default();
        for second in 30..130 {
            recorder.take(5, sample(second, second * 100));
        }
        let batch = recorder.batch();
        assert_eq!(batch.samples[0].1.len(), 100);
        let minutes: Vec<_> = batch.rows.iter().map(|(of, tier, row)| (*of, *tier, row)).collect();
        assert_eq!(minutes.len(), 2);
        let (of, tier, first) = minutes[0];
        assert_eq!((of, tier, first.at_ms), (5, Tier::Minute, 30_007));
        let memory = first.measure(Measure::Memory).unwrap();
        // Of 30 to 59, times 100.
        assert_eq!(
            (memory.count, memory.min, memory.mean, memory.max),
            (30, 3000, 4450, 5900)
        );
        assert_eq!(first.needs[0], 2950);
        assert_eq!(first.measure(Measure::Operations), None);
        assert_eq!(minutes[1].2.measure(Measure::Memory).unwrap().count, 60);
        let open = recorder.under_way(5, Tier::Minute).unwrap();
        assert_eq!(open.measure(Measure::Memory).unwrap().count, 10);
        let hour = recorder.under_way(5, Tier::Hour).unwrap();
        assert_eq!(hour.measure(Measure::Memory).unwrap().count, 100);
        assert!(recorder.batch().is_empty());
    }

    #[test]
    fn what_ends_leaves_what_was_under_way_and_is_forgotten() {
        let mut recorder = Recorder::default();
        recorder.take(1, sample(0, 8));
        recorder.end(1);
        recorder.end(2);
        let batch = recorder.batch();
        let tiers: Vec<Tier> = batch.rows.iter().map(|(_, tier, _)| *tier).collect();
        assert_eq!(tiers, [Tier::Minute, Tier::Hour]);
        assert!(!recorder.knows(1));
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let mut recorder = Recorder::default();
        for second in [100, 101, 40, 41, 100] {
            recorder.take(1, sample(second, 1));
        }
        let batch = recorder.batch();
        assert_eq!(batch.samples[0].1.len(), 5);
        let counts: Vec<u64> = batch
            .rows
            .iter()
            .map(|(_, _, row)| row.measure(Measure::Fds).unwrap().count)
            .collect();
        assert_eq!(counts, [2, 2]);
    }

    #[test]
    fn what_was_over_before_a_restart_is_written_once() {
        let written: Vec<HistoryRow> = (0..200).map(|second| sample(second, 9).into()).collect();
        let mut before = Recorder::default();
        for second in 0..200 {
            before.take(1, sample(second, 9));
        }
        let rows = before.batch().rows;
        let minutes: Vec<(Tier, HistoryRow)> = rows.iter().map(|(_, tier, row)| (*tier, *row)).collect();
        assert_eq!(minutes.len(), 3);
        let over = |known: &[(Tier, HistoryRow)]| {
            let mut after = Recorder::default();
            after.resume(1, &written, known);
            after.batch().rows
        };
        assert_eq!(over(&minutes), []);
        assert_eq!(
            over(&minutes[..1]),
            rows[1..],
            "nobody was there when the others were over"
        );
    }

    #[test]
    fn after_a_restart_the_hour_goes_on() {
        let mut recorder = Recorder::default();
        let written: Vec<HistoryRow> = (0..50).map(|second| sample(second, 9).into()).collect();
        recorder.resume(1, &written, &[]);
        let mut operation = sample(50, 9);
        operation.ended_operation_ms = Some(1234);
        recorder.take(1, operation);
        assert_eq!(recorder.batch().samples[0].1.len(), 1);
        recorder.end(1);
        let batch = recorder.batch();
        for (_, _, row) in &batch.rows {
            assert_eq!(row.measure(Measure::Memory).unwrap().count, 51);
            assert_eq!(row.measure(Measure::Operations), Some(&crate::model::Summary::of(1234)));
        }
        assert_eq!(batch.rows.len(), 2);
    }
}
