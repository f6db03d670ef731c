//! `resmgr report`: a tool's use, need, limits, forecast and what was done, as one page.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use chrono::{DateTime, Local, Utc};
use clap::Args;

use super::{
    Failure, explain,
    failure::Code,
    history::{Part, number},
    progress::Progress,
};
use crate::{
    export::{Ahead, Line, Plot, Round, Section, count, duration, growth, page},
    model::{Action, Measure, Resource, ToolName},
    protocol::{Client, HistoryEntry, HistoryReport, StatusParams, StatusReport, ToolStatus},
};

/// Instances that have plots, the latest ones.
const SHOWN: usize = 4;
/// A maximum that is this many times as high as all else is said, and not drawn.
const FAR: f64 = 1.6;

/// Flags of `resmgr report`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tools' name.
    #[arg(value_name = "TOOL")]
    tool: ToolName,
    /// The file to write.
    #[arg(short, long, value_name = "FILE.html")]
    output: PathBuf,
    #[command(flatten)]
    part: Part,
}

/// Writes it.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = Progress::begin("asking for the history", None);
    let (history, status) = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        let history = arguments.part.ask(&mut client, &arguments.tool).await?;
        let params = StatusParams {
            tool: Some(arguments.tool.clone()),
            forecast: true,
            ..StatusParams::default()
        };
        Ok::<_, Failure>((history, client.status(params).await?))
    })?;
    if history.rows.is_empty() {
        let message = format!(
            "nothing of {} was recorded in that time: no page is written",
            arguments.tool
        );
        return Err(Failure::new(Code::Failed, anyhow!(message)));
    }
    let html = written(&history, &status, arguments.part.until.is_none());
    drop(progress);
    fs::write(&arguments.output, html).map_err(|error| {
        let message = anyhow!("write {}: {error}", arguments.output.display());
        Failure::new(Code::Failed, message)
    })
}

fn written(history: &HistoryReport, status: &StatusReport, until_now: bool) -> String {
    // What is expected comes after what is known, not after the end of what was asked for.
    let now = until_now.then_some(status.taken_at);
    let mut introduction = vec![format!(
        "Instances remembered: {}. Rows: {}, each of {}.",
        history.instances.len(),
        history.rows.len(),
        history.resolution
    )];
    if let Some((first, last)) = span(history) {
        let zone = first.with_timezone(&Local).format("%:z").to_string();
        introduction.push(format!(
            "From {} to {}, in the time of UTC{zone}.",
            local(first),
            local(last)
        ));
    }
    let time = times(history);
    let mut sections = Vec::new();
    for instance in history.instances.iter().rev().take(SHOWN) {
        let rows: Vec<&HistoryEntry> = history
            .rows
            .iter()
            .filter(|row| row.instance == instance.instance)
            .collect();
        let status = status.tools.iter().find(|tool| tool.instance == instance.instance);
        let ended = instance
            .ended
            .map_or_else(|| "goes on".to_owned(), |ended| format!("ended {}", local(ended)));
        let mut section = Section {
            heading: format!("Instance {}", instance.instance),
            paragraphs: vec![format!("Began {}, {ended}.", local(instance.began))],
            ..Section::default()
        };
        if let Some(found) = status.and_then(|tool| tool.growth.as_ref()) {
            section.paragraphs.push(format!("Growth: {}.", growth(found)));
        }
        for shown in SHOWS {
            section.plots.extend(plot(shown, &rows, (status, now), &*time));
        }
        section.table = status.map(actions).filter(|(_, rows)| !rows.is_empty());
        sections.push(section);
    }
    page(&format!("resmgr: {}", history.tool), &introduction, &sections)
}

