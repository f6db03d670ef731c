//! Which limits a tool gets: the built-in ones, what the file says for all and for its name, what it asks for itself, and
//! the operator's ceiling above all.

use std::collections::BTreeMap;

use super::{Fault, FileConfig, limits::LimitError, written::quoted};
use crate::model::{
    Budget, Ceiling, Enforcement, LimitSource, LimitSpan, LimitsAsked, Mode, Resource, ToolLimits, ToolName, ToolOrigin,
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
    pub(super) fn from_file(file: &FileConfig) -> Result<Self, Fault> {
        let wrong =
            |table: &str, (resource, error): (Resource, LimitError)| Fault::of(format!("{table}.{resource}"), &error);
        let for_all = file.limits.asked().map_err(|error| wrong("limits", error))?;
        if file.limits.budget.is_some() {
            return Err(Fault::of(
                "limits.budget",
                "a budget is a name's: write [tool.NAME.budget]",
            ));
        }
        let mut by_name = BTreeMap::new();
        let mut budgets = BTreeMap::new();
        for (name, table) in &file.tool {
            let key = format!("tool.{}", quoted(name));
            let parsed: ToolName = name.parse().map_err(|error| Fault::of(&*key, &error))?;
            let asked = table.asked().map_err(|error| wrong(&key, error))?;
            if let Some(table) = &table.budget {
                let key = format!("{key}.budget");
                let budget = table.budget().map_err(|error| wrong(&key, error))?;
                if budget.instances == Some(0) {
                    let key = format!("{key}.instances");
                    return Err(Fault::of(key, "0 would let none begin: write 1 or more"));
                }
                budgets.insert(parsed.clone(), budget);
            }
            by_name.insert(parsed, asked);
        }
        Ok(Self {
            for_all,
            by_name,
            budgets,
            ceiling: file.ceiling.ceiling().map_err(|error| wrong("ceiling", error))?,
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

    /// What a running tool's limits become, and how they are held, where this policy takes the place of another. What the
    /// other gave becomes what this one gives; what somebody asked for stays; the ceiling cuts both.
    pub fn in_place_of(
        &self,
        before: &Self,
        (name, origin): (&ToolName, ToolOrigin),
        (limits, enforcement): (ToolLimits, Enforcement),
    ) -> (ToolLimits, Enforcement) {
        let nothing = LimitsAsked::default();
        let (given, _) = before.resolve(name, &nothing, origin);
        let is_given = |resource: &Resource| given.range(*resource).is_of_same_numbers(limits.range(*resource));
        let mut asked = nothing;
        for resource in Resource::ALL.into_iter().filter(|resource| !is_given(resource)) {
            let range = limits.range(resource);
            *asked.span_mut(resource) = Some(LimitSpan {
                base: Some(range.base),
                max: range.max,
            });
        }
        let (_, was) = before.resolve(name, &asked, origin);
        let (gives, _) = self.resolve(name, &nothing, origin);
        let (_, held) = self.resolve(name, &asked, origin);
        let mut new = limits;
        for resource in Resource::ALL.into_iter().filter(is_given) {
            new = new.with_range(resource, gives.range(resource));
        }
        (new.under(&self.ceiling), self.at_least(enforcement.follow(was, held)))
    }

    /// What somebody asks for that goes beyond the ceiling: of which resource, how much, and the ceiling. A profile does
    /// not: of that, everybody gets what there may be.
    pub fn above_ceiling(&self, asked: &LimitsAsked) -> Option<(Resource, u64, u64)> {
        let beyond = |(resource, most): (Resource, Option<u64>)| {
            let (max, most) = (asked.span(resource)?.max, most?);
            (max > most).then_some((resource, max, most))
        };
        Resource::ALL.into_iter().zip(self.ceiling.0).find_map(beyond)
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
    use crate::config::Config;

    fn policy(text: &str) -> Result<LimitPolicy, String> {
        let read = Config::from_text(text).map_err(|faults| faults.iter().map(ToString::to_string).collect::<String>());
        read.map(|(config, _)| config.limits)
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
            ("[tool.a.budget]\nmemory = '1G:2G'", "line 2: tool.a.budget.memory"),
            ("[tool.a.budget]\ncpu = '1m'", "cpu"),
            ("[tool.a.budget]\ninstances = 0", "1 or more"),
            ("[limits.budget]\nfds = 100", "[tool.NAME.budget]"),
            ("[limits]\nmemory = '100 bananas'", "limits.memory: `100 bananas`"),
            ("[tool.a]\nfds = '9:5'", "line 2: tool.a.fds: in `9:5`"),
            ("[tool.'a b']\nfds = 9", "a b"),
            ("[ceiling]\nfds = '5:9'", "ceiling.fds"),
            ("[ceiling]\nprofile = 'light'", "[limits]"),
            ("[ceiling]\nstrict = true", "[limits]"),
            ("[limits]\nmode = 'kill'", "line 2: limits.mode: it cannot be `kill`"),
            ("[limits]\nprofile = 'huge'", "huge"),
            ("[limits]\norphans = 'adopt'", "adopt"),
            (
                "[limits]\ngrace = '2h'",
                "limits.grace: `2h` is longer than the longest grace, 1h",
            ),
            ("[limits]\nmem = '1G'", "line 2: limits.mem"),
        ] {
            let error = policy(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_configuration_gave_follows_it_and_what_somebody_asked_for_stays() {
        let name: ToolName = "t".parse().unwrap();
        let (old, new) = (
            policy("[limits]\nfds = '40:80'\nmode = 'observe'").unwrap(),
            policy("[tool.t]\nfds = '60:90'\nmode = 'throttle'\n[ceiling]\nmemory = '200M'\nconnections = 20").unwrap(),
        );
        let asked = LimitsAsked {
            connections: Some(LimitSpan {
                base: Some(15),
                max: 30,
            }),
            strict: Some(true),
            ..LimitsAsked::default()
        };
        let (limits, enforcement) = old.resolve(&name, &asked, ToolOrigin::Exec);
        let limits = limits.with_current(Resource::Fds, 75);
        let (now, held) = new.in_place_of(&old, (&name, ToolOrigin::Exec), (limits, enforcement));
        assert_eq!((now.fds.base, now.fds.current, now.fds.max), (60, 75, 90));
        assert_eq!(now.fds.max_from, LimitSource::ToolConfig);
        assert_eq!((now.connections.base, now.connections.max), (15, 20));
        assert_eq!(now.connections.max_from, LimitSource::Ceiling);
        assert_eq!((now.memory.max, now.memory.max_from), (200 << 20, LimitSource::Ceiling));
        assert_eq!((now.cpu, held.mode, held.strict), (limits.cpu, Mode::Throttle, true));
        // The same again changes nothing, and what a ceiling has cut for somebody stays cut.
        assert_eq!(
            new.in_place_of(&new, (&name, ToolOrigin::Exec), (now, held)),
            (now, held)
        );
        let (back, _) = old.in_place_of(&new, (&name, ToolOrigin::Exec), (now, held));
        assert_eq!(
            (back.memory.max, back.fds.max, back.connections.max),
            (500 << 20, 80, 20)
        );
    }

    #[test]
    fn what_goes_beyond_the_ceiling_is_told_and_a_profile_does_not() {
        let policy = policy("[ceiling]\nfds = 100").unwrap();
        let asked = |max, profile| LimitsAsked {
            fds: Some(LimitSpan { base: None, max }),
            profile,
            ..LimitsAsked::default()
        };
        assert_eq!(policy.above_ceiling(&asked(101, None)), Some((Resource::Fds, 101, 100)));
        assert_eq!(
            policy.above_ceiling(&asked(100, Some(crate::model::Profile::Heavy))),
            None
        );
    }
}
