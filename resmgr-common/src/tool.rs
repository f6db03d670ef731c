//! Tools inside the kernel: what their processes use together, and the lines that it is compared with.

use crate::wire;

/// What a tool's use is compared with lines of.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolResource {
    /// Anonymous, shared and swapped-out pages of its processes.
    Memory = 0,
    /// CPU time of the operation under way, in nanoseconds.
    Cpu = 1,
    /// Open descriptors.
    Descriptors = 2,
    /// Connections.
    Connections = 3,
}

/// How many resources there are.
pub const TOOL_RESOURCES: usize = 4;

/// Levels that a use can be at: under all lines, and past the first, the second, the third.
pub const TOOL_LEVELS: usize = 4;

/// Room for a tool's name, its terminating NUL included.
pub const TOOL_NAME_LEN: usize = 64;

/// Room for the path of a cgroup, its terminating NUL included.
pub const TOOL_PATH_LEN: usize = 256;

/// What a tool's processes use together: an element of the map `TOOLS`, whose index is the tool's slot. Slot 0 is none.
///
/// Written by the programs alone, but for the moment in which user space takes a free slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ToolCounters {
    /// Which instance has the slot; 0 where it is free.
    pub instance: u64,
    /// Processes now.
    pub processes: i64,
    /// Processes ever.
    pub processes_total: u64,
    /// CPU time in nanoseconds that its processes used while they were its, by the scheduler's own count.
    pub cpu_ns: u64,
    /// CPU time in nanoseconds of those that have ended, their whole lives.
    pub ended_cpu_ns: u64,
    /// Descriptors that calls have opened.
    pub fds_opened: u64,
    /// Descriptors that calls have closed.
    pub fds_closed: u64,
    /// Outgoing connections that were established.
    pub connections_made: u64,
    /// Incoming connections that were accepted.
    pub connections_accepted: u64,
    /// Outgoing connections that failed.
    pub connections_failed: u64,
    /// Anonymous, shared and swapped-out pages.
    pub memory_pages: i64,
    /// The most of them that there were.
    pub memory_peak_pages: i64,
    /// Open descriptors.
    pub fds_open: i64,
    /// Connections: distinct sockets.
    pub connections_open: i64,
    /// Highest number of resident pages of one process that has ended.
    pub peak_rss_pages: u64,
    /// `cpu_ns` when the operation under way began.
    pub operation_start_ns: u64,
    /// Operations begun.
    pub operations: u64,
    /// Until when a process of it last used CPU, on the run queue's clock.
    pub used_until_ns: u64,
    /// When the window began in which idleness is looked for, on the run queue's clock.
    pub window_start_ns: u64,
    /// `cpu_ns` at that time.
    pub window_cpu_ns: u64,
    /// Outgoing connections that were refused.
    pub connections_refused: u64,
    /// The level that each [`ToolResource`] is at.
    pub levels: [u32; TOOL_RESOURCES],
}
wire!(ToolCounters, 21 * 8 + 16);

/// What a tool's use is compared with: an element of the map `TOOL_LINES`. Written by user space alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ToolLines {
    /// Use at or above `rise[resource][level]` takes the resource from that level to the next; `i64::MAX` where there is
    /// none.
    pub rise: [[i64; TOOL_LEVELS]; TOOL_RESOURCES],
    /// Use below `fall[resource][level]` takes the resource from that level back to the one before; `i64::MIN` where
    /// there is none.
    pub fall: [[i64; TOOL_LEVELS]; TOOL_RESOURCES],
    /// What is added to the programs' own sums: descriptors and sockets that several processes share count once, CPU time
    /// of operations that have ended does not count.
    pub adjust: [i64; TOOL_RESOURCES],
    /// 1 where no idleness ends an operation: CPU time is the tool's whole, and what is added to it.
    pub endless: u64,
    /// The most connections that it may have: a connect beyond is refused. `i64::MAX` where none is.
    pub connections_most: i64,
    /// 1 where connections to this host itself are never refused.
    pub exempt_loopback: u64,
}
wire!(ToolLines, 2 * 128 + 32 + 3 * 8);

/// Who a tool is: an element of the map `TOOL_RECORDS`, for user space alone, so that an agent that starts anew knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ToolRecord {
    /// Which instance has the slot; 0 where it is free.
    pub instance: u64,
    /// When it was registered, in nanoseconds since 1970.
    pub registered_unix_ns: u64,
    /// Start of its first process in nanoseconds since boot, 0 where it has none.
    pub root_start_ns: u64,
    /// Start of its owner in nanoseconds since boot.
    pub owner_start_ns: u64,
    /// Thread group id of its first process, 0 where it has none.
    pub root_tgid: u32,
    /// Thread group id of its owner, who started it, 0 where there is none.
    pub owner_tgid: u32,
    /// User whose tool it is.
    pub uid: u32,
    /// How it came to be.
    pub origin: u32,
    /// What its CPU limit counts over.
    pub operation: u64,
    /// Highest memory in bytes that a sweep has seen.
    pub memory_peak_bytes: u64,
    /// How its limits are held.
    pub mode: u32,
    /// [`ToolFlags`].
    pub flags: u32,
    /// What is done about processes that outlive it.
    pub orphans: u32,
    /// How long processes that are asked to end may take before they are killed, in milliseconds.
    pub grace_ms: u32,
    /// Of each resource, the lowest that its limit may become, the limit in force, and the highest.
    pub limits: [[u64; 3]; TOOL_RESOURCES],
    /// Where the lowest and the highest come from.
    pub limits_from: [[u32; 2]; TOOL_RESOURCES],
    /// Its name, NUL-padded.
    pub name: [u8; TOOL_NAME_LEN],
    /// The cgroup that it is in or that makes it up, NUL-padded; empty where there is none.
    pub cgroup: [u8; TOOL_PATH_LEN],
}
wire!(ToolRecord, 8 * 8 + 4 * 4 + 96 + 32 + 64 + 256);

/// Bits of [`ToolRecord::flags`].
pub struct ToolFlags;

impl ToolFlags {
    /// The kernel refuses at the limit in force, not at the maximum.
    pub const STRICT: u32 = 1;
    /// Connections to this host itself are never refused.
    pub const EXEMPT_LOOPBACK: u32 = 2;
}

/// A process that is to be taken into a tool: the value of the map `JOINING`, keyed by thread group id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Joining {
    /// Its start in nanoseconds since boot, rounded down to whole `tick_ns`.
    pub start_ns: u64,
    /// What the start was rounded to: `/proc` tells it in clock ticks only.
    pub tick_ns: u64,
    /// The tool's slot.
    pub tool: u32,
    /// Named padding.
    pub _pad: u32,
}
wire!(Joining, 24);

/// A line that a tool is past: the key of the map `CROSSED`. Whoever inserts it tells user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct CrossedKey {
    /// The tool's slot.
    pub tool: u32,
    /// A [`ToolResource`] times [`TOOL_LEVELS`], plus the level.
    pub line: u32,
}
wire!(CrossedKey, 8);
