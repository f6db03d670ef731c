//! Limits as somebody asks for them.

use serde::{Deserialize, Serialize};

use super::{Enforcement, LONGEST_GRACE_MS, Mode, Orphans, Profile, Resource, ResourceLimits};

/// A limit that somebody asks for, in the resource's unit: one number is the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSpan {
    /// The lowest that the limit may become, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// The highest.
    pub max: u64,
}

/// Limits that somebody asks for; what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsAsked {
    /// All of them at once; what follows goes beyond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<LimitSpan>,
    /// CPU time per operation in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<LimitSpan>,
    /// Open descriptors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fds: Option<LimitSpan>,
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<LimitSpan>,
    /// What is done about a use that reaches its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether the kernel refuses at the limit in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Whether connections to this host itself are never refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt_loopback: Option<bool>,
    /// What is done about processes that outlive their tool's first one, or whoever started the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// How long processes that are asked to end may take before they are killed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

impl LimitsAsked {
    /// Limits between a base and a maximum, of every resource.
    pub fn between(base: &ResourceLimits, max: &ResourceLimits) -> Self {
        let span = |resource| {
            Some(LimitSpan {
                base: Some(base.of(resource)),
                max: max.of(resource),
            })
        };
        Self {
            memory: span(Resource::Memory),
            cpu: span(Resource::Cpu),
            fds: span(Resource::Fds),
            connections: span(Resource::Connections),
            ..Self::default()
        }
    }

    /// What is asked for here, and where that is nothing, what was asked for before.
    #[must_use]
    pub fn over(&self, before: &Self) -> Self {
        Self {
            profile: self.profile.or(before.profile),
            memory: self.memory.or(before.memory),
            cpu: self.cpu.or(before.cpu),
            fds: self.fds.or(before.fds),
            connections: self.connections.or(before.connections),
            mode: self.mode.or(before.mode),
            strict: self.strict.or(before.strict),
            exempt_loopback: self.exempt_loopback.or(before.exempt_loopback),
            orphans: self.orphans.or(before.orphans),
            grace_ms: self.grace_ms.or(before.grace_ms),
        }
    }

    /// What is asked for a resource, to be changed.
    pub const fn span_mut(&mut self, resource: Resource) -> &mut Option<LimitSpan> {
        match resource {
            Resource::Memory => &mut self.memory,
            Resource::Cpu => &mut self.cpu,
            Resource::Fds => &mut self.fds,
            Resource::Connections => &mut self.connections,
        }
    }

    /// What is asked for a resource.
    pub const fn span(&self, resource: Resource) -> Option<LimitSpan> {
        match resource {
            Resource::Memory => self.memory,
            Resource::Cpu => self.cpu,
            Resource::Fds => self.fds,
            Resource::Connections => self.connections,
        }
    }

    /// What is wrong with what is asked for, of which resource; `None` where it can be had.
    pub fn fault(&self) -> Option<(Resource, &'static str)> {
        let fault = |resource: Resource| {
            let span = self.span(resource)?;
            if span.base.unwrap_or(span.max).min(span.max) < resource.least_limit() {
                return Some((resource, "is lower than makes sense"));
            }
            (span.base > Some(span.max)).then_some((resource, "has a base above its maximum"))
        };
        Resource::ALL.into_iter().find_map(fault)
    }

    /// Whether a limit is asked for.
    pub fn has_limits(&self) -> bool {
        self.profile.is_some() || Resource::ALL.into_iter().any(|resource| self.span(resource).is_some())
    }

    /// Enforcement as it is asked for, over what holds without.
    pub fn enforcement(&self, without: Enforcement) -> Enforcement {
        Enforcement {
            mode: self.mode.unwrap_or(without.mode),
            strict: self.strict.unwrap_or(without.strict),
            exempt_loopback: self.exempt_loopback.unwrap_or(without.exempt_loopback),
            orphans: self.orphans.unwrap_or(without.orphans),
            grace_ms: self.grace_ms.unwrap_or(without.grace_ms).min(LONGEST_GRACE_MS),
        }
    }

    /// Whether anything is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
