//! Bad luck and bad input: each ends in one error that names the cause and the next step, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use resmgr_tests::{Agent, Output, Workload, binary, patience, run, unprivileged, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// Exit codes, as docs/cli.md has them.
const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const NO_AGENT: Option<i32> = Some(3);
const NOT_PERMITTED: Option<i32> = Some(4);
const UNSUPPORTED: Option<i32> = Some(5);

/// An agent that is expected not to start.
fn refused(folder: &Path, arguments: &[&str]) -> Output {
    let agent = Agent::command(folder, arguments);
    // One that starts after all would run for ever.
    let seconds = |count| patience(count).as_secs().to_string();
    let output = run(Command::new("timeout")
        .args(["-k", &seconds(20), &seconds(30)])
        .arg(agent.get_program())
        .args(agent.get_args()));
    assert!(
        !matches!(output.code, None | Some(0 | 124 | 137)),
        "it started: {output:?}"
    );
    assert!(
        !folder.join("resmgr.sock").exists(),
        "the socket of an agent that did not start"
    );
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    output
}

#[track_caller]
fn assert_says(output: &Output, code: Option<i32>, words: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word} is not in: {}", output.stderr);
    }
}

#[test]
fn without_root_the_agent_says_so() {
    let folder = Agent::folder();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let output = run(unprivileged(&mut Agent::command(folder.path(), &[])));
    assert_says(&output, NOT_PERMITTED, &["root", "sudo"]);
}

#[test]
fn a_kernel_without_btf_is_named_with_what_to_do() {
    let folder = Agent::folder();
    let output = refused(folder.path(), &["--btf", "/nonexistent/vmlinux"]);
    assert_says(&output, UNSUPPORTED, &["/nonexistent/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
    let garbage = folder.path().join("garbage");
    fs::write(&garbage, [0x5a; 4096]).unwrap();
    assert_says(
        &refused(folder.path(), &["--btf", garbage.to_str().unwrap()]),
        UNSUPPORTED,
        &["garbage", "malformed"],
    );
    // The types of another kernel, cut short.
    let mut types = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    types.truncate(types.len() / 2);
    fs::write(&garbage, types).unwrap();
    assert_says(
        &refused(folder.path(), &["--btf", garbage.to_str().unwrap()]),
        UNSUPPORTED,
        &["garbage"],
    );
}

#[test]
fn a_damaged_object_is_refused_wherever_it_is_damaged() {
    let folder = Agent::folder();
    let object = fs::read(object_path()).unwrap();
    let damaged = folder.path().join("damaged.o");
    let path = damaged.to_str().unwrap().to_owned();
    assert_says(
        &refused(folder.path(), &["--bpf-object", "/nonexistent.o"]),
        FAILED,
        &["/nonexistent.o"],
    );
    let mut cases: Vec<Vec<u8>> = vec![Vec::new(), b"not an object".to_vec(), vec![0; 100_000]];
    cases.extend([64, 1000, object.len() / 2, object.len() - 1].map(|end| object[..end].to_vec()));
    for case in cases {
        fs::write(&damaged, &case).unwrap();
        let output = refused(folder.path(), &["--bpf-object", &path]);
        assert_says(&output, FAILED, &["damaged.o"]);
    }
}

#[test]
fn a_program_that_the_verifier_refuses_is_named_with_its_reason() {
    let folder = Agent::folder();
    let mut object = fs::read(object_path()).unwrap();
    // Make the return of one of the programs an instruction that does not exist.
    let section = section(&object, "tracepoint");
    let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
    let at = object[section.clone()]
        .chunks(8)
        .position(|bytes| bytes == exit)
        .unwrap()
        * 8
        + section.start;
    object[at] = 0xff;
    let path = folder.path().join("refused.o");
    fs::write(&path, object).unwrap();
    let output = refused(folder.path(), &["--bpf-object", path.to_str().unwrap()]);
    assert_says(
        &output,
        UNSUPPORTED,
        &["refuses the BPF program", "verifier says", "uname -r"],
    );
}

/// Where the object lies that the tests use.
fn object_path() -> String {
    std::env::var("RESMGR_BPF_OBJECT")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../resmgr/bpf/resmgr.bpf.o").to_owned())
}

/// The bytes of a section of an ELF file.
fn section(elf: &[u8], name: &str) -> std::ops::Range<usize> {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&elf[at..at + len]);
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    };
    let (table, entry, count, names) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2), number(0x3e, 2));
    let header = |n: usize| table + n * entry;
    let names = number(header(names) + 0x18, 8);
    (0..count)
        .map(header)
        .find(|&at| elf[names + number(at, 4)..].starts_with(&[name.as_bytes(), b"\0"].concat()))
        .map(|at| number(at + 0x18, 8)..number(at + 0x18, 8) + number(at + 0x20, 8))
        .unwrap()
}

