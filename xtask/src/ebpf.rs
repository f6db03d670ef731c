//! `cargo xtask ebpf`: builds the BPF object from source, and checks the committed one. Loads nothing into a kernel.

mod compile;
mod toolchain;

pub(crate) use toolchain::with_library_source;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arguments::{Argument, Arguments},
    sources::{self, MANIFEST, Manifest, OBJECT},
    workspace::Workspace,
};

enum Goal {
    Commit,
    Check,
    Write(PathBuf),
}

/// Runs the command.
pub(crate) fn main(workspace: &Workspace, rest: &[String]) -> Result<ExitCode> {
    let mut goal = Goal::Commit;
    let mut arguments = Arguments::new("ebpf", rest);
    while let Some(argument) = arguments.next() {
        let asked = match argument {
            Argument::Option("check") => Goal::Check,
            Argument::Option("out") => Goal::Write(arguments.value("out")?.into()),
            other => return arguments.unknown(&other),
        };
        if !matches!(goal, Goal::Commit) {
            bail!("`--check` and `--out` are one or the other, once: leave one away");
        }
        goal = asked;
    }
    match goal {
        Goal::Commit => commit(workspace)?,
        Goal::Check => check(workspace)?,
        Goal::Write(path) => {
            let built = build(workspace)?;
            replace(&path, &built.object)?;
            println!("wrote {}: {} bytes", path.display(), built.object.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Built {
    object: Vec<u8>,
    manifest: Manifest,
}

fn build(workspace: &Workspace) -> Result<Built> {
    // Hashed first: a file saved while the compiler runs then makes the object stale, not wrongly fresh.
    let sources_sha256 = sources::hash_sources(workspace.root())?;
    let tools = toolchain::prepare(
        workspace,
        committed(workspace).ok().map(|(_, manifest)| manifest).as_ref(),
    )?;
    let object = compile::compile(workspace, &tools)?;
    let manifest = Manifest {
        sources_sha256,
        object_sha256: sources::hash_bytes(&object),
        rustc: tools.versions.rustc,
        bpf_linker: tools.versions.bpf_linker,
        llvm: tools.versions.llvm,
    };
    Ok(Built { object, manifest })
}

fn commit(workspace: &Workspace) -> Result<()> {
    let built = build(workspace)?;
    // Between the two, the build script sees an object that its manifest does not name, and says so.
    replace(&workspace.root().join(OBJECT), &built.object)?;
    replace(&workspace.root().join(MANIFEST), built.manifest.to_text().as_bytes())?;
    println!(
        "wrote {OBJECT} and {MANIFEST}: {} bytes, {}",
        built.object.len(),
        built.manifest.object_sha256
    );
    Ok(())
}

fn check(workspace: &Workspace) -> Result<()> {
    let (object, manifest) = committed(workspace)?;
    if sources::hash_bytes(&object) != manifest.object_sha256 {
        bail!("{OBJECT} is not the object that {MANIFEST} names: run `cargo xtask ebpf` and commit both");
    }
    // Built before anything else is compared, so that kernel tests have an object of these sources in any case.
    let built = build(workspace)?;
    let rebuilt = workspace.bpf_target().join("check.o");
    replace(&rebuilt, &built.object)?;
    println!("rebuilt as {}: {} bytes", workspace.show(&rebuilt), built.object.len());

    if built.manifest.sources_sha256 != manifest.sources_sha256 {
        bail!("{OBJECT} is older than its sources: run `cargo xtask ebpf` and commit what it writes");
    }
    println!("sources: as in {MANIFEST}");
    if let Some(difference) = difference(&manifest, &built.manifest) {
        println!("bytes: not compared, {difference}");
    } else if built.object == object {
        println!("bytes: equal, {}", manifest.object_sha256);
    } else {
        let (ours, theirs) = (workspace.show(&rebuilt), OBJECT);
        bail!(
            "the same sources and tools gave other bytes ({ours}, {theirs}): if Cargo.lock, the profile `bpf` or \
             xtask's flags changed, run `cargo xtask ebpf` and commit what it writes; if not, the build is not \
             reproducible"
        );
    }
    Ok(())
}

fn committed(workspace: &Workspace) -> Result<(Vec<u8>, Manifest)> {
    let object = fs::read(workspace.root().join(OBJECT));
    let object = object.with_context(|| format!("read {OBJECT} (`cargo xtask ebpf` writes it)"))?;
    let text = fs::read_to_string(workspace.root().join(MANIFEST));
    let text = text.with_context(|| format!("read {MANIFEST} (`cargo xtask ebpf` writes it)"))?;
    match Manifest::parse(&text) {
        Ok(manifest) => Ok((object, manifest)),
        Err(error) => bail!("{MANIFEST}: {error}: run `cargo xtask ebpf`"),
    }
}

/// Why bytes cannot be expected to be equal.
fn difference(theirs: &Manifest, ours: &Manifest) -> Option<String> {
    let pairs = [
        ("rustc", &theirs.rustc, &ours.rustc),
        ("bpf-linker", &theirs.bpf_linker, &ours.bpf_linker),
        ("LLVM", &theirs.llvm, &ours.llvm),
    ];
    let differing: Vec<String> = pairs
        .into_iter()
        .filter(|(_, theirs, ours)| theirs != ours)
        .map(|(tool, theirs, ours)| format!("{tool} here is `{ours}`, the manifest's is `{theirs}`"))
        .collect();
    (!differing.is_empty()).then(|| differing.join("; "))
}

/// Writes a file so that a reader sees the old one or the new one, never a part.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().context("name a file to write")?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(&temporary, bytes).with_context(|| format!("write {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests;
