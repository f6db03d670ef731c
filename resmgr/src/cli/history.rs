//! `resmgr history`: what tools of a name used over time, as a table, CSV or JSON.

use std::{path::Path, str::FromStr, time::Duration};

use chrono::{DateTime, Local, TimeDelta, Utc};
use clap::{Args, ValueEnum};

use super::{Failure, failure::Code, output};
use crate::{
    agent::SystemClock,
    config::parse_duration,
    export::{Table, amount, bytes, cores, count, duration, many},
    model::{Clock as _, Measure, Resource, Summary, Tier, ToolName},
    protocol::{Client, HistoryEntry, HistoryParams, HistoryReport},
};

/// Rows of a table that nobody asked for in particular.
pub(super) const SHOWN: usize = 60;

/// Which part of a history.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Part {
    /// One instance alone.
    #[arg(long, value_name = "N")]
    pub(super) instance: Option<u64>,
    /// From when on: a time ago, like 2h, or a moment, like 2026-11-25T08:00:00Z.
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<When>,
    /// Until when, likewise.
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<When>,
    /// How finely: 1s (each sample), 1m or 1h [default: the finest that is kept of that time, up to 3,600 rows].
    #[arg(long, value_name = "SPAN")]
    pub(super) resolution: Option<Tier>,
}

/// A time ago, or a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    Ago(Duration),
    At(DateTime<Utc>),
}

/// A text that is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a time ago, like 10m, 2h or 7d, or a moment, like 2026-11-25T08:00:00Z")]
pub(super) struct WhenError;

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(moment.into()));
        }
        parse_duration(text).map(Self::Ago).map_err(|_| WhenError)
    }
}

impl When {
    fn moment(self) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::Ago(ago) => {
                let ago = TimeDelta::from_std(ago).unwrap_or(TimeDelta::MAX);
                SystemClock.now().wall.checked_sub_signed(ago).unwrap_or_default()
            }
        }
    }
}

impl Part {
    /// Asks the agent for it.
    pub(super) async fn ask(&self, client: &mut Client, tool: &ToolName) -> Result<HistoryReport, Failure> {
        let (from, until) = (self.since.map(When::moment), self.until.map(When::moment));
        if from.zip(until).is_some_and(|(from, until)| from > until) {
            let message = "--since is after --until: there is no time in between";
            return Err(Failure::new(Code::Usage, anyhow::anyhow!(message)));
        }
        let params = HistoryParams {
            tool: tool.clone(),
            instance: self.instance,
            from,
            until,
            resolution: self.resolution,
        };
        Ok(client.history(params).await?)
    }
}

/// Flags of `resmgr history`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tools' name.
    #[arg(value_name = "TOOL")]
    tool: ToolName,
    #[command(flatten)]
    part: Part,
    /// One resource in detail: memory, cpu (of the operation under way), fds, connections, cpu-use or operations (that have
    /// ended).
    #[arg(long, value_name = "MEASURE")]
    of: Option<Measure>,
    /// As a table, as CSV, or as one line of JSON.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
    Json,
}

/// Shows it.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        arguments.part.ask(&mut client, &arguments.tool).await
    })?;
    let of = arguments.of;
    let mut report = report;
    let mut left_out = None;
    if arguments.format == Format::Table && arguments.part.since.is_none() && report.rows.len() > SHOWN {
        let before = report.rows.len() - SHOWN;
        report.rows.drain(..before);
        left_out = Some(format!(
            "{} before these: --since shows them",
            many(before as u64, "row", "rows")
        ));
    }
    let lines = match arguments.format {
        Format::Json => return output::print_json(&report),
        Format::Csv => csv(&report, of),
        Format::Table => told(&report, of),
    };
    // Not among the rows: whoever reads these by a program reads standard output.
    if let Some(left_out) = left_out {
        eprintln!("{left_out}");
    }
    Ok(output::print(&lines)?)
}

/// The rows as a table: of one measure, or of all that matters most.
pub(super) fn told(report: &HistoryReport, of: Option<Measure>) -> Vec<String> {
    match of {
        Some(measure) => detailed(report, measure),
        None => overview(report),
    }
}

/// Where a row begins; one that is not over is marked.
fn begins(row: &HistoryEntry, resolution: Tier) -> String {
    let open = if row.under_way { " …" } else { "" };
    let format = match resolution {
        Tier::Second => "%Y-%m-%d %H:%M:%S%.3f",
        Tier::Minute | Tier::Hour => "%Y-%m-%d %H:%M:%S",
    };
    format!("{}{open}", row.at.with_timezone(&Local).format(format))
}