#[test]
fn a_second_agent_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let agent = Agent::start(&[]);
    let folder = agent.socket().parent().unwrap().to_owned();
    let output = run(&mut Agent::command(&folder, &[]));
    assert_says(
        &output,
        FAILED,
        &["already answers", "--socket", &agent.pid().to_string()],
    );
    assert_eq!(agent.status(&[])["agent"]["pid"], agent.pid());
}

#[test]
fn two_agents_with_sockets_of_their_own_live_side_by_side() {
    let (one, other) = (Agent::start(&[]), Agent::start(&[]));
    let mut workload = Workload::start();
    workload.order("open 12");
    let count = |agent: &Agent| agent.process(workload.pid())["open_fds"].clone();
    assert_eq!(count(&one), count(&other));
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_in_its_place_is_not() {
    let folder = Agent::folder();
    let socket = folder.path().join("resmgr.sock");
    fs::write(&socket, "a file of somebody's").unwrap();
    let output = run(&mut Agent::command(folder.path(), &[]));
    assert_says(&output, USAGE, &["is no socket"]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "a file of somebody's");
    fs::remove_file(&socket).unwrap();
    // What an agent leaves behind that was killed.
    drop(UnixListener::bind(&socket).unwrap());
    let output = run(&mut Agent::command(folder.path(), &["--status", "once"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(!socket.exists());
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_with_the_limit() {
    let folder = Agent::folder();
    let long = folder.path().join("x".repeat(120));
    let mut command = Command::new(binary("resmgr"));
    command.args(["agent", "--ephemeral", "--socket"]).arg(&long);
    assert_says(&run(&mut command), USAGE, &["107", "--socket"]);
}

#[test]
fn a_socket_path_that_is_not_ours_is_left_alone() {
    let folder = Agent::folder();
    let socket = folder.path().join("resmgr.sock");
    let agent = || run(&mut Agent::command(folder.path(), &[]));
    fs::create_dir(&socket).unwrap();
    assert_says(&agent(), USAGE, &["is no socket", "--socket"]);
    fs::remove_dir(&socket).unwrap();
    // A link leads to what is another's.
    let others = folder.path().join("others.sock");
    let listener = UnixListener::bind(&others).unwrap();
    std::os::unix::fs::symlink(&others, &socket).unwrap();
    assert_says(&agent(), USAGE, &["is no socket"]);
    fs::remove_file(&socket).unwrap();
    // Somebody listens there, and is no agent.
    fs::rename(&others, &socket).unwrap();
    assert_says(&agent(), FAILED, &["already answers", "--socket"]);
    drop(listener);
    // Its folder cannot be made.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut command = Command::new(binary("resmgr"));
    command
        .args(["agent", "--ephemeral", "--no-config", "--socket"])
        .arg(file.join("resmgr.sock"));
    assert_says(&run(&mut command), FAILED, &[file.to_str().unwrap()]);
}

#[test]
fn nothing_stays_attached_after_the_agent_stops() {
    let mut agent = Agent::start(&[]);
    let programs = program_ids(agent.pid());
    assert!(programs.len() > 10, "{programs:?}");
    assert!(programs.is_subset(&loaded_ids()), "they are loaded while it runs");
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(), Some(0));
    // The kernel frees a detached program after a grace period of its own.
    wait_until("the kernel to free the programs", 20, || {
        programs.is_disjoint(&loaded_ids())
    });
    assert!(!agent.socket().exists());
    assert!(!agent.socket().with_file_name("state").exists());
}

#[test]
fn an_agent_that_was_killed_leaves_what_the_next_start_replaces() {
    let mut agent = Agent::start(&[]);
    agent.signal(Signal::KILL);
    agent.wait();
    assert!(agent.socket().exists());
    let folder = agent.socket().parent().unwrap().to_owned();
    let output = run(&mut Agent::command(&folder, &["--status", "once"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

/// Ids of the BPF programs that a process holds.
fn program_ids(pid: u32) -> HashSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    entries
        .flatten()
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        })
        .collect()
}

/// Ids of all BPF programs that the kernel holds.
fn loaded_ids() -> HashSet<u32> {
    aya::programs::loaded_programs()
        .flatten()
        .map(|program| program.id())
        .collect()
}

#[test]
fn without_an_agent_a_client_says_how_to_start_one() {
    let output = run(Command::new(binary("resmgr")).args(["status", "--socket", "/nonexistent/resmgr.sock"]));
    assert_says(&output, NO_AGENT, &["no agent answers", "sudo resmgr agent"]);
    // The flag is understood before the subcommand too.
    let output = run(Command::new(binary("resmgr")).args(["--socket", "/nonexistent/other.sock", "status"]));
    assert_says(&output, NO_AGENT, &["/nonexistent/other.sock"]);
}

#[test]
fn a_watch_ends_with_an_error_when_the_agent_goes() {
    let mut agent = Agent::start(&[]);
    let mut watch = agent.client(&["status", "--watch", "100ms"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(watch.stdout.as_mut().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("processes"), "{first}");
    agent.signal(Signal::KILL);
    agent.wait();
    let mut rest = Vec::new();
    watch.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    let mut error = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(watch.wait().unwrap().code(), NO_AGENT);
    assert!(error.contains("has gone"), "{error}");
}

#[test]
fn an_unknown_pid_or_flag_is_an_error_that_names_it() {
    let agent = Agent::start(&[]);
    let output = run(&mut agent.client(&["status", "--pid", "4194303"]));
    assert_says(&output, FAILED, &["4194303"]);
    assert_says(
        &run(&mut agent.client(&["status", "--frsh"])),
        USAGE,
        &["--frsh", "--fresh"],
    );
    assert_says(
        &run(&mut agent.client(&["status", "--watch", "soon"])),
        USAGE,
        &["soon"],
    );
}

#[test]
fn an_ordinary_user_sees_their_own_processes_only() {
    let agent = Agent::start(&[]);
    let mut sleeper = unprivileged(Command::new("sleep").arg("60")).spawn().unwrap();
    let output = run(unprivileged(&mut agent.client(&[
        "status",
        "--json",
        "--processes",
        "--fresh",
    ])));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let processes = status["processes"].as_array().unwrap();
    assert!(processes.iter().any(|process| process["pid"] == sleeper.id()));
    assert!(
        processes.iter().all(|process| process["uid"] == 65_534),
        "{processes:?}"
    );
    assert_eq!(
        status["host"]["processes"].as_u64(),
        Some(processes.len() as u64),
        "sums are of their own too"
    );
    let output = run(unprivileged(&mut agent.client(&[
        "status",
        "--pid",
        &std::process::id().to_string(),
    ])));
    assert_says(&output, FAILED, &["not yours"]);
    let _ = sleeper.kill();
    let _ = sleeper.wait();
}

#[test]
fn garbage_on_the_socket_is_refused_and_harms_nobody() {
    let agent = Agent::start(&[]);
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        stream.set_read_timeout(Some(patience(20))).unwrap();
        // The agent may hang up before all is written.
        let _ = stream.write_all(bytes);
        let mut line = String::new();
        let read = BufReader::new(stream).read_line(&mut line);
        assert!(
            read.is_ok(),
            "{read:?} to {} bytes: {:?}",
            bytes.len(),
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
        line
    };
    for garbage in [
        &b"hello\n"[..],
        b"{}\n",
        b"\n",
        b"\xff\xfe\x00\n",
        b"[[[[[[\n",
        b"{\"v\":1,\"method\":\"explode\"}\n",
    ] {
        let answer: Value = serde_json::from_str(&ask(garbage)).unwrap();
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    let deep = [b"[".repeat(60_000), b"\n".to_vec()].concat();
    assert!(ask(&deep).contains("error"));
    assert!(ask(&vec![b'x'; 1 << 20]).contains("too_large"));
    // Half a request and a hang-up, silence, and more clients than there is room for.
    drop(UnixStream::connect(agent.socket()).unwrap().write_all(b"{\"v\":1,"));
    // It accepts in order: by the turn of the one who asks, all of them are there.
    let silent: Vec<UnixStream> = (0..512).map(|_| UnixStream::connect(agent.socket()).unwrap()).collect();
    let turned_away = ask(b"");
    assert!(turned_away.contains("busy"), "{turned_away}");
    drop(silent);
    wait_until("room for a client again", 20, || {
        !ask(b"{\"v\":1,\"method\":\"status\",\"params\":{}}\n").contains("busy")
    });
    assert_eq!(agent.status(&[])["agent"]["pid"], agent.pid());
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_others() {
    let agent = Agent::start(&[]);
    let mut deaf = UnixStream::connect(agent.socket()).unwrap();
    let request = b"{\"v\":1,\"method\":\"status\",\"params\":{\"processes\":\"all\"}}\n";
    for _ in 0..100 {
        deaf.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        if deaf.write_all(request).is_err() {
            break;
        }
    }
    let asked = Instant::now();
    agent.status(&["--fresh"]);
    assert!(asked.elapsed() < patience(5));
}

#[test]
fn clients_that_misbehave_cost_the_others_nothing() {
    let agent = Agent::start(&[]);
    let connect = || UnixStream::connect(agent.socket()).unwrap();
    let request = b"{\"v\":1,\"method\":\"status\",\"params\":{\"processes\":\"all\"}}\n";
    // Those that say nothing, or half; that ask and do not read, or not to the end.
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connect());
        let mut half = connect();
        half.write_all(&request[..30]).unwrap();
        held.push(half);
        let mut deaf = connect();
        deaf.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        while deaf.write_all(request).is_ok() {}
        held.push(deaf);
        let mut gone = connect();
        gone.write_all(request).unwrap();
        gone.read_exact(&mut [0; 10]).unwrap();
    }
    // One that would send a gigabyte is told, and cut off long before.
    let mut endless = connect();
    endless.set_read_timeout(Some(patience(20))).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..1024).take_while(|_| endless.write_all(&chunk).is_ok()).count();
    assert!(sent < 100, "{sent} MiB");
    let mut answer = String::new();
    BufReader::new(endless).read_line(&mut answer).unwrap();
    assert!(answer.contains("too_large"), "{answer}");
    let asked = Instant::now();
    let status = agent.status(&["--fresh"]);
    assert!(asked.elapsed() < patience(5));
    let resident = status["agent"]["resident_bytes"].as_u64().unwrap();
    assert!(resident < 128 << 20, "{resident} bytes for {} clients", held.len());
}

#[test]
fn a_full_map_of_counters_is_counted_and_sweeps_make_up_for_it() {
    let config = Agent::folder();
    let path = config.path().join("small.toml");
    fs::write(&path, "[agent]\nmax_processes = 64\n").unwrap();
    let agent = Agent::start(&["--config", path.to_str().unwrap(), "--track", "all"]);
    let sleepers: Vec<_> = (0..100)
        .map(|_| Command::new("sleep").arg("60").spawn().unwrap())
        .collect();
    let status = agent.status(&["--fresh", "--processes"]);
    assert!(status["agent"]["losses"]["counters_full"].as_u64().unwrap() > 0);
    let shown: HashSet<u64> = status["processes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|process| process["pid"].as_u64())
        .collect();
    for mut sleeper in sleepers {
        assert!(shown.contains(&u64::from(sleeper.id())), "every process is swept");
        let _ = sleeper.kill();
        let _ = sleeper.wait();
    }
}

#[test]
fn a_full_ring_is_counted_and_the_agent_goes_on() {
    let config = Agent::folder();
    let path = config.path().join("small.toml");
    fs::write(&path, "[agent]\nring_bytes = 65536\n").unwrap();
    let agent = Agent::start(&["--config", path.to_str().unwrap(), "--track", "all"]);
    agent.signal(Signal::STOP);
    for _ in 0..300 {
        Command::new("/bin/true").status().unwrap();
    }
    agent.signal(Signal::CONT);
    let status = agent.status(&["--fresh"]);
    assert!(
        status["agent"]["events_lost"].as_u64().unwrap() > 0,
        "{}",
        status["agent"]
    );
    assert_eq!(status["agent"]["events_lost"], status["agent"]["losses"]["ring_full"]);
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_the_place() {
    let folder = Agent::folder();
    let path = folder.path().join("resmgr.toml");
    let file = path.to_str().unwrap().to_owned();
    fs::write(&path, "[agent]\nsweep_intervall = \"1s\"\n").unwrap();
    assert_says(
        &refused(folder.path(), &["--config", &file]),
        USAGE,
        &["sweep_intervall", "line 2", &file],
    );
    fs::write(&path, b"\xff\xfe").unwrap();
    assert_says(&refused(folder.path(), &["--config", &file]), USAGE, &[&file]);
    let here = folder.path().to_str().unwrap().to_owned();
    assert_says(&refused(folder.path(), &["--config", &here]), USAGE, &[&here]);
    assert_says(&refused(folder.path(), &["--sweep-interval", "1ms"]), USAGE, &["100ms"]);
    assert_says(&refused(folder.path(), &["--log", "loudly"]), USAGE, &["loudly"]);
}

#[test]
fn file_systems_that_are_missing_are_mounted_and_unmounted_again() {
    let folder = Agent::folder();
    // In a mount namespace of its own, where they are not mounted, not once nor twice.
    let script = "mount --make-rprivate / || exit; \
                  while umount -l /sys/kernel/tracing 2>/dev/null; do :; done; \
                  while umount -l /sys/fs/bpf 2>/dev/null; do :; done; \
                  \"$@\" || exit; grep -cE ' (/sys/kernel/tracing|/sys/fs/bpf) ' /proc/self/mountinfo";
    let agent = Agent::command(folder.path(), &["--status", "once"]);
    let output = run(Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(agent.get_program())
        .args(agent.get_args()));
    assert_eq!(output.stdout.lines().last(), Some("0"), "{output:?}");
    assert!(output.stdout.contains("COMMAND"), "{output:?}");
}

#[test]
fn where_tracefs_cannot_be_mounted_the_error_says_how_to_do_it_by_hand() {
    let folder = Agent::folder();
    let types = folder.path().join("vmlinux");
    fs::copy("/sys/kernel/btf/vmlinux", &types).unwrap();
    let script = "mount --make-rprivate / && mount -t tmpfs none /sys/kernel && exec \"$@\"";
    let agent = Agent::command(folder.path(), &["--btf", types.to_str().unwrap()]);
    let output = run(Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(agent.get_program())
        .args(agent.get_args()));
    assert_says(&output, UNSUPPORTED, &["tracefs", "mount -t tracefs"]);
    assert!(!folder.path().join("resmgr.sock").exists());
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_error() {
    let agent = Agent::start(&[]);
    let mut status = agent.client(&["status", "--processes", "--watch", "100ms"]);
    let mut status = status.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, status.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut error = String::new();
    status.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((status.wait().unwrap().code(), error.as_str()), (Some(0), ""));
}

#[test]
fn doctor_tells_what_the_host_offers_and_changes_nothing() {
    let output = run(Command::new(binary("resmgr")).args(["doctor", "--json"]));
    let findings: Value = serde_json::from_str(&output.stdout).unwrap();
    let finding = |what: &str| {
        let all = findings["findings"].as_array().unwrap();
        all.iter()
            .find(|finding| finding["what"] == what)
            .unwrap_or_else(|| panic!("{what} is not told"))
            .clone()
    };
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for what in ["kernel", "BTF", "system call tracepoints"] {
        assert_eq!(finding(what)["verdict"], "ok", "{}", finding(what));
    }
    // All programs attach, but those that need what this kernel refuses.
    let (programs, lsm) = (finding("BPF programs"), finding("BPF LSM"));
    assert_eq!(programs["verdict"], lsm["verdict"], "{programs} {lsm}");
    let attached = programs["found"].as_str().unwrap();
    assert!(
        !attached.contains(", not ") || attached.contains(", not LSM file_open"),
        "{attached}"
    );
    // What it says of controllers is what the kernel says.
    let lacking = finding("cgroup v2 controllers")["verdict"] == "lacks";
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mountinfo
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4))
        .unwrap();
    let controllers = fs::read_to_string(format!("{root}/cgroup.controllers")).unwrap();
    let all = ["cpu", "memory", "pids"]
        .iter()
        .all(|name| controllers.split_whitespace().any(|there| there == *name));
    assert_eq!(lacking, !all);
    for entry in findings["findings"].as_array().unwrap() {
        assert_eq!(
            entry["verdict"] == "ok",
            entry["consequence"].is_null(),
            "what is missing has a consequence: {entry}"
        );
    }
}
