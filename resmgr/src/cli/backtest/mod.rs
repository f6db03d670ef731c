//! `resmgr backtest`: what the estimator would have said over recorded use, row by row: of a file, or of the history that the
//! agent keeps. What it says of a row goes by the rows before alone.

mod recorded;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use chrono::DateTime;
use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, failure::Code, progress::Progress};
use crate::{
    adapt::{Estimator, Quantity},
    model::{Timestamp, Tuning},
    pattern::{
        forecast::STEPS,
        profile::Season,
        season::{self, Confirmed},
    },
};

/// What is run over recorded use.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write the need that was expected before each row: `timestamp,limit`. Of the history of a tool, also say what would have
    /// come of it.
    Limits(Limits),
    /// Write the forecasts at some rows: `origin,h,point,lo,hi`.
    Forecast(Forecast),
}

/// How a file is to be understood.
#[derive(Debug, Args)]
struct Series {
    /// What it is the use of.
    #[arg(long, value_enum, default_value = "other")]
    kind: Kind,
    /// Seconds from a row to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// The smallest sensible limit, in the unit of the use.
    #[arg(long, value_name = "USE", default_value_t = 0.0)]
    floor: f64,
    /// What a use beyond the need is worth beside room and changes: calm, balanced or safe.
    #[arg(long, value_name = "TUNING", default_value = "calm")]
    tuning: Tuning,
}

/// Flags of `resmgr backtest limits`.
#[derive(Debug, Args)]
pub(super) struct Limits {
    /// Recorded use: a header, then `timestamp,usage` a row; seconds, and any unit.
    #[arg(long = "in", value_name = "FILE", required_unless_present = "tool", conflicts_with_all = ["tool", "of"])]
    input: Option<PathBuf>,
    /// Where the result goes; of a tool it need not go anywhere.
    #[arg(long = "out", value_name = "FILE", required_unless_present = "tool")]
    output: Option<PathBuf>,
    #[command(flatten)]
    series: Series,
    #[command(flatten)]
    recorded: recorded::Flags,
}

/// Flags of `resmgr backtest forecast`.
#[derive(Debug, Args)]
pub(super) struct Forecast {
    /// Recorded use: a header, then `timestamp,usage` a row; seconds, and any unit.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Where the result goes.
    #[arg(long = "out", value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    series: Series,
    /// The rows that are forecast first, from 0, with those before known.
    #[arg(long, value_name = "ROW,...", value_delimiter = ',', required = true)]
    origins: Vec<usize>,
    /// How many rows each forecast goes on.
    #[arg(long, value_name = "ROWS", default_value_t = STEPS)]
    horizon: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    Memory,
    GpuMemory,
    Memfrac,
    Tasks,
    Fds,
    Connections,
    Cpu,
    Cpufrac,
    Network,
    Disk,
    Requests,
    Other,
}

impl Kind {
    const fn quantity(self) -> Quantity {
        match self {
            Self::Memory | Self::GpuMemory | Self::Memfrac | Self::Tasks | Self::Fds | Self::Connections => {
                Quantity::Stock
            }
            Self::Cpu | Self::Cpufrac | Self::Network | Self::Disk | Self::Requests | Self::Other => Quantity::Flow,
        }
    }
}

/// One row, with its timestamp as it was written.
struct Row<'a> {
    stamp: &'a str,
    seconds: f64,
    usage: f64,
}

/// The estimator and what it is to be told of: its time, and its season, looked for as the history grows.
struct Replay {
    estimator: Estimator,
    interval_s: f64,
    start_s: Option<f64>,
    history: Vec<(f64, f32)>,
    /// How long the history is to be at the next look.
    look_at: usize,
    confirmed: Confirmed,
}

/// A season is looked for first with so many rows, and again with an eighth more.
const FIRST_LOOK: usize = 96;

