//! A Rust file, and the same with comments and the insides of literals blanked. Parses no Rust beyond that.

/// A Rust file as the rules read it.
pub(super) struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// Reads a file's text.
    pub(super) fn new(path: &str, text: String) -> Self {
        let code = blank(&text);
        Self {
            path: path.to_owned(),
            text,
            code,
        }
    }

    /// The path from the workspace's root.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The text as it stands.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text with spaces where comments and the insides of literals were: as many lines, as many characters.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Every place where the code holds `word` as a whole identifier: its offset.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let code = &self.code;
        code.match_indices(word)
            .map(|(offset, _)| offset)
            .filter(move |&offset| {
                let before = code[..offset].chars().next_back();
                let after = code[offset + word.len()..].chars().next();
                !before.is_some_and(is_word) && !after.is_some_and(is_word)
            })
    }

    /// The line, counted from one, of an offset in the code.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.code[..offset].matches('\n').count()
    }
}

/// Whether a character can stand in an identifier.
pub(super) fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn blank(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        if let Some(end) = literal_or_comment(&characters, at) {
            let blanks = characters[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' });
            code.extend(blanks);
            at = end;
        } else {
            code.push(characters[at]);
            at += 1;
        }
    }
    code
}

/// Where the comment or literal that starts here ends, if one starts here.
fn literal_or_comment(characters: &[char], at: usize) -> Option<usize> {
    let next = characters.get(at + 1).copied();
    match (characters[at], next) {
        ('/', Some('/')) => Some(find(characters, at, |c| c == '\n')),
        ('/', Some('*')) => Some(end_of_block(characters, at)),
        ('"', _) => Some(end_of_string(characters, at)),
        ('r', Some('"' | '#')) if starts_literal(characters, at) => end_of_raw(characters, at),
        ('\'', Some('\\')) => Some(find(characters, at + 3, |c| c == '\'') + 1),
        // Else it is a lifetime.
        ('\'', Some(_)) if characters.get(at + 2) == Some(&'\'') => Some(at + 3),
        _ => None,
    }
    .map(|end| end.min(characters.len()))
}

/// Whether an `r` opens a literal: it ends no identifier, or it is the one of `br` or `cr`.
fn starts_literal(characters: &[char], at: usize) -> bool {
    let before = |distance: usize| at.checked_sub(distance).map(|index| characters[index]);
    match before(1) {
        Some('b' | 'c') => !before(2).is_some_and(is_word),
        Some(other) => !is_word(other),
        None => true,
    }
}

fn find(characters: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..characters.len())
        .find(|&index| wanted(characters[index]))
        .unwrap_or(characters.len())
}

fn end_of_block(characters: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < characters.len() {
        match (characters[at], characters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(characters: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < characters.len() && characters[at] != '"' {
        at += if characters[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn end_of_raw(characters: &[char], start: usize) -> Option<usize> {
    let quote = find(characters, start + 1, |c| c != '#');
    // Else it is a raw identifier.
    (characters.get(quote) == Some(&'"')).then(|| {
        let hashes = quote - start - 1;
        let closes = |at: usize| {
            let after = characters.get(at + 1..=at + hashes);
            characters[at] == '"' && after.is_some_and(|after| after.iter().all(|&c| c == '#'))
        };
        let end = (quote + 1..characters.len()).find(|&at| closes(at));
        end.map_or(characters.len(), |at| at + 1 + hashes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("a.rs", text.to_owned())
            .code()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_are_blanked() {
        assert_eq!(code("a // unsafe\nb /* unsafe /* nested */ unsafe */ c"), "a b c");
        assert_eq!(code("//! says \"unsafe\nfn x() {}"), "fn x() {}");
    }

    #[test]
    fn literals_are_blanked_and_lifetimes_are_not() {
        assert_eq!(
            code(r##"f("a \" unsafe", 'x', '"', '\'', r#"un"safe"#) g"##),
            "f( , , , , ) g"
        );
        assert_eq!(code(r##"f(b"unsafe", br#"unsafe"#, r#type) "##), "f(b , b , r#type)");
        assert_eq!(
            code("fn f<'a>(x: &'a str, y: &'static str) {}"),
            "fn f<'a>(x: &'a str, y: &'static str) {}"
        );
    }

    #[test]
    fn lines_are_kept() {
        let source = Source::new("a.rs", "/* one\ntwo */\n\"three\nfour\"\nunsafe {}\n".to_owned());
        let found: Vec<usize> = source.words("unsafe").map(|offset| source.line(offset)).collect();
        assert_eq!(found, [5]);
    }

    #[test]
    fn a_word_is_a_whole_identifier() {
        let source = Source::new("a.rs", "unsafe_op(); not_unsafe; aya_log::x; aya::y".to_owned());
        assert_eq!(source.words("unsafe").count(), 0);
        assert_eq!(source.words("aya").count(), 1);
    }
}
