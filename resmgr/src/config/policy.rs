//! Which limits a tool gets: the built-in ones, what the file says for all and for its name, what it asks for itself, and
//! the operator's ceiling above all.

use std::collections::BTreeMap;

use super::{
    ConfigError, FileConfig,
    limits::{LimitError, parse_most},
};
use crate::model::{
    Budget, Ceiling, Enforcement, LimitSource, LimitsAsked, Mode, Resource, ToolLimits, ToolName, ToolOrigin,
};

/// What the file says about limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitPolicy {
    for_all: LimitsAsked,
    by_name: BTreeMap<ToolName, LimitsAsked>,
    budgets: BTreeMap<ToolName, Budget>,
    ceiling: Ceiling,
    /// No tool's limits are held more gently.
    gentlest: Option<Mode>,
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
        let mut budgets = BTreeMap::new();
        if file.limits.budget.is_some() || file.ceiling.budget.is_some() {
            return Err(ConfigError::Value {
                key: "budget",
                message: "a budget is a name's: write [tool.NAME.budget]".to_owned(),
            });
        }
        for (name, table) in &file.tool {
            let parsed: ToolName = name.parse().map_err(|error| ConfigError::Value {
                key: "tool",
                message: format!("{error}"),
            })?;
            let asked = table.asked();
            let asked = asked.map_err(|(resource, error)| wrong("tool", &format!("{name}: "), resource, error))?;
            if let Some(table) = &table.budget {
                let budget = table.budget();
                let place = format!("{name}: budget: ");
                let budget = budget.map_err(|(resource, error)| wrong("tool", &place, resource, error))?;
                if budget.instances == Some(0) {
                    return Err(ConfigError::Value {
                        key: "tool",
                        message: format!("{name}: budget: instances: 0 would let none begin: write 1 or more"),
                    });
                }
                budgets.insert(parsed.clone(), budget);
            }
            by_name.insert(parsed, asked);
        }
        let mut ceiling = Ceiling::default();
        for (resource, most) in Resource::ALL.into_iter().zip(&mut ceiling.0) {
            if let Some(text) = file.ceiling.text(resource) {
                let number = parse_most(resource, &text);
                *most = Some(number.map_err(|error| wrong("ceiling", "", resource, error))?);
            }
        }
        let table = &file.ceiling;
        let has_more = table.profile.is_some()
            || table.strict.is_some()
            || table.exempt_loopback.is_some()
            || table.orphans.is_some()
            || table.grace.is_some();
        if has_more {
            return Err(ConfigError::Value {
                key: "ceiling",
                message:
                    "a ceiling has one number a resource: write memory, cpu, fds, connections; and the gentlest mode"
                        .to_owned(),
            });
        }
        Ok(Self {
            for_all,
            by_name,
            budgets,
            ceiling,
            gentlest: file.ceiling.mode,
        })
    }

    /// The limits of a tool of this name that asks for these itself, and how they are held. Unless a mode was given, those
    /// of a tool that is run are enforced where a person gave one of them, else it is throttled by them; a tool that was
    /// found is observed.
    pub fn resolve(&self, name: &ToolName, asked: &LimitsAsked, origin: ToolOrigin) -> (ToolLimits, Enforcement) {
        let nothing = LimitsAsked::default();
        let said = [
            (&self.for_all, LimitSource::Config),
            (self.by_name.get(name).unwrap_or(&nothing), LimitSource::ToolConfig),
            (asked, LimitSource::Flag),
        ];
        let is_given = said.iter().any(|(asked, _)| asked.has_limits());
        let mut enforcement = Enforcement {
            mode: match origin {
                ToolOrigin::Exec | ToolOrigin::Api if is_given => Mode::Enforce,
                ToolOrigin::Exec | ToolOrigin::Api => Mode::Throttle,
                ToolOrigin::Process | ToolOrigin::Cgroup | ToolOrigin::Rule => Mode::Observe,
            },
            ..Enforcement::default()
        };
        let mut limits = ToolLimits::LIGHT;
        for (asked, source) in said {
            limits = limits.with(asked, source);
            enforcement = asked.enforcement(enforcement);
        }
        (limits.under(&self.ceiling).at_base(), self.at_least(enforcement))
    }

    /// A tool's limits as somebody sets them while it runs, and how they are held.
    pub fn set(
        &self,
        (limits, enforcement): (ToolLimits, Enforcement),
        asked: &LimitsAsked,
    ) -> (ToolLimits, Enforcement) {
        let limits = limits.with(asked, LimitSource::Set).under(&self.ceiling);
        (limits, self.at_least(asked.enforcement(enforcement)))
    }

    /// What all tools of a name may use together.
    pub fn budget(&self, name: &ToolName) -> Option<&Budget> {
        self.budgets.get(name)
    }

    /// Whether there is any budget.
    pub fn has_budgets(&self) -> bool {
        !self.budgets.is_empty()
    }

    /// The operator's ceiling of memory in bytes.
    pub fn memory_ceiling(&self) -> Option<u64> {
        self.ceiling.0[Resource::Memory as usize]
    }

    fn at_least(&self, enforcement: Enforcement) -> Enforcement {
        Enforcement {
            mode: enforcement.mode.max(self.gentlest.unwrap_or(Mode::Observe)),
            ..enforcement
        }
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
        let (limits, _) = policy.resolve(&"search".parse().unwrap(), &asked, ToolOrigin::Exec);
        assert_eq!((limits.fds.base, limits.fds.max), (40, 80));
        assert_eq!(limits.fds.max_from, LimitSource::ToolConfig);
        assert_eq!((limits.memory.base, limits.memory.max), (64 << 20, 64 << 20));
        assert_eq!(limits.memory.max_from, LimitSource::Flag);
        assert_eq!(
            (limits.connections.max, limits.connections.max_from),
            (60, LimitSource::Ceiling)
        );
        let (other, _) = policy.resolve(&"other".parse().unwrap(), &LimitsAsked::default(), ToolOrigin::Exec);
        assert_eq!(
            (other.fds.base, other.fds.max, other.fds.max_from),
            (256, 300, LimitSource::Config)
        );
        assert_eq!(other.cpu.max, 300_000);
    }

    #[test]
    fn what_a_person_gave_is_enforced_and_what_was_found_is_observed() {
        let held = |text: &str, asked: &LimitsAsked, origin| {
            let (_, enforcement) = policy(text).unwrap().resolve(&"t".parse().unwrap(), asked, origin);
            enforcement
        };
        let nothing = LimitsAsked::default();
        let given = LimitsAsked {
            profile: Some(crate::model::Profile::Standard),
            ..nothing
        };
        assert_eq!(held("", &nothing, ToolOrigin::Exec).mode, Mode::Throttle);
        assert_eq!(held("", &given, ToolOrigin::Exec).mode, Mode::Enforce);
        assert_eq!(
            held("[tool.t]\nfds = 9", &nothing, ToolOrigin::Exec).mode,
            Mode::Enforce
        );
        assert_eq!(
            held("[tool.u]\nfds = 9", &nothing, ToolOrigin::Exec).mode,
            Mode::Throttle
        );
        for origin in [ToolOrigin::Process, ToolOrigin::Cgroup, ToolOrigin::Rule] {
            assert_eq!(held("", &given, origin).mode, Mode::Observe);
        }
        let text = "[limits]\nmode = 'observe'\nstrict = true\n[tool.t]\nmode = 'throttle'";
        let enforcement = held(text, &given, ToolOrigin::Exec);
        assert_eq!((enforcement.mode, enforcement.strict), (Mode::Throttle, true));
        let asked = LimitsAsked {
            mode: Some(Mode::Enforce),
            strict: Some(false),
            ..nothing
        };
        let enforcement = held(text, &asked, ToolOrigin::Rule);
        assert_eq!((enforcement.mode, enforcement.strict), (Mode::Enforce, false));
        let text = "[ceiling]\nmode = 'throttle'";
        assert_eq!(held(text, &nothing, ToolOrigin::Rule).mode, Mode::Throttle);
        let asked = LimitsAsked {
            mode: Some(Mode::Observe),
            ..nothing
        };
        assert_eq!(held(text, &asked, ToolOrigin::Exec).mode, Mode::Throttle);
    }

    #[test]
    fn a_budget_is_a_names() {
        let policy = policy("[tool.a]\nfds = 40\n[tool.a.budget]\nmemory = '2G'\nfds = 300\ninstances = 8").unwrap();
        let budget = *policy.budget(&"a".parse().unwrap()).unwrap();
        assert_eq!(
            (budget.instances, budget.memory, budget.fds),
            (Some(8), Some(2 << 30), Some(300))
        );
        assert_eq!(budget.limit(Resource::Connections), None);
        assert!(policy.has_budgets() && policy.budget(&"b".parse().unwrap()).is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, said) in [
            ("[tool.a.budget]\nmemory = '1G:2G'", "tool: a: budget: memory"),
            ("[tool.a.budget]\ncpu = '1m'", "cpu"),
            ("[tool.a.budget]\ninstances = 0", "1 or more"),
            ("[limits.budget]\nfds = 100", "[tool.NAME.budget]"),
            ("[limits]\nmemory = '100 bananas'", "limits: memory: `100 bananas`"),
            ("[tool.a]\nfds = '9:5'", "tool: a: fds: in `9:5`"),
            ("[tool.'a b']\nfds = 9", "a b"),
            ("[ceiling]\nfds = '5:9'", "ceiling: fds"),
            ("[ceiling]\nprofile = 'light'", "one number"),
            ("[ceiling]\nstrict = true", "one number"),
            ("[limits]\nmode = 'kill'", "kill"),
            ("[limits]\nprofile = 'huge'", "huge"),
            ("[limits]\norphans = 'adopt'", "adopt"),
            ("[limits]\ngrace = '2h'", "1h"),
            ("[ceiling]\ngrace = '2s'", "one number"),
            ("[limits]\nmem = '1G'", "mem"),
        ] {
            let error = policy(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
