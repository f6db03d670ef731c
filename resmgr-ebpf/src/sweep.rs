//! Sweeps: iterators that read the truth of every process and correct what events have estimated.

use aya_ebpf::helpers::generated::bpf_seq_write;
use resmgr_common::{
    Address, Correction, FileRecord, ProcessCounters, RecordHeader, RecordKind, SocketRecord, TaskFlags, TaskRecord,
    ToolResource,
};

use crate::{
    connections, drift,
    kernel::{File, Memory, Table, Task, learn_cpu_bases},
    maps::{CORRECTIONS, SCRATCH, SOCKET_FILES, WANTED, add, add_signed, counters_of, tracks_all},
    places, process,
    tools::{self, Tool},
};

/// What the kernel passes to an iterator over tasks (`bpf_iter__task`) or their files (`bpf_iter__task_file`).
#[repr(C)]
pub struct IterContext {
    meta: *const IterMeta,
    task: *const u8,
    fd: u32,
    _pad: u32,
    file: *const u8,
}

/// `bpf_iter_meta`.
#[repr(C)]
struct IterMeta {
    seq: *mut core::ffi::c_void,
    session: u64,
    number: u64,
}

/// Appends a record to the sweep's stream; false where it was full: the kernel then calls again for this task.
#[inline(always)]
fn write<T>(meta: *const IterMeta, record: *const T) -> bool {
    // SAFETY: the kernel passes a valid context, and copies the record.
    unsafe { bpf_seq_write((*meta).seq.cast(), record.cast(), size_of::<T>() as u32) == 0 }
}

/// The header of a record.
const fn header<T>(kind: RecordKind) -> RecordHeader {
    RecordHeader {
        kind: kind as u32,
        len: size_of::<T>() as u32,
    }
}

/// `iter/task`: every thread, with counts.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn sweep_tasks(ctx: *mut IterContext) -> i32 {
    // SAFETY: the kernel passes a valid context, and a null task at the end, which is checked.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return 0;
    }
    // SAFETY: as above.
    if unsafe { (*meta).number } == 0 {
        learn_cpu_bases();
    }
    let Some(record) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; one sweep at a time uses it.
    let record = unsafe { &mut *record };
    read_task(meta, Task::new(task), record);
    if write(meta, record) && record.flags & (TaskFlags::LEADER | TaskFlags::KERNEL_THREAD) == 0 {
        add_thread(meta, record);
    }
    0
}

/// Fills in a task's record; writes the connections that it finds on the way.
#[inline(always)]
fn read_task(meta: *const IterMeta, task: Task, record: &mut TaskRecord) {
    let leader = task.leader();
    let group = task.group();
    let table = task.table();
    let memory = task.memory();
    let is_leader = task.tid() == task.tgid();
    (record.uid, record.euid) = task.uids();
    record.header = header::<TaskRecord>(RecordKind::Task);
    record.tid = task.tid();
    record.tgid = task.tgid();
    record.ppid = task.parent().tgid();
    record.start_ns = leader.start_ns();
    record.cpu_ns = task.runtime_ns();
    record.dead_cpu_ns = group.dead_runtime_ns();
    record.files = table.address();
    record.mm = memory.address();
    record.comm = task.comm();
    record.cgroup = task.cgroup();
    record.rss_cached = task.rss_cached();
    record.fds = 0;
    record.connections = 0;
    record.flags = 0;
    if task.is_kernel_thread() {
        record.flags = TaskFlags::KERNEL_THREAD | if is_leader { TaskFlags::LEADER } else { 0 };
        record.files = 0;
        record.mm = 0;
        return;
    }
    if is_leader {
        record.flags |= TaskFlags::LEADER;
    }
    if task.has_exited() {
        record.flags |= TaskFlags::ZOMBIE;
    }
    // Threads share their leader's table as a rule: each distinct one is counted once, by the leader where it can.
    if record.files != 0 && (is_leader || record.files != leader.table().address()) {
        record.flags |= TaskFlags::OWN_TABLE;
        if !write_connections(meta, table, record) {
            record.flags |= TaskFlags::TABLE_CUT;
        }
        match table.count() {
            Some(open) => record.fds = open,
            None => record.flags |= TaskFlags::TABLE_CUT,
        }
    }
    if record.mm != 0 && (is_leader || leader.memory().address() == 0) {
        record.flags |= TaskFlags::MEMORY_READ;
        read_memory(memory, record);
    }
    if is_leader && group.live() > 0 {
        correct(meta, task, record);
    }
}

