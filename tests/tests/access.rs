//! Who may call which method of the control socket: root, a member of the group, and an ordinary user, each with their own
//! user id, on a tool that is root's and on their own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::Path,
    process::Command,
};

use resmgr_tests::{Agent, number, run};
use serde_json::{Value, json};

/// A group that nobody of the host is in.
const GROUP: u32 = 64_931;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Root,
    Member,
    Ordinary,
}

impl Who {
    const fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Member => 64_932,
            Self::Ordinary => 64_933,
        }
    }

    /// The answers to what they ask over one connection.
    fn asks(self, socket: &Path, lines: &[Value]) -> Vec<Value> {
        let mut part = Command::new("setpriv");
        let uid = self.uid();
        part.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
        match self {
            Self::Member => part.arg(format!("--groups={GROUP}")),
            Self::Root | Self::Ordinary => part.arg("--clear-groups"),
        };
        part.arg(env::current_exe().unwrap())
            .args(["--exact", "part_of_another_user", "--nocapture"]);
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let output = run(part.env(SOCKET, socket).env(LINES, lines.join("\n")));
        let answers = output.stdout.lines().filter_map(|line| line.strip_prefix(ANSWER));
        let answers: Vec<Value> = answers.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), lines.len(), "{self:?}: {output:?}");
        answers
    }

    fn ask(self, agent: &Agent, method: &str, params: &Value) -> Value {
        self.asks(&agent.socket(), &[request(method, params)]).remove(0)
    }
}

fn request(method: &str, params: &Value) -> Value {
    json!({"v": 1, "method": method, "params": params})
}

const SOCKET: &str = "RESMGR_TEST_ACCESS_SOCKET";
const LINES: &str = "RESMGR_TEST_ACCESS_LINES";
const ANSWER: &str = "answer: ";

/// Another user's part of the tests below; by itself it has nothing to do.
#[test]
fn part_of_another_user() {
    let Some(socket) = env::var_os(SOCKET) else { return };
    let mut connection = Connection::to(Path::new(&socket));
    println!();
    for line in env::var(LINES).unwrap().lines() {
        println!("{ANSWER}{}", connection.ask(line));
    }
}

struct Connection(BufReader<UnixStream>);

impl Connection {
    fn to(socket: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(socket).unwrap()))
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.0.get_mut(), "{line}").unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

fn start() -> (tempfile::TempDir, Agent) {
    let folder = Agent::folder();
    let file = folder.path().join("resmgr.toml");
    fs::write(
        &file,
        format!("[agent]\ngroup = {GROUP}\n[alert]\ncommand = 'true secret'\n"),
    )
    .unwrap();
    let agent = Agent::start(&["--config", file.to_str().unwrap(), "--sweep-interval", "200ms"]);
    (folder, agent)
}

/// What a document says: the first three columns of its table of methods, by method.
fn documented() -> Vec<(String, String, String)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap();
    let table = page.split("## Who may call what").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut columns = row.trim_matches('|').split('|').map(|column| column.trim().to_owned());
        let mut next = || columns.next().unwrap();
        (next().trim_matches('`').to_owned(), next(), next())
    })
    .collect()
}

