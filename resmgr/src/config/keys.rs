//! Every key of the configuration, once: its name, what it is written as, its default, and what it means. What reads files,
//! `config default` and the documentation go by this table, and tests hold it to what [`super::FileConfig`] takes.

/// What a value is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"text"`.
    Text,
    /// `1`.
    Integer,
    /// `true` or `false`.
    Flag,
    /// `1` or `"text"`.
    TextOrInteger,
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it is written as.
    pub kind: Kind,
    /// What holds where it is not written, in TOML; `None` where nothing does.
    pub default: Option<&'static str>,
    /// What one could write, in TOML.
    pub example: &'static str,
    /// What it means, in a line.
    pub about: &'static str,
    /// An agent takes it in at its start alone.
    pub at_start: bool,
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its path: `agent`, `tool.NAME.budget` for each name, `rule[]` for each of a list.
    pub path: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// How its header is written.
    pub fn header(&self) -> String {
        match self.path.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]"),
            None => format!("[{}]", self.path),
        }
    }

    /// Whether there may be more than one, or none.
    pub fn is_of_many(&self) -> bool {
        self.path.ends_with("[]") || self.path.contains("NAME")
    }

    /// One of its keys.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key with a default.
const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        example: default,
        about,
        at_start: false,
    }
}

/// A key for which nothing holds where it is not written.
const fn unset(name: &'static str, kind: Kind, example: &'static str, about: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        example,
        about,
        at_start: false,
    }
}

/// One that an agent takes in at its start alone.
const fn at_start(key: Key) -> Key {
    Key { at_start: true, ..key }
}

use Kind::{Flag, Integer, Text, TextOrInteger};

const MEMORY: Key = unset(
    "memory",
    Text,
    "\"100M:500M\"",
    "memory: base and maximum, or the maximum alone",
);
const CPU: Key = unset("cpu", Text, "\"30s:2m\"", "CPU time per operation, likewise");
const FDS: Key = unset("fds", TextOrInteger, "\"50:200\"", "open descriptors, likewise");
const CONNECTIONS: Key = unset("connections", TextOrInteger, "\"10:50\"", "connections, likewise");
const PROFILE: &str = "limits to begin with: light, standard or heavy";
const MODE: &str = "what is done beyond a limit: observe, throttle or enforce; by how a tool began unless written";
const STRICT: &str = "the kernel refuses at the limit in force, not at the maximum";
const EXEMPT_LOOPBACK: &str = "connections to this host itself are never refused";
const ORPHANS: &str = "processes that outlive their tool: keep, alert or reap";
const GRACE: &str = "how long processes that are asked to end may take, at most 1h";

