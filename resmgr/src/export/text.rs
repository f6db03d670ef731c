//! Text as a terminal shows it: how wide it is, cut, padded, wrapped, without control characters, in ASCII.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::Align;

/// The columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A text of at most `width` columns; what was cut is marked.
pub fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let Some(before_mark) = room.checked_sub(1) else {
        return String::new();
    };
    let mut short = beginning(text, before_mark).to_owned();
    short.push('…');
    short
}

/// As much of a text's beginning as takes no more than `room` columns.
fn beginning(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, character)| {
        taken += character.width().unwrap_or(0);
        taken > room
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// A text of exactly `room` columns.
pub fn padded(text: &str, room: usize, align: Align) -> String {
    let mut text = cut(text, room);
    let padding = " ".repeat(room.saturating_sub(width(&text)));
    match align {
        Align::Left => text.push_str(&padding),
        Align::Right => text.insert_str(0, &padding),
    }
    text
}

/// The lines of at most `room` columns that a line is broken into, between words where there are any; those that go on
/// are indented by two more.
pub fn wrapped(line: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let indent = line.len() - line.trim_start().len() + 2;
    let mut lines = Vec::new();
    let mut rest = line.to_owned();
    while width(&rest) > room {
        let head = beginning(&rest, room);
        let indented = head.len() - head.trim_start().len();
        // The blank that comes right after what fits is a good place, too.
        let fits = if rest[head.len()..].starts_with(' ') {
            head.len()
        } else {
            head.rfind(' ').filter(|at| *at > indented).unwrap_or(head.len())
        };
        // A character that is wider than the room would stay for ever.
        let fits = if fits == 0 {
            rest.chars().next().map_or(0, char::len_utf8)
        } else {
            fits
        };
        let tail = rest[fits..].trim_start().to_owned();
        rest.truncate(fits);
        lines.push(rest.trim_end().to_owned());
        if tail.is_empty() {
            return lines;
        }
        let indent = if indent * 2 < room { indent } else { 0 };
        rest = " ".repeat(indent) + &tail;
    }
    lines.push(rest);
    lines
}

/// A text that tells a terminal nothing but what to show: programs name themselves as they like.
pub fn harmless(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Signs that are used here, and what is like them in ASCII.
const ALIKE: [(char, char); 16] = [
    ('…', '~'),
    ('µ', 'u'),
    ('±', '~'),
    ('─', '-'),
    ('↑', '^'),
    ('↓', 'v'),
    ('▸', '+'),
    ('▾', '-'),
    ('▁', '_'),
    ('▂', '.'),
    ('▃', ':'),
    ('▄', '-'),
    ('▅', '='),
    ('▆', '+'),
    ('▇', '*'),
    ('█', '#'),
];

/// A text in ASCII, as wide as it was: what stands after something else stays in its column.
pub fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            plain.push(character);
        } else if let Some((_, alike)) = ALIKE.iter().find(|(sign, _)| *sign == character) {
            plain.push(*alike);
        } else {
            plain.extend(std::iter::repeat_n('?', character.width().unwrap_or(0)));
        }
    }
    plain
}

/// Values as a row of bars, the latest last and to the right, each against what a full bar stands for.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps to the bounds"
)]
pub fn sparkline(values: impl DoubleEndedIterator<Item = f64>, full: f64, room: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |value: f64| {
        let part = if full > 0.0 { value / full } else { 0.0 };
        BARS[((part * 8.0) as usize).min(7)]
    };
    let mut bars: Vec<char> = values.rev().take(room).map(bar).collect();
    bars.reverse();
    padded(&bars.into_iter().collect::<String>(), room, Align::Right)
}

#[cfg(test)]
mod tests {
    //! Texts at the edges of the room that they have.
    use super::*;

    #[test]
    fn no_text_is_wider_than_its_room() {
        for text in ["", "plain", "界界界", "a界b", "e\u{301}e\u{301}e\u{301}"] {
            for room in 0..8 {
                assert!(width(&cut(text, room)) <= room, "{text:?} in {room}");
                assert_eq!(width(&padded(text, room, Align::Right)), room, "{text:?} in {room}");
                for line in wrapped(text, room) {
                    assert!(width(&line) <= room.max(2), "{text:?} in {room}: {line:?}");
                }
            }
        }
        assert_eq!(cut("a long one", 7), "a long…");
    }

    #[test]
    fn a_line_is_broken_between_words_and_goes_on_indented() {
        assert_eq!(wrapped("  one two three", 10), ["  one two", "    three"]);
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped("unbroken", 5), ["unbro", "  ken"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        assert_eq!(harmless("a\x1b]0;b\x07\u{9b}c\n"), "a?]0;b??c?");
    }

    #[test]
    fn ascii_stays_in_its_columns() {
        for text in ["cut…", "771µs", "▁▂▃▄▅▆▇█", "界x", "plain"] {
            assert!(ascii(text).is_ascii());
            assert_eq!(width(&ascii(text)), width(text), "{text}");
        }
        assert_eq!(ascii("in 41m ± 6m…"), "in 41m ~ 6m~");
    }

    #[test]
    fn a_full_bar_is_the_limit_and_the_latest_is_at_the_right() {
        assert_eq!(sparkline([0.0, 50.0, 100.0, 300.0].into_iter(), 100.0, 6), "  ▁▅██");
        assert_eq!(sparkline([0.0, 50.0, 100.0].into_iter(), 100.0, 2), "▅█");
        assert_eq!(sparkline([1.0].into_iter(), 0.0, 1), "▁");
    }
}
