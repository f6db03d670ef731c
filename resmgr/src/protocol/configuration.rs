//! What is asked and answered about the agent's configuration.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::Setting;

/// Asks for the configuration to be read again, or to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationParams {}

/// What came of a configuration that was read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file that it was read from; `None` for what is built in.
    pub file: Option<PathBuf>,
    /// The keys that were something else before.
    pub changed: Vec<String>,
    /// Those that an agent takes in at its start alone: what they are now holds from the next one on.
    pub after_restart: Vec<String>,
    /// How many tools that run have other limits.
    pub tools: u64,
}

/// What the agent goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// How it stands.
    #[serde(flatten)]
    pub status: ConfigurationStatus,
    /// What every key is.
    pub settings: Vec<Setting>,
}

/// How the configuration stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConfigurationStatus {
    /// The file that it was read from; `None` for what is built in.
    pub file: Option<PathBuf>,
    /// When that was.
    pub read_at: DateTime<Utc>,
    /// Keys whose values hold from the next start on.
    pub after_restart: Vec<String>,
    /// The last try to read it again, where that failed: what was read before holds.
    pub refused: Option<ReloadRefused>,
}

/// A configuration that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReloadRefused {
    /// When.
    pub at: DateTime<Utc>,
    /// What is wrong with it.
    pub message: String,
}
