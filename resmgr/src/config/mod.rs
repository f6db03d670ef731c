//! Configuration: the file as written (`FileConfig`) becomes the configuration as meant (`Config`), in which no unit
//! is text any more. Reads no clock and nothing of the kernel.

mod accounts;
mod file;
mod history;
mod keys;
mod limits;
mod metrics;
mod policy;
mod rules;
mod shown;
mod source;
mod units;
mod written;

use std::{io, path::PathBuf, time::Duration};

use crate::model::{Retention, Tuning, TuningError};

pub use file::FileConfig;
pub use keys::{Key, Kind, SECTIONS, Section};
pub use limits::{Grace, GraceError, LimitError, LimitsTable, parse_limit};
pub use metrics::{MetricsListen, MetricsListenError};
pub use policy::LimitPolicy;
pub use rules::{Executed, Rule};
pub use shown::{default_text, settings_text};
pub use source::{ConfigSource, DEFAULT_FILE, Loaded, text_of};
pub use units::{UnitError, parse_duration, parse_size};
pub use written::{Fault, Written};

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
    /// The group whose members see everything.
    pub group: Option<u32>,
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
            group: None,
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
    #[error("{}", told(path, faults))]
    Faults {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        faults: Vec<Fault>,
    },
    /// A flag's value is not possible.
    #[error("{key}: {message}")]
    Value {
        /// The flag.
        key: &'static str,
        /// What is wrong, and what to write instead.
        message: String,
    },
}

