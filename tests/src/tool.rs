//! Tools of an agent: how tests start them, and what they are told of them by the agent and by the kernel.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{Agent, Workload, binary, number, run, until};

impl Agent {
    /// `resmgr exec --require --tool NAME FLAGS -- `, to be given a command.
    pub fn exec(&self, tool: &str, flags: &[&str]) -> Command {
        let mut exec = self.client(&["exec", "--require", "--tool", tool]);
        exec.args(flags).arg("--");
        exec
    }

    /// A workload as a tool.
    pub fn workload(&self, tool: &str, flags: &[&str]) -> Workload {
        Workload::over(self.exec(tool, flags).arg(binary("workload")))
    }

    /// The first instance of a tool, as it is now.
    pub fn tool(&self, name: &str) -> Value {
        self.status(&[name, "--fresh"])["tools"][0].take()
    }

    /// A tool once it has ended.
    pub fn ended(&self, name: &str) -> Value {
        until("the tool is over", || {
            let tool = self.tool(name);
            tool["ended_s"].is_u64().then_some(tool)
        })
    }

    /// The alerts of a tool, the oldest first.
    pub fn alerts(&self, tool: &str) -> Vec<Value> {
        let output = run(&mut self.client(&["alerts", tool, "--json"]));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let lines = output.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("alerts --json prints JSON"))
            .collect()
    }

    /// The first alert of a tool about something.
    pub fn alert(&self, tool: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        until("the alert", || self.alerts(tool).into_iter().find(&is_meant))
    }

    /// The cgroup of a tool's own.
    pub fn leaf(&self, tool: &str) -> PathBuf {
        let tool = self.tool(tool);
        let path = tool["cgroup"].as_str();
        PathBuf::from(path.unwrap_or_else(|| panic!("no cgroup: {tool}")))
    }

    /// What a file of a tool's own cgroup says.
    pub fn leaf_says(&self, tool: &str, file: &str) -> String {
        let path = self.leaf(tool).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    /// Whether this host's leaves have a controller, once there is one. Virtual machines have all: that is asserted.
    pub fn has_controller(&self, controller: &str) -> bool {
        let path = self.cgroup_root().join("cgroup.controllers");
        let controllers = fs::read_to_string(path).expect("there is a leaf");
        let has = controllers.split_whitespace().any(|name| name == controller);
        assert!(has || !crate::in_machine(), "virtual machines have all: {controllers}");
        has
    }

    /// How many samples of a tool the agent remembers.
    pub fn remembered(&self, tool: &str) -> usize {
        let asked = ["history", tool, "--format", "csv", "--of", "fds", "--resolution", "1s"];
        run(&mut self.client(&asked)).stdout.lines().count().saturating_sub(1)
    }

    /// What explains a tool to a person.
    pub fn explain(&self, tool: &str) -> String {
        let output = run(&mut self.client(&["explain", tool]));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    }
}

/// The tools of a name, after a sweep.
pub fn tools(agent: &Agent, name: &str) -> Vec<Value> {
    let status = agent.status(&[name, "--fresh"]);
    status["tools"].as_array().expect("a report has tools").clone()
}

/// The one tool of a name.
pub fn tool(agent: &Agent, name: &str) -> Value {
    let mut tools = tools(agent, name);
    assert_eq!(tools.len(), 1, "{tools:?}");
    tools.remove(0)
}

/// The process ids of a tool's processes.
pub fn pids(agent: &Agent, name: &str) -> BTreeSet<u64> {
    let status = agent.status(&[name, "--fresh", "--processes"]);
    let processes = status["processes"].as_array().expect("a report has processes");
    processes.iter().map(|process| number(&process["pid"])).collect()
}

/// The number behind a word in a file like `memory.events`.
pub fn keyed(text: &str, key: &str) -> u64 {
    let of_line = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    let found = text.lines().find_map(of_line);
    found.unwrap_or_else(|| panic!("{key} in {text}"))
}

/// When something was, in microseconds of the wall clock.
pub fn wall_us(at: &Value) -> i64 {
    let text = at.as_str().unwrap_or_else(|| panic!("{at} is no time"));
    let at: chrono::DateTime<chrono::Utc> = text.parse().unwrap_or_else(|_| panic!("{text} is no time"));
    at.timestamp_micros()
}

/// When use of a resource first reached a level, as the kernel told it, in microseconds of the wall clock.
pub fn reached_us(tool: &Value, resource: &str, level: &str) -> Option<i64> {
    let crossings = tool["crossings"].as_array().map_or(&[][..], Vec::as_slice);
    let is_meant =
        |c: &&Value| c["resource"] == resource && c["level"] == level && c["risen"] == true && number(&c["value"]) > 0;
    crossings.iter().find(is_meant).map(|crossing| wall_us(&crossing["at"]))
}
