//! Compiles the BPF object to the same bytes in any folder of any machine. Finds no tools and commits nothing.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::toolchain::{Compiler, Toolchain};
use crate::{shell, workspace::Workspace};

const PACKAGE: &str = "resmgr-ebpf";
const TARGET: &str = "bpfel-unknown-none";
const PROFILE: &str = "bpf";

/// What every file of the object is compiled with.
const FLAGS: [&str; 6] = [
    "--cfg=bpf_target_arch=\"x86_64\"",
    // The types that BTF is made from.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    // 32-bit registers and atomics.
    "-Ctarget-cpu=v3",
    // The verifier's log quotes source lines out of BTF, which LLVM copies from the files named in the debug
    // information. No file has such a name once paths are remapped, so the text itself travels with it.
    "-Zembed-source=yes",
    "-Zdwarf-version=5",
];

/// Compiles, and returns the object without DWARF and with BTF.
pub(crate) fn compile(workspace: &Workspace, tools: &Toolchain) -> Result<Vec<u8>> {
    let folders = Folders::find(workspace, &tools.compiler)?;
    let target = workspace.bpf_target();
    let mut path = vec![folder_of(&tools.linker)?];
    path.extend(folder_of(&tools.objcopy));
    let mut build = tools.compiler.cargo_command(&path)?;
    build
        .current_dir(workspace.root())
        .env("CARGO_ENCODED_RUSTFLAGS", folders.flags()?)
        .args(["build", "--locked", "--package", PACKAGE, "-Z", "build-std=core"])
        .args(["--target", TARGET, "--profile", PROFILE, "--target-dir"])
        .arg(&target);
    shell::run(&mut build).context("compile the BPF programs")?;

    let linked = target.join(TARGET).join(PROFILE).join(PACKAGE);
    let stripped = target.join("stripped.o");
    shell::run(
        Command::new(&tools.objcopy)
            .arg("--strip-debug")
            .arg(&linked)
            .arg(&stripped),
    )?;
    let object = fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))?;
    folders.refuse_in(&object)?;
    Ok(object)
}

/// The machine's folders, and what the object calls them.
struct Folders(Vec<(PathBuf, &'static str)>);

impl Folders {
    fn find(workspace: &Workspace, compiler: &Compiler) -> Result<Self> {
        let home = cargo_home()?;
        let mut folders = vec![
            (home.clone(), "/cargo"),
            (compiler.source.clone(), "/rust"),
            (workspace.target().to_owned(), "/target"),
            (workspace.root().to_owned(), "/resmgr"),
        ];
        // Below the registry is a folder named after the registry's host, and it exists once something was fetched.
        shell::run(
            compiler
                .cargo_command(&[])?
                .current_dir(workspace.root())
                .args(["fetch", "--quiet", "--locked", "--target"])
                .arg(format!("{}-unknown-linux-gnu", env::consts::ARCH)),
        )
        .context("fetch the sources of the packages in Cargo.lock")?;
        if let Ok(entries) = fs::read_dir(home.join("registry/src")) {
            for entry in entries {
                let entry = entry.context("list cargo's registry sources")?;
                folders.push((entry.path(), "/cargo"));
            }
        }
        Ok(Self(folders))
    }

    fn flags(&self) -> Result<String> {
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        for (folder, name) in &self.0 {
            // Of several that match, rustc takes the last.
            flags.push(format!("--remap-path-prefix={}={name}", text(folder)?));
        }
        Ok(flags.join("\x1f"))
    }

    /// Fails where the object still names a folder of this machine.
    fn refuse_in(&self, object: &[u8]) -> Result<()> {
        for (folder, _) in &self.0 {
            let folder = text(folder)?;
            if object.windows(folder.len()).any(|bytes| bytes == folder.as_bytes()) {
                bail!(
                    "the object names {folder}: add what brings it there to the remapped folders in {}",
                    file!()
                );
            }
        }
        Ok(())
    }
}

fn cargo_home() -> Result<PathBuf> {
    match (env::var_os("CARGO_HOME"), env::var_os("HOME")) {
        (Some(home), _) => Ok(home.into()),
        (None, Some(home)) => Ok(Path::new(&home).join(".cargo")),
        (None, None) => bail!("neither CARGO_HOME nor HOME is set: set one"),
    }
}

fn text(path: &Path) -> Result<&str> {
    Path::to_str(path).with_context(|| format!("{} is not UTF-8: move it", path.display()))
}

fn folder_of(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().filter(|folder| *folder != OsStr::new(""));
    Ok(folder
        .with_context(|| format!("{} lies in no folder", file.display()))?
        .to_owned())
}
