//! The fixed packages: each is a dependency and is used, and aya has one home. Judges no other dependency.

use super::{
    Finding,
    source::{Source, is_word},
};

/// What the project is built on, as packages are named.
const FIXED: [&str; 7] = ["aya", "aya-log", "tokio", "bytes", "clap", "tracing", "chrono"];

/// The names that come from aya.
const AYA: [&str; 3] = ["aya", "aya_log", "aya_obj"];

const SOURCES: &str = "resmgr/src/";
const HOME: &str = "resmgr/src/kernel/";

/// Every place of resmgr but its `kernel` that names aya.
pub(super) fn only_kernel_names_aya(source: &Source) -> Vec<Finding> {
    if !source.path().starts_with("resmgr/") || source.path().starts_with(HOME) {
        return Vec::new();
    }
    let places = AYA
        .iter()
        .flat_map(|name| source.words(name).map(move |offset| (*name, offset)));
    let findings = places
        .filter(|&(name, offset)| is_package(source, name, offset))
        .map(|(name, offset)| {
            let message = format!("names `{name}`, which only {HOME} may: use what `kernel` shows, or put it there");
            Finding::new(source.path(), source.line(offset), message)
        });
    findings.collect()
}

/// Every fixed package that is no dependency of resmgr, or that its code never names.
pub(super) fn fixed_are_used(manifest: &str, text: &str, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in FIXED {
        let Some(line) = dependency(text, package) else {
            let message = format!("`{package}` is no dependency and must be: add it to [dependencies]");
            findings.push(Finding::new(manifest, 1, message));
            continue;
        };
        let name = package.replace('-', "_");
        let mut ours = sources.iter().filter(|source| source.path().starts_with(SOURCES));
        if !ours.any(|source| source.words(&name).any(|offset| is_package(source, &name, offset))) {
            let message = format!("`{package}` is a dependency that {SOURCES} never names: use it there");
            findings.push(Finding::new(manifest, line, message));
        }
    }
    findings
}

/// Whether a name is that of a package, not of a variable: a path begins with it, or it is imported whole.
fn is_package(source: &Source, name: &str, offset: usize) -> bool {
    let before = source.code()[..offset].trim_end();
    let after = source.code()[offset + name.len()..].trim_start();
    let imported = before.ends_with("use") || before.ends_with("extern crate");
    // In `crate::bytes::x` it is a module of that name; `::bytes::x` is the package.
    let inside = before.strip_suffix("::").is_some_and(|path| path.ends_with(is_word));
    (imported || after.starts_with("::")) && !inside
}

/// The line, counted from one, that names a package in `[dependencies]`.
fn dependency(manifest: &str, package: &str) -> Option<usize> {
    let mut section = "";
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
            if section == format!("[dependencies.{package}]") {
                return Some(index + 1);
            }
        } else if section == "[dependencies]" {
            let key = line.split(['=', '.', ' ']).next();
            if key == Some(package) {
                return Some(index + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        only_kernel_names_aya(&Source::new(path, text.to_owned()))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn aya_has_one_home() {
        assert!(lines("resmgr/src/kernel/load.rs", "use aya::Ebpf;").is_empty());
        assert_eq!(
            lines("resmgr/src/agent/mod.rs", "use aya::Ebpf;\nlet x = aya_log::y();"),
            [1, 2]
        );
        assert_eq!(lines("resmgr/examples/one.rs", "use aya;"), [1]);
        assert!(
            lines(
                "resmgr/src/agent/mod.rs",
                "// aya::Ebpf\nlet aya = \"aya::Ebpf\"; crate::aya::x;"
            )
            .is_empty()
        );
        assert!(lines("resmgr-ebpf/src/maps.rs", "use aya_ebpf::maps;").is_empty());
    }

    #[test]
    fn a_fixed_package_is_named_in_code() {
        let manifest = FIXED.iter().fold("[dependencies]\n".to_owned(), |text, name| {
            text + name + ".workspace = true\n"
        });
        let all = "use aya::A; use aya_log::B; tokio::C; bytes::D; clap::E; tracing::F; use chrono::G;";
        let source = |text: &str| [Source::new("resmgr/src/kernel/x.rs", text.to_owned())];
        assert!(fixed_are_used("m", &manifest, &source(all)).is_empty());
        let unused = fixed_are_used("m", &manifest, &source(&all.replace("bytes::D", "let bytes = 1")));
        assert_eq!(unused.len(), 1);
        assert_eq!(unused[0].line, 5);
        let missing = fixed_are_used("m", &manifest.replace("clap", "lexopt"), &source(all));
        assert!(missing[0].message.starts_with("`clap` is no dependency"));
    }

    #[test]
    fn a_dependency_for_builds_or_tests_does_not_count() {
        assert_eq!(dependency("[build-dependencies]\nclap = \"4\"\n", "clap"), None);
        assert_eq!(
            dependency("[dependencies]\nclap-derive = \"4\"\nclap = \"4\"\n", "clap"),
            Some(3)
        );
        assert_eq!(dependency("[dependencies.clap]\nversion = \"4\"\n", "clap"), Some(1));
    }
}
