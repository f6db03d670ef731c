//! What is forgotten: what is older than it is kept for, and more where the file is too large.

use chrono::{DateTime, Utc};
use redb::{ReadableDatabase as _, ReadableTable as _, TableError};

use super::{CHUNK_MS, Store, StoreError, TOOLS, failed, table};
use crate::model::{Retention, Tier};

impl Store {
    /// Forgets what is older than it is kept for, and more where the file is too large: what reaches farthest back. Tells
    /// whether it fits.
    pub fn prune(&mut self, now: DateTime<Utc>, retention: &Retention) -> Result<bool, StoreError> {
        /// Nothing is to be gained by forgetting what is younger, in milliseconds.
        const YOUNG_MS: u64 = 60_000;
        let now_ms = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        self.forget(now_ms, retention.kept_ms)?;
        if self.bytes()? <= retention.max_bytes {
            return Ok(true);
        }
        let mut kept_ms = retention.kept_ms;
        for (tier, kept_ms) in Tier::ALL.into_iter().zip(&mut kept_ms) {
            *kept_ms = now_ms
                .saturating_sub(self.oldest_ms(tier)?.unwrap_or(now_ms))
                .min(*kept_ms);
        }
        while self.bytes()? > retention.max_bytes {
            let Some(farthest) = kept_ms.iter_mut().max().filter(|kept_ms| **kept_ms > YOUNG_MS) else {
                break;
            };
            *farthest = *farthest * 3 / 4;
            self.forget(now_ms, kept_ms)?;
        }
        // What was forgotten is still in the file.
        self.database.compact().map_err(failed("compact"))?;
        Ok(self.bytes()? <= retention.max_bytes)
    }

    /// When the oldest row is, in milliseconds since 1970.
    fn oldest_ms(&self, tier: Tier) -> Result<Option<u64>, StoreError> {
        let operation = "read";
        let reading = self.database.begin_read().map_err(failed(operation))?;
        let rows = reading
            .open_table(table(tier))
            .map_err(failed::<TableError>(operation))?;
        let mut oldest = None;
        for tool in self.tools()? {
            let all = (tool.instance, 0)..=(tool.instance, u64::MAX);
            let first = rows.range(all).map_err(failed(operation))?.next().transpose();
            let first = first.map_err(failed(operation))?.map(|(key, _)| key.value().1);
            oldest = match (oldest, first) {
                (Some(a), Some(b)) => Some(u64::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        Ok(oldest)
    }

    fn forget(&self, now_ms: u64, kept_ms: [u64; 3]) -> Result<(), StoreError> {
        let operation = "prune";
        let tools = self.tools()?;
        let writing = self.database.begin_write().map_err(failed(operation))?;
        let mut remembered = vec![false; tools.len()];
        for (tier, kept_ms) in Tier::ALL.into_iter().zip(kept_ms) {
            let mut rows = writing.open_table(table(tier)).map_err(failed(operation))?;
            let until_ms = now_ms.saturating_sub(kept_ms);
            let until_ms = match tier {
                // Not while it holds any that are kept.
                Tier::Second => until_ms.saturating_sub(CHUNK_MS),
                Tier::Minute | Tier::Hour => until_ms,
            };
            for (tool, remembered) in tools.iter().zip(&mut remembered) {
                let (first, old) = ((tool.instance, 0), (tool.instance, until_ms));
                rows.retain_in(first..old, |_, _| false).map_err(failed(operation))?;
                let mut rest = rows
                    .range(first..=(tool.instance, u64::MAX))
                    .map_err(failed(operation))?;
                *remembered |= rest.next().is_some();
            }
        }
        {
            let mut known = writing.open_table(TOOLS).map_err(failed(operation))?;
            let gone = tools.iter().zip(remembered).filter(|(_, remembered)| !remembered);
            for (tool, _) in gone.filter(|(tool, _)| tool.ended.is_some()) {
                known.remove(tool.instance).map_err(failed(operation))?;
            }
        }
        writing.commit().map_err(failed(operation))
    }

    /// How large the file is, as far as it is in use.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let writing = self.database.begin_write().map_err(failed("measure"))?;
        let stats = writing.stats().map_err(failed("measure"))?;
        writing.abort().map_err(failed("measure"))?;
        Ok(stats.allocated_pages() * stats.page_size() as u64)
    }
}
