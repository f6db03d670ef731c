//! `resmgr mcp wrap` on configurations as hosts have them: what it writes, what it leaves alone, and that undoing it gives the
//! same bytes again. Needs no agent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use resmgr_tests::{Output, binary, run, unprivileged};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Claude Desktop's `claude_desktop_config.json`.
const DESKTOP: &str = r#"{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": [
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/data/ada/Desktop"
      ]
    },
    "brave search": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "BRAVE_API_KEY", "mcp/brave-search"],
      "env": {
        "BRAVE_API_KEY": "k\u00e9y"
      }
    },
    "bare": {
      "command": "/usr/local/bin/mcp-clock"
    },
    "empty": { "command": "mcp-empty", "args": [] }
  }
}
"#;

const DESKTOP_WRAPPED: &str = r#"{
  "globalShortcut": "Ctrl+Space",
  "mcpServers": {
    "filesystem": {
      "command": "/opt/resmgr",
      "args": [
        "exec", "--operations", "mcp", "--tool", "filesystem", "--", "npx",
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/data/ada/Desktop"
      ]
    },
    "brave search": {
      "command": "/opt/resmgr",
      "args": ["exec", "--operations", "mcp", "--tool", "brave-search", "--", "docker", "run", "-i", "--rm", "-e", "BRAVE_API_KEY", "mcp/brave-search"],
      "env": {
        "BRAVE_API_KEY": "k\u00e9y"
      }
    },
    "bare": {
      "command": "/opt/resmgr",
      "args": ["exec", "--operations", "mcp", "--tool", "bare", "--", "/usr/local/bin/mcp-clock"]
    },
    "empty": { "command": "/opt/resmgr", "args": [ "exec", "--operations", "mcp", "--tool", "empty", "--", "mcp-empty"] }
  }
}
"#;

/// VS Code's `mcp.json`: comments, trailing commas, tabs, inputs, a server elsewhere.
const CODE: &str = "{
\t// Asked for once, then kept.
\t\"inputs\": [
\t\t{ \"type\": \"promptString\", \"id\": \"token\", \"password\": true },
\t],
\t\"servers\": {
\t\t/* drives a browser */
\t\t\"playwright\": {
\t\t\t\"type\": \"stdio\",
\t\t\t\"command\": \"npx\", // from npm
\t\t\t\"args\": [
\t\t\t\t// the newest
\t\t\t\t\"@playwright/mcp@latest\",
\t\t\t],
\t\t},
\t\t\"github\": { \"type\": \"http\", \"url\": \"https://api.example.com/mcp/\" },
\t\t\"node\": {
\t\t\t\"args\": [\"${workspaceFolder}/server.js\"], \"command\": \"node\",
\t\t\t\"env\": { \"TOKEN\": \"${input:token}\" },
\t\t},
\t},
}
";

/// Cursor's `mcp.json`, in lines of another system, with what a person did not mean.
const CURSOR: &str = "\u{feff}{\r\n  \"mcpServers\": {\r\n    \"my server\": {\r\n      \"command\": \"uvx\",\r\n      \"args\": [\r\n        \"mcp-server-git\"\r\n      ]\r\n    },\r\n    \"my-server\": {\r\n      \"command\": \"python\"\r\n    },\r\n    \"line\": {\r\n      \"command\": \"npx -y mcp-remote\"\r\n    },\r\n    \"off\": {\r\n      \"disabled\": true,\r\n      \"command\": \"bunx\",\r\n      \"args\": [\"a\", 1]\r\n    },\r\n    \"elsewhere\": {\r\n      \"url\": \"http://localhost:3000/sse\"\r\n    }\r\n  }\r\n}";

/// Codex's `config.toml`, in every way that TOML has for the same.
const CODEX: &str = r#"model = "gpt-5" # the default
approval_policy = "on-request"

[mcp_servers.context7]
command = "npx"   # from npm
args = ["-y", "@upstash/context7-mcp"]
env = { "KEY" = "value" }

# What is kept of a book.
[mcp_servers."docs server"]
command = 'C:\tools\docs.exe'
startup_timeout_sec = 20

[mcp_servers.off]
enabled = false
args = [
    # where to look
    "--root", "/srv",
]
command = "mcp-files"

[mcp_servers.remote]
url = "https://mcp.example.com"

[mcp_servers]
inline = { command = "mcp-inline", env = { A = "b" } }
dotted.command = "mcp-dotted"

