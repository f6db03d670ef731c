//! Configuration: the file as written (`FileConfig`) becomes the configuration as meant (`Config`), in which no unit
//! is text any more. Reads no clock and nothing of the kernel.

mod file;
mod history;
mod limits;
mod metrics;
mod policy;
mod rules;
mod units;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::model::{Retention, Tuning, TuningError};

pub use file::FileConfig;
pub use limits::{Grace, GraceError, LimitError, LimitsTable, parse_limit};
pub use metrics::{MetricsListen, MetricsListenError};
pub use policy::LimitPolicy;
pub use rules::{Executed, Rule};
pub use units::{UnitError, parse_duration, parse_size};

/// The configuration as meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Time between sweeps.
    pub sweep_interval: Duration,
    /// Processes that can have event counters at a time.
    pub max_processes: u32,
    /// Bytes of the event ring.
    pub ring_bytes: u32,
    /// Which processes are tools without having been registered; the first that matches decides.
    pub rules: Vec<Rule>,
    /// Which limits tools get.
    pub limits: LimitPolicy,
    /// What a shell runs for each alert.
    pub alert_command: Option<String>,
    /// Where scrapes are answered, where that is said.
    pub metrics: Option<MetricsListen>,
    /// What is paid for when limits are chosen.
    pub tuning: Tuning,
    /// How long which history is kept.
    pub retention: Retention,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sweep_interval: Duration::from_secs(1),
            max_processes: 32_768,
            ring_bytes: 1 << 20,
            rules: Vec::new(),
            limits: LimitPolicy::default(),
            alert_command: None,
            metrics: None,
            tuning: Tuning::default(),
            retention: Retention::default(),
        }
    }
}

/// The shortest and longest time between sweeps.
pub const SWEEP_INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value is not possible.
    #[error("{key}: {message}")]
    Value {
        /// The key, or the flag.
        key: &'static str,
        /// What is wrong, and what to write instead.
        message: String,
    },
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let parse = |message: String| ConfigError::Parse {
            path: path.to_owned(),
            message,
        };
        let file: FileConfig = toml::from_str(&text).map_err(|error| parse(error.to_string()))?;
        Self::from_file(&file).map_err(|error| parse(error.to_string()))
    }

    /// What a file's text means, over the defaults.
    pub fn from_file(file: &FileConfig) -> Result<Self, ConfigError> {
        let mut config = Self {
            alert_command: file.alert.command.clone(),
            ..Self::default()
        };
        if let Some(text) = &file.agent.sweep_interval {
            config.sweep_interval = sweep_interval("agent.sweep_interval", text)?;
        }
        if let Some(max_processes) = file.agent.max_processes {
            config.max_processes = in_range("agent.max_processes", max_processes, 64, 4_194_304)?;
        }
        if let Some(ring_bytes) = file.agent.ring_bytes {
            config.ring_bytes = in_range("agent.ring_bytes", ring_bytes, 65_536, 1 << 30)?;
            if !config.ring_bytes.is_power_of_two() {
                return Err(ConfigError::Value {
                    key: "agent.ring_bytes",
                    message: format!(
                        "{ring_bytes} is no power of two: write {}",
                        config.ring_bytes.next_power_of_two()
                    ),
                });
            }
        }
        if !file.rule.is_empty() {
            let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            let rules = file.rule.iter().map(|table| Rule::from_table(table, &users));
            config.rules = rules.collect::<Result<_, _>>()?;
        }
        config.limits = LimitPolicy::from_file(file)?;
        config.retention = history::retention(&file.history)?;
        if let Some(text) = &file.metrics.listen {
            let wrong = |error: MetricsListenError| ConfigError::Value {
                key: "metrics.listen",
                message: error.to_string(),
            };
            config.metrics = Some(text.parse().map_err(wrong)?);
        }
        if let Some(text) = &file.adapt.tuning {
            config.tuning = text.parse().map_err(|error: TuningError| ConfigError::Value {
                key: "adapt.tuning",
                message: error.to_string(),
            })?;
        }
        Ok(config)
    }
}

/// A time between sweeps, within its bounds.
pub fn sweep_interval(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = |message: String| ConfigError::Value { key, message };
    let interval = parse_duration(text).map_err(|error| wrong(error.to_string()))?;
    let (shortest, longest) = SWEEP_INTERVALS;
    if interval < shortest || interval > longest {
        return Err(wrong(format!("{text} is not between 100ms and 60s")));
    }
    Ok(interval)
}

fn in_range(key: &'static str, value: u32, least: u32, most: u32) -> Result<u32, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let message = format!("{value} is not between {least} and {most}");
    Err(ConfigError::Value { key, message })
}

#[cfg(test)]
mod tests {
    //! Files as people write them.
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let file: FileConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        Config::from_file(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(config("").unwrap(), Config::default());
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        let config = config("[agent]\nsweep_interval = \"250ms\"\nmax_processes = 1000\nring_bytes = 65536\n").unwrap();
        assert_eq!(config.sweep_interval, Duration::from_millis(250));
        assert_eq!((config.max_processes, config.ring_bytes), (1000, 65_536));
        let text = "[adapt]\ntuning = \"safe\"\n[history]\nsamples = \"3h\"\nminutes = \"2d\"\nmax_size = \"64M\"\n";
        let config = Config::from_file(&toml::from_str(text).unwrap()).unwrap();
        assert_eq!(config.tuning, Tuning::Safe);
        assert_eq!(config.retention.kept_ms[..2], [3 * 3_600_000, 48 * 3_600_000]);
        assert_eq!(config.retention.max_bytes, 64 << 20);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_and_line() {
        let error = config("[agent]\nsweep_intervall = \"1s\"\n").unwrap_err();
        assert!(error.contains("sweep_intervall") && error.contains("line 2"), "{error}");
        let error = config("[agnet]\n").unwrap_err();
        assert!(error.contains("agnet") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn an_impossible_value_is_refused_with_what_is_possible() {
        for (text, expected) in [
            ("[agent]\nsweep_interval = \"5ms\"", "100ms and 60s"),
            ("[agent]\nsweep_interval = \"soon\"", "soon"),
            ("[agent]\nmax_processes = 1", "between 64"),
            ("[agent]\nring_bytes = 100000", "131072"),
            ("[agent]\nmax_processes = -1", "line 2"),
            ("[metrics]\nlisten = \"localhost\"", "127.0.0.1:9465"),
            ("[adapt]\ntuning = \"wild\"", "calm, balanced or safe"),
            ("[history]\nsamples = \"10m\"", "1h"),
            ("[history]\nhours = \"1d\"", "minutes"),
            ("[history]\nmax_size = \"1M\"", "32M"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
