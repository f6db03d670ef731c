//! What a text's colour says: what a person has to look at first.

use crate::model::ResourceStatus;

/// What a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// It names what stands below it.
    Heading,
    /// It can be passed over.
    Faint,
    /// At Warning.
    Warning,
    /// At Critical.
    Critical,
    /// At Emergency, or something has failed.
    Emergency,
}

impl Tone {
    /// What selects it on a terminal; without colours by weight alone.
    pub const fn selected(self, has_colours: bool) -> &'static str {
        match (self, has_colours) {
            (Self::Plain, _) => "",
            (Self::Warning, true) => "\x1b[33m",
            (Self::Critical, true) => "\x1b[31m",
            (Self::Emergency, true) => "\x1b[1;31m",
            (Self::Faint, _) => "\x1b[2m",
            (Self::Heading | Self::Warning | Self::Critical | Self::Emergency, _) => "\x1b[1m",
        }
    }
}

impl From<ResourceStatus> for Tone {
    fn from(status: ResourceStatus) -> Self {
        match status {
            ResourceStatus::Normal => Self::Plain,
            ResourceStatus::Warning => Self::Warning,
            ResourceStatus::Critical => Self::Critical,
            ResourceStatus::Emergency => Self::Emergency,
        }
    }
}

/// A text and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub text: String,
    /// What it is.
    pub tone: Tone,
}

impl Span {
    /// A text that is something in particular.
    pub fn new(text: impl Into<String>, tone: impl Into<Tone>) -> Self {
        Self {
            text: text.into(),
            tone: tone.into(),
        }
    }

    /// The text as a terminal is told of it.
    pub fn painted(&self, has_colours: bool) -> String {
        match self.tone.selected(has_colours) {
            "" => self.text.clone(),
            selected => format!("{selected}{}\x1b[0m", self.text),
        }
    }
}

impl From<String> for Span {
    fn from(text: String) -> Self {
        Self::new(text, Tone::Plain)
    }
}

#[cfg(test)]
mod tests {
    //! Colours, and their absence.
    use super::*;

    #[test]
    fn without_colours_no_colour_is_selected() {
        for tone in [
            Tone::Plain,
            Tone::Heading,
            Tone::Faint,
            Tone::Warning,
            Tone::Critical,
            Tone::Emergency,
        ] {
            assert!(!tone.selected(false).contains('3'), "{tone:?}");
        }
        assert_eq!(Span::new("low", Tone::Warning).painted(true), "\x1b[33mlow\x1b[0m");
        assert_eq!(Span::new("low", ResourceStatus::Normal).painted(true), "low");
    }
}