[tui]
notifications = true
"#;

/// Claude Code's `.claude.json`, in one line.
const CLAUDE_CODE: &str = r#"{"numStartups":3,"mcpServers":{"a":{"type":"stdio","command":"a","args":[],"env":{}}},"projects":{"/data/ada/x":{"allowedTools":[],"mcpServers":{"a":{"command":"b","args":["1"]}}},"/data/ada/y":{"mcpServers":{}}}}"#;

struct Configuration {
    folder: TempDir,
    path: PathBuf,
}

impl Configuration {
    fn new(name: &str, text: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Self { folder, path }
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(binary("resmgr"));
        command
            .args(["mcp", "wrap"])
            .arg(&self.path)
            .args(["--command", "/opt/resmgr"])
            .args(flags);
        command
    }

    fn wrap(&self, flags: &[&str]) -> Output {
        run(&mut self.command(flags))
    }

    fn done(&self, flags: &[&str]) -> String {
        let output = self.wrap(flags);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// What a server is started by: its command and its arguments.
fn started(server: &Value) -> Vec<String> {
    let arguments = server["args"].as_array().into_iter().flatten();
    std::iter::once(&server["command"])
        .chain(arguments)
        .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
        .collect()
}

/// How resmgr starts a command as a tool.
fn as_tool(tool: &str, command: &[&str]) -> Vec<String> {
    let before = ["/opt/resmgr", "exec", "--operations", "mcp", "--tool", tool, "--"];
    before.iter().chain(command).map(ToString::to_string).collect()
}

fn toml(text: &str) -> Value {
    toml::from_str::<toml::Table>(text).map(|table| json!(table)).unwrap()
}

/// JSON that has no comments.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap()
}

/// Lines that hold a text.
fn line<'a>(output: &'a str, of: &str) -> &'a str {
    let found = output.lines().find(|line| line.starts_with(of));
    found.unwrap_or_else(|| panic!("no line begins with {of:?}: {output}"))
}

#[test]
fn claude_desktops_servers_become_tools_and_nothing_else_is_touched() {
    let configuration = Configuration::new("claude_desktop_config.json", DESKTOP);
    let shown = configuration.done(&["--yes"]);
    assert_eq!(configuration.text(), DESKTOP_WRAPPED);
    assert_eq!(
        line(&shown, "brave search:"),
        "brave search: becomes the tool brave-search"
    );
    assert!(shown.contains("-      \"command\": \"npx\",\n"), "{shown}");
    assert!(shown.contains("+      \"command\": \"/opt/resmgr\",\n"), "{shown}");
    let copy = fs::read_to_string(configuration.path.with_extension("json.resmgr-backup")).unwrap();
    assert_eq!(copy, DESKTOP);
}