/// All sections, in the order in which they are shown.
pub const SECTIONS: &[Section] = &[
    Section {
        path: "agent",
        about: "The agent itself.",
        keys: &[
            key("sweep_interval", Text, "\"1s\"", "time between sweeps, 100ms to 60s"),
            at_start(key(
                "max_processes",
                Integer,
                "32768",
                "processes that can have event counters at a time, 64 to 4194304",
            )),
            at_start(key(
                "ring_bytes",
                Integer,
                "1048576",
                "bytes of the event ring, a power of two, 65536 to 1073741824",
            )),
            at_start(key(
                "group",
                TextOrInteger,
                "\"resmgr\"",
                "members see all tools and processes, and change their own alone; group name or id",
            )),
        ],
    },
    Section {
        path: "limits",
        about: "What every tool gets.",
        keys: &[
            key("profile", Text, "\"light\"", PROFILE),
            MEMORY,
            CPU,
            FDS,
            CONNECTIONS,
            unset("mode", Text, "\"throttle\"", MODE),
            key("strict", Flag, "false", STRICT),
            key("exempt_loopback", Flag, "false", EXEMPT_LOOPBACK),
            key("orphans", Text, "\"alert\"", ORPHANS),
            key("grace", Text, "\"10s\"", GRACE),
        ],
    },
    Section {
        path: "tool.NAME",
        about: "What tools of a name get, on top of [limits].",
        keys: &[
            unset("profile", Text, "\"standard\"", PROFILE),
            MEMORY,
            CPU,
            FDS,
            CONNECTIONS,
            unset("mode", Text, "\"enforce\"", MODE),
            unset("strict", Flag, "false", STRICT),
            unset("exempt_loopback", Flag, "true", EXEMPT_LOOPBACK),
            unset("orphans", Text, "\"reap\"", ORPHANS),
            unset("grace", Text, "\"10s\"", GRACE),
        ],
    },
    Section {
        path: "tool.NAME.budget",
        about: "What all instances of a name may use together, for each user.",
        keys: &[
            unset("instances", Integer, "8", "how many there may be"),
            unset("memory", Text, "\"2G\"", "memory"),
            unset("fds", Integer, "1000", "open descriptors"),
            unset("connections", Integer, "200", "connections"),
        ],
    },
    Section {
        path: "ceiling",
        about: "What no limit goes beyond, whoever asks.",
        keys: &[
            unset("memory", Text, "\"4G\"", "memory"),
            unset("cpu", Text, "\"10m\"", "CPU time per operation"),
            unset("fds", TextOrInteger, "4096", "open descriptors"),
            unset("connections", TextOrInteger, "500", "connections"),
            key("mode", Text, "\"observe\"", "no tool is held more gently"),
        ],
    },
    Section {
        path: "rule[]",
        about: "Processes that are a tool without having been registered: the first rule whose every condition is met decides.",
        keys: &[
            unset("tool", Text, "\"fetch\"", "the tool's name"),
            unset(
                "executable",
                Text,
                "\"node\"",
                "path of the program, or its last part; * is any text, ? any character",
            ),
            unset(
                "command",
                Text,
                "\"*mcp-server-fetch*\"",
                "the command line, its arguments separated by spaces; likewise",
            ),
            unset(
                "cgroup",
                Text,
                "\"/user.slice/*\"",
                "path of the cgroup (v2), as /proc/PID/cgroup has it; likewise",
            ),
            unset("user", TextOrInteger, "1000", "user name or id"),
            key(
                "operation",
                Text,
                "\"busy\"",
                "what the CPU limit counts over: busy, run or api",
            ),
        ],
    },
    Section {
        path: "adapt",
        about: "How limits in force follow the use.",
        keys: &[key(
            "tuning",
            Text,
            "\"calm\"",
            "what is paid for when limits are chosen: calm, balanced or safe",
        )],
    },
    Section {
        path: "history",
        about: "What is kept of the past.",
        keys: &[
            at_start(key(
                "samples",
                Text,
                "\"2h\"",
                "how long each sample is kept, at least 1h",
            )),
            at_start(key(
                "minutes",
                Text,
                "\"14d\"",
                "how long what minutes come to is kept, at least as long",
            )),
            at_start(key(
                "hours",
                Text,
                "\"400d\"",
                "how long what hours come to is kept, at least as long",
            )),
            at_start(key(
                "max_size",
                Text,
                "\"256M\"",
                "how large the file may become, at least 32M",
            )),
        ],
    },
    Section {
        path: "metrics",
        about: "Where numbers are scraped.",
        keys: &[at_start(unset(
            "listen",
            Text,
            "\"127.0.0.1:9465\"",
            "address and port, or off; 127.0.0.1:9465 unless written, where that is free",
        ))],
    },
    Section {
        path: "alert",
        about: "Whom alerts are told.",
        keys: &[unset(
            "command",
            Text,
            "\"logger -t resmgr\"",
            "what a shell runs for each alert",
        )],
    },
];

#[cfg(test)]
mod tests {
    //! The table against what is read.
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Config, FileConfig};

    /// What the reader says that a table may hold.
    fn read(path: &str) -> BTreeSet<String> {
        let table = path.replace("NAME", "a");
        let text = match table.strip_suffix("[]") {
            Some(list) => format!("[[{list}]]\nno_such_key = 1\n"),
            None if table.is_empty() => "no_such_key = 1\n".to_owned(),
            None => format!("[{table}]\nno_such_key = 1\n"),
        };
        let error = toml::from_str::<FileConfig>(&text).unwrap_err().message().to_owned();
        let expected = error.split_once("expected").unwrap_or_else(|| panic!("{error}")).1;
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_that_is_read_is_in_the_table_and_no_other() {
        for section in SECTIONS {
            let there: BTreeSet<String> = section.keys.iter().map(|key| key.name.to_owned()).collect();
            let mut read = read(section.path);
            // Tables of their own.
            read.retain(|name| {
                !SECTIONS
                    .iter()
                    .any(|other| other.path == format!("{}.{name}", section.path))
            });
            // `[limits]` is read like `[tool.NAME]`; that a budget is a name's is said later.
            if section.path == "limits" {
                assert!(read.remove("budget"));
            }
            assert_eq!(there, read, "[{}]", section.path);
        }
        let tables = SECTIONS
            .iter()
            .map(|section| section.path.split(['.', '[']).next().unwrap_or_default());
        assert_eq!(tables.map(str::to_owned).collect::<BTreeSet<_>>(), read(""));
    }

    #[test]
    fn every_default_is_what_holds_where_nothing_is_written() {
        for section in SECTIONS.iter().filter(|section| !section.is_of_many()) {
            for key in section.keys.iter().filter(|key| key.name != "group") {
                let Some(default) = key.default else { continue };
                let text = format!("{}\n{} = {default}\n", section.header(), key.name);
                let (config, _) = Config::from_text(&text).unwrap();
                let config = Config { group: None, ..config };
                let (profile, defaults) = (config.limits.clone(), Config::default());
                // A profile that is written is one that somebody gave: the numbers are the same.
                if key.name == "profile" {
                    assert_ne!(profile, defaults.limits);
                } else if section.path != "limits" && section.path != "ceiling" {
                    assert_eq!(config, defaults, "{text}");
                }
            }
        }
    }
}
