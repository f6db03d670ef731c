//! How a tool's limits are held.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::LimitRange;

/// What is done about a use that reaches its limit, the gentlest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is told.
    Observe,
    /// It is told, and what goes beyond the maximum is refused or slowed.
    #[default]
    Throttle,
    /// It is told, refused or slowed, and ended where that does not help.
    Enforce,
}

/// A text that names no [`Mode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: write observe, throttle or enforce")]
pub struct ModeError(String);

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Throttle, Self::Enforce];
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let named = |mode: &Self| mode.to_string() == text;
        let mode = Self::ALL.into_iter().find(named);
        mode.ok_or_else(|| ModeError(text.to_owned()))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Throttle => "throttle",
            Self::Enforce => "enforce",
        })
    }
}

/// What is done about processes that outlive their tool's first one, or whoever started the tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    /// Nothing.
    Keep,
    /// It is told.
    #[default]
    Alert,
    /// The tool is ended.
    Reap,
}

/// A text that names no [`Orphans`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing to do about orphans: write keep, alert or reap")]
pub struct OrphansError(String);

impl Orphans {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Alert, Self::Reap];
}

impl FromStr for Orphans {
    type Err = OrphansError;

    fn from_str(text: &str) -> Result<Self, OrphansError> {
        let named = |orphans: &Self| orphans.to_string() == text;
        let orphans = Self::ALL.into_iter().find(named);
        orphans.ok_or_else(|| OrphansError(text.to_owned()))
    }
}

impl fmt::Display for Orphans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Alert => "alert",
            Self::Reap => "reap",
        })
    }
}

/// The longest that processes may be given to end, in milliseconds: an hour.
pub const LONGEST_GRACE_MS: u64 = 3_600_000;

/// How a tool's limits are held, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Enforcement {
    /// What is done about a use that reaches its limit.
    pub mode: Mode,
    /// The kernel refuses descriptors and connections at the limit in force, not at the maximum.
    pub strict: bool,
    /// Connections to this host itself are never refused.
    pub exempt_loopback: bool,
    /// What is done about processes that outlive their tool's first one, or whoever started the tool.
    pub orphans: Orphans,
    /// How long processes that are asked to end may take before they are killed, in milliseconds.
    pub grace_ms: u64,
}

impl Enforcement {
    /// This one, where what was one thing is another now; what is neither stays.
    #[must_use]
    pub fn follow(self, was: Self, is: Self) -> Self {
        fn one<T: PartialEq>(own: T, was: &T, is: T) -> T {
            if own == *was { is } else { own }
        }
        Self {
            mode: one(self.mode, &was.mode, is.mode),
            strict: one(self.strict, &was.strict, is.strict),
            exempt_loopback: one(self.exempt_loopback, &was.exempt_loopback, is.exempt_loopback),
            orphans: one(self.orphans, &was.orphans, is.orphans),
            grace_ms: one(self.grace_ms, &was.grace_ms, is.grace_ms),
        }
    }
}

impl Default for Enforcement {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            strict: false,
            exempt_loopback: false,
            orphans: Orphans::default(),
            grace_ms: 10_000,
        }
    }
}

impl Enforcement {
    /// The most of something that the kernel lets a tool have; `None` where it refuses nothing.
    pub fn most(&self, limit: LimitRange) -> Option<u64> {
        match self.mode {
            Mode::Observe => None,
            Mode::Throttle | Mode::Enforce if self.strict => Some(limit.current.min(limit.max)),
            Mode::Throttle | Mode::Enforce => Some(limit.max),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Modes, and what they refuse.
    use super::*;

    #[test]
    fn a_mode_is_written_as_it_is_shown() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "kill".parse::<Mode>().unwrap_err();
        assert!(error.to_string().contains("observe, throttle or enforce"), "{error}");
        for orphans in Orphans::ALL {
            assert_eq!(orphans.to_string().parse(), Ok(orphans));
        }
        let error = "kill".parse::<Orphans>().unwrap_err();
        assert!(error.to_string().contains("keep, alert or reap"), "{error}");
    }

    #[test]
    fn the_kernel_refuses_at_the_maximum_or_where_it_is_strict_at_what_is_in_force() {
        let limit = LimitRange {
            current: 20,
            ..LimitRange::new(10, 50)
        };
        let most = |mode, strict| {
            Enforcement {
                mode,
                strict,
                ..Enforcement::default()
            }
            .most(limit)
        };
        assert_eq!(most(Mode::Observe, true), None);
        assert_eq!(most(Mode::Throttle, false), Some(50));
        assert_eq!(most(Mode::Enforce, true), Some(20));
    }
}