#[test]
fn undoing_gives_the_same_bytes_and_doing_twice_the_same_as_once() {
    let all = [
        ("claude_desktop_config.json", DESKTOP),
        ("mcp.json", CODE),
        ("mcp.json", CURSOR),
        ("config.toml", CODEX),
        (".claude.json", CLAUDE_CODE),
        ("config.toml", &CODEX.replace('\n', "\r\n")),
        ("tight.json", r#"{"mcpServers":{"x":{"command":"x"}}}"#),
        (
            "commented.json",
            "{\"servers\": {\"x\": {\"args\": [ // none\n ], \"command\": \"x\"}}}",
        ),
        ("last.toml", "[mcp_servers.x]\ncommand = \"x\""),
        (
            "lines.toml",
            "[mcp_servers.x]\n  command = \"\"\"\nx\"\"\"\n  args = [\n]\n",
        ),
    ];
    for (name, text) in all {
        let configuration = Configuration::new(name, text);
        configuration.done(&["--yes", "--profile", "heavy", "--mode", "throttle"]);
        let wrapped = configuration.text();
        assert_ne!(wrapped, text);
        let again = configuration.done(&["--yes"]);
        assert_eq!(configuration.text(), wrapped, "{again}");
        assert!(again.contains("nothing to change"), "{again}");
        configuration.done(&["--undo", "--yes"]);
        assert_eq!(configuration.text(), text, "{wrapped}");
        let again = configuration.done(&["--undo", "--yes"]);
        assert!(again.contains("nothing to change"), "{again}");
    }
}

#[test]
fn vs_codes_comments_stay_where_they_are() {
    let configuration = Configuration::new("mcp.json", CODE);
    let shown = configuration.done(&["--yes"]);
    let text = configuration.text();
    for kept in [
        "// Asked for once, then kept.\n",
        "/* drives a browser */",
        "\", // from npm\n",
        "// the newest\n",
    ] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    assert!(line(&shown, "github:").contains("runs elsewhere"), "{shown}");
    // What is left when its comments are taken out is JSON, but for trailing commas.
    let plain: String = text
        .lines()
        .map(|line| line.split(" //").next().unwrap().to_owned() + "\n")
        .collect();
    let plain = plain.replace("/* drives a browser */", "");
    let plain: String = plain
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let plain = plain.replace('\t', "").replace(",}", "}").replace(",]", "]");
    let servers = &json_of(&plain)["servers"];
    assert_eq!(
        started(&servers["playwright"]),
        as_tool("playwright", &["npx", "@playwright/mcp@latest"])
    );
    assert_eq!(
        started(&servers["node"]),
        as_tool("node", &["node", "${workspaceFolder}/server.js"])
    );
    assert_eq!(servers["node"]["env"]["TOKEN"], "${input:token}");
    assert_eq!(servers["github"]["url"], "https://api.example.com/mcp/");
}

#[test]
fn what_cannot_be_a_tool_is_named_and_left_alone() {
    let configuration = Configuration::new("mcp.json", CURSOR);
    let shown = configuration.done(&["--yes"]);
    assert!(
        line(&shown, "line:").contains("put the arguments into `args`"),
        "{shown}"
    );
    assert!(line(&shown, "elsewhere:").contains("runs elsewhere"), "{shown}");
    let servers = &json_of(&configuration.text())["mcpServers"];
    assert_eq!(started(&servers["line"]), ["npx -y mcp-remote"]);
    assert_eq!(
        started(&servers["my server"]),
        as_tool("my-server", &["uvx", "mcp-server-git"])
    );
    assert_eq!(started(&servers["my-server"]), as_tool("my-server-2", &["python"]));
    assert_eq!(started(&servers["off"]), as_tool("off", &["bunx", "a", "1"]));
    assert_eq!(
        configuration.text().matches('\n').count(),
        configuration.text().matches("\r\n").count()
    );
}

#[test]
fn codexs_servers_become_tools_however_they_are_written() {
    let configuration = Configuration::new("config.toml", CODEX);
    let shown = configuration.done(&["--yes"]);
    let text = configuration.text();
    let servers = &toml(&text)["mcp_servers"];
    assert_eq!(
        started(&servers["context7"]),
        as_tool("context7", &["npx", "-y", "@upstash/context7-mcp"])
    );
    assert_eq!(
        started(&servers["docs server"]),
        as_tool("docs-server", &[r"C:\tools\docs.exe"])
    );
    assert_eq!(
        started(&servers["off"]),
        as_tool("off", &["mcp-files", "--root", "/srv"])
    );
    assert_eq!(started(&servers["inline"]), as_tool("inline", &["mcp-inline"]));
    assert_eq!(started(&servers["dotted"]), as_tool("dotted", &["mcp-dotted"]));
    assert_eq!(servers["inline"]["env"]["A"], "b");
    assert!(line(&shown, "remote:").contains("runs elsewhere"), "{shown}");
    assert!(
        text.contains("# where to look\n") && text.contains("# What is kept of a book.\n"),
        "{text}"
    );
    assert_eq!(toml(&text)["tui"], toml(CODEX)["tui"]);
}

#[test]
fn each_projects_servers_have_names_of_their_own() {
    let configuration = Configuration::new(".claude.json", CLAUDE_CODE);
    configuration.done(&["--yes"]);
    let all = json_of(&configuration.text());
    assert_eq!(started(&all["mcpServers"]["a"]), as_tool("a", &["a"]));
    let project = &all["projects"]["/data/ada/x"]["mcpServers"]["a"];
    assert_eq!(started(project), as_tool("a-2", &["b", "1"]));
}

#[test]
fn flags_choose_servers_limits_and_socket() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    let flags = ["--only", "bare", "--profile", "standard", "--mode", "observe", "--yes"];
    let mut command = configuration.command(&flags);
    let output = run(command.env("RESMGR_SOCKET", "/run/other.sock"));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let servers = &json_of(&configuration.text())["mcpServers"];
    let expected = "/opt/resmgr exec --socket /run/other.sock --operations mcp --tool bare --profile standard --mode observe \
                    -- /usr/local/bin/mcp-clock";
    assert_eq!(started(&servers["bare"]).join(" "), expected);
    assert_eq!(started(&servers["filesystem"])[0], "npx");
    let output = configuration.wrap(&["--only", "nobody", "--yes"]);
    assert_eq!(output.code, Some(2));
    assert!(
        output
            .stderr
            .contains("there is no server nobody: there are filesystem, brave search, bare"),
        "{}",
        output.stderr
    );
}

