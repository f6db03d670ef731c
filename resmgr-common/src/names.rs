//! Names of programs, maps and globals, each written once; a test compares them with the built object.

/// Global: the kernel's [`crate::Layout`].
pub const LAYOUT: &str = "LAYOUT";

/// Global: 1 where every process has counters, 0 where those of tools have.
pub const TRACK_ALL: &str = "TRACK_ALL";
/// Global: which loading of the programs these are; those count that the map `ACTIVE` names.
pub const GENERATION: &str = "GENERATION";

/// Global: what each system call does to descriptors, [`crate::Calls`].
pub const CALLS: &str = "CALLS";

/// Map: [`crate::Handed`], per CPU.
pub const HANDED: &str = "HANDED";
/// Map: [`crate::Active`].
pub const ACTIVE: &str = "ACTIVE";
/// Map: [`crate::ToolCounters`] by slot.
pub const TOOLS: &str = "TOOLS";
/// Map: [`crate::ToolLines`] by slot.
pub const TOOL_LINES: &str = "TOOL_LINES";
/// Map: [`crate::ToolRecord`] by slot.
pub const TOOL_RECORDS: &str = "TOOL_RECORDS";
/// Map: the lines that tools are past, by [`crate::CrossedKey`].
pub const CROSSED: &str = "CROSSED";
/// Map: thread group id to [`crate::Joining`].
pub const JOINING: &str = "JOINING";
/// Map: identity of a cgroup to the slot of the tool that its processes make up.
pub const CGROUPS: &str = "CGROUPS";
/// Map: thread group id to [`crate::ProcessCounters`].
pub const COUNTERS: &str = "COUNTERS";
/// Map: socket identity to the thread group id that opened it.
pub const SOCKETS: &str = "SOCKETS";
/// Map: [`crate::Tracked`].
pub const TRACKED: &str = "TRACKED";
/// Map: threads whose connect has begun a handshake, by the lowest bits of the thread id ([`crate::HANDSHAKE_SLOTS`]).
pub const HANDSHAKES: &str = "HANDSHAKES";
/// Map: tools in which a connection or a descriptor is being reserved, by slot and resource.
pub const GUARDED: &str = "GUARDED";
/// Map: [`crate::ToolMost`] by slot.
pub const TOOL_MOST: &str = "TOOL_MOST";
/// Map: [`crate::ToolRefused`] by slot.
pub const TOOL_REFUSED: &str = "TOOL_REFUSED";
/// Map: [`crate::Place`] by the lowest bits of the thread id ([`crate::PLACE_SLOTS`]).
pub const PLACES: &str = "PLACES";
/// Map: thread group id to [`crate::Doubt`].
pub const DOUBTS: &str = "DOUBTS";
/// Map: thread group ids that a detailed pass is asked about.
pub const WANTED: &str = "WANTED";
/// Map: thread group id to [`crate::Correction`].
pub const CORRECTIONS: &str = "CORRECTIONS";
/// Map: one [`crate::SweepFacts`].
pub const FACTS: &str = "FACTS";
/// Map: per CPU, how often each [`crate::Loss`] happened.
pub const LOSSES: &str = "LOSSES";
/// Map: the ring of [`crate::EventRecord`].
pub const EVENTS: &str = "EVENTS";
/// Map: per CPU, the task that runs and its CPU time when it was switched in.
pub const RUNNING: &str = "RUNNING";
/// Map: CPU to where its copy of per-CPU data begins.
pub const CPU_BASES: &str = "CPU_BASES";
/// Map: per CPU, room for a record while it is made.
pub const SCRATCH: &str = "SCRATCH";
/// Map: per CPU, room for the sockets of a table.
pub const SOCKET_FILES: &str = "SOCKET_FILES";
/// Map: per CPU, room for words of a descriptor table.
pub const WORDS: &str = "WORDS";

/// The maps that outlive an agent, what is counted and by whom, each with the version that gave it its layout. The others
/// are room to work in.
///
/// The layout of a map that was released is not changed: what is new gets a map of its own. So a newer version goes on with
/// the maps of an older one, in which that one still counts until the moment that the newer one does.
pub const KEPT_MAPS: [(&str, u32); 20] = [
    (HANDED, 2),
    (TRACKED, 2),
    (ACTIVE, 2),
    (TOOLS, 2),
    (TOOL_LINES, 2),
    (TOOL_RECORDS, 2),
    (CROSSED, 2),
    (JOINING, 2),
    (CGROUPS, 2),
    (COUNTERS, 2),
    (SOCKETS, 2),
    (HANDSHAKES, 2),
    (CORRECTIONS, 2),
    (FACTS, 2),
    (LOSSES, 2),
    (EVENTS, 2),
    (RUNNING, 2),
    (TOOL_MOST, 3),
    (TOOL_REFUSED, 3),
    (PLACES, 3),
];

/// Every map that the object must hold.
pub const MAPS: [&str; 27] = [
    HANDED,
    TRACKED,
    ACTIVE,
    TOOLS,
    TOOL_LINES,
    TOOL_RECORDS,
    CROSSED,
    JOINING,
    CGROUPS,
    COUNTERS,
    SOCKETS,
    HANDSHAKES,
    GUARDED,
    TOOL_MOST,
    TOOL_REFUSED,
    PLACES,
    DOUBTS,
    WANTED,
    CORRECTIONS,
    FACTS,
    LOSSES,
    EVENTS,
    RUNNING,
    CPU_BASES,
    SCRATCH,
    SOCKET_FILES,
    WORDS,
];