/// Adds a thread's CPU time to counters that this very sweep began, which hold the leader's so far.
#[inline(always)]
fn add_thread(meta: *const IterMeta, record: &TaskRecord) {
    if let Some(counters) = counters_of(record.tgid) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; the kernel passes a valid context.
        unsafe {
            if (*counters).begun_by == (*meta).session {
                add(&raw mut (*counters).cpu_ns, record.cpu_ns);
            }
        }
    }
}

/// Writes a record for each connection in a table; false where the table goes on beyond what a sweep walks.
#[inline(always)]
fn write_connections(meta: *const IterMeta, table: Table, record: &mut TaskRecord) -> bool {
    let Some(list) = SOCKET_FILES.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; one sweep at a time uses it.
    let list = unsafe { &mut *list };
    let whole = table.list_sockets(list);
    let mut found = SocketRecord {
        header: header::<SocketRecord>(RecordKind::Socket),
        tgid: record.tgid,
        _pad: 0,
        files: record.files,
        sock: 0,
    };
    for (n, &file) in list.files.iter().enumerate() {
        if n as u64 >= list.count {
            break;
        }
        let socket = File::at(file).known_socket();
        // One socket under neighbouring numbers (standard input and output of a server's child) counts once.
        let counts = socket.is_connection() & differs(socket.address(), found.sock);
        found.sock = socket.address();
        record.connections += counts;
        if counts != 0 {
            write(meta, &raw const found);
            socket_owned(record.tgid, found.sock);
        }
    }
    whole
}

/// Makes a connection that no event has told of the tool's whose process holds it.
///
/// A function of its own, of numbers alone: the verifier follows it once, not once for each socket.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn socket_owned(tgid: u32, sock: u64) -> u32 {
    if let Some(counters) = counters_of(tgid)
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
        && unsafe { (*counters).tool } != 0
    {
        connections::opened(counters, tgid, sock, false);
    }
    0
}

/// 1 where two numbers differ, else 0: computed, because the verifier would follow both ways of a branch.
#[inline(always)]
fn differs(a: u64, b: u64) -> u64 {
    let difference = core::hint::black_box(a ^ b);
    core::hint::black_box(difference | difference.wrapping_neg()) >> 63
}

/// Reads an address space's sizes.
#[inline(always)]
fn read_memory(memory: Memory, record: &mut TaskRecord) {
    record.rss_pages = memory.rss_pages();
    record.virtual_pages = memory.virtual_pages();
    record.peak_rss_pages = memory.peak_rss_pages();
}

/// Reports what events had counted, and puts the truth in its place; begins the counters of a process that has none and
/// is to have some.
#[inline(always)]
fn correct(meta: *const IterMeta, task: Task, record: &mut TaskRecord) {
    let tgid = record.tgid;
    let start_ns = record.start_ns;
    let is_agent = tgid == tools::agent();
    let wanted = if is_agent { 0 } else { tools::wanted_by(task, tgid) };
    if let Some(counters) = counters_of(tgid)
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
        && unsafe { (*counters).start_ns } == start_ns
    {
        // SAFETY: as above.
        let own = unsafe { (*counters).tool };
        let slot = match wanted {
            // Born just before its parent was taken in.
            0 if own == 0 && !is_agent => tools::of_process(task.parent().tgid()),
            slot => slot,
        };
        if slot != 0 && own != slot {
            process::move_to(counters, tgid, slot);
            record.flags |= TaskFlags::ADOPTED;
        }
        // Whoever started it: the agent is no tool's.
        if is_agent {
            process::move_to(counters, tgid, 0);
        }
        record.flags |= TaskFlags::COUNTERS_READ;
        heal_process(counters, task, record);
        return;
    }
    let slot = match wanted {
        // What a tool's process forked before it was a tool's, or while nobody watched, is the tool's.
        0 if !is_agent => tools::of_process(task.parent().tgid()),
        slot => slot,
    };
    if slot == 0 && !tracks_all() {
        return;
    }
    let counters = ProcessCounters {
        start_ns,
        cpu_ns: record.cpu_ns + record.dead_cpu_ns,
        virtual_bytes: task.memory().virtual_bytes(),
        fds_open: record.fds as i64,
        threads: i64::from(task.group().threads()),
        mm: record.mm,
        memory_pages: task.memory().counted_pages(),
        tool: slot,
        // SAFETY: the kernel passes a valid context.
        begun_by: unsafe { (*meta).session },
        // Its sockets are counted one by one where it is a tool's, by the next sweep.
        connections_open: if slot == 0 { record.connections as i64 } else { 0 },
        ..ProcessCounters::default()
    };
    if process::begin(tgid, &counters) {
        // It may be ending just now, its last switch behind it: then that has counted it, or will.
        if wanted == 0 && slot != 0 && task.group().live() == 0 {
            process::forget_newborn(tgid, &counters);
            return;
        }
        record.flags |= TaskFlags::COUNTERS_BEGUN;
        if slot != 0 {
            record.flags |= TaskFlags::ADOPTED;
        }
        record.counters = counters;
    }
}

