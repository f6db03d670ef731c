//! What a sweep writes: a stream of records, each with a header that says its kind and length.

use crate::{COMM_LEN, ProcessCounters, RSS_KINDS, wire};

/// The kinds of record in a sweep's stream.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A [`TaskRecord`].
    Task = 1,
    /// A [`SocketRecord`].
    Socket = 2,
    /// A [`FileRecord`].
    File = 3,
}

/// What each record starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RecordHeader {
    /// A [`RecordKind`].
    pub kind: u32,
    /// Length of the whole record in bytes, this header included.
    pub len: u32,
}
wire!(RecordHeader, 8);

/// Bits of [`TaskRecord::flags`].
pub struct TaskFlags;

impl TaskFlags {
    /// The task leads its thread group.
    pub const LEADER: u32 = 1;
    /// A thread of the kernel.
    pub const KERNEL_THREAD: u32 = 1 << 1;
    /// The task has exited and waits to be reaped.
    pub const ZOMBIE: u32 = 1 << 2;
    /// The record speaks for the descriptor table `files`: another thread that shares it does not.
    pub const OWN_TABLE: u32 = 1 << 3;
    /// The table is too large for a sweep: a detailed pass has to count its descriptors and connections.
    pub const TABLE_CUT: u32 = 1 << 4;
    /// The memory fields describe `mm`.
    pub const MEMORY_READ: u32 = 1 << 5;
    /// `counters` holds what events had counted, before this sweep corrected it.
    pub const COUNTERS_READ: u32 = 1 << 6;
    /// Events had not counted this process: the sweep began its counters with this record's truth.
    pub const COUNTERS_BEGUN: u32 = 1 << 7;
    /// This sweep took the process into a tool.
    pub const ADOPTED: u32 = 1 << 8;
}

/// One thread, as the kernel holds it; a leader's record stands for its process too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct TaskRecord {
    /// Kind [`RecordKind::Task`].
    pub header: RecordHeader,
    /// Thread id.
    pub tid: u32,
    /// Thread group id.
    pub tgid: u32,
    /// Thread group id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Bits of [`TaskFlags`].
    pub flags: u32,
    /// Start of the process in nanoseconds since boot.
    pub start_ns: u64,
    /// CPU time of this thread in nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of the process's threads that have been reaped, in nanoseconds.
    pub dead_cpu_ns: u64,
    /// Identity of the descriptor table (0: none). Compared only, never shown.
    pub files: u64,
    /// Identity of the address space (0: none). Compared only, never shown.
    pub mm: u64,
    /// Open descriptors of `files`.
    pub fds: u64,
    /// Connections of `files`, as far as it was walked.
    pub connections: u64,
    /// Resident pages by kind: file, anonymous, swap entries, shared memory.
    pub rss_pages: [i64; RSS_KINDS],
    /// What this thread has yet to add to them, by kind.
    pub rss_cached: [i32; RSS_KINDS],
    /// Pages of virtual memory.
    pub virtual_pages: u64,
    /// Highest resident pages that the kernel has noted.
    pub peak_rss_pages: u64,
    /// Identity of the cgroup (v2) that it is in, 0 where the kernel has none.
    pub cgroup: u64,
    /// Command name, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// What events had counted for the process.
    pub counters: ProcessCounters,
}
wire!(TaskRecord, 32 + 7 * 8 + 4 * 8 + 4 * 4 + 3 * 8 + 16 + 136);

/// One connection found in a descriptor table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct SocketRecord {
    /// Kind [`RecordKind::Socket`].
    pub header: RecordHeader,
    /// Thread group id of the table's process.
    pub tgid: u32,
    /// Named padding.
    pub _pad: u32,
    /// Identity of the descriptor table.
    pub files: u64,
    /// Identity of the socket. Compared only, never shown.
    pub sock: u64,
}
wire!(SocketRecord, 32);

/// An address and port of a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Address {
    /// IPv4 address in the first four bytes, or an IPv6 address; network byte order.
    pub bytes: [u8; 16],
    /// Port, in the host's byte order.
    pub port: u16,
    /// Named padding.
    pub _pad: [u8; 6],
}
wire!(Address, 24);

/// Room for the name of a file's directory entry, the terminating NUL included.
pub const NAME_LEN: usize = 32;

/// One open descriptor, in detail.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct FileRecord {
    /// Kind [`RecordKind::File`].
    pub header: RecordHeader,
    /// Thread group id of the table's process.
    pub tgid: u32,
    /// Descriptor number.
    pub fd: u32,
    /// Start of the process in nanoseconds since boot.
    pub start_ns: u64,
    /// Identity of the descriptor table.
    pub files: u64,
    /// Identity of the file's operations; equal for all sockets. Compared only, never shown.
    pub operations: u64,
    /// Inode number.
    pub inode: u64,
    /// Magic number of the file system.
    pub file_system: u64,
    /// File type and mode bits.
    pub mode: u32,
    /// Address family, 0 where the file is no socket.
    pub family: u16,
    /// Protocol (`IPPROTO_*`).
    pub protocol: u16,
    /// State, by the numbers of TCP.
    pub state: u8,
    /// Named padding.
    pub _pad: [u8; 7],
    /// Identity of the socket, 0 where the file is none.
    pub sock: u64,
    /// Local address.
    pub local: Address,
    /// Remote address.
    pub remote: Address,
    /// Name of the directory entry, NUL-terminated; of anonymous inodes `[eventfd]` and the like.
    pub name: [u8; NAME_LEN],
}
wire!(FileRecord, 8 + 8 + 5 * 8 + 16 + 8 + 48 + 32);

/// What user space tells the programs after loading: the value of the map `FACTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct SweepFacts {
    /// `f_op` of sockets, learned from a socket of the agent's own; 0 until then.
    pub socket_operations: u64,
    /// 1 while processes wait in `JOINING`, or cgroups in `CGROUPS`, to be taken into tools; else 0.
    pub adopting: u32,
    /// 1 where rules are to be matched with what is executed; else 0.
    pub matching: u32,
    /// The agent's thread group id: it is no tool's, whoever started it.
    pub agent: u32,
    /// Named padding.
    pub _pad: u32,
}
wire!(SweepFacts, 24);
