//! Where `unsafe` may stand, and that it comes with an argument. Whether the argument holds is for readers.

use super::{Finding, source::Source};

/// The only folders where `unsafe` may stand: what talks to the kernel, and for the live tests the calls that no safe
/// package offers.
const HOMES: [&str; 3] = ["resmgr/src/kernel/", "resmgr-ebpf/src/", "tests/src/raw/"];

/// Lines above an `unsafe` in which its argument may end.
const NEAR: usize = 4;

/// Lines above an `unsafe` in which the comment right before it may begin.
const COMMENT: usize = 6;

/// Every `unsafe` that stands elsewhere or without its argument.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let at_home = HOMES.iter().any(|home| source.path().starts_with(home));
    let lines: Vec<&str> = source.text().lines().collect();
    let mut findings = Vec::new();
    for offset in source.words("unsafe") {
        let line = source.line(offset);
        let what = source.code()[offset + "unsafe".len()..].trim_start();
        // `#[unsafe(no_mangle)]` and its like: nothing else puts a parenthesis there.
        if what.starts_with('(') {
            continue;
        }
        if !at_home {
            let message = format!(
                "`unsafe` outside {}: move it there behind a safe function",
                HOMES.join(" and ")
            );
            findings.push(Finding::new(source.path(), line, message));
        } else if (what.starts_with('{') || what.starts_with("impl")) && !argued(&lines, line) {
            let message = "`unsafe` without its argument: add a `// SAFETY:` comment right above it";
            findings.push(Finding::new(source.path(), line, message));
        }
    }
    findings
}

/// Whether a SAFETY comment stands with the line, counted from one.
fn argued(lines: &[&str], line: usize) -> bool {
    let index = line - 1;
    let is_argument = |line: &&str| {
        line.split_once("//")
            .is_some_and(|(_, comment)| comment.contains("SAFETY"))
    };
    if lines[index.saturating_sub(NEAR)..=index].iter().any(is_argument) {
        return true;
    }
    let above = lines[index.saturating_sub(COMMENT)..index].iter().rev();
    above
        .take_while(|line| line.trim_start().starts_with("//"))
        .any(is_argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text.to_owned()))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    const HOME: &str = "resmgr/src/kernel/map.rs";

    #[test]
    fn unsafe_has_an_address() {
        let text = "// SAFETY: bounded above.\nlet x = unsafe { f() };";
        assert_eq!(found("resmgr/src/track/mod.rs", text), [2]);
        assert_eq!(found("xtask/src/main.rs", text), [2]);
        assert_eq!(found("tests/tests/random.rs", text), [2]);
        assert!(found("tests/src/raw/ring.rs", text).is_empty());
        assert!(found(HOME, text).is_empty());
        assert!(found("resmgr-ebpf/src/cpu.rs", text).is_empty());
    }

    #[test]
    fn unsafe_has_an_argument() {
        assert_eq!(found(HOME, "let x = unsafe { f() };\n"), [1]);
        assert_eq!(
            found(HOME, "// SAFETY: plain data.\n\n\n\n\nunsafe impl Pod for X {}"),
            [6]
        );
        assert!(found(HOME, "let x = unsafe { f() }; // SAFETY: bounded above.").is_empty());
        assert!(
            found(
                HOME,
                "// SAFETY: one\n// two\n// three\n// four\n// five\n// six\nunsafe {}"
            )
            .is_empty()
        );
        assert_eq!(found(HOME, "let safety = \"SAFETY\";\nunsafe {}"), [2]);
    }

    #[test]
    fn a_function_says_what_its_caller_owes_in_its_own_words() {
        assert!(found(HOME, "/// # Safety\n/// The pointer is live.\nunsafe fn f() {}").is_empty());
    }

    #[test]
    fn the_word_alone_is_free() {
        let text = "#![forbid(unsafe_code)]\n#[unsafe(no_mangle)]\nfn f() {} // unsafe {\nlet x = \"unsafe { }\";\nunsafe_op();";
        assert!(found("resmgr/src/model/mod.rs", text).is_empty());
    }
}
