//! The difference between a text and the same with its edits, line by line. Pure.

use super::edit::{Edit, edited};

/// The lines that differ: what was, and what comes in its place.
pub(super) fn difference(text: &str, edits: &[Edit]) -> Vec<String> {
    let begin = |at: usize| text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = |at: usize| text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
    // Edits of the same line, or of lines that follow each other, are shown together.
    let mut parts: Vec<(usize, usize, Vec<Edit>)> = Vec::new();
    for edit in edits {
        let (from, until) = (begin(edit.at.start), end(edit.at.end));
        match parts.last_mut() {
            Some((_, last, together)) if from <= *last => {
                *last = until.max(*last);
                together.push(edit.clone());
            }
            _ => parts.push((from, until, vec![edit.clone()])),
        }
    }
    let mut lines = Vec::new();
    for (from, until, mut together) in parts {
        for edit in &mut together {
            edit.at = edit.at.start - from..edit.at.end - from;
        }
        let old = &text[from..until];
        lines.push(format!("@@ line {} @@", text[..from].matches('\n').count() + 1));
        lines.extend(old.lines().map(|line| format!("-{line}")));
        lines.extend(edited(old, &together).lines().map(|line| format!("+{line}")));
    }
    lines
}
