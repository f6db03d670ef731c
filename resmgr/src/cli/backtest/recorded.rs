//! `resmgr backtest limits --tool`: what would have happened, over the history of a tool. Each instance begins with what those
//! before it have taught.

use std::{fmt::Write as _, path::Path};

use clap::Args;

use super::{Limits, Replay, write};
use crate::{
    adapt::{Estimator, Quantity, floor},
    cli::{Failure, failure::Code, history::Part, output, progress::Progress},
    export::Table,
    model::{Measure, PastTool, Resource, ToolName, Tuning},
    protocol::{Client, HistoryEntry, HistoryReport},
};

/// Flags of the history of a tool, in place of a file.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The recorded use of the tools of this name, as the agent keeps it.
    #[arg(long, value_name = "TOOL")]
    tool: Option<ToolName>,
    /// Of what.
    #[arg(long, value_name = "MEASURE", default_value = "memory")]
    of: Measure,
    #[command(flatten)]
    part: Part,
}

/// What came of a need, over all rows: as the evaluation of limits counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Score {
    rows: u64,
    unused: f64,
    breaches: u64,
    changes: u64,
}

impl Score {
    /// Takes in a use, what was expected, and what was expected of the row before.
    fn take(&mut self, used: f64, need: f64, before: Option<f64>) {
        self.rows += 1;
        if need > 0.0 {
            self.unused += (1.0 - used / need).max(0.0);
        }
        self.breaches += u64::from(used > need);
        self.changes += u64::from(before.is_some_and(|before| (need - before).abs() > 1e-6 * before));
    }

    #[expect(clippy::cast_precision_loss, reason = "shares are told by three digits")]
    fn told(&self) -> [String; 3] {
        let rows = self.rows.max(1) as f64;
        [
            format!("{:.1}%", self.unused / rows * 100.0),
            format!("{:.2}", self.breaches as f64 / rows * 1000.0),
            format!("{:.2}", self.changes as f64 / rows * 1000.0),
        ]
    }
}

pub(super) fn run(arguments: &Limits, socket: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::new(Code::Failed, error);
    let flags = &arguments.recorded;
    let Some(tool) = &flags.tool else {
        return Err(failed(anyhow::anyhow!("give --in and --out, or --tool")));
    };
    let progress = Progress::begin("asking for the history, and estimating", None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let history = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        flags.part.ask(&mut client, tool).await
    })?;
    let measure = flags.of;
    let rows = history
        .rows
        .iter()
        .filter(|row| row.used.contains_key(&measure))
        .count();
    if rows < 2 {
        return Err(failed(anyhow::anyhow!(
            "{rows} rows of {measure} of {tool} are kept of that time: nothing can be said by them"
        )));
    }
    let mut table = Table::of_numbers(&["TUNING", "UNUSED", "BEYOND /1000", "CHANGES /1000"]);
    let mut row = |name: String, score: &Score| {
        let cells = std::iter::once(name).chain(score.told());
        table.row(cells.collect());
    };
    for tuning in [Tuning::Calm, Tuning::Balanced, Tuning::Safe] {
        let (said, score) = replayed(&history, measure, tuning);
        row(format!("{tuning:?}").to_lowercase(), &score);
        if let Some(output) = arguments.output.as_ref().filter(|_| tuning == arguments.series.tuning) {
            write(output, &said).map_err(failed)?;
        }
    }
    let real = as_it_was(&history, measure);
    if real.rows > 0 {
        row("as it was".to_owned(), &real);
    }
    drop(progress);
    let mut lines = vec![format!(
        "{measure} of {tool}: {rows} rows of {}, {} instances. Of what was expected: how much was not used, how many uses of \
         a thousand were beyond it, how often it changed.",
        history.resolution,
        history.instances.len(),
    )];
    lines.push(String::new());
    lines.extend(output::table(&table, output::width()));
    Ok(output::print(&lines)?)
}

/// The resource whose limit a measure is compared with.
const fn resource(measure: Measure) -> Option<Resource> {
    match measure {
        Measure::Memory => Some(Resource::Memory),
        Measure::Cpu | Measure::Operations => Some(Resource::Cpu),
        Measure::Fds => Some(Resource::Fds),
        Measure::Connections => Some(Resource::Connections),
        Measure::CpuUse => None,
    }
}

fn rows<'h>(history: &'h HistoryReport, tool: &PastTool) -> impl Iterator<Item = &'h HistoryEntry> {
    let instance = tool.instance;
    history.rows.iter().filter(move |row| row.instance == instance)
}

