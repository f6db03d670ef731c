//! What is to be written to the store at once, and what is kept of it where that fails.

use std::collections::BTreeMap;

use super::recorder::Batch;
use crate::model::PastTool;

/// What is to be written at once.
#[derive(Clone, Debug, Default)]
pub struct Writing {
    /// What was used.
    pub batch: Batch,
    /// Tools that are new, or not as they were.
    pub tools: Vec<PastTool>,
    /// What was learned, by whose it is; `None` where that is to be forgotten.
    pub learned: Vec<(String, Option<Vec<u8>>)>,
}

impl Writing {
    /// Of what could not be written, keeps what is to be written later, each once: who tools are, what was learned, and some
    /// minutes and hours. Returns how many samples are lost.
    pub fn lose_samples(&mut self) -> u64 {
        /// Minutes and hours that wait at most.
        const ROWS: usize = 10_000;
        let samples = std::mem::take(&mut self.batch.samples);
        only_last(&mut self.tools, |tool| tool.instance);
        only_last(&mut self.learned, |(of, _)| of.clone());
        let beyond = self.batch.rows.len().saturating_sub(ROWS);
        self.batch.rows.drain(..beyond);
        samples.iter().map(|(_, samples)| samples.len() as u64).sum()
    }

    /// Takes in what is to be written after it.
    pub fn append(&mut self, mut later: Self) {
        self.batch.samples.append(&mut later.batch.samples);
        self.batch.rows.append(&mut later.batch.rows);
        // The later word on a tool comes last, and holds.
        self.tools.append(&mut later.tools);
        self.learned.append(&mut later.learned);
    }

    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.tools.is_empty() && self.learned.is_empty()
    }
}

/// Of several about the same, keeps the last.
fn only_last<T, K: Ord>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let last: BTreeMap<K, T> = std::mem::take(all).into_iter().map(|one| (key(&one), one)).collect();
    all.extend(last.into_values());
}
