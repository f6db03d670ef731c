//! Builds the file system that a virtual machine boots into: the tests, what they start and what they read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    archive::Archive,
    kernels::{BUSYBOX, EARLYOOM, LIBC},
    packages,
};
use crate::{
    built::{self, Built, Kind},
    shell,
    workspace::Workspace,
};

/// Where the machine has the tests; laid out as cargo does, since a test looks for programs in the folder above its own.
const TESTS: &str = "/t/debug/deps";
const PROGRAMS: &str = "/t/debug";
const OBJECT: &str = "/t/object.o";
const INIT: &str = include_str!("init.sh");
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "vm";

/// Test binaries that stay on the host, and why.
const ON_THE_HOST: &[(&str, &str)] = &[
    ("configuration", "it reads files, which no kernel changes"),
    (
        "access",
        "it asks as other users, by a tool that the machine lacks, which no kernel changes",
    ),
    (
        "documents",
        "it compares documents with programs, which no kernel changes, by tools that the machine lacks",
    ),
    (
        "discover",
        "it goes by command lines, which no kernel changes, of programs under names that bash gives them",
    ),
    (
        "privacy",
        "what is told to whom is decided by the agent, which no kernel changes",
    ),
    ("proxy", "it passes on what is said, which no kernel changes"),
    (
        "clients",
        "it asks by clients in Python and TypeScript, which the machine lacks and no kernel changes",
    ),
    ("metrics", "it writes text and speaks HTTP, which no kernel changes"),
    ("mcp", "it speaks with a client by pipes, which no kernel changes"),
    ("wrap", "it changes a file, which no kernel changes"),
    (
        "specification",
        "it compares the library with a text, and starts nothing",
    ),
    ("orders", "it tries orders of steps in one process, and needs no kernel"),
    (
        "accounts",
        "it has threads of one process count, which no kernel changes, on as many cores as there are",
    ),
    ("library", "it tells the agent over its socket, which no kernel changes"),
    (
        "executors",
        "what they do in the kernel is what exec does, and that is tested there",
    ),
    (
        "learning",
        "it has limits follow what was seen, which no kernel changes, over many samples",
    ),
    ("history", "it keeps what was used in a file, which no kernel changes"),
    (
        "browser",
        "it shows a page, which no kernel changes, by a browser that the machine lacks",
    ),
    (
        "top",
        "it draws on a terminal, which no kernel changes, by tmux, which the machine lacks",
    ),
    (
        "output",
        "it prints, which no kernel changes, and asks bash, which the machine lacks",
    ),
];

/// Test binaries that only the oldest and the newest kernel run, unless the long ones are run too: what they are about is
/// decided above the kernel.
pub(super) const ON_THE_ENDS: &[&str] = &[
    "alerts", "audit", "budgets", "luck", "ramps", "real", "storm", "sway", "tools", "trouble",
];

/// What the checkout has that tests read.
const READ: [&str; 2] = ["docs", "resmgr/bpf"];

/// What a run wants of its tests.
#[derive(Default)]
pub(crate) struct Wanted {
    /// The long ones too.
    pub(crate) full: bool,
    /// Another BPF object than the committed one.
    pub(crate) object: Option<PathBuf>,
    /// What goes to each test binary.
    pub(crate) arguments: Vec<String>,
    /// A benchmark, in the place of the tests.
    pub(crate) bench: Option<String>,
}

