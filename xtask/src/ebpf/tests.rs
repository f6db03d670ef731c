//! Claims about the manifest, the hash of the sources and what a check compares.

use std::{env, fs, path::PathBuf};

use super::{
    difference, replace,
    toolchain::{llvm_version, release},
};
use crate::sources::{Manifest, hash_bytes, hash_sources, list_sources};

fn manifest() -> Manifest {
    Manifest {
        sources_sha256: "aa".to_owned(),
        object_sha256: "bb".to_owned(),
        rustc: "rustc 1.96.0 (built \"here\")".to_owned(),
        bpf_linker: "bpf-linker 0.13.0".to_owned(),
        llvm: "22.1.8".to_owned(),
    }
}

/// A folder of this test's own with the sources' four places in it.
fn checkout(name: &str) -> PathBuf {
    let root = env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
    for package in ["resmgr-ebpf", "resmgr-common"] {
        fs::create_dir_all(root.join(package).join("src/part")).unwrap();
        fs::write(root.join(package).join("Cargo.toml"), "[package]\n").unwrap();
        fs::write(root.join(package).join("src/part/mod.rs"), "//! A part.\n").unwrap();
    }
    root
}

#[test]
fn a_manifest_reads_back_as_written() {
    let read = Manifest::parse(&manifest().to_text()).unwrap();
    assert_eq!(
        read.rustc, "rustc 1.96.0 (built  here )",
        "quotes do not break the file"
    );
    assert_eq!((read.object_sha256.as_str(), read.llvm.as_str()), ("bb", "22.1.8"));
}

#[test]
fn a_manifest_with_a_missing_repeated_or_unknown_key_is_refused() {
    let text = manifest().to_text();
    let without: String = text
        .lines()
        .filter(|line| !line.starts_with("llvm"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(Manifest::parse(&without).unwrap_err(), "the key `llvm` is missing");
    assert!(
        Manifest::parse(&format!("{text}llvm = \"23\"\n"))
            .unwrap_err()
            .contains("repeats the key `llvm`")
    );
    assert!(
        Manifest::parse(&format!("{text}clang = \"23\"\n"))
            .unwrap_err()
            .contains("unknown key `clang`")
    );
    assert!(Manifest::parse("llvm: 22").unwrap_err().contains("line 1"));
}

#[test]
fn line_ends_do_not_change_the_hash_and_content_and_names_do() {
    let root = checkout("hash");
    let before = hash_sources(&root).unwrap();
    fs::write(root.join("resmgr-ebpf/src/part/mod.rs"), "//! A part.\r\n").unwrap();
    assert_eq!(hash_sources(&root).unwrap(), before);
    fs::write(root.join("resmgr-ebpf/src/part/mod.rs"), "//! Another part.\n").unwrap();
    assert_ne!(hash_sources(&root).unwrap(), before);
    fs::write(root.join("resmgr-ebpf/src/part/mod.rs"), "//! A part.\n").unwrap();
    fs::rename(
        root.join("resmgr-ebpf/src/part/mod.rs"),
        root.join("resmgr-ebpf/src/part/new.rs"),
    )
    .unwrap();
    assert_ne!(hash_sources(&root).unwrap(), before);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn sources_are_listed_in_order_and_without_what_editors_leave() {
    let root = checkout("list");
    fs::write(root.join("resmgr-ebpf/src/.part.swp"), "").unwrap();
    fs::write(root.join("resmgr-ebpf/build.log"), "").unwrap();
    let listed: Vec<String> = list_sources(&root)
        .unwrap()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(
        listed,
        [
            "resmgr-common/Cargo.toml",
            "resmgr-common/src/part/mod.rs",
            "resmgr-ebpf/Cargo.toml",
            "resmgr-ebpf/src/part/mod.rs",
        ]
    );
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_hash_is_the_one_that_other_tools_print() {
    // `printf abc | sha256sum`
    assert_eq!(
        hash_bytes(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn bytes_are_compared_only_where_every_tool_is_the_same() {
    let theirs = manifest();
    assert_eq!(difference(&theirs, &theirs.clone()), None);
    let ours = Manifest {
        llvm: "23.0.0".to_owned(),
        ..manifest()
    };
    assert_eq!(
        difference(&theirs, &ours).unwrap(),
        "LLVM here is `23.0.0`, the manifest's is `22.1.8`"
    );
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let folder = checkout("replace");
    replace(&folder.join("object"), b"old").unwrap();
    replace(&folder.join("object"), b"new").unwrap();
    assert_eq!(fs::read(folder.join("object")).unwrap(), b"new");
    let left = fs::read_dir(&folder).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".new")
    });
    assert_eq!(left.count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_version_of_llvm_is_found_in_any_distributions_words() {
    let debian = "llvm-objcopy, compatible with GNU objcopy\nDebian LLVM version 22.1.8\n  Optimized build.\n";
    assert_eq!(llvm_version(debian).as_deref(), Some("22.1.8"));
    assert_eq!(
        llvm_version("LLVM (http://llvm.org/):\n  LLVM version 21.1.0-rust-1.95.0-stable\n").as_deref(),
        Some("21.1.0-rust-1.95.0-stable")
    );
    assert_eq!(llvm_version("no number"), None);
}

#[test]
fn compilers_are_compared_by_number_not_by_text() {
    assert_eq!(
        release("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"),
        Some((1, 96))
    );
    assert_eq!(release("rustc 1.98.0-nightly (5f2e 2026-06-01)"), Some((1, 98)));
    assert!(release("rustc 1.100.0") > release("1.95"));
    assert_eq!(release("rustc"), None);
}
