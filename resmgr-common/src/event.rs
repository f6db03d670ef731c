//! What the programs push through the ring: births, changes of image and deaths of processes.

use crate::{COMM_LEN, ProcessCounters, wire};

/// What happened to a process.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A process was born of a fork.
    Fork = 1,
    /// A process replaced its image.
    Exec = 2,
    /// The last thread of a process has left the CPU for ever; its counters are final.
    Exit = 3,
}

/// One event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct EventRecord {
    /// An [`EventKind`].
    pub kind: u32,
    /// Thread group id.
    pub tgid: u32,
    /// Thread group id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Named padding.
    pub _pad: u32,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Command name, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// The process's counters at that time.
    pub counters: ProcessCounters,
}
wire!(EventRecord, 48 + 128);
