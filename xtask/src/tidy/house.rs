//! Which module of resmgr may use which: the table of "The house" in the design. Knows modules, not items.

use super::{
    Finding,
    paths::{Named, from_root},
    source::Source,
};

const PURE: &[&str] = &["model"];
const BELOW_ENGINE: &[&str] = &[
    "model", "protocol", "config", "alert", "track", "history", "pattern", "adapt", "kernel", "enforce", "export",
];
const BELOW_AGENT: &[&str] = &[
    "model", "protocol", "config", "alert", "track", "history", "pattern", "adapt", "kernel", "enforce", "export",
    "engine",
];
const ALL: &[&str] = &[
    "audit", "model", "protocol", "config", "alert", "track", "history", "pattern", "adapt", "kernel", "enforce",
    "export", "engine", "agent", "manager", "tool",
];

/// Each module, and the others that it may use.
const TABLE: [(&str, &[&str]); 17] = [
    ("model", &[]),
    ("protocol", PURE),
    ("config", PURE),
    ("alert", PURE),
    ("audit", PURE),
    ("track", PURE),
    ("history", PURE),
    ("pattern", PURE),
    ("adapt", &["model", "pattern"]),
    ("kernel", PURE),
    ("enforce", PURE),
    ("export", PURE),
    ("engine", BELOW_ENGINE),
    ("agent", BELOW_AGENT),
    // The library: it starts an agent of its own, or asks one.
    ("manager", &["model", "config", "protocol", "agent"]),
    ("tool", &["model", "protocol", "manager", "kernel"]),
    // Of the agent, what it shows at its own top.
    ("cli", ALL),
];

/// Where resmgr's own modules lie.
const SOURCES: &str = "resmgr/src/";

/// Every use of a module that the table does not allow.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Some(module) = source.path().strip_prefix(SOURCES).and_then(module_of) else {
        return Vec::new();
    };
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == module) else {
        let message = format!(
            "`{module}` is no module of the house: put this file in one, or add it to {}",
            file!()
        );
        return vec![Finding::new(source.path(), 1, message)];
    };
    // The binary is a crate of its own, and names the library by its name.
    let mut named = from_root(source, "crate");
    named.extend(from_root(source, "resmgr"));
    let findings = named.iter().filter_map(|named| {
        let message = objection(module, allowed, named)?;
        Some(Finding::new(source.path(), source.line(named.offset), message))
    });
    findings.collect()
}

/// The top module that a file belongs to; the crate's own roots belong to none.
fn module_of(path: &str) -> Option<&str> {
    match path.split_once('/') {
        Some((folder, _)) => Some(folder),
        None => path.strip_suffix(".rs").filter(|name| !["lib", "main"].contains(name)),
    }
}

fn objection(module: &str, allowed: &[&str], named: &Named) -> Option<String> {
    let first = named.segments.first()?.as_str();
    if first == module || first == "self" {
        return None;
    }
    if !TABLE.iter().any(|(name, _)| *name == first) {
        return unknown(first, named);
    }
    if !allowed.contains(&first) {
        let may = if allowed.is_empty() {
            "nothing of ours".to_owned()
        } else {
            allowed.join(", ")
        };
        return Some(format!(
            "`{module}` uses `{first}` and may use {may}: hand the value in, or move the code to where both are known"
        ));
    }
    let second = named.segments.get(1)?;
    if module == "cli" && first == "agent" && named.segments.len() > 2 && is_module_name(second) {
        return Some(format!(
            "`cli` looks inside the agent, at `agent::{second}`: use what `agent` itself shows"
        ));
    }
    None
}

/// A name at the root that is no module: what is shown there again would get round the table.
fn unknown(first: &str, named: &Named) -> Option<String> {
    if first == "*" {
        return Some("everything at the root is used at once: name the modules".to_owned());
    }
    if named.is_macro {
        return None;
    }
    if is_module_name(first) && named.segments.len() > 1 {
        return Some(format!(
            "`{first}` is no module of the house: add it to {} or use one that is",
            file!()
        ));
    }
    let is_type = first.starts_with(char::is_uppercase) && first.contains(char::is_lowercase);
    is_type.then(|| format!("`{first}` is used through the root: name the module that it lives in"))
}

fn is_module_name(segment: &str) -> bool {
    segment.starts_with(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objections(path: &str, text: &str) -> Vec<String> {
        let source = Source::new(path, text.to_owned());
        check(&source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_table_allows_passes() {
        assert!(
            objections(
                "resmgr/src/adapt/limit.rs",
                "use crate::{model::Usage, pattern::Trend, adapt::x};"
            )
            .is_empty()
        );
        assert!(
            objections(
                "resmgr/src/engine.rs",
                "use crate::kernel::Kernel; use crate::track::Tracker;"
            )
            .is_empty()
        );
        assert!(objections("resmgr/src/agent/mod.rs", "use crate::{engine::E, track::T};").is_empty());
        assert!(
            objections(
                "resmgr/src/cli/top.rs",
                "use crate::{agent::Agent, tool::T}; crate::agent::run(x);"
            )
            .is_empty()
        );
        assert!(objections("resmgr/src/lib.rs", "pub use crate::agent::inner::X;").is_empty());
        assert!(objections("tests/src/live.rs", "use resmgr::agent::inner::X;").is_empty());
    }

    #[test]
    fn a_use_against_the_way_of_a_number_is_found() {
        let found = objections(
            "resmgr/src/track/mod.rs",
            "//! x\nuse crate::{\n    model::Usage,\n    kernel::Kernel,\n};",
        );
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("resmgr/src/track/mod.rs:4: `track` uses `kernel`"),
            "{found:?}"
        );
        assert_eq!(
            objections("resmgr/src/model/x.rs", "fn f() { crate::config::y() }").len(),
            1
        );
        assert_eq!(objections("resmgr/src/tool/x.rs", "use crate::agent::Agent;").len(), 1);
        assert_eq!(
            objections("resmgr/src/enforce/x.rs", "use crate::kernel::{self};").len(),
            1
        );
    }

    #[test]
    fn the_binary_is_held_to_the_table_by_the_librarys_name() {
        assert_eq!(
            objections("resmgr/src/cli/x.rs", "use resmgr::agent::inner::X;").len(),
            1
        );
        assert_eq!(objections("resmgr/src/export/x.rs", "resmgr::track::x();").len(), 1);
    }

    #[test]
    fn the_command_line_stays_out_of_the_agents_insides() {
        assert_eq!(
            objections("resmgr/src/cli/x.rs", "use crate::agent::{Agent, socket::Socket};").len(),
            1
        );
        assert!(objections("resmgr/src/cli/x.rs", "match x { crate::agent::Wake::Tick => {} }").is_empty());
    }

    #[test]
    fn the_root_is_no_way_round_the_table() {
        assert_eq!(objections("resmgr/src/model/x.rs", "use crate::Kernel;").len(), 1);
        assert_eq!(objections("resmgr/src/model/x.rs", "use crate::*;").len(), 1);
        assert_eq!(objections("resmgr/src/model/x.rs", "use crate::util::text;").len(), 1);
        assert!(objections("resmgr/src/model/x.rs", "crate::wire!(X); crate::VERSION;").is_empty());
    }

    #[test]
    fn a_file_outside_the_house_is_found() {
        assert_eq!(objections("resmgr/src/util/x.rs", "").len(), 1);
        assert_eq!(objections("resmgr/src/helpers.rs", "").len(), 1);
    }
}
