//! Rules: which processes are a tool because of what they execute, their command line, their cgroup or their user.

use serde::Deserialize;
use wildmatch::WildMatch;

use super::{
    Fault,
    accounts::{self, NameOrId},
};
use crate::model::{OperationKind, ToolName};

/// A rule as written: `[[rule]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleTable {
    /// The tool's name; it has to be there.
    #[serde(default)]
    pub tool: String,
    /// Path of the program, or its last part alone; `*` and `?` stand for any text and any character.
    pub executable: Option<String>,
    /// The command line, its arguments separated by spaces; `*` and `?` likewise.
    pub command: Option<String>,
    /// Path of the cgroup (v2) as `/proc/PID/cgroup` has it; `*` and `?` likewise.
    pub cgroup: Option<String>,
    /// User name or id.
    pub user: Option<NameOrId>,
    /// What the tool's CPU limit counts over: `busy` or `run`.
    #[serde(default)]
    pub operation: OperationKind,
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
    /// What a table of the file means, which has that key; `users` is the text of `/etc/passwd`.
    pub(super) fn from_table(table: &RuleTable, key: &str, users: &str) -> Result<Self, Fault> {
        let of = |name: &str| format!("{key}.{name}");
        if table.tool.is_empty() {
            return Err(Fault::of(key, "a rule has a tool: write tool = \"NAME\""));
        }
        let tool: ToolName = table.tool.parse().map_err(|error| Fault::of(of("tool"), &error))?;
        let conditions = [
            ("executable", &table.executable),
            ("command", &table.command),
            ("cgroup", &table.cgroup),
        ];
        if conditions.iter().all(|(_, condition)| condition.is_none()) && table.user.is_none() {
            let message = format!(
                "the rule for {tool} has no condition and would match every process: write executable, command, cgroup or \
                 user"
            );
            return Err(Fault::of(key, &message));
        }
        let mut empty = conditions.iter().filter(|(_, text)| text.as_deref() == Some(""));
        if let Some((name, _)) = empty.next() {
            return Err(Fault::of(of(name), "this is an empty pattern: write `*` for any text"));
        }
        let uid = table.user.as_ref();
        let uid = uid
            .map(|user| accounts::find(user, users, "user", "/etc/passwd"))
            .transpose();
        let uid = uid.map_err(|message| Fault::of(of("user"), &message))?;
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

#[cfg(test)]
mod tests {
    //! Rules as people write them.
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

    fn rule(text: &str) -> Result<Rule, String> {
        let table: RuleTable = toml::from_str(text).map_err(|error| error.to_string())?;
        Rule::from_table(&table, "rule[1]", USERS).map_err(|error| error.to_string())
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
            ("user = 0", "tool = "),
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
