//! The one parser of durations and sizes.

use std::time::Duration;

/// A text is no duration, or no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No duration.
    #[error("`{0}` is no duration: write a number and a unit, like 250ms, 1s, 1.5s, 10m or 2h")]
    Duration(String),
    /// No size.
    #[error("`{0}` is no size: write a number and a unit, like 512K, 100M or 1.5G (binary, as in systemd)")]
    Size(String),
}

/// A number with its unit; `None` unless it is digits, perhaps a point, and letters.
fn split(text: &str) -> Option<(f64, &str)> {
    let trimmed = text.trim();
    let unit_at = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(unit_at);
    let number = number.trim();
    // Only digits and a point: the number parser would also take `1e30`, `inf` and a sign.
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    Some((number.parse().ok()?, unit))
}

/// Parses `250ms`, `1s`, `1.5s`, `10m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// Parses `4096`, `512K`, `100M`, `1.5G`, `2T` into bytes. Units are binary, as in systemd.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size(text.to_owned());
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let shift = match unit {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    let bytes = number * (1_u64 << shift) as f64;
    // Beyond this a whole number of bytes has no exact floating point any more; nothing is that large.
    if !(0.0..=9.0e15).contains(&bytes) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds")]
    Ok(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    //! Durations and sizes as people write them.
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, expected) in [
            ("250ms", Duration::from_millis(250)),
            ("1s", Duration::from_secs(1)),
            ("1.5s", Duration::from_millis(1500)),
            (" 10 m ", Duration::from_secs(600)),
            ("2h", Duration::from_secs(7200)),
            ("1d", Duration::from_secs(86_400)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1e30s",
            "100 bananas",
            "1.2.3s",
            "infs",
            "99999999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_every_unit() {
        for (text, expected) in [
            ("4096", 4096),
            ("512K", 512 << 10),
            ("100M", 100 << 20),
            ("1.5G", 3 << 29),
            (" 2 T ", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "M",
            "-1M",
            "1e30",
            "1e30M",
            "100 bananas",
            "100MB",
            "100m",
            "inf",
            "99999999999999T",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
