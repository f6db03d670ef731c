//! Refuses to build with a BPF object that is not what its sources build to. Compiles no BPF and needs no network.

#[path = "build/sources.rs"]
mod sources;

use std::{env, fs, path::Path, process::ExitCode};

use sources::{MANIFEST, Manifest, OBJECT};

/// Turns a stale object into a warning, for work on both sides of the kernel boundary at once.
const ALLOW_STALE: &str = "RESMGR_ALLOW_STALE_BPF";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={ALLOW_STALE}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/sources.rs");
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let package = Path::new(&package);
    // A published crate comes without the sources: what lies beside it there is not ours.
    let root = package.parent().filter(|root| root.join("resmgr-ebpf/src").is_dir());
    if let Err(what) = check(package, root) {
        if env::var_os(ALLOW_STALE).is_some_and(|value| value == "1") {
            println!("cargo::warning={what}; building all the same, as {ALLOW_STALE}=1 asks");
        } else if root.is_some() {
            // Cargo fails the build for such a line, and shows it in place of all that a script printed.
            println!("cargo::error={what}: run `cargo xtask ebpf`, or set {ALLOW_STALE}=1 to build all the same");
        } else {
            println!("cargo::error={what}: the package is damaged, fetch it again");
        }
    }
    ExitCode::SUCCESS
}

/// Compares the object with its manifest, and in a checkout the manifest with the sources.
fn check(package: &Path, root: Option<&Path>) -> Result<(), String> {
    println!("cargo::rerun-if-changed=bpf/manifest.toml");
    println!("cargo::rerun-if-changed=bpf/resmgr.bpf.o");
    if let Some(root) = root {
        for source in sources::SOURCES {
            println!("cargo::rerun-if-changed={}", root.join(source).display());
        }
    }

    let text = fs::read_to_string(package.join("bpf/manifest.toml")).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let manifest = Manifest::parse(&text).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let object = fs::read(package.join("bpf/resmgr.bpf.o")).map_err(|error| format!("{OBJECT}: {error}"))?;
    if sources::hash_bytes(&object) != manifest.object_sha256 {
        return Err(format!("{OBJECT} is not the object that its manifest names"));
    }
    if let Some(root) = root
        && sources::hash_sources(root).map_err(|error| error.to_string())? != manifest.sources_sha256
    {
        return Err(format!(
            "{OBJECT} is older than the sources in resmgr-ebpf and resmgr-common"
        ));
    }
    Ok(())
}
