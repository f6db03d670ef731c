//! Where a configuration is read from, and what was said on the command line besides.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::OFlags;

use super::{Config, ConfigError, Fault, MetricsListen};
use crate::model::{Setting, Tuning};

/// Where the configuration is unless something else is said.
pub const DEFAULT_FILE: &str = "/etc/resmgr/resmgr.toml";

/// The largest file that is read: nobody writes more.
const LARGEST: u64 = 1 << 20;

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file; `None` for what is built in.
    pub file: Option<PathBuf>,
    /// Where it is not there, what is built in holds.
    pub optional: bool,
    /// `--sweep-interval`, which wins over the file.
    pub sweep_interval: Option<Duration>,
    /// `--tuning`, likewise.
    pub tuning: Option<Tuning>,
    /// `--metrics-listen`, likewise.
    pub metrics: Option<MetricsListen>,
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file that it was read from.
    pub file: Option<PathBuf>,
    /// What it means.
    pub config: Config,
    /// What every key is, and where that comes from.
    pub settings: Vec<Setting>,
}

impl Loaded {
    /// One that a program gives, and no file.
    pub fn given(config: Config) -> Self {
        Self {
            file: None,
            config,
            settings: Vec::new(),
        }
    }
}

impl ConfigSource {
    /// Reads it.
    pub fn read(&self) -> Result<Loaded, ConfigError> {
        let text = match &self.file {
            Some(path) => match text_of(path) {
                Err(ConfigError::Read { source, .. }) if self.optional && source.kind() == io::ErrorKind::NotFound => {
                    None
                }
                text => Some((path, text?)),
            },
            None => None,
        };
        let read = Config::from_text(text.as_ref().map_or("", |(_, text)| text));
        let file = text.map(|(path, _)| path.clone());
        let (mut config, written) = read.map_err(|faults| ConfigError::Faults {
            path: file.clone().unwrap_or_default(),
            faults,
        })?;
        let mut settings = written.settings();
        let mut flag = |table: &str, key: &str, value: String, flag: &str| {
            let of_key = |setting: &&mut Setting| setting.table == table && setting.key == key;
            if let Some(setting) = settings.iter_mut().find(of_key) {
                setting.value = Some(value);
                flag.clone_into(&mut setting.from);
            }
        };
        if let Some(interval) = self.sweep_interval {
            config.sweep_interval = interval;
            let value = format!("\"{}ms\"", interval.as_millis());
            flag("[agent]", "sweep_interval", value, "--sweep-interval");
        }
        if let Some(tuning) = self.tuning {
            config.tuning = tuning;
            flag("[adapt]", "tuning", format!("\"{tuning}\""), "--tuning");
        }
        if let Some(listen) = self.metrics {
            config.metrics = Some(listen);
            flag("[metrics]", "listen", format!("\"{listen}\""), "--metrics-listen");
        }
        Ok(Loaded { file, config, settings })
    }
}

/// The text of a file: of nothing else, and of no more than anybody writes.
pub fn text_of(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    // What would wait for somebody to write is opened all the same.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(read)?;
    let about = file.metadata().map_err(read)?;
    let kind = about.file_type();
    let what = match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        () => Some("a pipe or a socket"),
    };
    let wrong = |message: String| ConfigError::Faults {
        path: path.to_owned(),
        faults: vec![Fault::of("", &message)],
    };
    if let Some(what) = what {
        return Err(wrong(format!("this is {what}: name a file")));
    }
    let too_large = || {
        let message = format!("it has more than {LARGEST} bytes: no configuration has; name another file");
        wrong(message)
    };
    if about.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(valid)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        ConfigError::Faults {
            path: path.to_owned(),
            faults: vec![Fault {
                line: Some(line),
                key: String::new(),
                message: "this is no UTF-8 text: save it as UTF-8".to_owned(),
            }],
        }
    })
}