pub(super) fn run(command: &Command, socket: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::new(Code::Failed, error);
    match command {
        Command::Limits(limits) => {
            let (Some(input), Some(output)) = (&limits.input, &limits.output) else {
                return recorded::run(limits, socket);
            };
            let _progress = Progress::begin("estimating", None);
            let said = read(input).and_then(|text| limits_of(limits, input, &text));
            write(output, &said.map_err(failed)?).map_err(failed)
        }
        Command::Forecast(forecast) => {
            let _progress = Progress::begin("estimating", None);
            let said = read(&forecast.input).and_then(|text| forecasts_of(forecast, &text));
            write(&forecast.output, &said.map_err(failed)?).map_err(failed)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| anyhow!("read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).map_err(|error| anyhow!("write {}: {error}", path.display()))
}

fn limits_of(arguments: &Limits, path: &Path, text: &str) -> anyhow::Result<String> {
    let mut replay = Replay::of_file(&arguments.series)?;
    let mut written = String::from("timestamp,limit\n");
    for row in rows(path, text) {
        let row = row?;
        writeln!(written, "{},{}", row.stamp, replay.estimator.need().value)?;
        replay.observe(row.seconds, row.usage);
    }
    Ok(written)
}

fn forecasts_of(arguments: &Forecast, text: &str) -> anyhow::Result<String> {
    if arguments.horizon > STEPS {
        bail!(
            "forecasts go {STEPS} rows ahead, not {}: give --horizon {STEPS} or less",
            arguments.horizon
        );
    }
    let mut replay = Replay::of_file(&arguments.series)?;
    let mut written = String::from("origin,h,point,lo,hi\n");
    let mut count = 0;
    let mut say = |origin: usize, replay: &Replay| -> anyhow::Result<()> {
        if !arguments.origins.contains(&origin) {
            return Ok(());
        }
        let expected = replay.estimator.forecast();
        let expected = expected.with_context(|| format!("row {origin} has fewer than two samples before it"))?;
        for (h, step) in (1..).zip(expected).take(arguments.horizon) {
            writeln!(written, "{origin},{h},{},{},{}", step.point, step.low, step.high)?;
        }
        Ok(())
    };
    for row in rows(&arguments.input, text) {
        say(count, &replay)?;
        let row = row?;
        replay.observe(row.seconds, row.usage);
        count += 1;
    }
    say(count, &replay)?;
    if let Some(beyond) = arguments.origins.iter().find(|origin| **origin > count) {
        bail!(
            "{} has {count} rows: none can be forecast from row {beyond}",
            arguments.input.display()
        );
    }
    Ok(written)
}

/// The rows of a text; one whose use is left out has no number there.
fn rows<'a>(path: &'a Path, text: &'a str) -> impl Iterator<Item = anyhow::Result<Row<'a>>> {
    let lines = text.lines().enumerate().skip(1);
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(move |(at, line)| {
            let wrong = || format!("{}, line {}: {line:?} is not `timestamp,usage`", path.display(), at + 1);
            let (stamp, usage) = line.split_once(',').with_context(wrong)?;
            let usage = usage.trim();
            Ok(Row {
                stamp,
                seconds: stamp.trim().parse().ok().with_context(wrong)?,
                usage: if usage.is_empty() {
                    f64::NAN
                } else {
                    usage.parse().ok().with_context(wrong)?
                },
            })
        })
}

impl Replay {
    fn of_file(series: &Series) -> anyhow::Result<Self> {
        if !(series.interval > 0.0 && series.interval.is_finite()) {
            bail!(
                "an interval of {} seconds: give --interval more than 0",
                series.interval
            );
        }
        let interval_ns = nanoseconds(series.interval);
        let estimator = Estimator::new(series.kind.quantity(), series.tuning, series.floor, interval_ns);
        Ok(Self::new(estimator, series.interval))
    }

    fn new(estimator: Estimator, interval_s: f64) -> Self {
        Self {
            estimator,
            interval_s,
            start_s: None,
            history: Vec::new(),
            look_at: FIRST_LOOK,
            confirmed: Confirmed::default(),
        }
    }

    fn observe(&mut self, at_s: f64, usage: f64) {
        let start = *self.start_s.get_or_insert(at_s);
        let since_ns = nanoseconds(at_s - start);
        let now = Timestamp {
            monotonic_ns: since_ns,
            wall: DateTime::from_timestamp_nanos(i64::try_from(since_ns).unwrap_or(i64::MAX)),
        };
        self.estimator.observe(now, usage);
        if !(usage >= 0.0 && usage.is_finite()) {
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "by seven digits")]
        self.history.push((at_s, usage as f32));
        if self.history.len() < self.look_at {
            return;
        }
        self.look_at += (self.history.len() / 8).max(64);
        let history = season::regular(self.history.iter().copied(), self.interval_s);
        let found = self.confirmed.look(season::find(&history));
        let interval_ns = nanoseconds(self.interval_s);
        let season = found.and_then(|found| Season::of(&history, since_ns, interval_ns, found));
        self.estimator.set_season(season);
    }
}

/// Nanoseconds of seconds, from none to as many as there can be.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps to the bounds"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    //! Recorded use as it may be, and what is written of it.
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn written(arguments: &[&str], text: &str) -> anyhow::Result<String> {
        let files = ["backtest", arguments[0], "--in", "use.csv", "--out", "said.csv"];
        let line = Line::parse_from(files.iter().chain(&arguments[1..]));
        match line.command {
            Command::Limits(limits) => limits_of(&limits, limits.input.as_deref().unwrap(), text),
            Command::Forecast(forecast) => forecasts_of(&forecast, text),
        }
    }

    /// A use that goes up and down, with a spike now and then.
    fn series(rows: u32) -> String {
        let mut text = String::from("timestamp,usage\n");
        for row in 0..rows {
            let spike = if row % 37 == 5 { 90 } else { 0 };
            writeln!(text, "{}.500,{}", row * 60, 100 + row % 7 + row / 30 + spike).unwrap();
        }
        text
    }

    fn numbers(written: &str) -> Vec<Vec<f64>> {
        let numbers = |line: &str| line.split(',').map(|number| number.parse().unwrap()).collect();
        written.lines().skip(1).map(numbers).collect()
    }

    #[test]
    fn each_row_is_answered_by_its_own_time_and_by_what_came_before_alone() {
        let whole = series(600);
        let said = written(&["limits", "--interval", "60", "--floor", "2"], &whole).unwrap();
        assert!(said.starts_with("timestamp,limit\n0.500,2\n60.500,"), "{said}");
        assert_eq!(said.lines().count(), 601);
        let lines: Vec<&str> = whole.lines().take(301).collect();
        let other_future = lines.join("\n") + "\n18000.500,7000\n18060.500,7000\n";
        let again = written(&["limits", "--interval", "60", "--floor", "2"], &other_future).unwrap();
        for (one, other) in said.lines().zip(again.lines()).take(302) {
            assert_eq!(one, other);
        }
    }

    #[test]
    fn a_use_that_is_no_number_is_answered_and_one_that_is_no_use_is_named() {
        let text = "timestamp,usage\n0,5\n1,\n2,NaN\n3,-4\n4,inf\n5,1e300\n\n9,6\n";
        for row in numbers(&written(&["limits"], text).unwrap()) {
            assert!(row[1].is_finite() && row[1] >= 0.0, "{row:?}");
        }
        let error = written(&["limits"], "timestamp,usage\n0,5\n1,many\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "use.csv, line 3: \"1,many\" is not `timestamp,usage`"
        );
        assert_eq!(written(&["limits"], "timestamp,usage\n").unwrap(), "timestamp,limit\n");
    }

    #[test]
    fn a_forecast_is_of_its_origin_and_the_rows_after_with_the_interval_around_it() {
        let text = series(200);
        let said = written(&["forecast", "--origins", "150,200", "--horizon", "3"], &text).unwrap();
        let said = numbers(&said);
        let places: Vec<[f64; 2]> = said.iter().map(|row| [row[0], row[1]]).collect();
        let expected = [150.0, 200.0].map(|origin| [1.0, 2.0, 3.0].map(|h| [origin, h]));
        assert_eq!(places, expected.as_flattened());
        assert!(said.iter().all(|row| row[3] <= row[2] && row[2] <= row[4]), "{said:?}");
        // Of a series that never changes everything is known.
        let constant = "timestamp,usage\n".to_owned() + &"0,8\n".repeat(50);
        for row in numbers(&written(&["forecast", "--origins", "50"], &constant).unwrap()) {
            assert_eq!(row[2..], [8.0, 8.0, 8.0]);
        }
    }

    #[test]
    fn what_cannot_be_forecast_is_said() {
        let refused = |arguments: &[&str]| written(arguments, &series(30)).unwrap_err().to_string();
        assert_eq!(
            refused(&["forecast", "--origins", "3", "--horizon", "25"]),
            "forecasts go 24 rows ahead, not 25: give --horizon 24 or less"
        );
        assert_eq!(
            refused(&["forecast", "--origins", "31"]),
            "use.csv has 30 rows: none can be forecast from row 31"
        );
        assert_eq!(
            refused(&["forecast", "--origins", "1"]),
            "row 1 has fewer than two samples before it"
        );
        assert_eq!(
            refused(&["limits", "--interval", "0"]),
            "an interval of 0 seconds: give --interval more than 0"
        );
    }
}
