//! `resmgr top` on a terminal, as a person drives it: keys, sizes, signals, an agent that goes and comes back. The terminal is
//! tmux's, on a server of the test's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf, process::Command};

use resmgr_tests::{Agent, Workload, pids, run, until, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A terminal with a shell on it; its server ends with the test.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    fn start(columns: u32, rows: u32, agent: &Agent) -> Self {
        let terminal = Self {
            folder: Agent::folder(),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // What is set for whoever runs the tests is not: a locale with UTF-8, a terminal with colours.
        let mut shell = terminal.command(&["new-session", "-d", "-x", &columns, "-y", &rows, "env PS1='> ' sh"]);
        shell.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR").env_remove("TMUX");
        let output = run(&mut shell);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let client = agent.client(&["top"]);
        let words = std::iter::once(client.get_program()).chain(client.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        terminal.line(&format!(
            "top() {{ {} \"$@\"; echo \"left with $?\"; }}",
            words.join(" ")
        ));
        // All that is written to the terminal from now on.
        terminal.tmux(&["pipe-pane", &format!("cat > {}", terminal.written_path().display())]);
        terminal.line("clear");
        terminal
    }

    fn written_path(&self) -> PathBuf {
        self.folder.path().join("written")
    }

    fn written(&self) -> Vec<u8> {
        fs::read(self.written_path()).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("tmux"));
        command.args(["-u", "-f", "/dev/null"]).args(arguments);
        command
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.command(arguments));
        assert_eq!(output.code, Some(0), "{arguments:?}: {}", output.stderr);
        output.stdout
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// A line, as it is typed.
    fn line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits for a screen.
    #[track_caller]
    fn shows(&self, what: &str, is_shown: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, 30, || {
                screen = self.screen();
                is_shown(&screen)
            });
        }));
        assert!(found.is_ok(), "{what}:\n{screen}");
        screen
    }

    #[track_caller]
    fn shows_text(&self, text: &str) -> String {
        self.shows(text, |screen| screen.contains(text))
    }

    fn resize(&self, columns: u32, rows: u32) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// The process that runs in the shell.
    fn program(&self) -> Option<Pid> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        run(&mut self.command(&["kill-server"]));
    }
}

/// Two tools, one with two processes, of which one has connections.
fn tools(agent: &Agent) -> (Workload, [Workload; 2]) {
    let mut listener = Workload::start();
    let address = listener.order("listen 127.0.0.1:0");
    let mut first = agent.workload("first", &["--fds", "50:4000"]);
    first.order("open 100");
    first.order(format!("connect {address} 3"));
    first.order("fork-idle");
    let second = agent.workload("second", &[]);
    (listener, [first, second])
}

/// The order of the two tools on a screen.
fn is_first(screen: &str, tool: &str, other: &str) -> bool {
    matches!((screen.find(tool), screen.find(other)), (Some(one), Some(other)) if one < other)
}

#[test]
fn keys_do_what_they_say_at_any_size() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let (_listener, _tools) = tools(&agent);
    let terminal = Terminal::start(80, 24, &agent);
    terminal.line("top --interval 200ms");
    let screen = terminal.shows("both tools", |screen| {
        screen.contains("▸ first") && screen.contains("▸ second")
    });
    assert!(screen.contains("MEMORY/LIMIT") && screen.contains("q quit"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");

    terminal.keys(&["f"]);
    terminal.shows("the most descriptors first", |screen| {
        is_first(screen, "first", "second")
    });
    terminal.keys(&["r"]);
    terminal.shows("the fewest first", |screen| is_first(screen, "second", "first"));
    terminal.keys(&["r", "/"]);
    terminal.keys(&["-l", "FIR"]);
    terminal.shows("one by its name", |screen| {
        screen.contains("filter: FIR") && !screen.contains("second")
    });
    terminal.keys(&["Enter", "Enter"]);
    let processes = pids(&agent, "first");
    assert_eq!(processes.len(), 2);
    terminal.shows("its processes", |screen| {
        screen.contains("▾ first") && processes.iter().all(|pid| screen.contains(&pid.to_string()))
    });
    terminal.keys(&["c"]);
    terminal.shows("its peer", |screen| {
        screen.contains("PEER") && screen.contains("3 established")
    });
    terminal.keys(&["d"]);
    terminal.shows("its descriptors", |screen| {
        screen.contains("KIND") && screen.contains("device")
    });
    terminal.keys(&["e"]);
    terminal.shows("why its limits are what they are", |screen| {
        screen.contains("limits and history of first") && screen.contains("RESOURCE") && screen.contains("built in")
    });
    // Sizes, with a pane open and without, also while it draws.
    for (columns, rows) in [(10, 3), (200, 50), (1, 1), (40, 10), (3, 30), (10, 3)] {
        terminal.resize(columns, rows);
    }
    terminal.keys(&["e"]);
    terminal.shows("its name, in three rows of ten columns", |screen| {
        screen.contains("▾ first")
    });
    terminal.resize(200, 50);
    let screen = terminal.shows_text("CPU TIME/LIMIT");
    assert!(
        screen.contains('▁') || screen.contains('█') || screen.contains('▂'),
        "{screen}"
    );

    terminal.keys(&["q"]);
    let left = terminal.shows_text("left with 0");
    assert!(!left.contains("MEMORY/LIMIT"), "{left}");
    let output = run(&mut agent.client(&["top"]));
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("status --watch"), "{}", output.stderr);
}