fn overview(report: &HistoryReport) -> Vec<String> {
    let mut table = Table::of_numbers(&[
        "FROM",
        "#",
        "MEMORY",
        "MOST",
        "CPU%",
        "MOST",
        "OPERATIONS",
        "LONGEST",
        "FDS",
        "CONNS",
    ]);
    for row in &report.rows {
        let of =
            |measure, shown: &dyn Fn(&Summary) -> String| row.used.get(&measure).map_or_else(|| "-".to_owned(), shown);
        table.row(vec![
            begins(row, report.resolution),
            row.instance.to_string(),
            of(Measure::Memory, &|summary| bytes(summary.mean)),
            of(Measure::Memory, &|summary| bytes(summary.max)),
            of(Measure::CpuUse, &|summary| number(Measure::CpuUse, summary.mean)),
            of(Measure::CpuUse, &|summary| number(Measure::CpuUse, summary.max)),
            of(Measure::Operations, &|summary| count(summary.count)),
            of(Measure::Operations, &|summary| number(Measure::Operations, summary.max)),
            of(Measure::Fds, &|summary| count(summary.max)),
            of(Measure::Connections, &|summary| count(summary.max)),
        ]);
    }
    output::table(&table, output::width())
}

fn detailed(report: &HistoryReport, measure: Measure) -> Vec<String> {
    let mut table = Table::of_numbers(&[
        "FROM", "#", "LEAST", "MEAN", "P50", "P95", "P99", "MOST", "NEED", "LIMIT",
    ]);
    for row in &report.rows {
        let Some(summary) = row.used.get(&measure) else {
            continue;
        };
        let (need, limit) = beside(row, measure);
        let known = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| number(measure, value));
        table.row(vec![
            begins(row, report.resolution),
            row.instance.to_string(),
            number(measure, summary.min),
            number(measure, summary.mean),
            number(measure, summary.p50),
            number(measure, summary.p95),
            number(measure, summary.p99),
            number(measure, summary.max),
            known(need),
            known(limit),
        ]);
    }
    output::table(&table, output::width())
}

/// The need and the limit that a measure is compared with.
fn beside(row: &HistoryEntry, measure: Measure) -> (Option<u64>, Option<u64>) {
    let resource = match measure {
        Measure::Memory => Resource::Memory,
        Measure::Cpu | Measure::Operations => Resource::Cpu,
        Measure::Fds => Resource::Fds,
        Measure::Connections => Resource::Connections,
        Measure::CpuUse => return (None, None),
    };
    (row.needs.get(&resource).copied(), row.limits.get(&resource).copied())
}

/// A value in its unit.
#[expect(clippy::cast_precision_loss, reason = "a use of CPU is small")]
pub(super) fn number(measure: Measure, value: u64) -> String {
    match measure {
        Measure::Memory => bytes(value),
        Measure::Cpu | Measure::Operations => duration(Duration::from_millis(value)),
        Measure::Fds => amount(Resource::Fds, value),
        Measure::Connections => amount(Resource::Connections, value),
        Measure::CpuUse => cores(value as f64 / 1000.0),
    }
}

fn csv(report: &HistoryReport, of: Option<Measure>) -> Vec<String> {
    let mut lines = vec!["at,instance,measure,count,min,mean,max,p50,p95,p99,need,limit".to_owned()];
    for row in &report.rows {
        for (measure, summary) in row
            .used
            .iter()
            .filter(|(measure, _)| of.is_none_or(|of| of == **measure))
        {
            let (need, limit) = beside(row, *measure);
            let known = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
            lines.push(format!(
                "{},{},{measure},{},{},{},{},{},{},{},{},{}",
                row.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
                row.instance,
                summary.count,
                summary.min,
                summary.mean,
                summary.max,
                summary.p50,
                summary.p95,
                summary.p99,
                known(need),
                known(limit),
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    //! Times as people write them.
    use super::*;

    #[test]
    fn a_time_ago_and_a_moment_are_told_apart_and_anything_else_is_refused() {
        assert_eq!("2h".parse(), Ok(When::Ago(Duration::from_secs(7200))));
        let moment: When = "2026-11-25T08:00:00+01:00".parse().unwrap();
        assert_eq!(moment.moment().to_rfc3339(), "2026-11-25T07:00:00+00:00");
        assert_eq!("yesterday".parse::<When>(), Err(WhenError));
        assert!(When::Ago(Duration::MAX).moment() <= SystemClock.now().wall);
    }
}
