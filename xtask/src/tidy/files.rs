//! Rules about whole files: how each begins, how long it is, what no file may hold. Reads nothing but the text given.

use super::{Finding, has_extension, source::Source};

/// Lines of a file without its tests.
const LENGTH_MAX: usize = 400;

/// How a path of somebody's own machine begins. Put together here, so that this file does not hold them.
const MACHINE_PATHS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// The first line says what the file owns.
pub(super) fn header(source: &Source) -> Option<Finding> {
    let mut lines = source.text().lines().enumerate();
    let first = lines.find(|(_, line)| !line.starts_with("#!") || line.starts_with("#!["));
    let (index, line) = first.unwrap_or((0, ""));
    let message = "the file does not begin with `//!`: say what it owns and what it refuses";
    (!line.starts_with("//! ")).then(|| Finding::new(source.path(), index + 1, message))
}

/// A file that cannot be read at a sitting is more than one.
pub(super) fn length(source: &Source) -> Option<Finding> {
    let path = source.path();
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return None;
    }
    let lines: Vec<&str> = source.text().lines().collect();
    let is_test = |pair: &[&str]| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].trim().starts_with("mod ") && pair[1].ends_with('{')
    };
    let length = lines.windows(2).position(is_test).unwrap_or(lines.len());
    let message = format!("{length} lines without tests, and {LENGTH_MAX} are the limit: split it by what it owns");
    (length > LENGTH_MAX).then(|| Finding::new(path, LENGTH_MAX + 1, message))
}

/// What would be left for later, and tests that would not run.
pub(super) fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (word, before, after, message) in [
        (
            "todo",
            "",
            "!",
            "`todo!`: write it, or say in an error that it is not there",
        ),
        (
            "unimplemented",
            "",
            "!",
            "`unimplemented!`: write it, or say in an error that it is not there",
        ),
        (
            "ignore",
            "#[",
            "",
            "an ignored test: make it pass, gate it by RESMGR_TEST_FULL, or remove it",
        ),
    ] {
        for offset in source.words(word) {
            let code = source.code();
            if code[..offset].ends_with(before) && code[offset + word.len()..].starts_with(after) {
                findings.push(Finding::new(source.path(), source.line(offset), message));
            }
        }
    }
    findings
}

/// Paths that exist on one machine only: those of people, and that of this checkout.
pub(super) fn machine_paths(path: &str, text: &str, checkout: &str) -> Vec<Finding> {
    if has_extension(path, "lock") {
        return Vec::new();
    }
    // A checkout at `/src` or `/app`, as containers have it, has no name of its own to look for.
    let checkout = Some(checkout).filter(|path| path.matches('/').count() > 1);
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(found) = MACHINE_PATHS
            .into_iter()
            .chain(checkout)
            .find(|begins| holds(line, begins))
        {
            let message = format!("a path of one machine, `{found}`: name one that every machine has, or a variable");
            findings.push(Finding::new(path, index + 1, message));
        }
    }
    findings
}

/// Whether a line holds a path that begins so, and not a longer one that merely goes through such a folder.
fn holds(line: &str, begins: &str) -> bool {
    line.match_indices(begins).any(|(offset, _)| {
        let before = line[..offset].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~$}*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(path, text.to_owned())
    }

    #[test]
    fn a_file_begins_with_what_it_owns() {
        assert!(header(&source("a.rs", "//! Owns a.\nfn f() {}")).is_none());
        assert!(header(&source("a.rs", "#!/usr/bin/env cargo\n//! Owns a.")).is_none());
        assert_eq!(header(&source("a.rs", "use x;\n//! Late.")).unwrap().line, 1);
        assert!(header(&source("a.rs", "#![no_std]\n//! Late.")).is_some());
        assert!(header(&source("a.rs", "")).is_some());
    }

    #[test]
    fn length_is_counted_without_tests() {
        let code = "fn f() {}\n".repeat(LENGTH_MAX);
        assert!(
            length(&source(
                "a/src/a.rs",
                &format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}")
            ))
            .is_none()
        );
        assert!(length(&source("a/src/a.rs", &format!("{code}fn g() {{}}\n"))).is_some());
        assert!(length(&source("a/src/a.rs", &format!("#[cfg(test)]\nmod tests;\n{code}"))).is_some());
        assert!(length(&source("a/src/a/tests.rs", &format!("{code}{code}"))).is_none());
        assert!(length(&source("tests/tests/a.rs", &format!("{code}{code}"))).is_none());
        assert!(length(&source("tests/src/a.rs", &format!("{code}{code}"))).is_some());
    }

    #[test]
    fn nothing_is_left_for_later() {
        let lines = |text: &str| {
            unfinished(&source("a.rs", text))
                .iter()
                .map(|f| f.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines("todo!()\nunimplemented!(\"x\")\n#[ignore]\n#[ignore = \"slow\"]"),
            [1, 2, 3, 4]
        );
        assert!(lines("// todo!()\nlet todo = 1; let x = \"todo!\"; ignore(x);").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found_in_any_file() {
        let home = MACHINE_PATHS[1];
        let lines = |path, text: &str| {
            machine_paths(path, text, "/my/place")
                .iter()
                .map(|f| f.line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("a.md", &format!("x\nsee {home}me/x")), [2]);
        assert_eq!(lines("a.md", &format!("\"{home}me/x\"")), [1]);
        assert_eq!(lines("a.md", "cd /my/place && make"), [1]);
        assert!(lines("a.md", &format!("$DIR{home}me/x some/my/place")).is_empty());
        assert!(lines("Cargo.lock", &format!("see {home}me/x")).is_empty());
    }
}
