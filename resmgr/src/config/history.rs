//! How long which history is kept, as the file says it.

use super::{Fault, file::HistoryTable, parse_duration, parse_size};
use crate::model::Retention;

/// Samples are kept for this long at least, in milliseconds: after a restart the hour goes on by them.
const LEAST_MS: u64 = 3_600_000;
/// The file may be this large at least, in bytes.
const LEAST_BYTES: u64 = 32 << 20;

/// What the table says, over the defaults.
pub(super) fn retention(table: &HistoryTable) -> Result<Retention, Fault> {
    let mut retention = Retention::default();
    let keys = [
        ("history.samples", &table.samples),
        ("history.minutes", &table.minutes),
        ("history.hours", &table.hours),
    ];
    let mut least_ms = LEAST_MS;
    let mut least = "1h".to_owned();
    for ((key, text), kept_ms) in keys.into_iter().zip(&mut retention.kept_ms) {
        let wrong = |message: String| Fault::of(key, &message);
        if let Some(text) = text {
            let kept = parse_duration(text).map_err(|error| wrong(error.to_string()))?;
            *kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        }
        if *kept_ms < least_ms {
            let said = text.as_deref().unwrap_or("what is built in");
            return Err(wrong(format!("{said} is too short: write {least} or more")));
        }
        // What is coarser is kept for longer.
        least_ms = *kept_ms;
        least = format!("as much as {key}");
    }
    if let Some(text) = &table.max_size {
        let wrong = |message: String| Fault::of("history.max_size", &message);
        retention.max_bytes = parse_size(text).map_err(|error| wrong(error.to_string()))?;
        if retention.max_bytes < LEAST_BYTES {
            return Err(wrong(format!("{text} is too small: write 32M or more")));
        }
    }
    Ok(retention)
}