#[test]
fn any_signal_leaves_the_terminal_as_it_was() {
    let agent = Agent::start(&[]);
    let _tool = agent.workload("shown", &[]);
    let terminal = Terminal::start(80, 24, &agent);
    let modes = |name: &str| {
        let path = terminal.folder.path().join(name);
        terminal.line(&format!("stty -a > {}", path.display()));
        until("its modes", || {
            fs::read_to_string(&path).ok().filter(|modes| modes.ends_with('\n'))
        })
    };
    let before = modes("before");
    for (n, signal) in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1]
        .into_iter()
        .enumerate()
    {
        terminal.line("clear; top");
        terminal.shows_text("▸ shown");
        kill_process(terminal.program().unwrap(), signal).unwrap();
        let screen = terminal.shows_text("left with 0");
        assert!(!screen.contains("shown"), "{screen}");
        assert_eq!(modes(&format!("after-{n}")), before, "{signal:?}");
        assert_eq!(
            terminal
                .tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])
                .trim(),
            "0 1"
        );
    }
    // Suspended it gives the terminal back, and takes it again.
    terminal.line("clear; top");
    terminal.shows_text("▸ shown");
    let program = terminal.program().unwrap();
    kill_process(program, Signal::TSTP).unwrap();
    until("it is stopped", || {
        let alternate = terminal.tmux(&["display-message", "-p", "#{alternate_on}"]);
        (alternate.trim() == "0").then_some(())
    });
    terminal.line("fg");
    terminal.shows_text("▸ shown");
    terminal.keys(&["q"]);
    terminal.shows("the shell", |screen| !screen.contains("▸ shown"));
}

#[test]
fn without_colours_and_utf8_it_says_as_much() {
    let agent = Agent::start(&[]);
    let mut tool = agent.workload("shown", &["--fds", "50:50", "--mode", "observe"]);
    tool.order("open 60");
    until("it is at its limit", || {
        (agent.tool("shown")["status"] == "emergency").then_some(())
    });
    let terminal = Terminal::start(80, 24, &agent);
    let colours = |written: &[u8]| {
        let text = String::from_utf8_lossy(written).into_owned();
        let selected = text.split("\x1b[").skip(1).filter_map(|part| part.split_once('m'));
        let codes = selected.flat_map(|(codes, _)| codes.split(';').map(str::to_owned).collect::<Vec<_>>());
        codes
            .filter_map(|code| code.parse().ok())
            .filter(|code: &u32| matches!(code, 30..50 | 90..108))
            .count()
    };
    terminal.line("top");
    terminal.shows_text("emergency");
    terminal.keys(&["q"]);
    terminal.shows_text("left with 0");
    until("all that it wrote", || (colours(&terminal.written()) > 0).then_some(()));

    let plain = Terminal::start(80, 24, &agent);
    plain.line("export LC_ALL=C NO_COLOR=1; top");
    let screen = plain.shows_text("emergency");
    assert!(screen.contains("+ shown") && screen.is_ascii(), "{screen}");
    plain.keys(&["e"]);
    plain.shows_text("limits and history of shown");
    plain.keys(&["q"]);
    plain.shows_text("left with 0");
    let written = plain.written();
    assert!(
        written.is_ascii() && colours(&written) == 0,
        "{}",
        String::from_utf8_lossy(&written)
    );
    assert!(String::from_utf8_lossy(&written).contains("emergency"));
}

#[test]
fn it_tells_when_the_agent_is_gone_and_goes_on_when_it_is_back() {
    let mut agent = Agent::start_pinned(&[]);
    let _tool = agent.workload("shown", &[]);
    let terminal = Terminal::start(80, 24, &agent);
    terminal.line("top --interval 200ms");
    terminal.shows_text("▸ shown");
    agent.signal(Signal::KILL);
    let screen = terminal.shows_text("these numbers are old");
    assert!(screen.contains("▸ shown"), "{screen}");
    agent.start_again(&[]);
    terminal.shows("the agent again", |screen| {
        screen.contains("▸ shown") && screen.contains("1 tool ")
    });
    terminal.keys(&["q"]);
    terminal.shows_text("left with 0");
}