#[test]
fn the_program_that_wraps_is_what_is_written() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    let output = run(Command::new(binary("resmgr"))
        .args(["mcp", "wrap", "--yes"])
        .arg(&configuration.path));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let written = &json_of(&configuration.text())["mcpServers"]["bare"]["command"];
    assert_eq!(
        Path::new(written.as_str().unwrap()),
        binary("resmgr").canonicalize().unwrap()
    );
}

#[test]
fn what_was_edited_since_stays_when_it_is_undone() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    configuration.done(&["--yes"]);
    let edited = configuration
        .text()
        .replace("\"/data/ada/Desktop\"", "\"/data/ada/Desktop\",\n        \"/srv\"")
        .replace("\"bare\", \"--\"", "\"bare\", \"--memory\", \"1G\", \"--\"")
        .replace("\"globalShortcut\": \"Ctrl+Space\"", "\"globalShortcut\": \"\"");
    fs::write(&configuration.path, edited).unwrap();
    configuration.done(&["--undo", "--yes"]);
    let expected = DESKTOP
        .replace("\"/data/ada/Desktop\"", "\"/data/ada/Desktop\",\n        \"/srv\"")
        .replace("\"globalShortcut\": \"Ctrl+Space\"", "\"globalShortcut\": \"\"");
    assert_eq!(configuration.text(), expected);
}

#[test]
fn resmgr_itself_and_what_a_person_has_put_it_before_are_left_alone() {
    let text = r#"{"mcpServers": {
        "resmgr": {"command": "/usr/bin/resmgr", "args": ["mcp"]},
        "pw": {"command": "resmgr", "args": ["exec", "--tool", "x", "--", "npx", "@playwright/mcp@latest"]},
        "x": {"command": "x"}
    }}"#;
    let configuration = Configuration::new("mcp.json", text);
    let shown = configuration.done(&["--yes"]);
    assert!(line(&shown, "resmgr:").contains("resmgr itself"), "{shown}");
    assert!(line(&shown, "pw:").contains("the tool x already"), "{shown}");
    let servers = &json_of(&configuration.text())["mcpServers"];
    assert_eq!(started(&servers["x"]), as_tool("x-2", &["x"]));
    assert_eq!(started(&servers["pw"])[3], "x");
}

#[test]
fn nothing_is_changed_unless_somebody_agrees() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    let shown = configuration.done(&["--dry-run"]);
    assert!(shown.contains("+      \"command\": \"/opt/resmgr\","), "{shown}");
    let output = configuration.wrap(&[]);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("no terminal to ask on") && output.stderr.contains("--yes"),
        "{}",
        output.stderr
    );
    assert!(
        output.stdout.contains("+      \"command\": \"/opt/resmgr\","),
        "{}",
        output.stdout
    );
    // On a terminal.
    for (answer, expected) in [("n", DESKTOP), ("", DESKTOP), ("y", DESKTOP_WRAPPED)] {
        let line = format!(
            "{} mcp wrap {} --command /opt/resmgr",
            binary("resmgr").display(),
            configuration.path.display()
        );
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = terminal.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{answer}").unwrap();
        let output = child.wait_with_output().unwrap();
        let asked = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(asked.contains("[y/N]"), "{asked}");
        assert_eq!(configuration.text(), expected, "{answer}: {asked}");
    }
}

#[test]
fn a_copy_is_kept_and_none_is_overwritten() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    fs::write(configuration.path.with_extension("json.resmgr-backup"), "older").unwrap();
    configuration.done(&["--yes"]);
    configuration.done(&["--undo", "--yes"]);
    let backup =
        |end: &str| fs::read_to_string(configuration.path.with_extension(format!("json.resmgr-backup{end}"))).unwrap();
    assert_eq!(
        (backup("").as_str(), backup(".2").as_str(), backup(".3").as_str()),
        ("older", DESKTOP, DESKTOP_WRAPPED)
    );
    let expected = [
        "mcp.json",
        "mcp.json.resmgr-backup",
        "mcp.json.resmgr-backup.2",
        "mcp.json.resmgr-backup.3",
    ];
    assert_eq!(configuration.names(), expected, "and nothing else is left");
}