/// Reports a process's counters, and brings them to the truth.
///
/// What is missing is added rather than the truth stored, so that an event that comes between is not undone.
#[inline(always)]
fn heal_process(counters: *mut ProcessCounters, task: Task, record: &mut TaskRecord) {
    let tgid = record.tgid;
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot. What is added while this runs may
    // be counted twice until the next sweep.
    unsafe {
        let is_limited = places::is_limited(counters);
        let correction = CORRECTIONS.get_ptr_mut(tgid);
        if let Some(correction) = correction {
            let mut fds = (*correction).fds;
            if is_limited {
                fds = drift::believed(counters, tgid, fds);
            }
            grow(counters, tgid, fds, 0);
            add_signed(&raw mut (*counters).connections_open, (*correction).connections);
            *correction = Correction::default();
        }
        record.counters = *counters;
        let mut fds = 0;
        if record.flags & (TaskFlags::OWN_TABLE | TaskFlags::TABLE_CUT) == TaskFlags::OWN_TABLE && correction.is_none()
        {
            fds = record.fds as i64 - (*counters).fds_open;
            if is_limited {
                fds = drift::believed(counters, tgid, drift::beyond(counters, task.table(), fds));
            }
            let connections = record.connections as i64 - (*counters).connections_open;
            if connections != 0 {
                add_signed(&raw mut (*counters).connections_open, connections);
            }
        }
        let mut pages = 0;
        if record.flags & TaskFlags::MEMORY_READ != 0 {
            (*counters).virtual_bytes = task.memory().virtual_bytes();
            if (*counters).mm != 0 {
                // An address space may change hands without an event (a leader that exits while others run).
                (*counters).mm = record.mm;
                pages = task.memory().counted_pages() - (*counters).memory_pages;
            }
        }
        grow(counters, tgid, fds, pages);
        tools::tool_compared((*counters).tool, tgid);
    }
}

/// Adds to a process's descriptors and pages, and to its tool's.
///
/// Nothing is ever added that is nothing: the compiler would make another atomic operation of that, which kernels before
/// 5.12 do not have.
#[inline(always)]
fn grow(counters: *mut ProcessCounters, tgid: u32, fds: i64, pages: i64) {
    let tool = Tool::of(counters);
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
    unsafe {
        if fds != 0 {
            add_signed(&raw mut (*counters).fds_open, fds);
            if let Some(tool) = tool {
                tool.change(ToolResource::Descriptors, fds, tgid);
            }
        }
        if pages != 0 {
            add_signed(&raw mut (*counters).memory_pages, pages);
            if let Some(tool) = tool {
                tool.change(ToolResource::Memory, pages, tgid);
            }
        }
    }
}

/// `iter/task_file`: every open descriptor of the processes asked about.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn sweep_files(ctx: *mut IterContext) -> i32 {
    // SAFETY: the kernel passes a valid context, and null pointers at the end, which are checked.
    let (meta, task, fd, file) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).fd, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let task = Task::new(task);
    let tgid = task.tgid();
    if WANTED.get_ptr(tgid).is_none() {
        return 0;
    }
    let file = File::at(file as u64);
    let (mode, inode, file_system) = file.inode();
    let mut record = FileRecord {
        header: header::<FileRecord>(RecordKind::File),
        tgid,
        fd,
        start_ns: task.leader().start_ns(),
        files: task.table().address(),
        operations: file.operations(),
        inode,
        file_system,
        mode,
        ..FileRecord::default()
    };
    file.name(&mut record.name);
    if let Some(socket) = file.socket()
        && socket.transport().is_some()
    {
        let (local_port, remote_port) = socket.ports();
        let (local, remote) = socket.addresses();
        record.family = socket.family();
        record.protocol = socket.protocol();
        record.state = socket.state();
        record.sock = socket.address();
        record.local = Address {
            bytes: local,
            port: local_port,
            _pad: [0; 6],
        };
        record.remote = Address {
            bytes: remote,
            port: remote_port,
            _pad: [0; 6],
        };
    }
    write(meta, &raw const record);
    0
}
