//! Growth in words.

use std::time::Duration;

use super::{amount, duration};
use crate::model::{Growing, Growth, LimitReached, Resource};

/// What grows, and when it is where.
pub fn growth(growth: &Growth) -> String {
    let each: Vec<String> = growth.growing.iter().map(growing).collect();
    let mut words = each.join("; ");
    if growth.is_leak {
        words.push_str("; what it does has not grown: a leak, most likely");
    }
    words
}

fn growing(growing: &Growing) -> String {
    let resource = growing.resource;
    let rate = rate(resource, growing.per_hour);
    let reached = growing.reaches_max.as_ref();
    let reached = reached.map(|reached| {
        format!(
            " and is at its maximum of {} {}",
            amount(resource, reached.limit),
            in_time(reached)
        )
    });
    format!("{resource} grows by {rate}{}", reached.unwrap_or_default())
}

/// So much more in a time that can be told in small numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps to the bounds"
)]
fn rate(resource: Resource, per_hour: f64) -> String {
    let amount = |value: f64| amount(resource, value.round() as u64);
    match resource {
        Resource::Memory | Resource::Cpu => format!("{} an hour", amount(per_hour)),
        Resource::Fds | Resource::Connections if per_hour >= 600.0 => format!("{} a minute", amount(per_hour / 60.0)),
        Resource::Fds | Resource::Connections if per_hour >= 1.0 => format!("{} an hour", amount(per_hour)),
        Resource::Fds | Resource::Connections => format!("{} a day", amount(per_hour * 24.0)),
    }
}

/// When a limit is reached: `in 41m00s ± 6m10s`.
pub fn in_time(reached: &LimitReached) -> String {
    match reached.latest_s {
        Some(latest_s) => format!(
            "in {} ± {}",
            told(reached.after_s),
            told((latest_s - reached.earliest_s) / 2.0)
        ),
        None => format!(
            "in {}, in {} at the earliest",
            told(reached.after_s),
            told(reached.earliest_s)
        ),
    }
}

/// A time by what is known of it: whole seconds, of what is hours away minutes.
fn told(seconds: f64) -> String {
    let step = if seconds >= 7200.0 { 60.0 } else { 1.0 };
    let rounded = (seconds / step).round().max(1.0) * step;
    match Duration::try_from_secs_f64(rounded).unwrap_or(Duration::MAX) {
        short if short.as_secs() < 60 => format!("{}s", short.as_secs()),
        long => duration(long),
    }
}

#[cfg(test)]
mod tests {
    //! Findings as somebody reads them.
    use super::*;

    #[test]
    fn a_time_is_told_by_what_is_known_of_it() {
        for (seconds, said) in [
            (0.2, "1s"),
            (21.4, "21s"),
            (65.0, "1m05s"),
            (7231.0, "2h01m"),
            (f64::INFINITY, ""),
        ] {
            assert!(told(seconds).contains(said), "{seconds}: {}", told(seconds));
        }
    }

    #[test]
    fn growth_is_told_with_its_rate_and_when_it_is_where() {
        let leak = Growth {
            growing: vec![
                Growing {
                    resource: Resource::Fds,
                    per_hour: 120.0,
                    reaches_max: Some(LimitReached {
                        limit: 200,
                        after_s: 2460.4,
                        earliest_s: 2100.0,
                        latest_s: Some(2840.0),
                    }),
                },
                Growing {
                    resource: Resource::Memory,
                    per_hour: 23.0 * 1_048_576.0,
                    reaches_max: Some(LimitReached {
                        limit: 500 << 20,
                        after_s: 46_957.0,
                        earliest_s: 40_000.0,
                        latest_s: None,
                    }),
                },
            ],
            is_leak: true,
        };
        assert_eq!(
            growth(&leak),
            "fds grows by 120 an hour and is at its maximum of 200 in 41m00s ± 6m10s; memory grows by 23.0M an hour and \
             is at its maximum of 500.0M in 13h03m, in 11h07m at the earliest; what it does has not grown: a leak, most \
             likely"
        );
    }
}