/// Builds the tests and puts them into an archive; returns its path.
pub(super) fn build(workspace: &Workspace, wanted: &Wanted) -> Result<PathBuf> {
    let built = compile(workspace, wanted)?;
    let mut archive = Archive::new();
    for (folder, mode) in [
        ("bin", 0o755),
        ("sbin", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("dev", 0o755),
        ("proc", 0o755),
        ("sys", 0o755),
        ("run", 0o755),
        ("var/lib", 0o755),
        ("tmp", 0o1777),
    ] {
        archive.directory(folder, mode);
    }
    archive.file("init", 0o755, INIT.as_bytes());
    let busybox = packages::unpacked(workspace, &BUSYBOX)?.join("bin/busybox");
    archive.file("bin/busybox", 0o755, &read(&busybox)?);
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    );
    archive.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n");

    if wanted.bench.is_some() {
        add_earlyoom(workspace, &mut archive)?;
    }

    for one in &built {
        let folder = match one.kind {
            Kind::Program => PROGRAMS,
            Kind::Test => TESTS,
        };
        archive.file(&format!("{folder}/{}", one.name), 0o755, &read(&one.path)?);
    }
    let root = workspace
        .root()
        .to_str()
        .context("the checkout's path is not UTF-8: move it")?;
    for folder in READ {
        add_folder(&mut archive, workspace.root(), Path::new(folder))?;
    }
    archive.directory(&format!("{root}/tests"), 0o755);
    if let Some(object) = &wanted.object {
        archive.file(OBJECT, 0o644, &read(object)?);
    }
    archive.file("/t/settings", 0o644, settings(root, wanted).as_bytes());

    let name = if wanted.bench.is_some() { "bench" } else { "files" };
    let path = workspace.vm_target().join(format!("{name}.cpio"));
    // Beside its place first: another run may boot from the former one.
    let temporary = workspace.vm_target().join(format!("{name}.{}.new", std::process::id()));
    fs::write(&temporary, archive.finish()).with_context(|| format!("write {}", temporary.display()))?;
    fs::rename(&temporary, &path).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The test binaries that machines run.
fn tests(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root().join("tests/tests");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    let names = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let (on_the_host, in_machines): (Vec<_>, Vec<_>) =
        names.partition(|name| ON_THE_HOST.iter().any(|(stays, _)| stays == name));
    if in_machines.is_empty() {
        bail!("{} has no tests for virtual machines", folder.display());
    }
    println!(
        "not run in virtual machines, which would change nothing of them: {}",
        on_the_host.join(", ")
    );
    Ok(in_machines)
}

/// Programs that need no library, since the machine has none.
fn compile(workspace: &Workspace, wanted: &Wanted) -> Result<Vec<Built>> {
    let mut build = shell::cargo(workspace);
    build.args(["build", "--package", "resmgr", "--package", "resmgr-tests", "--bins"]);
    let built = match &wanted.bench {
        Some(bench) => vec![("--bench", bench.clone())],
        None => tests(workspace)?.into_iter().map(|test| ("--test", test)).collect(),
    };
    for (kind, name) in built {
        build.args([kind, &name]);
    }
    build.args(["--profile", PROFILE, "--target", TARGET]);
    build.arg("--message-format=json-render-diagnostics");
    // Apart: its flags would make the host's build start afresh each time.
    build.arg("--target-dir").arg(workspace.vm_target().join("build"));
    build.env("RUSTFLAGS", "-C target-feature=+crt-static --cfg resmgr_vm");
    build.env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok(built::all(&shell::output(&mut build)?))
}

/// A program that needs its library, where both look for each other.
fn add_earlyoom(workspace: &Workspace, archive: &mut Archive) -> Result<()> {
    const LIBRARIES: &str = "lib/x86_64-linux-gnu";
    let program = packages::unpacked(workspace, &EARLYOOM)?.join("usr/bin/earlyoom");
    archive.file("usr/bin/earlyoom", 0o755, &read(&program)?);
    let libraries = packages::unpacked(workspace, &LIBC)?.join(LIBRARIES);
    let loader = "ld-linux-x86-64.so.2";
    archive.directory("lib", 0o755);
    archive.directory(LIBRARIES, 0o755);
    archive.directory("lib64", 0o755);
    archive.file(
        &format!("{LIBRARIES}/libc.so.6"),
        0o755,
        &read(&libraries.join("libc.so.6"))?,
    );
    archive.file(&format!("lib64/{loader}"), 0o755, &read(&libraries.join(loader))?);
    Ok(())
}

fn add_folder(archive: &mut Archive, root: &Path, folder: &Path) -> Result<()> {
    let path = root.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", path.display()))?.path();
        if entry.is_dir() {
            add_folder(archive, root, entry.strip_prefix(root).unwrap_or(&entry))?;
        } else if let Some(name) = entry.to_str() {
            archive.file(name, 0o644, &read(&entry)?);
        }
    }
    Ok(())
}

/// What init.sh reads before it starts the tests: variables, the folder that cargo would start them in, arguments.
fn settings(root: &str, wanted: &Wanted) -> String {
    // Everything takes longer than on a machine of its own: so many times as long, tests wait for something.
    let mut lines = vec!["export RESMGR_TEST_VM=1 RESMGR_TEST_PATIENCE=6".to_owned()];
    if wanted.full {
        lines.push("export RESMGR_TEST_FULL=1".to_owned());
    }
    if wanted.object.is_some() {
        lines.push(format!("export RESMGR_BPF_OBJECT={OBJECT}"));
    }
    let folder = quote(&format!("{root}/tests"));
    lines.push(format!("export CARGO_MANIFEST_DIR={folder}"));
    lines.push(format!("cd {folder}"));
    let arguments: Vec<String> = wanted.arguments.iter().map(|argument| quote(argument)).collect();
    lines.push(format!("set -- {}\n", arguments.join(" ")));
    lines.join("\n")
}

/// A word as a shell takes it literally.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_the_shell_word_for_word() {
        let wanted = Wanted {
            full: true,
            object: Some("check.o".into()),
            arguments: ["a filter", "--skip", "it's"].map(str::to_owned).to_vec(),
            bench: None,
        };
        let text = settings("/src/it", &wanted);
        assert!(
            text.contains("export RESMGR_TEST_FULL=1\nexport RESMGR_BPF_OBJECT=/t/object.o\n"),
            "{text}"
        );
        assert!(
            text.ends_with("cd '/src/it/tests'\nset -- 'a filter' '--skip' 'it'\\''s'\n"),
            "{text}"
        );
        let plain = settings("/src", &Wanted::default());
        assert!(!plain.contains("FULL") && !plain.contains("OBJECT"), "{plain}");
        assert!(plain.ends_with("set -- \n"), "{plain}");
    }
}
