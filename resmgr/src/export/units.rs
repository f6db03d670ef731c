//! Sizes, times and counts in the units that people read.

use std::time::Duration;

use crate::model::Resource;

/// Bytes in binary units, as systemd writes them: `512B`, `64.0M`, `1.5G`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded to 1024 is written in the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// A duration with as much detail as matters: `12ms`, `3.25s`, `4m07s`, `2h05m`, `3d04h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0s".to_owned(),
        0 if duration.as_millis() == 0 => format!("{}µs", duration.as_micros()),
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}.{:02}s", duration.subsec_millis() / 10),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A use in cores, as a percentage of one core: `100.0` is one core kept busy.
pub fn cores(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A count with its digits in groups of three: `1,048,576`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// So much of a resource, given in its unit.
pub fn amount(resource: Resource, value: u64) -> String {
    match resource {
        Resource::Memory => bytes(value),
        Resource::Cpu => duration(Duration::from_millis(value)),
        Resource::Fds | Resource::Connections => count(value),
    }
}

/// A limit as it is typed and configured.
pub fn limit(resource: Resource, value: u64) -> String {
    match resource {
        Resource::Memory => format!("{}M", value.div_ceil(1 << 20)),
        Resource::Cpu => format!("{}s", value.div_ceil(1000)),
        Resource::Fds | Resource::Connections => value.to_string(),
    }
}

/// So many of something: `1 process`, `3 processes`.
pub fn many(number: u64, one: &str, several: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    //! Units at the edges where they change.
    use super::*;

    #[test]
    fn bytes_change_their_unit_at_1024() {
        for (n, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0K"),
            (64 << 20, "64.0M"),
            ((1 << 20) - 1, "1.0M"),
            (1_610_612_736, "1.5G"),
            (u64::MAX, "16384.0P"),
        ] {
            assert_eq!(bytes(n), expected);
        }
    }

    #[test]
    fn durations_show_two_units_at_most() {
        for (ms, expected) in [
            (12, "12ms"),
            (3_257, "3.25s"),
            (59_999, "59.99s"),
            (247_000, "4m07s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), expected);
        }
        assert_eq!(duration(Duration::from_micros(350)), "350µs");
        assert_eq!(duration(Duration::ZERO), "0s");
    }

    #[test]
    fn a_limit_is_typed_as_it_is_read() {
        assert_eq!(limit(Resource::Memory, (250 << 20) - 1), "250M");
        assert_eq!(limit(Resource::Cpu, 30_000), "30s");
        assert_eq!(limit(Resource::Fds, 1000), "1000");
        assert_eq!(many(1, "process", "processes"), "1 process");
        assert_eq!(many(2000, "process", "processes"), "2,000 processes");
    }

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_048_576), "1,048,576");
    }
}
