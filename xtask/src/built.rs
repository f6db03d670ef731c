//! Reads what cargo says it built (`--message-format=json`). Builds nothing.

use std::path::PathBuf;

/// What a built program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A binary with tests in it, or a benchmark.
    Test,
    /// A program of a package.
    Program,
}

/// A program that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// What it is for.
    pub(crate) kind: Kind,
    /// The target's name, as Cargo.toml or its file has it.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// Every program that cargo's messages name.
pub(crate) fn all(messages: &str) -> Vec<Built> {
    messages.lines().filter_map(one).collect()
}

fn one(message: &str) -> Option<Built> {
    let target = object(message, "target")?;
    let profile = object(message, "profile")?;
    if !message.contains("\"reason\":\"compiler-artifact\"") {
        return None;
    }
    // A target that may be tested says so too, outside its profile.
    let is_bench = target.contains("\"kind\":[\"bench\"]");
    let kind = if profile.contains("\"test\":true") || is_bench {
        Kind::Test
    } else if target.contains("\"kind\":[\"bin\"]") {
        Kind::Program
    } else {
        return None;
    };
    let path = text(message, "executable")?;
    Some(Built {
        kind,
        name: text(target, "name")?.to_owned(),
        path: path.into(),
    })
}

/// The inside of an object that holds no other.
fn object<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!("\"{name}\":{{"))?;
    Some(rest.split_once('}')?.0)
}

/// A string; one with escapes is not taken apart: nothing here makes one.
fn text<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!("\"{name}\":\""))?;
    let (text, _) = rest.split_once('"')?;
    (!text.contains('\\')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_programs_are_taken_from_cargos_messages() {
        let test = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"live","test":true},"profile":{"opt_level":"0","test":true},"executable":"/t/live-1","fresh":true}"#;
        let built = |kind, name: &str, path: &str| Built {
            kind,
            name: name.to_owned(),
            path: path.into(),
        };
        assert_eq!(all(test), [built(Kind::Test, "live", "/t/live-1")]);

        let program = test
            .replace("\"0\",\"test\":true", "\"0\",\"test\":false")
            .replace("[\"test\"]", "[\"bin\"]");
        let lines = format!("{program}\n{{\"reason\":\"build-finished\",\"success\":true}}\n");
        assert_eq!(all(&lines), [built(Kind::Program, "live", "/t/live-1")]);

        let library = test.replace("\"/t/live-1\"", "null");
        assert_eq!(all(&library), []);
        let build_script = program.replace("[\"bin\"]", "[\"custom-build\"]");
        assert_eq!(all(&build_script), []);
    }
}