#[test]
fn the_file_keeps_its_mode_and_owner_and_stays_behind_its_link() {
    let configuration = Configuration::new("real.json", DESKTOP);
    fs::set_permissions(&configuration.path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&configuration.path, Some(1234), Some(4321)).unwrap();
    let link = configuration.folder.path().join("link.json");
    symlink("real.json", &link).unwrap();
    let output = run(Command::new(binary("resmgr"))
        .args(["mcp", "wrap", "--command", "/opt/resmgr", "--yes"])
        .arg(&link));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(configuration.text(), DESKTOP_WRAPPED);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    for path in [
        configuration.path.clone(),
        configuration.path.with_extension("json.resmgr-backup"),
    ] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
            (0o640, 1234, 4321),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_where_and_nothing_is_changed() {
    let wrong = [
        (
            "a.json",
            "{\n  \"mcpServers\": {\n    \"x\": { \"command\" \"npx\" }\n  }\n}",
            "is no JSON: line 3, column 22",
        ),
        ("b.json", "", "is no JSON: line 1, column 1"),
        ("c.json", "{\"mcpServers\": {'x': {}}}", "is no JSON: line 1, column 17"),
        (
            "d.toml",
            "[mcp_servers.x]\ncommand = npx\n",
            "is no TOML: line 2, column 11",
        ),
        (
            "e.json",
            "{\"theme\": \"dark\", \"servers\": [1]}",
            "`mcpServers`, `servers`, `mcp.servers` and `projects.PATH.mcpServers`",
        ),
        ("f.toml", "[servers.x]\n", "`[mcp_servers.NAME]`"),
    ];
    for (name, text, said) in wrong {
        let configuration = Configuration::new(name, text);
        let output = configuration.wrap(&["--yes"]);
        assert_eq!(output.code, Some(1), "{name}: {}", output.stdout);
        assert!(output.stderr.contains(said), "{name}: {}", output.stderr);
        assert_eq!(configuration.text(), text);
        assert_eq!(configuration.names(), [name]);
    }
    let configuration = Configuration::new("g.json", "");
    fs::write(&configuration.path, b"{\"a\": \"\xff\"}").unwrap();
    assert!(
        configuration
            .wrap(&["--yes"])
            .stderr
            .contains("no text in UTF-8: byte 7")
    );
    fs::remove_file(&configuration.path).unwrap();
    assert!(configuration.wrap(&["--yes"]).stderr.contains("No such file"));
    fs::create_dir(&configuration.path).unwrap();
    assert!(configuration.wrap(&["--yes"]).stderr.contains("is no file"));
}

#[test]
fn a_file_that_may_not_be_written_is_said_to_be_so_before_anybody_is_asked() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    fs::set_permissions(configuration.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = run(unprivileged(&mut configuration.command(&["--yes"])));
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("Permission denied"), "{}", output.stderr);
    assert_eq!(configuration.text(), DESKTOP);
    assert_eq!(configuration.names(), ["mcp.json"]);
}

#[test]
fn what_has_changed_since_it_was_shown_is_not_written_over() {
    let configuration = Configuration::new("mcp.json", DESKTOP);
    let line = format!(
        "{} mcp wrap {} --command /opt/resmgr",
        binary("resmgr").display(),
        configuration.path.display()
    );
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = terminal.spawn().unwrap();
    let mut asked = String::new();
    let mut output = child.stdout.take().unwrap();
    let mut byte = [0];
    while !asked.contains("[y/N]") {
        assert_eq!(std::io::Read::read(&mut output, &mut byte).unwrap(), 1, "{asked}");
        asked.push(char::from(byte[0]));
    }
    fs::write(&configuration.path, CURSOR).unwrap();
    writeln!(child.stdin.take().unwrap(), "y").unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
    child.wait().unwrap();
    assert!(rest.contains("has changed since it was read"), "{rest}");
    assert_eq!(configuration.text(), CURSOR);
    assert_eq!(configuration.names(), ["mcp.json"]);
}
