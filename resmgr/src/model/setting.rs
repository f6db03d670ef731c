//! Settings: what each key of the configuration is.

use serde::{Deserialize, Serialize};

/// What a key is, and where that comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Setting {
    /// The table that it is in, as its header has it.
    pub table: String,
    /// Its name.
    pub key: String,
    /// Its value in TOML; `None` where nothing holds.
    pub value: Option<String>,
    /// `built in`, `line N` of the file, or a flag.
    pub from: String,
}
