//! What was learned of a tool's use, in words.

use crate::{
    export::{amount, count, growth, in_time},
    model::{Learned, PatternKind, Resource},
    protocol::ToolStatus,
};

/// What was learned: a line a resource, and what somebody should know.
pub(super) fn lines(tool: &ToolStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(found) = &tool.growth {
        lines.push(format!("Growth: {}.", growth(found)));
    }
    if !tool.learned.is_empty() {
        lines.push("Learned:".to_owned());
        let of = |(resource, learned): (&Resource, &Learned)| format!("  {resource}: {}", told(*resource, learned));
        lines.extend(tool.learned.iter().map(of));
    }
    lines
}

/// What was learned of a resource.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the casts keep to the bounds"
)]
pub(in crate::cli) fn told(resource: Resource, learned: &Learned) -> String {
    let whole = |value: f64| amount(resource, value.round() as u64);
    let pattern = &learned.pattern;
    let kind = if pattern.confidence < 0.05 {
        "no pattern".to_owned()
    } else {
        format!("{} (sure by {:.0} %)", pattern.kind, pattern.confidence * 100.0)
    };
    let mut parts = vec![format!(
        "{kind}, {} on the average of {} samples",
        whole(pattern.average_usage),
        count(u64::from(learned.samples)),
    )];
    if matches!(pattern.kind, PatternKind::Linear | PatternKind::Mixed) && pattern.trend != 0.0 {
        let way = if pattern.trend > 0.0 { "more" } else { "less" };
        parts.push(format!("{} {way} an hour", whole(pattern.trend.abs() * 3600.0)));
    }
    if let Some(period_s) = pattern.period_s {
        let period = std::time::Duration::try_from_secs_f64(period_s).unwrap_or_default();
        parts.push(format!("it repeats each {}", crate::export::duration(period)));
    }
    parts.push(format!("needs {}: {}", amount(resource, learned.need), learned.need_by));
    if let Some(reached) = &learned.reaches_max {
        parts.push(format!("at its maximum {}", in_time(reached)));
    }
    let accuracy = &learned.accuracy;
    if let (Some(against_naive), Some(coverage)) = (accuracy.against_naive, accuracy.coverage) {
        parts.push(format!(
            "the error of forecasts is {against_naive:.2} times that of saying that nothing changes, {:.0} % were within their \
             interval",
            coverage * 100.0
        ));
    }
    parts.join("; ")
}