/// What would have been expected, as `timestamp,limit` a row, and what would have come of it.
#[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
fn replayed(history: &HistoryReport, measure: Measure, tuning: Tuning) -> (String, Score) {
    let interval_s = history.resolution.span_ms() as f64 / 1000.0;
    let quantity = match measure {
        Measure::CpuUse => Quantity::Flow,
        _ => Quantity::Stock,
    };
    let start_s = history.rows.iter().map(|row| row.at.timestamp_millis()).min();
    let start_s = start_s.map(|ms| ms as f64 / 1000.0);
    // CPU use has none: a thousandth of a core.
    let floor = resource(measure).map_or(1.0, floor);
    let mut said = String::from("timestamp,limit\n");
    let mut score = Score::default();
    let mut known: Option<Estimator> = None;
    for tool in &history.instances {
        let interval_ns = history.resolution.span_ms() * 1_000_000;
        let begin = || Estimator::new(quantity, tuning, floor, interval_ns);
        let mut replay = Replay::new(known.as_ref().map_or_else(begin, Estimator::successor), interval_s);
        // One clock for all: a season goes on from one to the next.
        replay.start_s = start_s;
        let mut before = None;
        for row in rows(history, tool) {
            let Some(summary) = row.used.get(&measure) else {
                continue;
            };
            let (at_s, used) = (row.at.timestamp_millis() as f64 / 1000.0, summary.max as f64);
            let need = replay.estimator.need().value;
            let _ = writeln!(said, "{at_s},{need}");
            // Of the first nothing could be expected.
            if before.is_some() {
                score.take(used, need, before);
            }
            before = Some(need);
            replay.observe(at_s, used);
        }
        known = Some(replay.estimator);
    }
    (said, score)
}

/// What came of the limits that were in force: the need that they stand for is four fifths of them.
#[expect(clippy::cast_precision_loss, reason = "what is learned is learned by seven digits")]
fn as_it_was(history: &HistoryReport, measure: Measure) -> Score {
    let mut score = Score::default();
    let Some(resource) = resource(measure) else {
        return score;
    };
    for tool in &history.instances {
        let mut before = None;
        for row in rows(history, tool) {
            let (Some(summary), Some(limit)) = (row.used.get(&measure), row.limits.get(&resource)) else {
                continue;
            };
            let need = *limit as f64 * 0.8;
            if before.is_some() {
                score.take(summary.max as f64, need, before);
            }
            before = Some(need);
        }
    }
    score
}

#[cfg(test)]
mod tests {
    //! Histories by hand.
    use chrono::DateTime;

    use super::*;
    use crate::model::{HistoryRow, Tier, UsageSample};

    #[test]
    fn what_would_have_come_of_it_is_counted_over_all_instances() {
        let mut rows = Vec::new();
        for (instance, second) in [(1, 0..200_u64), (2, 200..400)]
            .into_iter()
            .flat_map(|(n, s)| s.map(move |s| (n, s)))
        {
            let sample = UsageSample {
                at_ms: second * 1000,
                values: [0, 0, 100 + second % 2, 0, 0],
                limits: [0, 0, if second < 300 { 200 } else { 100 }, 0],
                ..UsageSample::default()
            };
            rows.push(HistoryEntry::new(instance, &HistoryRow::from(sample), false));
        }
        let tool = |instance| PastTool {
            instance,
            name: "tool".parse().unwrap(),
            uid: 0,
            began: DateTime::UNIX_EPOCH,
            ended: None,
            peaks: [0; 4],
        };
        let history = HistoryReport {
            version: 1,
            tool: "tool".parse().unwrap(),
            resolution: Tier::Second,
            instances: vec![tool(1), tool(2)],
            rows,
        };
        let real = as_it_was(&history, Measure::Fds);
        // 160 for 299 of them, then 80: one change, and all of the last hundred beyond.
        assert_eq!((real.rows, real.breaches, real.changes), (398, 100, 1));
        let (said, score) = replayed(&history, Measure::Fds, Tuning::Calm);
        assert_eq!(said.lines().count(), 401);
        assert_eq!(score.rows, 398);
        assert!(score.breaches < 3 && score.changes < 20, "{score:?}");
        assert!(score.unused / 398.0 < 0.7, "{score:?}");
        assert_eq!(as_it_was(&history, Measure::CpuUse), Score::default());
    }
}
