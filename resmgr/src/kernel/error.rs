//! What can go wrong between the kernel and us, each with the next step.

use std::{io, path::PathBuf};

use super::layout::LayoutError;

/// The kernel, or the object for it, refused something.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The caller lacks the privilege to load programs.
    #[error("loading BPF programs needs root: run it with sudo")]
    NotRoot,
    /// The kernel does not describe itself.
    #[error(
        "read the kernel's type information {path}: {source}; resmgr needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, \
         as distributions' kernels since 5.10 are"
    )]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be read.
        source: io::Error,
    },
    /// The kernel's type information is not what we can read.
    #[error("the kernel's type information {path}: {message}")]
    BadBtf {
        /// Where it was read.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A struct of the kernel lacks what the programs read.
    #[error("this kernel is not one that resmgr knows: {0}; please report it with the output of `uname -r`")]
    Layout(#[from] LayoutError),
    /// A file system that holds hooks or pins could not be mounted.
    #[error("mount {file_system} on {}: {source}; mount it by hand: mount -t {file_system} {file_system} {}", path.display(), path.display())]
    Mount {
        /// Its type.
        file_system: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An object file could not be read.
    #[error("read the BPF object {}: {source}", path.display())]
    ReadObject {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The object is not a BPF object, or not a whole one.
    #[error("the BPF object {origin} is damaged: {message}; rebuild it with `cargo xtask ebpf`")]
    BadObject {
        /// Which object.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
    /// The object's maps could not be created.
    #[error("create the maps of the BPF object {origin}: {message}")]
    Maps {
        /// Which object.
        origin: String,
        /// Why not.
        message: String,
    },
    /// The verifier refused a program.
    #[error(
        "this kernel refuses the BPF program {program}: {source}; its verifier says at the end:\n{log}\nplease report it with \
         the output of `uname -r`"
    )]
    Verifier {
        /// Name of the program.
        program: String,
        /// What the system call returned.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// A program could not be loaded for another reason.
    #[error("load the BPF program {program}: {message}")]
    Load {
        /// Name of the program.
        program: String,
        /// Why not.
        message: String,
    },
    /// A program could not be attached.
    #[error("attach the BPF program {program} to {hook}: {message}")]
    Attach {
        /// Name of the program.
        program: String,
        /// Name of the hook.
        hook: String,
        /// Why not.
        message: String,
    },
    /// A map could not be read or written.
    #[error("{operation} the map {map}: {message}")]
    Map {
        /// What was done.
        operation: &'static str,
        /// Name of the map.
        map: &'static str,
        /// Why it failed.
        message: String,
    },
    /// An iterator could not be run.
    #[error("run the iterator {program}: {message}")]
    Iterate {
        /// Name of the program.
        program: &'static str,
        /// Why not.
        message: String,
    },
    /// A pin could not be made or removed.
    #[error("{operation} {}: {message}", path.display())]
    Pin {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        message: String,
    },
    /// Something in the folder for pins is not what belongs there.
    #[error("{} {what}", path.display())]
    ForeignPin {
        /// Where.
        path: PathBuf,
        /// What it is, and what to do.
        what: String,
    },
}
