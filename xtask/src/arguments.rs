//! Reads a command's arguments. Guesses nothing: what is not known is an error.

use anyhow::{Context as _, Result, bail};

/// A command's arguments as they are taken one by one.
pub(crate) struct Arguments<'a> {
    command: &'static str,
    rest: &'a [String],
}

/// One argument.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    /// `--name`, without the dashes.
    Option(&'a str),
    /// A word.
    Word(&'a str),
    /// Everything after `--`.
    Rest(&'a [String]),
}

impl<'a> Arguments<'a> {
    /// The arguments of `command`.
    pub(crate) fn new(command: &'static str, rest: &'a [String]) -> Self {
        Self { command, rest }
    }

    /// The next argument, if there is one.
    pub(crate) fn next(&mut self) -> Option<Argument<'a>> {
        let (first, rest) = self.rest.split_first()?;
        if first == "--" {
            self.rest = &[];
            return Some(Argument::Rest(rest));
        }
        self.rest = rest;
        Some(match first.strip_prefix("--") {
            Some(name) => Argument::Option(name),
            None => Argument::Word(first),
        })
    }

    /// The value of the option just taken.
    pub(crate) fn value(&mut self, option: &str) -> Result<&'a str> {
        let (value, rest) = self
            .rest
            .split_first()
            .filter(|(value, _)| !value.starts_with("--"))
            .with_context(|| format!("`--{option}` wants a value: `cargo xtask --help` shows which"))?;
        self.rest = rest;
        Ok(value)
    }

    /// The error for an argument that the command does not know.
    pub(crate) fn unknown<T>(&self, argument: &Argument<'_>) -> Result<T> {
        let command = self.command;
        match argument {
            Argument::Option(name) => {
                bail!("`cargo xtask {command}` has no option `--{name}`: `cargo xtask --help` lists them")
            }
            Argument::Word(word) => bail!("`cargo xtask {command}` takes no `{word}`: see `cargo xtask --help`"),
            Argument::Rest(_) => bail!("`cargo xtask {command}` takes no `--`: see `cargo xtask --help`"),
        }
    }

    /// Fails where anything is left.
    pub(crate) fn none(mut self) -> Result<()> {
        match self.next() {
            None => Ok(()),
            Some(argument) => self.unknown(&argument),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_words_and_the_rest_are_told_apart() {
        let given: Vec<String> = ["--object", "file", "word", "--", "--full"].map(str::to_owned).to_vec();
        let mut arguments = Arguments::new("test", &given);
        assert_eq!(arguments.next(), Some(Argument::Option("object")));
        assert_eq!(arguments.value("object").unwrap(), "file");
        assert_eq!(arguments.next(), Some(Argument::Word("word")));
        assert_eq!(arguments.next(), Some(Argument::Rest(&given[4..])));
        assert_eq!(arguments.next(), None);
    }

    #[test]
    fn a_missing_value_is_an_error() {
        let given: Vec<String> = ["--object", "--full"].map(str::to_owned).to_vec();
        let mut arguments = Arguments::new("test", &given);
        assert_eq!(arguments.next(), Some(Argument::Option("object")));
        assert!(arguments.value("object").is_err());
    }
}