#[test]
fn each_method_does_for_each_user_what_is_documented() {
    let (_folder, agent) = start();
    let mut roots = agent.workload(
        "roots",
        &["--operations", "api", "--fds", "50:300", "--mode", "observe"],
    );
    roots.order("open 60");
    agent.alert("roots", |alert| alert["kind"] == json!({"limit": "fds"}));
    let before = agent.tool("roots");
    let instance = number(&before["instance"]);
    // An operation that root's connection has begun, and holds.
    let mut own = Connection::to(&agent.socket());
    let begun = own.ask(&request("begin_operation", &json!({"instance": instance, "name": "held"})).to_string());
    let operation = number(&begun["ok"]["operation"]);

    let cases = [
        ("status", json!({"processes": {"pid": roots.pid()}})),
        ("history", json!({"tool": "roots"})),
        ("alerts", json!({})),
        ("watch", json!({"instance": instance})),
        ("register", json!({"tool": "roots", "instance": instance})),
        ("attach", json!({"tool": "theirs", "target": {"pid": roots.pid()}})),
        ("set_limits", json!({"tool": "roots", "limits": {"fds": {"max": 9}}})),
        ("clean_up", json!({"tool": "roots", "grace_ms": 0})),
        ("initialize", json!({"tool": "roots", "operation": "api"})),
        (
            "report",
            json!({"tools": [{"instance": instance, "memory_bytes": 1 << 30}]}),
        ),
        ("adjust", json!({"tool": "roots", "instance": instance})),
        ("begin_operation", json!({"instance": instance, "name": "theirs"})),
        ("end_operation", json!({"operation": operation})),
        ("reload", json!({})),
        ("configuration", json!({})),
    ];
    // There are no others.
    let unknown = Who::Ordinary.ask(&agent, "no_such", &json!({}));
    let message = unknown["error"]["message"].as_str().unwrap();
    let there: BTreeSet<&str> = message
        .split("expected")
        .nth(1)
        .unwrap()
        .split('`')
        .skip(1)
        .step_by(2)
        .collect();
    assert_eq!(cases.iter().map(|(method, _)| *method).collect::<BTreeSet<_>>(), there);
    let documented = documented();
    assert_eq!(
        documented
            .iter()
            .map(|(method, ..)| method.as_str())
            .collect::<BTreeSet<_>>(),
        there
    );

    for who in [Who::Ordinary, Who::Member] {
        let lines: Vec<Value> = cases.iter().map(|(method, params)| request(method, params)).collect();
        for ((method, _), answer) in cases.iter().zip(who.asks(&agent.socket(), &lines)) {
            let (_, ordinary, member) = documented.iter().find(|(name, ..)| name == method).unwrap();
            let says = if who == Who::Member { member } else { ordinary };
            let code = answer["error"]["code"].as_str();
            let is_so = match says.as_str() {
                "all tools" => code.is_none() && (answer.to_string().contains("roots") || *method == "watch"),
                "own tools" => match *method {
                    // What is not theirs is not among what they are shown, or told to be none.
                    "alerts" => answer["ok"]["alerts"] == json!([]),
                    "report" => answer["ok"]["tools"] == json!([]),
                    "initialize" => number(&answer["ok"]["instance"]) != instance,
                    _ => code == Some("not_found"),
                },
                "own operations" | "own processes" => code == Some("not_found"),
                "nothing" => code == Some("not_permitted"),
                _ => panic!("{says} is not known here"),
            };
            assert!(is_so, "{who:?} {method}: {says}, but {answer}");
        }
    }
    // A cgroup is root's to attach.
    let cgroup = json!({"tool": "theirs", "target": {"cgroup": agent.cgroup_root()}});
    assert_eq!(
        Who::Member.ask(&agent, "attach", &cgroup)["error"]["code"],
        "not_permitted"
    );
    // Nothing of it has changed anything, nor may root's other connections end this one's operation.
    let now = agent.tool("roots");
    assert_eq!(
        (&now["limits"], &now["usage"]["pids"]),
        (&before["limits"], &before["usage"]["pids"])
    );
    assert!(number(&now["usage"]["memory_bytes"]) < 1 << 29);
    assert_eq!(now["operations"]["under_way"].as_array().unwrap().len(), 1, "{now}");
    let end = json!({"operation": operation});
    assert_eq!(
        Who::Root.ask(&agent, "end_operation", &end)["error"]["code"],
        "not_found"
    );
    assert!(own.ask(&request("end_operation", &end).to_string())["ok"].is_object());
    assert!(Who::Root.ask(&agent, "reload", &json!({}))["ok"].is_object());
    let configuration = Who::Root.ask(&agent, "configuration", &json!({}));
    assert!(configuration.to_string().contains("true secret"), "{configuration}");
}

#[test]
fn a_member_sees_everything_but_what_is_private_and_changes_their_own_alone() {
    let (_folder, agent) = start();
    let roots = agent.workload("roots", &["--fds", "50:300"]);
    let pid = json!({"processes": {"pid": roots.pid()}});
    let seen = |who: Who| Who::ask(who, &agent, "status", &pid)["ok"].take();
    let (root, member) = (seen(Who::Root), seen(Who::Member));
    let (roots_own, shown) = (&root["processes"][0], &member["processes"][0]);
    assert!(roots_own["command"].is_string() && roots_own["descriptors"].is_array());
    assert!(shown["command"].is_null() && shown["descriptors"].is_null(), "{shown}");
    assert_eq!(shown["open_fds"], roots_own["open_fds"]);
    assert_eq!(member["tools"][0]["limits"], root["tools"][0]["limits"]);
    assert!(member["agent"]["configuration"]["file"].is_string());
    assert!(Who::Ordinary.ask(&agent, "status", &json!({}))["ok"]["agent"]["configuration"].is_null());
    let all = Who::Member.ask(&agent, "status", &json!({"processes": "all"}));
    for process in all["ok"]["processes"].as_array().unwrap() {
        let is_own = number(&process["uid"]) == u64::from(Who::Member.uid());
        assert!(is_own || process["command"].is_null(), "{process}");
    }
    assert!(all["ok"]["processes"].as_array().unwrap().len() > 10);
    // Another user's is seen, and acknowledged by its owner or root alone.
    let answers = Who::Member.asks(
        &agent.socket(),
        &[
            request("alerts", &json!({"acknowledge": 1_000_000})),
            request("initialize", &json!({"tool": "own"})),
            request("set_limits", &json!({"tool": "own", "limits": {"fds": {"max": 60}}})),
        ],
    );
    assert_eq!(answers[0]["ok"]["acknowledged"], 0);
    assert_eq!(answers[2]["ok"]["tools"][0]["limits"]["fds"]["max"], 60, "{answers:?}");
    // Whoever looks at the socket sees whose group it is.
    let socket = fs::metadata(agent.socket()).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!((socket.gid(), socket.permissions().mode() & 0o777), (GROUP, 0o666));
}