/// Everything that is wrong with a file, a line each.
fn told(path: &std::path::Path, faults: &[Fault]) -> String {
    let lines = faults.iter().map(|fault| format!("{}: {fault}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

impl Config {
    /// What a file's text means, over the defaults, and how it is written; or everything that is wrong with it.
    pub fn from_text(text: &str) -> Result<(Self, Written), Vec<Fault>> {
        let written = Written::read(text)?;
        let file: FileConfig = toml::from_str(text).map_err(|error| vec![written.fault_of(text, &error)])?;
        let config = Self::from_file(&file).map_err(|fault| vec![written.placed(fault)])?;
        Ok((config, written))
    }

    /// What a file means, over the defaults.
    fn from_file(file: &FileConfig) -> Result<Self, Fault> {
        let mut config = Self {
            alert_command: file.alert.command.clone(),
            ..Self::default()
        };
        if let Some(text) = &file.agent.sweep_interval {
            config.sweep_interval = interval(text).map_err(|message| Fault::of("agent.sweep_interval", &message))?;
        }
        if let Some(max_processes) = file.agent.max_processes {
            config.max_processes = in_range("agent.max_processes", max_processes, 64, 4_194_304)?;
        }
        if let Some(ring_bytes) = file.agent.ring_bytes {
            config.ring_bytes = in_range("agent.ring_bytes", ring_bytes, 65_536, 1 << 30)?;
            if !config.ring_bytes.is_power_of_two() {
                let next = config.ring_bytes.next_power_of_two();
                let message = format!("{ring_bytes} is no power of two: write {next}");
                return Err(Fault::of("agent.ring_bytes", &message));
            }
        }
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        let group = accounts::group(file.agent.group.as_ref(), &groups);
        config.group = group.map_err(|message| Fault::of("agent.group", &message))?;
        if !file.rule.is_empty() {
            let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            let rule = |(n, table)| Rule::from_table(table, &format!("rule[{}]", n + 1), &users);
            config.rules = file.rule.iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        }
        config.limits = LimitPolicy::from_file(file)?;
        config.retention = history::retention(&file.history)?;
        if let Some(text) = &file.metrics.listen {
            let listen = text
                .parse()
                .map_err(|error: MetricsListenError| Fault::of("metrics.listen", &error));
            config.metrics = Some(listen?);
        }
        if let Some(text) = &file.adapt.tuning {
            let tuning = text
                .parse()
                .map_err(|error: TuningError| Fault::of("adapt.tuning", &error));
            config.tuning = tuning?;
        }
        Ok(config)
    }
}

/// A time between sweeps as a flag has it, within its bounds.
pub fn sweep_interval(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    interval(text).map_err(|message| ConfigError::Value { key, message })
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    let (shortest, longest) = SWEEP_INTERVALS;
    if interval < shortest || interval > longest {
        return Err(format!("{text} is not between 100ms and 60s"));
    }
    Ok(interval)
}

fn in_range(key: &str, value: u32, least: u32, most: u32) -> Result<u32, Fault> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let message = format!("{value} is not between {least} and {most}: write a number that is");
    Err(Fault::of(key, &message))
}

#[cfg(test)]
mod tests {
    //! Files as people write them.
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let read = Config::from_text(text).map_err(|faults| told("FILE".as_ref(), &faults));
        read.map(|(config, _)| Config { group: None, ..config })
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
        let (config, _) = Config::from_text(text).unwrap();
        assert_eq!(config.tuning, Tuning::Safe);
        assert_eq!(config.retention.kept_ms[..2], [3 * 3_600_000, 48 * 3_600_000]);
        assert_eq!(config.retention.max_bytes, 64 << 20);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_name_its_line_and_the_nearest_that_there_is() {
        for (text, said) in [
            (
                "[agent]\nsweep_intervall = '1s'\n",
                "FILE: line 2: agent.sweep_intervall: there is no such key: did you mean sweep_interval?",
            ),
            (
                "\n[agnet]\n",
                "line 2: agnet: there is no such key: did you mean agent?",
            ),
            (
                "[tool.a]\nfd = 1",
                "line 2: tool.a.fd: there is no such key: did you mean fds?",
            ),
            (
                "[tool.'a.b'.bugdet]\nfds = 1",
                "tool.\"a.b\".bugdet: there is no such key: did you mean budget?",
            ),
            (
                "[[rule]]\ntool = 'a'\nuser = 1\n[[rule]]\nuse = 1",
                "line 5: rule[2].use: there is no such key: did you mean user?",
            ),
            ("[agent]\ntuning = 'calm'", "there is one in [adapt]"),
            (
                "[history]\nwhatever = 1",
                "write one of hours, max_size, minutes, samples",
            ),
            ("[rule]\ntool = 'a'", "write [[rule]]"),
            ("agent = 1", "write [agent]"),
            (
                "[agent]\nmax_processes = 100\nmax_processes = 100",
                "line 3: this is no TOML",
            ),
            ("[agent\n", "line 1: this is no TOML"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let both = config("[agent]\nsweep = '1s'\nring = 2\n").unwrap_err();
        assert_eq!(both.lines().count(), 2, "all is told at once: {both}");
    }

    #[test]
    fn an_impossible_value_is_refused_with_its_place_and_what_is_possible() {
        for (text, said) in [
            (
                "[agent]\nsweep_interval = '5ms'",
                "line 2: agent.sweep_interval: 5ms is not between 100ms and 60s",
            ),
            ("[agent]\nsweep_interval = 'soon'", "agent.sweep_interval: `soon`"),
            (
                "[agent]\nsweep_interval = 5",
                "line 2: agent.sweep_interval: it is a text, not a whole number: write sweep_interval = \"1s\"",
            ),
            ("[agent]\nmax_processes = 1", "between 64"),
            ("[agent]\nmax_processes = '1'", "it is a whole number, not a text"),
            ("[agent]\nring_bytes = 100000", "131072"),
            ("[agent]\nmax_processes = -1", "line 2: agent.max_processes"),
            (
                "[agent]\ngroup = 'no-such-group'",
                "agent.group: there is no no-such-group",
            ),
            ("[limits]\nstrict = 'yes'", "it is true or false"),
            ("[limits]\nfds = 1.5", "it is a whole number or a text"),
            ("[tool.a]\nfds = -5", "line 2: tool.a.fds"),
            (
                "\n[[rule]]\ntool = 'x'",
                "line 2: rule[1]: the rule for x has no condition",
            ),
            ("[[rule]]\ntool = 'x'\nuser = 'no-such-user'", "line 3: rule[1].user"),
            (
                "[[rule]]\ntool = 'x'\nuser = 1\noperation = 'walk'",
                "line 4: rule[1].operation: it cannot be `walk`",
            ),
            (
                "[metrics]\nlisten = \"localhost\"",
                "line 2: metrics.listen: \"localhost\" is no address",
            ),
            ("[adapt]\ntuning = \"wild\"", "calm, balanced or safe"),
            (
                "[history]\nsamples = \"10m\"",
                "line 2: history.samples: 10m is too short: write 1h",
            ),
            ("[history]\nhours = \"1d\"", "minutes"),
            ("[history]\nmax_size = \"1M\"", "32M"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
