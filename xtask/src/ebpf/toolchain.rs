//! Finds what BPF is built with, and installs what is missing where the distribution has it. Compiles no BPF.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{distribution, shell, sources::Manifest, workspace::Workspace};

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];
const LLVM: &str = "/usr/lib/llvm-22";
const LINKER: &str = "bpf-linker@0.13.0";
const BY_HAND: &str = "install a nightly with the library's source (`rustup toolchain install nightly --component \
                       rust-src`), `cargo install bpf-linker` for the LLVM at hand, and llvm-objcopy (package llvm)";

/// A complete set of tools.
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) compiler: Compiler,
    /// bpf-linker.
    pub(crate) linker: PathBuf,
    /// llvm-objcopy.
    pub(crate) objcopy: PathBuf,
    /// What the tools say they are.
    pub(crate) versions: Versions,
}

/// A Rust compiler that has the library's source.
pub(crate) struct Compiler {
    /// cargo.
    pub(crate) cargo: PathBuf,
    /// rustc.
    pub(crate) rustc: PathBuf,
    /// The folder that holds `library`.
    pub(crate) source: PathBuf,
    /// Whether unstable features must be asked for: it is not a nightly.
    pub(crate) bootstrap: bool,
}

/// What the tools say they are, as the manifest records it.
pub(crate) struct Versions {
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// `bpf-linker --version`.
    pub(crate) bpf_linker: String,
    /// The version of llvm-objcopy.
    pub(crate) llvm: String,
}

/// Finds a toolchain, installing what is missing; of several, the one that `manifest` names.
pub(crate) fn prepare(workspace: &Workspace, manifest: Option<&Manifest>) -> Result<Toolchain> {
    if let Some(found) = find(workspace, manifest) {
        return found;
    }
    if shell::find_on_path("apt-get").is_none() {
        bail!("there is no toolchain for BPF here: {BY_HAND}");
    }
    if packaged().is_none() || !Path::new(LLVM).join("bin/llvm-config").is_file() || objcopy(None).is_none() {
        distribution::install(
            &PACKAGES,
            "BPF is built from the compiler's library source and linked by LLVM",
            BY_HAND,
        )?;
    }
    if local_linker(workspace).is_none() {
        let compiler = packaged().with_context(|| format!("the packages brought no compiler: {BY_HAND}"))?;
        install_linker(workspace, &compiler)?;
    }
    find(workspace, manifest).unwrap_or_else(|| bail!("what was installed is no complete toolchain: {BY_HAND}"))
}

impl Compiler {
    /// A command of this compiler's cargo that nothing around us can steer.
    ///
    /// The cargo that runs xtask, rustup and the caller's environment each set variables that would reach the
    /// compiler, and with it the object's bytes.
    pub(crate) fn cargo_command(&self, first_on_path: &[PathBuf]) -> Result<Command> {
        let mut command = Command::new(&self.cargo);
        for (name, _) in env::vars_os() {
            let name_text = name.to_string_lossy();
            let steers = [
                "CARGO_BUILD_",
                "CARGO_PROFILE_",
                "CARGO_TARGET_",
                "CARGO_UNSTABLE_",
                "RUSTC",
            ]
            .iter()
            .any(|prefix| name_text.starts_with(prefix));
            if steers {
                command.env_remove(&name);
            }
        }
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_INCREMENTAL",
            "LD_LIBRARY_PATH",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            command.env_remove(name);
        }
        command.env("RUSTC", &self.rustc);
        command.env("PATH", shell::path_with(first_on_path)?);
        if self.bootstrap {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(command)
    }
}

fn find(workspace: &Workspace, manifest: Option<&Manifest>) -> Option<Result<Toolchain>> {
    // The distribution's linker is built for its LLVM; a nightly's owner has one on PATH that fits the nightly's.
    let mut found = Vec::new();
    if let Some(compiler) = nightly() {
        let linker = shell::find_on_path("bpf-linker").or_else(|| local_linker(workspace));
        found.extend(linker.map(|linker| (compiler, linker)));
    }
    if let Some(compiler) = packaged() {
        let linker = local_linker(workspace).or_else(|| shell::find_on_path("bpf-linker"));
        found.extend(linker.map(|linker| (compiler, linker)));
    }
    let named = |compiler: &Compiler| manifest.is_some_and(|m| rustc_version(compiler).is_ok_and(|v| v == m.rustc));
    let chosen = found.iter().position(|(compiler, _)| named(compiler)).unwrap_or(0);
    if found.is_empty() {
        return None;
    }
    let (compiler, linker) = found.swap_remove(chosen);
    let objcopy = objcopy(Some(&compiler))?;
    Some(complete(compiler, linker, objcopy))
}

