//! Limits as people write them: `100M:500M` is a base and a maximum, `500M` a maximum.

use std::str::FromStr;

use serde::Deserialize;

use super::units::{UnitError, parse_duration, parse_size};
use crate::model::{Budget, Ceiling, LONGEST_GRACE_MS, LimitSpan, LimitsAsked, Mode, Orphans, Profile, Resource};

/// A text is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// A number of it is none.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A count is none.
    #[error("`{0}` is no count: write a whole number, like 50, or a base and a maximum, like 50:200")]
    Count(String),
    /// The base is above the maximum.
    #[error("in `{text}` the base is above the maximum: write {turned}")]
    Turned {
        /// The text.
        text: String,
        /// The other way round.
        turned: String,
    },
    /// Nothing could live under it.
    #[error("`{text}` is less than the least that makes sense, {least}")]
    TooLow {
        /// The text.
        text: String,
        /// The least.
        least: &'static str,
    },
}

/// The least that a limit may be, as text.
const fn least(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "1M (a number without a unit is bytes)",
        Resource::Cpu => "10ms",
        Resource::Fds => "4: standard input, output and error, and one more",
        Resource::Connections => "1",
    }
}

fn number(resource: Resource, text: &str) -> Result<u64, LimitError> {
    let value = match resource {
        Resource::Memory => parse_size(text)?,
        Resource::Cpu => u64::try_from(parse_duration(text)?.as_millis()).unwrap_or(u64::MAX),
        Resource::Fds | Resource::Connections => {
            let count: Result<u32, _> = text.trim().parse();
            u64::from(count.map_err(|_| LimitError::Count(text.to_owned()))?)
        }
    };
    if value < resource.least_limit() {
        return Err(LimitError::TooLow {
            text: text.to_owned(),
            least: least(resource),
        });
    }
    Ok(value)
}

/// Reads `MAX` or `BASE:MAX` in the unit of a resource.
pub fn parse_limit(resource: Resource, text: &str) -> Result<LimitSpan, LimitError> {
    let Some((base, max)) = text.split_once(':') else {
        let max = number(resource, text)?;
        return Ok(LimitSpan { base: None, max });
    };
    let span = LimitSpan {
        base: Some(number(resource, base)?),
        max: number(resource, max)?,
    };
    if span.base > Some(span.max) {
        let turned = format!("{}:{}", max.trim(), base.trim());
        let text = text.to_owned();
        return Err(LimitError::Turned { text, turned });
    }
    Ok(span)
}

/// A number or a text, as a count may be written.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum NumberOrText {
    /// `50`.
    Number(u64),
    /// `"50:200"`.
    Text(String),
}

