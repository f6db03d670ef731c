//! Rules: which processes are a tool because of what they execute, their command line, their cgroup or their user.

use serde::Deserialize;
use wildmatch::WildMatch;

use super::ConfigError;
use crate::model::{OperationKind, ToolName};

/// A rule as written: `[[rule]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleTable {
    /// The tool's name.
    pub tool: String,
    /// Path of the program, or its last part alone; `*` and `?` stand for any text and any character.
    pub executable: Option<String>,
    /// The command line, its arguments separated by spaces; `*` and `?` likewise.
    pub command: Option<String>,
    /// Path of the cgroup (v2) as `/proc/PID/cgroup` has it; `*` and `?` likewise.
    pub cgroup: Option<String>,
    /// User name or id.
    pub user: Option<UserText>,
    /// What the tool's CPU limit counts over: `busy` or `run`.
    #[serde(default)]
    pub operation: OperationKind,
}

/// A user as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum UserText {
    /// By id.
    Id(u32),
    /// By name, or by id as text.
    Name(String),
}

/// A rule as meant. A process that meets every condition is, with its descendants, an instance of the tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The tool's name.
    pub tool: ToolName,
    /// What its CPU limit counts over.
    pub operation: OperationKind,
    executable: Option<WildMatch>,
    command: Option<WildMatch>,
    cgroup: Option<WildMatch>,
    uid: Option<u32>,
}

/// What a rule is matched with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Path of the program.
    pub path: String,
    /// Its arguments, separated by spaces.
    pub command: String,
    /// Path of the cgroup; `None` where it is not known.
    pub cgroup: Option<String>,
    /// Real user id.
    pub uid: u32,
}

impl Rule {
    /// What a table of the file means; `users` is the text of `/etc/passwd`.
    pub(super) fn from_table(table: &RuleTable, users: &str) -> Result<Self, ConfigError> {
        let wrong = |message: String| ConfigError::Value { key: "rule", message };
        let tool: ToolName = table.tool.parse().map_err(|error| wrong(format!("tool: {error}")))?;
        let conditions = [&table.executable, &table.command, &table.cgroup];
        if conditions.iter().all(|condition| condition.is_none()) && table.user.is_none() {
            return Err(wrong(format!(
                "the rule for {tool} has no condition and would match every process: write executable, command, cgroup or \
                 user"
            )));
        }
        if let Some(pattern) = conditions
            .iter()
            .find_map(|c| c.as_deref().filter(|text| text.is_empty()))
        {
            return Err(wrong(format!(
                "the rule for {tool} has an empty pattern {pattern:?}: write `*` for any text"
            )));
        }
        let uid = table
            .user
            .as_ref()
            .map(|user| find_user(user, users))
            .transpose()
            .map_err(wrong)?;
        let pattern = |text: &Option<String>| text.as_deref().map(WildMatch::new);
        Ok(Self {
            tool,
            operation: table.operation,
            executable: pattern(&table.executable),
            command: pattern(&table.command),
            cgroup: pattern(&table.cgroup),
            uid,
        })
    }

    /// Whether the cgroup matters to it.
    pub fn asks_for_cgroup(&self) -> bool {
        self.cgroup.is_some()
    }

    /// Whether a process meets every condition.
    pub fn matches(&self, executed: &Executed) -> bool {
        let name = executed.path.rsplit('/').next().unwrap_or_default();
        let meets = |pattern: &Option<WildMatch>, texts: &[Option<&str>]| {
            pattern
                .as_ref()
                .is_none_or(|pattern| texts.iter().flatten().any(|text| pattern.matches(text)))
        };
        meets(&self.executable, &[Some(&executed.path), Some(name)])
            && meets(&self.command, &[Some(&executed.command)])
            && meets(&self.cgroup, &[executed.cgroup.as_deref()])
            && self.uid.is_none_or(|uid| uid == executed.uid)
    }
}

/// The id of a user, by the lines of `/etc/passwd`.
fn find_user(user: &UserText, users: &str) -> Result<u32, String> {
    let name = match user {
        UserText::Id(id) => return Ok(*id),
        UserText::Name(name) => name,
    };
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    };
    users
        .lines()
        .find_map(of_line)
        .ok_or_else(|| format!("user: there is no {name} in /etc/passwd: write a user id"))
}

#[cfg(test)]
mod tests {
    //! Rules as people write them.
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

    fn rule(text: &str) -> Result<Rule, String> {
        let table: RuleTable = toml::from_str(text).map_err(|error| error.to_string())?;
        Rule::from_table(&table, USERS).map_err(|error| error.to_string())
    }

    fn executed(path: &str, command: &str, uid: u32) -> Executed {
        Executed {
            path: path.to_owned(),
            command: command.to_owned(),
            cgroup: Some("/system.slice/agent.service".to_owned()),
            uid,
        }
    }

    #[test]
    fn every_condition_has_to_be_met() {
        let rule = rule("tool = 'fetch'\nexecutable = 'node*'\ncommand = '*mcp-fetch*'\nuser = 'alice'").unwrap();
        assert!(rule.matches(&executed("/usr/bin/nodejs", "node /srv/mcp-fetch.js", 1000)));
        assert!(!rule.matches(&executed("/usr/bin/nodejs", "node /srv/mcp-fetch.js", 1001)));
        assert!(!rule.matches(&executed("/usr/bin/python3", "node /srv/mcp-fetch.js", 1000)));
        assert!(!rule.matches(&executed("/usr/bin/nodejs", "node /srv/other.js", 1000)));
    }

    #[test]
    fn a_program_is_named_by_its_path_or_by_its_last_part() {
        let whole = rule("tool = 'a'\nexecutable = '/usr/bin/node'").unwrap();
        let last = rule("tool = 'a'\nexecutable = 'node'").unwrap();
        for rule in [whole, last] {
            assert!(rule.matches(&executed("/usr/bin/node", "", 0)));
            assert!(!rule.matches(&executed("/usr/bin/nodejs", "", 0)));
        }
    }

    #[test]
    fn a_cgroup_that_is_not_known_matches_no_rule_that_asks_for_one() {
        let rule = rule("tool = 'a'\ncgroup = '/system.slice/*'").unwrap();
        let mut executed = executed("/bin/x", "", 0);
        assert!(rule.matches(&executed));
        executed.cgroup = None;
        assert!(!rule.matches(&executed));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("tool = 'a'", "would match every process"),
            ("tool = 'a b'\nuser = 0", "cannot be a tool's name"),
            ("tool = 'a'\nuser = 'bob'", "write a user id"),
            ("tool = 'a'\nexecutable = ''", "empty pattern"),
            ("tool = 'a'\nexecutible = 'x'", "executible"),
        ] {
            let error = rule(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
