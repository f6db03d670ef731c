//! `resmgr limits suggest`: limits from what was recorded, as text for the configuration.

use std::{path::Path, time::Duration};

use clap::Args;
use serde::Serialize;

use crate::{
    adapt::{Span, Suggestion, cost, suggest},
    cli::{Failure, failure::Code, history::Part, output},
    export::{Table, amount, count, duration, growth, limit},
    model::{Growth, Measure, Resource, Tier, ToolLimits, ToolName, Tuning},
    protocol::{Client, HistoryReport, StatusParams},
};

/// Spans of time that something can be said by.
const ENOUGH: usize = 60;

/// Flags of `resmgr limits suggest`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Suggest {
    /// The tools' name.
    #[arg(value_name = "TOOL")]
    tool: ToolName,
    #[command(flatten)]
    part: Part,
    /// How often the base may be a Warning: calm (one span of time in 100), balanced (50) or safe (500).
    #[arg(long, value_name = "TUNING", default_value = "calm")]
    tuning: Tuning,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is suggested of a resource, beside the limits of an instance that runs, over the same use.
#[derive(Clone, Debug, Serialize)]
struct Suggested {
    resource: Resource,
    /// As it is written in the configuration.
    text: String,
    /// Spans of time that it goes by.
    spans: usize,
    #[serde(flatten)]
    suggestion: Suggestion,
    now: Option<Suggestion>,
}

pub(in crate::cli) fn run(arguments: &Suggest, socket: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (history, running) = runtime.block_on(async {
        let mut client = Client::connect(socket).await?;
        let history = arguments.part.ask(&mut client, &arguments.tool).await?;
        let params = StatusParams {
            tool: Some(arguments.tool.clone()),
            ..StatusParams::default()
        };
        let status = client.status(params).await?;
        let running = status.tools.into_iter().find(|tool| tool.ended_s.is_none());
        Ok::<_, Failure>((history, running))
    })?;
    let limits = running.as_ref().map(|tool| tool.limits);
    let growing = running.as_ref().and_then(|tool| tool.growth.as_ref());
    let suggested = suggested(&history, limits.as_ref(), arguments.tuning);
    if suggested.is_empty() {
        let message = format!("nothing of {} was recorded in that time", arguments.tool);
        return Err(Failure::new(Code::Failed, anyhow::anyhow!(message)));
    }
    if arguments.json {
        return output::print_json(&suggested);
    }
    Ok(output::print(&shown(&arguments.tool, &history, &suggested, growing))?)
}

fn suggested(history: &HistoryReport, limits: Option<&ToolLimits>, tuning: Tuning) -> Vec<Suggested> {
    let of = |resource| of(resource, history, limits, tuning);
    Resource::ALL.into_iter().filter_map(of).collect()
}

/// Limits for the configuration, with what is to be expected of them, in few lines; none where too little was recorded.
pub(in crate::cli) fn suggestions(tool: &ToolName, history: &HistoryReport) -> Vec<String> {
    let mut suggested = suggested(history, None, Tuning::Calm);
    suggested.retain(|one| one.spans >= ENOUGH);
    if suggested.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "Suggested by what was recorded:".to_owned()];
    lines.push(format!("  [tool.{}]", key(tool)));
    for one in suggested {
        let Suggestion { slack, warned, .. } = one.suggestion;
        let setting = format!("{} = \"{}\"", one.resource, one.text);
        lines.push(format!(
            "  {setting:<28} # {:.1} % of the base unused, {:.1} % of {} {} a Warning",
            slack * 100.0,
            warned * 100.0,
            one.spans,
            spans_in_words(history.resolution),
        ));
    }
    lines
}

/// What each span of a history used of a resource. Of CPU time, what each operation did that has ended: what one under way
/// will come to is not known. Nothing of what was never used.
fn spans(resource: Resource, history: &HistoryReport) -> Vec<Span> {
    let measure = match resource {
        Resource::Cpu => Measure::Operations,
        resource => Measure::from(resource),
    };
    let rows = history.rows.iter().filter_map(|row| row.used.get(&measure));
    let spans: Vec<Span> = rows
        .map(|summary| Span {
            mean: summary.mean,
            max: summary.max,
        })
        .collect();
    if spans.iter().all(|span| span.max == 0) {
        return Vec::new();
    }
    spans
}

fn of(resource: Resource, history: &HistoryReport, limits: Option<&ToolLimits>, tuning: Tuning) -> Option<Suggested> {
    let spans = spans(resource, history);
    let suggestion = suggest(resource, &spans, tuning)?;
    let now = limits.map(|limits| {
        let range = limits.range(resource);
        cost(&spans, range.base, range.max)
    });
    let [base, max] = [suggestion.base, suggestion.max].map(|of| limit(resource, of));
    Some(Suggested {
        resource,
        text: format!("{base}:{max}"),
        spans: spans.len(),
        suggestion,
        now,
    })
}

fn shown(tool: &ToolName, history: &HistoryReport, suggested: &[Suggested], growing: Option<&Growth>) -> Vec<String> {
    let mut table = Table::of_numbers(&[
        "RESOURCE", "SPANS", "BASE", "MAX", "UNUSED", "WARNED", "BASE NOW", "MAX NOW", "UNUSED", "WARNED",
    ]);
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    for one in suggested {
        let mut row = vec![one.resource.to_string(), count(one.spans as u64)];
        for suggestion in [Some(&one.suggestion), one.now.as_ref()] {
            row.extend(match suggestion {
                Some(of) => [
                    amount(one.resource, of.base),
                    amount(one.resource, of.max),
                    percent(of.slack),
                    percent(of.warned),
                ],
                None => ["-"; 4].map(str::to_owned),
            });
        }
        table.row(row);
    }
    let mut lines = vec![
        format!(
            "By {} of {tool}, from first to last: what of the base was not used on the average, and how many {} would have been a \
             Warning at it.",
            duration(recorded(history)),
            spans_in_words(history.resolution)
        ),
        String::new(),
    ];
    lines.extend(output::table(&table, output::width()));
    lines.push(String::new());
    lines.push(format!("[tool.{}]", key(tool)));
    let setting = |one: &Suggested| format!("{} = \"{}\"", one.resource, one.text);
    lines.extend(suggested.iter().map(setting));
    lines.push("# Limits of the configuration are enforced, unless this says otherwise:".to_owned());
    lines.push("# mode = \"throttle\"".to_owned());
    if suggested.iter().any(|one| one.spans < ENOUGH) {
        lines.push("# Little was recorded: look again later.".to_owned());
    }
    lines.extend(growing.map(|found| format!("# It grows, and so this does not hold for long: {}.", growth(found))));
    lines
}

/// What a row of a resolution is.
fn spans_in_words(tier: Tier) -> &'static str {
    match tier {
        Tier::Second => "samples",
        Tier::Minute => "minutes",
        Tier::Hour => "hours",
    }
}

/// From the first row to the last.
fn recorded(history: &HistoryReport) -> Duration {
    let times = || history.rows.iter().map(|row| row.at);
    let long = times().max().zip(times().min()).map(|(last, first)| last - first);
    long.and_then(|long| long.to_std().ok()).unwrap_or_default()
}

/// A name as a key of TOML: one with a point has to be quoted.
fn key(tool: &ToolName) -> String {
    let name = tool.to_string();
    if name.contains('.') {
        format!("\"{name}\"")
    } else {
        name
    }
}