/// Program on `sched_switch`: CPU time and the end of processes.
pub const SCHED_SWITCH: &str = "sched_switch";
/// Program on `sched_process_fork`.
pub const PROCESS_FORK: &str = "process_fork";
/// Program on `sched_process_exec`.
pub const PROCESS_EXEC: &str = "process_exec";
/// Program on `rss_stat`: memory as it grows and shrinks.
pub const MEMORY_COUNTED: &str = "memory_counted";
/// Program on the exits of mmap, munmap, mremap, brk.
pub const MEMORY_CHANGED: &str = "memory_changed";
/// Program on the exits of calls that return one new descriptor.
pub const FD_OPENED: &str = "fd_opened";
/// Program on the exits of calls that make two descriptors.
pub const FD_PAIR_OPENED: &str = "fd_pair_opened";
/// Program on the exit of close.
pub const FD_CLOSED: &str = "fd_closed";
/// Program on the exits of dup2 and dup3, which may replace an open descriptor.
pub const FD_REPLACED: &str = "fd_replaced";
/// Program on the exits of calls whose effect on the table only the table tells.
pub const FD_RECOUNTED: &str = "fd_recounted";
/// Program on the exit of connect.
pub const CONNECT_LEFT: &str = "connect_left";
/// Program on the exits of accept and accept4.
pub const ACCEPTED: &str = "accepted";
/// Program on `inet_sock_set_state`.
pub const SOCKET_STATE: &str = "socket_state";
/// Program on the release of a socket, at the root of cgroup v2.
pub const SOCKET_RELEASED: &str = "socket_released";
/// Program on connect over IPv4, at the root of cgroup v2: whether a tool may have another connection.
pub const CONNECT4: &str = "connect4";
/// Likewise over IPv6.
pub const CONNECT6: &str = "connect6";
/// [`CONNECT4`] for kernels without atomic operations that fetch (before 5.12).
pub const CONNECT4_LOCKED: &str = "connect4_locked";
/// [`CONNECT6`] for such kernels.
pub const CONNECT6_LOCKED: &str = "connect6_locked";
/// LSM program on the opening of a file: whether a tool may have another descriptor.
pub const FILE_OPEN: &str = "file_open";
/// Likewise on the making of a socket.
pub const SOCKET_CREATE: &str = "socket_create";
/// Likewise on accept.
pub const SOCKET_ACCEPT: &str = "socket_accept";
/// Likewise on fcntl, for `F_DUPFD`.
pub const FILE_FCNTL: &str = "file_fcntl";
/// Likewise on the arrival of a descriptor of another process.
pub const FILE_RECEIVE: &str = "file_receive";
/// [`FILE_OPEN`] for kernels without atomic operations that fetch (before 5.12).
pub const FILE_OPEN_LOCKED: &str = "file_open_locked";
/// [`SOCKET_CREATE`] for such kernels.
pub const SOCKET_CREATE_LOCKED: &str = "socket_create_locked";
/// [`SOCKET_ACCEPT`] for such kernels.
pub const SOCKET_ACCEPT_LOCKED: &str = "socket_accept_locked";
/// [`FILE_FCNTL`] for such kernels.
pub const FILE_FCNTL_LOCKED: &str = "file_fcntl_locked";
/// [`FILE_RECEIVE`] for such kernels.
pub const FILE_RECEIVE_LOCKED: &str = "file_receive_locked";
/// Iterator over tasks: counts of every process.
pub const SWEEP_TASKS: &str = "sweep_tasks";
/// Iterator over open files: details of the processes asked about.
pub const SWEEP_FILES: &str = "sweep_files";
/// Never attached but by `doctor`, which learns from it whether this kernel allows trampolines.
pub const PROBE_TRAMPOLINE: &str = "probe_trampoline";
/// Never attached but by the benchmark: a program on `sched_switch` that does nothing.
pub const EMPTY_TYPED: &str = "empty_typed";
/// Never attached but by the benchmark: a program on a system call that does nothing.
pub const EMPTY_SYSCALL: &str = "empty_syscall";
/// Never attached but by the benchmark: an LSM program that does nothing.
pub const EMPTY_LSM: &str = "empty_lsm";

/// Every program that the object must hold.
pub const PROGRAMS: [&str; 34] = [
    SCHED_SWITCH,
    PROCESS_FORK,
    PROCESS_EXEC,
    MEMORY_COUNTED,
    MEMORY_CHANGED,
    FD_OPENED,
    FD_PAIR_OPENED,
    FD_CLOSED,
    FD_REPLACED,
    FD_RECOUNTED,
    CONNECT_LEFT,
    ACCEPTED,
    SOCKET_STATE,
    SOCKET_RELEASED,
    CONNECT4,
    CONNECT6,
    CONNECT4_LOCKED,
    CONNECT6_LOCKED,
    FILE_OPEN,
    SOCKET_CREATE,
    SOCKET_ACCEPT,
    FILE_FCNTL,
    FILE_RECEIVE,
    FILE_OPEN_LOCKED,
    SOCKET_CREATE_LOCKED,
    SOCKET_ACCEPT_LOCKED,
    FILE_FCNTL_LOCKED,
    FILE_RECEIVE_LOCKED,
    SWEEP_TASKS,
    SWEEP_FILES,
    PROBE_TRAMPOLINE,
    EMPTY_TYPED,
    EMPTY_SYSCALL,
    EMPTY_LSM,
];
