//! What the programs push through the ring: births, changes of image and deaths of processes, and crossings of lines.

use crate::{COMM_LEN, ProcessCounters, wire};

/// What happened. Each kind has its own record, which begins with the kind.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A process was born of a fork.
    Fork = 1,
    /// A process replaced its image.
    Exec = 2,
    /// The last thread of a process has left the CPU for ever; its counters are final.
    Exit = 3,
    /// A tool went past one of its lines, or fell back behind it: a [`CrossingRecord`].
    Crossing = 4,
    /// A process of no tool replaced its image while there are rules to match: an [`ImageRecord`].
    Image = 5,
}

/// A birth, a change of image or a death.
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
    /// How it ended, as wait(2) tells it; 0 where it has not.
    pub exit_status: u32,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Command name, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// The process's counters at that time.
    pub counters: ProcessCounters,
}
wire!(EventRecord, 48 + 136);

/// A tool went past one of its lines, or fell back behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct CrossingRecord {
    /// [`EventKind::Crossing`].
    pub kind: u32,
    /// The tool's slot.
    pub tool: u32,
    /// The tool's instance.
    pub instance: u64,
    /// A [`crate::ToolResource`].
    pub resource: u32,
    /// The line: 1 Warning, 2 Critical, 3 Emergency.
    pub level: u32,
    /// 1 where it was passed, 0 where the use fell back.
    pub risen: u32,
    /// Thread group id of the process that did it.
    pub tgid: u32,
    /// The tool's use at that time, in the resource's kernel unit.
    pub value: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}
wire!(CrossingRecord, 48);

/// Room for a file name in an [`ImageRecord`].
pub const IMAGE_PATH_LEN: usize = 256;
/// Room for arguments in an [`ImageRecord`].
pub const IMAGE_ARGUMENTS_LEN: usize = 512;

/// A process of no tool replaced its image: what rules are matched with, should it be gone before it is looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ImageRecord {
    /// What an exec tells, with kind [`EventKind::Image`].
    pub event: EventRecord,
    /// Identity of its cgroup (v2).
    pub cgroup: u64,
    /// Bytes of `arguments`.
    pub arguments_len: u32,
    /// Named padding.
    pub _pad: u32,
    /// The path that was executed, as it was given, NUL-terminated.
    pub path: [u8; IMAGE_PATH_LEN],
    /// Its arguments, each NUL-terminated, as far as there is room.
    pub arguments: [u8; IMAGE_ARGUMENTS_LEN],
}
wire!(ImageRecord, 184 + 16 + 256 + 512);
