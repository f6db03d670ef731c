//! Configurations as text that can be read again: every key with its default, and what holds.

use super::keys::{SECTIONS, Section};
use crate::model::Setting;

/// A file with every key, each as a comment: what is built in holds until the `#` before a key is taken away.
pub fn default_text() -> String {
    let head = [
        "# The configuration of resmgr, with every key. Where a key has a default, it is the value shown here; others show",
        "# what one could write. To change one, take away the # before it. `resmgr config check` says what is wrong with a",
        "# file; `resmgr reload` has the agent take it in.",
    ];
    let sections = SECTIONS.iter().flat_map(of_section);
    joined(head.map(str::to_owned).into_iter().chain(sections))
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

fn of_section(section: &Section) -> Vec<String> {
    // A table of which there may be none is not there until somebody writes it.
    let sign = if section.is_of_many() { "#" } else { "" };
    let header = section.header().replace("NAME", "fetch");
    let mut lines = vec![String::new(), format!("# {}", section.about), format!("{sign}{header}")];
    for key in section.keys {
        let default = if key.default.is_none() { " (no default)" } else { "" };
        let start = if key.at_start {
            " (taken in when the agent starts)"
        } else {
            ""
        };
        lines.push(format!("# {}{default}{start}", key.about));
        lines.push(format!("#{} = {}", key.name, key.example));
    }
    lines
}

/// What holds, each key with where it comes from; those that nothing holds for are comments.
pub fn settings_text(settings: &[Setting]) -> String {
    let mut lines = Vec::new();
    let mut table = "";
    let mut seen: Vec<&str> = Vec::new();
    for setting in settings {
        // Each of a list begins anew with a key that the one before has had.
        let is_next = setting.table.starts_with("[[") && seen.contains(&setting.key.as_str());
        if setting.table != table || is_next {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(setting.table.clone());
            table = &setting.table;
            seen.clear();
        }
        seen.push(&setting.key);
        lines.push(match &setting.value {
            Some(value) => format!("{} = {value}  # {}", setting.key, setting.from),
            None => format!("#{} is not set", setting.key),
        });
    }
    joined(lines.into_iter())
}

#[cfg(test)]
mod tests {
    //! What is shown, read again.
    use super::*;
    use crate::config::{Config, Written};

    #[test]
    fn the_default_file_means_the_defaults_and_every_line_of_it_can_be_used() {
        let (config, written) = Config::from_text(&default_text()).unwrap();
        assert_eq!(
            (Config { group: None, ..config }, written.count()),
            (Config::default(), 0)
        );
        let all: String = default_text()
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| !rest.starts_with(' '))
                    .unwrap_or(line)
            })
            // There is no group that every host has but that of root.
            .map(|line| {
                if line.starts_with("group") {
                    "group = 0\n".to_owned()
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let (_, written) = Config::from_text(&all).unwrap_or_else(|faults| panic!("{faults:?}\n{all}"));
        let keys: usize = SECTIONS.iter().map(|section| section.keys.len()).sum();
        assert_eq!(written.count(), keys);
    }

    #[test]
    fn what_is_shown_means_what_was_read() {
        let text = "tool.c.fds = 9\ntool.d.fds = 9\ntool.c.memory = '1G'\n[limits]\nfds = '40:80'\n[tool.'a.b']\nmemory = \"1G\"\n[tool.'a.b'.budget]\nfds = 9\n\
                    [[rule]]\ntool = 'x'\nuser = 1\n[[rule]]\ntool = 'y'\nuser = 2\n[ceiling]\nmemory = '2G'\n";
        let (config, written) = Config::from_text(text).unwrap();
        let shown = settings_text(&written.settings());
        let (again, _) = Config::from_text(&shown).unwrap_or_else(|faults| panic!("{faults:?}\n{shown}"));
        assert_eq!(again.rules, config.rules);
        assert_eq!(
            again.limits.budget(&"a.b".parse().unwrap()),
            config.limits.budget(&"a.b".parse().unwrap())
        );
        assert!(shown.contains("memory = \"1G\"  # line 7"), "{shown}");
        assert!(shown.contains("sweep_interval = \"1s\"  # built in"), "{shown}");
        assert!(Written::read(&shown).is_ok());
    }
}