/// What is plotted: a measure, and the resource whose limit it is compared with.
type Shown = (&'static str, Measure, Option<Resource>);

const SHOWS: [Shown; 5] = [
    ("Memory", Measure::Memory, Some(Resource::Memory)),
    ("CPU time of the operation under way", Measure::Cpu, Some(Resource::Cpu)),
    ("CPU use, in percent of a core", Measure::CpuUse, None),
    ("Descriptors", Measure::Fds, Some(Resource::Fds)),
    ("Connections", Measure::Connections, Some(Resource::Connections)),
];

#[expect(clippy::cast_precision_loss, reason = "a plot shows three digits")]
fn plot<'a>(
    (heading, measure, resource): Shown,
    rows: &[&HistoryEntry],
    (status, now): (Option<&ToolStatus>, Option<DateTime<Utc>>),
    time: &'a dyn Fn(f64) -> String,
) -> Option<(String, Plot<'a>, Vec<String>)> {
    let seconds = |at: DateTime<Utc>| at.timestamp_millis() as f64 / 1000.0;
    let of = |value: &dyn Fn(&HistoryEntry) -> Option<u64>| -> Vec<(f64, f64)> {
        rows.iter()
            .filter_map(|row| Some((seconds(row.at), value(row)? as f64)))
            .collect()
    };
    let used = of(&|row| Some(row.used.get(&measure)?.max));
    used.last()?;
    let mut lines = vec![Line {
        name: "use, at most",
        class: "use",
        points: used,
        is_filled: true,
        is_stepped: false,
    }];
    let mut notes = Vec::new();
    let mut ahead = Vec::new();
    let mut marks = Vec::new();
    if let Some(resource) = resource {
        lines.push(stepped("needed", "need", of(&|row| row.needs.get(&resource).copied())));
        lines.push(stepped(
            "limit in force",
            "limit",
            of(&|row| row.limits.get(&resource).copied()),
        ));
        if let Some(tool) = status {
            let most = highest(&lines);
            let max = tool.limits.range(resource).max;
            if (max as f64) <= most * FAR {
                let whole = [lines[0].points.first(), lines[0].points.last()];
                let points = whole.into_iter().flatten().map(|(at, _)| (*at, max as f64)).collect();
                lines.push(stepped("maximum", "max", points));
            } else {
                notes.push(format!(
                    "The maximum of {} is above all that is shown.",
                    number(measure, max)
                ));
            }
            if let Some(learned) = tool.learned.get(&resource) {
                notes.push(explain::learned(resource, learned));
                ahead.extend(now.into_iter().flat_map(|now| {
                    learned.forecast.iter().map(move |step| Ahead {
                        at: seconds(now) + step.after_s,
                        low: step.low,
                        point: step.point,
                        high: step.high,
                    })
                }));
            }
            let of_it = tool.actions.iter().filter(|action| action.resource == Some(resource));
            marks = of_it
                .map(|action| (seconds(action.at), explain::done(action)))
                .collect();
        }
    }
    let label = format!("{heading} over time");
    let plot = Plot {
        label,
        lines,
        ahead,
        marks,
        value: value_of(measure),
        time,
        round: if measure == Measure::Memory {
            Round::Binary
        } else {
            Round::Decimal
        },
    };
    Some((heading.to_owned(), plot, notes))
}

const fn stepped(name: &'static str, class: &'static str, points: Vec<(f64, f64)>) -> Line {
    Line {
        name,
        class,
        points,
        is_stepped: true,
        is_filled: false,
    }
}

fn highest(lines: &[Line]) -> f64 {
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    values.fold(0.0, f64::max)
}

/// How a value of a measure is written beside its plot.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a plot shows what is not below zero"
)]
fn value_of(measure: Measure) -> &'static dyn Fn(f64) -> String {
    match measure {
        Measure::Memory => &|value| number(Measure::Memory, value as u64),
        Measure::Cpu | Measure::Operations => &|value| duration(Duration::from_secs_f64((value / 1000.0).round())),
        Measure::Fds | Measure::Connections => &|value| count(value as u64),
        Measure::CpuUse => &|value| number(Measure::CpuUse, value as u64),
    }
}

/// The first and the last time of all rows.
fn span(history: &HistoryReport) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let times = || history.rows.iter().map(|row| row.at);
    times().min().zip(times().max())
}

/// Times as they are read beside a plot: those of one day without it.
fn times(history: &HistoryReport) -> Box<dyn Fn(f64) -> String> {
    let long = span(history).map_or(chrono::TimeDelta::zero(), |(first, last)| last - first);
    let format = if long > chrono::TimeDelta::hours(24) {
        "%d %b %H:%M"
    } else if long > chrono::TimeDelta::minutes(10) {
        "%H:%M"
    } else {
        "%H:%M:%S"
    };
    Box::new(move |at| {
        #[expect(clippy::cast_possible_truncation, reason = "a time of this age")]
        let at = DateTime::from_timestamp_millis((at * 1000.0) as i64).unwrap_or_default();
        at.with_timezone(&Local).format(format).to_string()
    })
}

fn local(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What was done, the latest first.
fn actions(tool: &ToolStatus) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let row = |action: &Action| vec![local(action.at), explain::done(action)];
    (
        vec!["When", "What was done, and why"],
        tool.actions.iter().rev().map(row).collect(),
    )
}
