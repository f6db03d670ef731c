//! What keys do. Pure: from what is shown to what is to be shown.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    pane::Pane,
    state::{RowId, Top},
};

/// Rows that a page is.
const PAGE: isize = 10;

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// What has changed is drawn.
    Draw,
    /// All is drawn.
    DrawAnew,
    /// The terminal is given back for a while.
    Suspend,
    /// That was all.
    Quit,
}

/// Keys and what they do, as the last row names them: the most needed first.
pub(super) const NAMED: [(&str, &str); 10] = [
    ("q", "quit"),
    ("?", "keys"),
    ("/", "filter"),
    ("s", "sort"),
    ("Enter", "processes"),
    ("e", "explain"),
    ("d", "fds"),
    ("c", "conns"),
    ("r", "reverse"),
    ("x", "ended"),
];

/// All keys, for the pane that tells of them.
pub(super) const ALL: [(&str, &str); 14] = [
    ("Up Down, k j", "select a row"),
    ("PgUp PgDn, Home End", "by ten rows; the first and the last"),
    ("Enter, Right, Left", "show and hide the processes of a tool"),
    ("e", "explain: its limits, what was learned, done, and why"),
    ("d", "its descriptors by kind"),
    ("c", "its connections by peer"),
    ("PgUp PgDn", "where one of these is open: scroll it; Esc closes it"),
    ("s", "sort by the next; m memory, p CPU, f fds, n connections"),
    ("r", "the other way round"),
    ("/", "filter by name: Enter keeps it, Esc clears it"),
    ("x", "show and hide what has ended lately"),
    ("?", "show and hide this"),
    ("Ctrl-L, Ctrl-Z", "draw all of it anew; suspend"),
    ("q, Ctrl-C", "quit"),
];

impl Top {
    /// Does what a key is for.
    pub(super) fn key(&mut self, key: KeyEvent) -> Todo {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Todo::Quit,
                KeyCode::Char('z') => Todo::Suspend,
                KeyCode::Char('l') => Todo::DrawAnew,
                _ => Todo::Draw,
            };
        }
        if key.modifiers.contains(KeyModifiers::ALT) {
            // Esc, and another key at once after it: terminals say both alike.
            self.key(KeyCode::Esc.into());
            return self.key(key.code.into());
        }
        if self.is_typing {
            self.typed(key.code);
            return Todo::Draw;
        }
        match key.code {
            KeyCode::Char('q') => return Todo::Quit,
            KeyCode::Esc => self.step_back(),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::PageUp if self.pane.is_some() => self.scrolled = self.scrolled.saturating_sub(PAGE.unsigned_abs()),
            // The view knows where the end is.
            KeyCode::PageDown if self.pane.is_some() => self.scrolled += PAGE.unsigned_abs(),
            KeyCode::PageUp => self.select(-PAGE),
            KeyCode::PageDown => self.select(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.select(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.select(isize::MAX),
            KeyCode::Enter | KeyCode::Char(' ') => self.expand(None),
            KeyCode::Right => self.expand(Some(true)),
            KeyCode::Left => self.expand(Some(false)),
            KeyCode::Char('e') => self.toggle(Pane::Explain),
            KeyCode::Char('d') => self.toggle(Pane::Descriptors),
            KeyCode::Char('c') => self.toggle(Pane::Connections),
            KeyCode::Char('?' | 'h') => self.toggle(Pane::Keys),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('m') => self.sort = super::SortBy::Memory,
            KeyCode::Char('p') => self.sort = super::SortBy::Cpu,
            KeyCode::Char('f') => self.sort = super::SortBy::Fds,
            KeyCode::Char('n') => self.sort = super::SortBy::Connections,
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('x') => self.shows_ended = !self.shows_ended,
            KeyCode::Char('/') => self.is_typing = true,
            _ => {}
        }
        self.settle();
        Todo::Draw
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(character) => self.filter.push(character),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Up => self.select(-1),
            KeyCode::Down => self.select(1),
            _ => {}
        }
        self.settle();
    }

    /// Takes back the last thing that was opened.
    fn step_back(&mut self) {
        if self.pane.take().is_none() {
            self.filter.clear();
        }
    }

    fn toggle(&mut self, pane: Pane) {
        self.scrolled = 0;
        self.pane = if self.pane == Some(pane) { None } else { Some(pane) };
    }

    /// Shows the processes of the selected tool or hides them; unless that is said, whichever they are not.
    fn expand(&mut self, shown: Option<bool>) {
        let Some(instance) = self.selected.map(RowId::instance) else {
            return;
        };
        if shown.unwrap_or(!self.expanded.contains(&instance)) {
            self.expanded.insert(instance);
        } else {
            self.expanded.remove(&instance);
            self.selected = Some(RowId::Tool(instance));
        }
    }
}
