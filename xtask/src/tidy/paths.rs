//! Finds the paths that a Rust file names from a crate's root, out of groups too. Resolves none of them.

use super::source::{Source, is_word};

/// A path from a crate's root, without the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where it begins in the code.
    pub(super) offset: usize,
    /// Its segments; `*` where it is a glob.
    pub(super) segments: Vec<String>,
    /// Whether it names a macro.
    pub(super) is_macro: bool,
}

/// Every path in the code that begins at `root` (`crate`, or a crate's own name).
pub(super) fn from_root(source: &Source, root: &str) -> Vec<Named> {
    let code = source.code();
    let mut found = Vec::new();
    for offset in source.words(root) {
        // `a::resmgr::b` is another's path, and `$crate` is `crate`.
        if code[..offset].trim_end().ends_with("::") {
            continue;
        }
        let mut reader = Reader {
            code,
            at: offset + root.len(),
        };
        if reader.take("::") {
            reader.tree(Some(offset), &[], &mut found);
        }
    }
    found
}

struct Reader<'a> {
    code: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// Reads what may follow `::`, and adds a path for each of its ends.
    ///
    /// `start` is where the path began; one out of a group begins where it stands in the group.
    fn tree(&mut self, start: Option<usize>, before: &[String], found: &mut Vec<Named>) {
        self.skip_space();
        let offset = start.unwrap_or(self.at);
        if self.take("{") {
            while !self.take("}") {
                let at = self.at;
                self.tree(None, before, found);
                self.take(",");
                if self.at == at {
                    return;
                }
            }
            return;
        }
        let mut segments = before.to_vec();
        let mut is_macro = false;
        if self.take("*") {
            segments.push("*".to_owned());
        } else if let Some(word) = self.word() {
            segments.push(word);
            let end = self.at;
            if self.take("::") {
                let known = found.len();
                self.tree(Some(offset), &segments, found);
                if found.len() > known {
                    return;
                }
                // Only `::<` adds nothing: the path ends before it.
            } else {
                let rest = &self.code[end..];
                is_macro = rest.starts_with('!') && !rest.starts_with("!=");
                self.renamed();
            }
        } else {
            return;
        }
        found.push(Named {
            offset,
            segments,
            is_macro,
        });
    }

    /// Passes over `as name`.
    fn renamed(&mut self) {
        let at = self.at;
        if self.word().as_deref() == Some("as") {
            _ = self.word();
        } else {
            self.at = at;
        }
    }

    fn take(&mut self, wanted: &str) -> bool {
        self.skip_space();
        let there = self.code[self.at..].starts_with(wanted);
        if there {
            self.at += wanted.len();
        }
        there
    }

    fn word(&mut self) -> Option<String> {
        self.skip_space();
        let rest = &self.code[self.at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| rest[..end].to_owned())
    }

    fn skip_space(&mut self) {
        let rest = &self.code[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        let source = Source::new("a.rs", text.to_owned());
        from_root(&source, "crate")
            .into_iter()
            .map(|named| named.segments.join("::"))
            .collect()
    }

    #[test]
    fn plain_paths_are_found_in_use_and_in_expressions() {
        assert_eq!(named("use crate::model::Usage;"), ["model::Usage"]);
        assert_eq!(
            named("let x = crate::track::start(crate::model::Limits { base: 1 });"),
            ["track::start", "model::Limits"]
        );
        assert_eq!(named("pub(crate) fn f() {}"), [""; 0]);
    }

    #[test]
    fn groups_are_taken_apart() {
        assert_eq!(
            named("use crate::{\n    model::{self, usage::{Usage, Peak}},\n    track as t,\n    kernel::*,\n};"),
            [
                "model::self",
                "model::usage::Usage",
                "model::usage::Peak",
                "track",
                "kernel::*"
            ]
        );
        assert_eq!(named("use crate::{}; use crate::{model"), ["model"]);
    }

    #[test]
    fn a_turbofish_ends_a_path() {
        assert_eq!(named("crate::model::parse::<u32>(x)"), ["model::parse"]);
    }

    #[test]
    fn comments_and_strings_name_nothing() {
        assert_eq!(
            named("// crate::agent\n/// [`crate::agent`]\nlet x = \"crate::agent\";"),
            [""; 0]
        );
    }

    #[test]
    fn macros_are_marked() {
        let source = Source::new("a.rs", "crate::wire!(X); crate::LIMIT != 3".to_owned());
        let marked: Vec<bool> = from_root(&source, "crate").iter().map(|named| named.is_macro).collect();
        assert_eq!(marked, [true, false]);
    }

    #[test]
    fn a_path_in_a_group_has_the_line_it_stands_on() {
        let source = Source::new(
            "a.rs",
            "use crate::{\n    model::Usage,\n    agent::\n    Agent,\n};".to_owned(),
        );
        let lines: Vec<usize> = from_root(&source, "crate")
            .iter()
            .map(|named| source.line(named.offset))
            .collect();
        assert_eq!(lines, [2, 3]);
    }
}
