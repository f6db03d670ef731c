//! What the agent goes by: the configuration as it was last read, and what became of the last try to read it again.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};

use super::server::Caller;
use crate::{
    config::{Config, ConfigError, ConfigSource, Loaded, MetricsListen, SECTIONS},
    model::Setting,
    protocol::{ConfigurationReport, ConfigurationStatus, Refusal, RefusalCode, ReloadRefused, Reloaded},
};

/// The configuration and where it comes from.
#[derive(Debug)]
pub(super) struct Configuration {
    source: Option<ConfigSource>,
    loaded: Loaded,
    /// What the agent began with.
    first: Vec<Setting>,
    /// Where scrapes are answered.
    scraped_at: Option<SocketAddr>,
    read_at: DateTime<Utc>,
    refused: Option<ReloadRefused>,
}

impl Configuration {
    pub(super) fn new(source: Option<ConfigSource>, loaded: Loaded, now: DateTime<Utc>) -> Self {
        Self {
            source,
            first: loaded.settings.clone(),
            scraped_at: match loaded.config.metrics {
                Some(MetricsListen::At(address)) => Some(address),
                Some(MetricsListen::Off) | None => None,
            },
            loaded,
            read_at: now,
            refused: None,
        }
    }

    /// Where scrapes are answered, whatever was read since.
    pub(super) fn scraped_at(&self) -> Option<SocketAddr> {
        self.scraped_at
    }

    /// What holds.
    pub(super) fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Reads it again; where it cannot be used, what was read before stays, and it is remembered why.
    pub(super) fn read(&mut self, now: DateTime<Utc>) -> Result<Reloaded, Refusal> {
        let Some(source) = &self.source else {
            let message = "this agent is a part of another program, which gives its configuration";
            return Err(Refusal::new(RefusalCode::Conflict, message));
        };
        match source.read() {
            Ok(loaded) => {
                let changed = changed(&self.loaded.settings, &loaded.settings);
                self.loaded = loaded;
                self.read_at = now;
                self.refused = None;
                Ok(Reloaded {
                    file: self.loaded.file.clone(),
                    changed,
                    after_restart: self.after_restart(),
                    tools: 0,
                })
            }
            Err(error) => Err(self.refuse(&error, now)),
        }
    }

    fn refuse(&mut self, error: &ConfigError, at: DateTime<Utc>) -> Refusal {
        let message = error.to_string();
        self.refused = Some(ReloadRefused {
            at,
            message: message.clone(),
        });
        let message = format!("{message}\nwhat was read before holds");
        Refusal::new(RefusalCode::BadConfiguration, message)
    }

    /// What is another than the agent began with, and is taken in at its start alone.
    fn after_restart(&self) -> Vec<String> {
        let is_for_start = |name: &String| {
            let sections = SECTIONS.iter().filter(|section| !section.is_of_many());
            let mut keys = sections.flat_map(|section| section.keys.iter().map(move |key| (section.path, key)));
            keys.any(|(path, key)| key.at_start && *name == format!("{path}.{}", key.name))
        };
        let mut changed = changed(&self.first, &self.loaded.settings);
        changed.retain(is_for_start);
        changed
    }

    /// How it stands, for whoever may know.
    pub(super) fn status(&self, caller: Caller) -> Option<ConfigurationStatus> {
        caller.sees_all().then(|| ConfigurationStatus {
            file: self.loaded.file.clone(),
            read_at: self.read_at,
            after_restart: self.after_restart(),
            refused: self.refused.clone(),
        })
    }

    /// All that holds. A key may be a secret, as a command is.
    pub(super) fn report(&self, caller: Caller) -> Result<ConfigurationReport, Refusal> {
        caller.must_be_root("show the agent's configuration")?;
        Ok(ConfigurationReport {
            status: self.status(caller).unwrap_or_default(),
            settings: self.loaded.settings.clone(),
        })
    }
}

/// The keys, `table.key`, that are one thing here and another there.
fn changed(before: &[Setting], now: &[Setting]) -> Vec<String> {
    let name = |setting: &Setting| format!("{}.{}", setting.table.trim_matches(['[', ']']), setting.key);
    let values = |settings: &[Setting]| -> Vec<(String, Option<String>)> {
        settings
            .iter()
            .map(|setting| (name(setting), setting.value.clone()))
            .collect()
    };
    let (before, now) = (values(before), values(now));
    let gone = before.iter().filter(|setting| !now.contains(setting));
    let come = now.iter().filter(|setting| !before.contains(setting));
    let mut names: Vec<String> = gone.chain(come).map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
