//! Which limits a tool gets: the built-in ones, what the file says for all and for its name, what it asks for itself, and
//! the operator's ceiling above all.

use std::collections::BTreeMap;

use super::{
    ConfigError, FileConfig,
    limits::{LimitError, parse_most},
};
use crate::model::{Ceiling, LimitSource, LimitsAsked, Resource, ToolLimits, ToolName};

/// What the file says about limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitPolicy {
    for_all: LimitsAsked,
    by_name: BTreeMap<ToolName, LimitsAsked>,
    ceiling: Ceiling,
}

impl LimitPolicy {
    pub(super) fn from_file(file: &FileConfig) -> Result<Self, ConfigError> {
        let wrong = |key, place: &str, resource: Resource, error: LimitError| ConfigError::Value {
            key,
            message: format!("{place}{resource}: {error}"),
        };
        let for_all = file.limits.asked();
        let for_all = for_all.map_err(|(resource, error)| wrong("limits", "", resource, error))?;
        let mut by_name = BTreeMap::new();
        for (name, table) in &file.tool {
            let parsed: ToolName = name.parse().map_err(|error| ConfigError::Value {
                key: "tool",
                message: format!("{error}"),
            })?;
            let asked = table.asked();
            let asked = asked.map_err(|(resource, error)| wrong("tool", &format!("{name}: "), resource, error))?;
            by_name.insert(parsed, asked);
        }
        let mut ceiling = Ceiling::default();
        for (resource, most) in Resource::ALL.into_iter().zip(&mut ceiling.0) {
            if let Some(text) = file.ceiling.text(resource) {
                let number = parse_most(resource, &text);
                *most = Some(number.map_err(|error| wrong("ceiling", "", resource, error))?);
            }
        }
        if file.ceiling.profile.is_some() {
            return Err(ConfigError::Value {
                key: "ceiling.profile",
                message: "a ceiling has one number a resource: write memory, cpu, fds, connections".to_owned(),
            });
        }
        Ok(Self {
            for_all,
            by_name,
            ceiling,
        })
    }

    /// The limits of a tool of this name that asks for these itself.
    pub fn resolve(&self, name: &ToolName, asked: &LimitsAsked) -> ToolLimits {
        let mut limits = ToolLimits::LIGHT.with(&self.for_all, LimitSource::Config);
        if let Some(of_name) = self.by_name.get(name) {
            limits = limits.with(of_name, LimitSource::ToolConfig);
        }
        limits.with(asked, LimitSource::Flag).under(&self.ceiling).at_base()
    }

    /// A tool's limits as somebody sets them while it runs.
    pub fn set(&self, limits: ToolLimits, asked: &LimitsAsked) -> ToolLimits {
        limits.with(asked, LimitSource::Set).under(&self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    //! Policies as files say them.
    use super::*;
    use crate::model::LimitSpan;

    fn policy(text: &str) -> Result<LimitPolicy, String> {
        let file: FileConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        LimitPolicy::from_file(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_wins_over_all_a_flag_over_the_name_and_the_ceiling_over_a_flag() {
        let text = "[limits]\nprofile = 'standard'\nfds = 300\n[tool.search]\nfds = '40:80'\nmemory = '1G'\n\
                    [ceiling]\nconnections = 60\n";
        let policy = policy(text).unwrap();
        let asked = LimitsAsked {
            memory: Some(LimitSpan {
                base: None,
                max: 64 << 20,
            }),
            ..LimitsAsked::default()
        };
        let limits = policy.resolve(&"search".parse().unwrap(), &asked);
        assert_eq!((limits.fds.base, limits.fds.max), (40, 80));
        assert_eq!(limits.fds.max_from, LimitSource::ToolConfig);
        assert_eq!((limits.memory.base, limits.memory.max), (64 << 20, 64 << 20));
        assert_eq!(limits.memory.max_from, LimitSource::Flag);
        assert_eq!(
            (limits.connections.max, limits.connections.max_from),
            (60, LimitSource::Ceiling)
        );
        let other = policy.resolve(&"other".parse().unwrap(), &LimitsAsked::default());
        assert_eq!(
            (other.fds.base, other.fds.max, other.fds.max_from),
            (256, 300, LimitSource::Config)
        );
        assert_eq!(other.cpu.max, 300_000);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, said) in [
            ("[limits]\nmemory = '100 bananas'", "limits: memory: `100 bananas`"),
            ("[tool.a]\nfds = '9:5'", "tool: a: fds: in `9:5`"),
            ("[tool.'a b']\nfds = 9", "a b"),
            ("[ceiling]\nfds = '5:9'", "ceiling: fds"),
            ("[ceiling]\nprofile = 'light'", "one number"),
            ("[limits]\nprofile = 'huge'", "huge"),
            ("[limits]\nmem = '1G'", "mem"),
        ] {
            let error = policy(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