fn complete(compiler: Compiler, linker: PathBuf, objcopy: PathBuf) -> Result<Toolchain> {
    let llvm = shell::output(Command::new(&objcopy).arg("--version"))?;
    let versions = Versions {
        rustc: rustc_version(&compiler)?,
        bpf_linker: shell::output(Command::new(&linker).arg("--version"))?.trim().to_owned(),
        llvm: llvm_version(&llvm).with_context(|| format!("{} does not say its version", objcopy.display()))?,
    };
    Ok(Toolchain {
        compiler,
        linker,
        objcopy,
        versions,
    })
}

fn rustc_version(compiler: &Compiler) -> Result<String> {
    let version = shell::output(
        Command::new(&compiler.rustc)
            .arg("--version")
            .env_remove("LD_LIBRARY_PATH"),
    )?;
    Ok(version.trim().to_owned())
}

/// The number after the word `version`, wherever a distribution put its own name.
pub(super) fn llvm_version(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == "version")?;
    words.next().map(str::to_owned)
}

/// A compiler with the library's source, where one is installed: it can check for any target.
pub(crate) fn with_library_source() -> Option<Compiler> {
    nightly().or_else(packaged)
}

fn nightly() -> Option<Compiler> {
    let mut command = Command::new("rustc");
    // A look must not download a toolchain.
    command
        .args(["+nightly", "--print", "sysroot"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    let bin = Path::new(&shell::probe(&mut command)?).join("bin");
    compiler(&bin, false)
}

fn packaged() -> Option<Compiler> {
    compiler(Path::new("/usr/bin"), true)
}

fn compiler(bin: &Path, bootstrap: bool) -> Option<Compiler> {
    let (cargo, rustc) = (bin.join("cargo"), bin.join("rustc"));
    let ask = |what: &[&str]| {
        let mut command = Command::new(&rustc);
        command
            .args(what)
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("RUSTUP_TOOLCHAIN");
        shell::probe(&mut command)
    };
    let source = Path::new(&ask(&["--print", "sysroot"])?).join("lib/rustlib/src/rust");
    // A stable distribution may have an older one beside the one made for browsers.
    let new_enough = release(&ask(&["--version"])?)? >= release(env!("CARGO_PKG_RUST_VERSION"))?;
    (new_enough && cargo.is_file() && source.join("library/core").is_dir()).then_some(Compiler {
        cargo,
        rustc,
        source,
        bootstrap,
    })
}

/// The first two numbers of a version, with or without a name before it.
pub(super) fn release(version: &str) -> Option<(u32, u32)> {
    let numbers = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = numbers.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn local_linker(workspace: &Workspace) -> Option<PathBuf> {
    Some(workspace.tools().join("bin/bpf-linker")).filter(|file| file.is_file())
}

fn objcopy(compiler: Option<&Compiler>) -> Option<PathBuf> {
    let distribution = Path::new(LLVM).join("bin/llvm-objcopy");
    if distribution.is_file() {
        return Some(distribution);
    }
    let names = ["llvm-objcopy", "llvm-objcopy-23", "llvm-objcopy-22", "llvm-objcopy-21"];
    names.iter().find_map(|name| shell::find_on_path(name)).or_else(|| {
        // rustup ships one beside the library.
        let folder = compiler?.source.ancestors().nth(2)?.to_owned();
        let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        let names = ["llvm-objcopy", "rust-objcopy"];
        names
            .iter()
            .map(|name| folder.join(&host).join("bin").join(name))
            .find(|file| file.is_file())
    })
}

fn install_linker(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    let root = workspace.tools();
    println!(
        "installing {LINKER} into {}: it links BPF programs, with LLVM 22",
        workspace.show(&root)
    );
    let mut install = compiler.cargo_command(&[Path::new(LLVM).join("bin")])?;
    install
        .args([
            "install",
            LINKER,
            "--locked",
            "--no-default-features",
            "--features",
            "llvm-22",
            "--root",
        ])
        .arg(root)
        .env("LLVM_PREFIX", LLVM)
        .env_remove("RUSTC_BOOTSTRAP");
    shell::run(&mut install)
}