impl NumberOrText {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Limits in the file: the table `[limits]`, and those of `[tool.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsTable {
    /// `light`, `standard` or `heavy`.
    pub profile: Option<Profile>,
    /// Memory.
    pub memory: Option<String>,
    /// CPU time per operation.
    pub cpu: Option<String>,
    /// Open descriptors.
    pub fds: Option<NumberOrText>,
    /// Connections.
    pub connections: Option<NumberOrText>,
    /// `observe`, `throttle` or `enforce`.
    pub mode: Option<Mode>,
    /// Whether the kernel refuses at the limit in force, not at the maximum.
    pub strict: Option<bool>,
    /// Whether connections to this host itself are never refused.
    pub exempt_loopback: Option<bool>,
    /// `keep`, `alert` or `reap`: what is done about processes that outlive their tool.
    pub orphans: Option<Orphans>,
    /// How long processes that are asked to end may take before they are killed.
    pub grace: Option<Grace>,
    /// What all tools of the name may use together.
    pub budget: Option<BudgetTable>,
}

/// The table `[ceiling]`: one number each.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CeilingTable {
    /// Memory.
    pub memory: Option<String>,
    /// CPU time per operation.
    pub cpu: Option<String>,
    /// Open descriptors.
    pub fds: Option<NumberOrText>,
    /// Connections.
    pub connections: Option<NumberOrText>,
    /// No tool is held more gently.
    pub mode: Option<Mode>,
}

impl CeilingTable {
    /// What it says; where it is wrong, of which resource.
    pub(super) fn ceiling(&self) -> Result<Ceiling, (Resource, LimitError)> {
        let texts = [
            self.memory.clone(),
            self.cpu.clone(),
            self.fds.as_ref().map(NumberOrText::text),
            self.connections.as_ref().map(NumberOrText::text),
        ];
        let mut ceiling = Ceiling::default();
        for ((resource, most), text) in Resource::ALL.into_iter().zip(&mut ceiling.0).zip(texts) {
            let number = text.map(|text| number(resource, &text)).transpose();
            *most = number.map_err(|error| (resource, error))?;
        }
        Ok(ceiling)
    }
}

/// The tables `[tool.NAME.budget]`: one number each.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetTable {
    /// How many there may be.
    pub instances: Option<u64>,
    /// Memory.
    pub memory: Option<String>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Connections.
    pub connections: Option<u64>,
}

impl BudgetTable {
    /// What it says; where it is wrong, of which resource.
    pub(super) fn budget(&self) -> Result<Budget, (Resource, LimitError)> {
        let most = |resource, text: Option<String>| {
            let most = text.map(|text| number(resource, &text)).transpose();
            most.map_err(|error| (resource, error))
        };
        Ok(Budget {
            instances: self.instances,
            memory: most(Resource::Memory, self.memory.clone())?,
            fds: most(Resource::Fds, self.fds.map(|n| n.to_string()))?,
            connections: most(Resource::Connections, self.connections.map(|n| n.to_string()))?,
        })
    }
}

/// How long processes that are asked to end may take before they are killed, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Grace(pub u64);

/// A text is no [`Grace`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraceError {
    /// It is no time.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Nobody waits that long.
    #[error("`{0}` is longer than the longest grace, 1h")]
    TooLong(String),
}

impl FromStr for Grace {
    type Err = GraceError;

    fn from_str(text: &str) -> Result<Self, GraceError> {
        let ms = parse_duration(text)?.as_millis();
        match u64::try_from(ms) {
            Ok(ms) if ms <= LONGEST_GRACE_MS => Ok(Self(ms)),
            _ => Err(GraceError::TooLong(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Grace {
    type Error = GraceError;

    fn try_from(text: String) -> Result<Self, GraceError> {
        text.parse()
    }
}

impl LimitsTable {
    /// The text for a resource.
    pub(super) fn text(&self, resource: Resource) -> Option<String> {
        match resource {
            Resource::Memory => self.memory.clone(),
            Resource::Cpu => self.cpu.clone(),
            Resource::Fds => self.fds.as_ref().map(NumberOrText::text),
            Resource::Connections => self.connections.as_ref().map(NumberOrText::text),
        }
    }

    /// What it asks for; where it is wrong, of which resource.
    pub(super) fn asked(&self) -> Result<LimitsAsked, (Resource, LimitError)> {
        let span = |resource| {
            self.text(resource)
                .map(|text| parse_limit(resource, &text).map_err(|error| (resource, error)))
                .transpose()
        };
        Ok(LimitsAsked {
            profile: self.profile,
            memory: span(Resource::Memory)?,
            cpu: span(Resource::Cpu)?,
            fds: span(Resource::Fds)?,
            connections: span(Resource::Connections)?,
            mode: self.mode,
            strict: self.strict,
            exempt_loopback: self.exempt_loopback,
            orphans: self.orphans,
            grace_ms: self.grace.map(|grace| grace.0),
        })
    }
}

#[cfg(test)]
mod tests {
    //! Limits as people write them, and as they mistype them.
    use super::*;

    #[test]
    fn one_number_is_the_maximum_and_two_are_base_and_maximum() {
        let span = |resource, text| parse_limit(resource, text).map(|span| (span.base, span.max));
        assert_eq!(span(Resource::Memory, "100M:500M"), Ok((Some(100 << 20), 500 << 20)));
        assert_eq!(span(Resource::Memory, "1.5G"), Ok((None, 3 << 29)));
        assert_eq!(span(Resource::Cpu, "30s:2m"), Ok((Some(30_000), 120_000)));
        assert_eq!(span(Resource::Fds, "50:200"), Ok((Some(50), 200)));
        assert_eq!(span(Resource::Connections, "10"), Ok((None, 10)));
    }

    #[test]
    fn a_grace_is_a_time_of_no_more_than_an_hour() {
        let grace = |text: &str| text.parse::<Grace>();
        assert_eq!(grace("1.5s"), Ok(Grace(1500)));
        assert_eq!(grace("1h"), Ok(Grace(LONGEST_GRACE_MS)));
        for (text, said) in [("2h", "1h"), ("10", "250ms, 1s"), ("soon", "250ms, 1s")] {
            let error = grace(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(grace("0s").unwrap_or(Grace(0)), Grace(0));
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_to_write() {
        for (resource, text, said) in [
            (Resource::Memory, "500M:100M", "write 100M:500M"),
            (Resource::Memory, "100 bananas", "like 512K, 100M"),
            (Resource::Memory, "1e30", "100M"),
            (Resource::Memory, "-100M", "100M"),
            (Resource::Memory, "100", "1M"),
            (Resource::Memory, "0", "1M"),
            (Resource::Cpu, "30", "250ms, 1s"),
            (Resource::Cpu, "0s", "10ms"),
            (Resource::Fds, "0", "4"),
            (Resource::Fds, "1.5", "whole number"),
            (Resource::Fds, "50:", "whole number"),
            (Resource::Connections, "0", "1"),
            (Resource::Connections, "99999999999", "whole number"),
        ] {
            let error = parse_limit(resource, text).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains('`'), "{text}: {error}");
        }
    }
}
