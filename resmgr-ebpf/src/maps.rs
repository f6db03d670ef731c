//! All maps, and the few ways in which the programs touch them.

use core::{
    hint::black_box,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

use aya_ebpf::{
    bindings::{
        BPF_EXIST, BPF_F_MMAPABLE, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP,
        BPF_RB_RING_SIZE,
    },
    helpers::bpf_get_current_pid_tgid,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use resmgr_common::{
    Active, Correction, CrossedKey, CrossingRecord, Doubt, EventRecord, HANDSHAKE_SLOTS, Handed, HookIndex,
    ImageRecord, Joining, Loss, Owner, PLACE_SLOTS, Place, ProcessCounters, SweepFacts, TaskRecord, ToolCounters,
    ToolLines, ToolMost, ToolRecord, ToolRefused, Tracked, process_bucket, socket_bucket,
};

/// The task that runs on a CPU, and its CPU time when it was switched in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Running {
    /// The address of its `task_struct`: compared, never followed.
    pub task: u64,
    /// Its `sum_exec_runtime` in nanoseconds.
    pub runtime_ns: u64,
}

/// Room for 64 words: a window on a bitmap or an array of pointers.
pub type Words = [u64; 64];

/// Files of one table that are sockets.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SocketFiles {
    /// How many there are: more than are listed, where the list was too short.
    pub count: u64,
    /// Their addresses.
    pub files: [u64; Self::MOST],
}

impl SocketFiles {
    /// How many are listed at most: a power of two.
    pub const MOST: usize = 64;
}

/// Which loading of the programs these are; user space overrides it.
#[unsafe(no_mangle)]
static GENERATION: u32 = 0;
/// 1 where every process has counters, 0 where those of tools have; user space overrides it.
#[unsafe(no_mangle)]
static TRACK_ALL: u32 = 0;

/// The sizes given here are defaults that user space may override before loading.
#[map]
static ACTIVE: Array<Active> = Array::with_max_entries(1, 0);
#[map]
static HANDED: PerCpuArray<Handed> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static TOOLS: Array<ToolCounters> = Array::with_max_entries(1024, 0);
#[map]
pub static TOOL_LINES: Array<ToolLines> = Array::with_max_entries(1024, 0);
#[map]
pub static TOOL_RECORDS: Array<ToolRecord> = Array::with_max_entries(1024, 0);
#[map]
pub static CROSSED: HashMap<CrossedKey, u8> = HashMap::with_max_entries(4096, 0);
#[map]
pub static JOINING: HashMap<u32, Joining> = HashMap::with_max_entries(4096, 0);
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(4096, 0);
#[map]
static TRACKED: Array<Tracked> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static COUNTERS: HashMap<u32, ProcessCounters> = HashMap::with_max_entries(32_768, 0);
#[map]
static SOCKETS: HashMap<u64, Owner> = HashMap::with_max_entries(65_536, 0);
#[map]
pub static HANDSHAKES: Array<u64> = Array::with_max_entries(HANDSHAKE_SLOTS, 0);
#[map]
pub static GUARDED: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);
#[map]
pub static TOOL_MOST: Array<ToolMost> = Array::with_max_entries(1024, 0);
#[map]
pub static TOOL_REFUSED: Array<ToolRefused> = Array::with_max_entries(1024, 0);
#[map]
pub static PLACES: Array<Place> = Array::with_max_entries(PLACE_SLOTS, 0);
#[map]
pub static DOUBTS: LruHashMap<u32, Doubt> = LruHashMap::with_max_entries(1024, 0);
#[map]
pub static WANTED: HashMap<u32, u8> = HashMap::with_max_entries(32_768, 0);
#[map]
pub static CORRECTIONS: HashMap<u32, Correction> = HashMap::with_max_entries(1_024, 0);
#[map]
pub static FACTS: Array<SweepFacts> = Array::with_max_entries(1, 0);
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::COUNT, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
#[map]
pub static RUNNING: PerCpuArray<Running> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static CPU_BASES: Array<u64> = Array::with_max_entries(1024, 0);
#[map]
pub static SCRATCH: PerCpuArray<TaskRecord> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static SOCKET_FILES: PerCpuArray<SocketFiles> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static WORDS: PerCpuArray<Words> = PerCpuArray::with_max_entries(1, 0);

/// Whether these programs are to count the event at hand.
///
/// While a newer set takes over, both are attached, and of each event one of them counts: the older one runs first and
/// notes on its CPU whether it did.
#[inline(always)]
pub fn is_active(hook: HookIndex) -> bool {
    // SAFETY: a read of a static; volatile because the loader, not the compiler, decides the value.
    let own = unsafe { core::ptr::read_volatile(&raw const GENERATION) };
    let Some(&Active { now, from }) = ACTIVE.get(0) else {
        return false;
    };
    if from == 0 {
        return now == own;
    }
    let Some(handed) = HANDED.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot; it is this CPU's own, and the hooks run one
    // after the other there.
    unsafe {
        let counted = &raw mut (*handed).counted[hook as usize];
        if own == from {
            let counts = now == own;
            *counted = u32::from(counts);
            return counts;
        }
        now == own && core::mem::take(&mut *counted) == 0
    }
}

/// Whether these programs are to decide on the call at hand: of two generations the newer one, once it counts. What the
/// older one has decided is seen by what it reserved.
#[inline(always)]
pub fn is_deciding() -> bool {
    // SAFETY: as in `is_active`.
    let own = unsafe { core::ptr::read_volatile(&raw const GENERATION) };
    ACTIVE.get(0).is_some_and(|active| active.now == own)
}

/// Whether processes of no tool have counters too.
#[inline(always)]
pub fn tracks_all() -> bool {
    // SAFETY: as in `is_active`; the value is frozen, so the verifier follows one way only.
    unsafe { core::ptr::read_volatile(&raw const TRACK_ALL) != 0 }
}

/// Whether a process may have counters: false is certain, and costs next to nothing.
#[inline(always)]
pub fn may_have_counters(tgid: u32) -> bool {
    match TRACKED.get_ptr(0) {
        // SAFETY: the look-up returned Some, so the verifier bounded this slot; the index is masked to the buckets.
        Some(tracked) => unsafe { (*tracked).processes[process_bucket(black_box(tgid))] != 0 },
        None => false,
    }
}

/// The counters of a process, where it has some.
#[inline(always)]
pub fn counters_of(tgid: u32) -> Option<*mut ProcessCounters> {
    if !may_have_counters(tgid) {
        return None;
    }
    COUNTERS.get_ptr_mut(tgid)
}

/// The process that runs.
#[inline(always)]
pub fn own_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Whether these programs are to count, and the process that runs may be one that is counted. What most often says no is
/// asked first: two generations of programs have the same answer to it.
#[inline(always)]
pub fn counts_own(hook: HookIndex) -> bool {
    may_have_counters(own_tgid()) && is_active(hook)
}

/// The counters of the process that runs, where these programs are to count and it is one that is counted.
#[inline(always)]
pub fn own_counters(hook: HookIndex) -> Option<*mut ProcessCounters> {
    if !counts_own(hook) {
        return None;
    }
    COUNTERS.get_ptr_mut(own_tgid())
}

/// Begins a process's counters where it has none; 0, or why not.
#[inline(always)]
pub fn begin_counters(tgid: u32, counters: &ProcessCounters) -> i32 {
    match COUNTERS.insert(tgid, counters, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            track(tgid, 1);
            0
        }
        Err(error) => error,
    }
}

/// Puts counters in the place of those of an earlier process.
#[inline(always)]
pub fn replace_counters(tgid: u32, counters: &ProcessCounters) -> bool {
    COUNTERS.insert(tgid, counters, u64::from(BPF_EXIST)).is_ok()
}

/// Ends a process's counters; true for the one that did.
#[inline(always)]
pub fn end_counters(tgid: u32) -> bool {
    let ended = COUNTERS.remove(tgid).is_ok();
    if ended {
        track(tgid, u32::MAX);
    }
    ended
}

#[inline(always)]
fn track(tgid: u32, n: u32) {
    if let Some(tracked) = TRACKED.get_ptr_mut(0) {
        // SAFETY: as in `may_have_counters`; Relaxed as in `add`.
        unsafe {
            let processes = &raw mut (*tracked).processes[process_bucket(black_box(tgid))];
            atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(processes, n);
        }
    }
}

/// What user space told the programs.
#[inline(always)]
pub fn facts() -> Option<&'static SweepFacts> {
    FACTS.get(0)
}

/// Adds to a counter that other CPUs add to as well.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // SAFETY: every caller passes a field of a map value that a look-up returned, which the verifier bounded. Relaxed
    // is right because the former value is not used: it compiles to one atomic instruction that every kernel has.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n);
    }
}

/// [`add`] for a counter that also falls.
#[inline(always)]
pub fn add_signed(counter: *mut i64, n: i64) {
    add(counter.cast(), n.cast_unsigned());
}

/// Counts a loss; returns how many of the kind there were on this CPU.
#[inline(always)]
pub fn lost(what: Loss) -> u64 {
    let Some(count) = LOSSES.get_ptr_mut(what as u32) else {
        return 0;
    };
    // SAFETY: the look-up returned Some, so the verifier bounded this slot; it is this CPU's own.
    unsafe {
        *count += 1;
        *count
    }
}

/// Remembers the owner of a connection; true where the connection was not known before.
#[inline(always)]
pub fn remember_socket(sock: u64, owner: Owner) -> bool {
    match SOCKETS.insert(sock, owner, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            track_socket(sock, 1);
            true
        }
        Err(EEXIST) => false,
        Err(_) => {
            lost(Loss::SocketsFull);
            false
        }
    }
}

/// The owner of a connection.
#[inline(always)]
pub fn owner_of(sock: u64) -> Option<*mut Owner> {
    let tracked = TRACKED.get_ptr(0)?;
    // SAFETY: as in `may_have_counters`.
    if unsafe { (*tracked).sockets[bucket_of(sock)] } == 0 {
        return None;
    }
    SOCKETS.get_ptr_mut(sock)
}

/// Forgets a connection; true for the one that did.
#[inline(always)]
pub fn forget_socket(sock: u64) -> bool {
    let forgotten = SOCKETS.remove(sock).is_ok();
    if forgotten {
        track_socket(sock, u32::MAX);
    }
    forgotten
}

/// The bucket of a socket, which may be a pointer with a type: of that the verifier lets nothing be computed but of a copy
/// of its lower half.
#[inline(always)]
fn bucket_of(sock: u64) -> usize {
    #[cfg(target_arch = "bpf")]
    let sock = {
        let half: u64;
        // SAFETY: a move from one register to another.
        unsafe { core::arch::asm!("w0 = w1", in("r1") sock, lateout("r0") half, options(pure, nomem, nostack)) };
        half
    };
    socket_bucket(sock as u32)
}

#[inline(always)]
fn track_socket(sock: u64, n: u32) {
    if let Some(tracked) = TRACKED.get_ptr_mut(0) {
        // SAFETY: as in `track`.
        unsafe {
            let sockets = &raw mut (*tracked).sockets[bucket_of(sock)];
            atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(sockets, n);
        }
    }
}

/// Pushes an event, filled in by `fill`, unless `keep` says that it is not to be sent after all.
#[inline(always)]
pub fn push(fill: impl FnOnce(&mut EventRecord), keep: impl FnOnce() -> bool) {
    let Some(mut entry) = EVENTS.reserve::<EventRecord>(0) else {
        // The effect of `keep` is due whether or not the event could be told.
        if keep() {
            lost(Loss::RingFull);
        }
        return;
    };
    // SAFETY: the reservation is as large as the record, and every bit pattern is a valid record of integers.
    fill(unsafe { entry.assume_init_mut() });
    if keep() {
        // A ring that is half full wakes user space before its next tick.
        let urgent = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > EVENTS.query(u64::from(BPF_RB_RING_SIZE)) / 2;
        entry.submit(u64::from(if urgent { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
}

/// Pushes a crossing: it wakes user space at once.
#[inline(always)]
pub fn push_crossing(fill: impl FnOnce(&mut CrossingRecord)) {
    match EVENTS.reserve::<CrossingRecord>(0) {
        Some(mut entry) => {
            // SAFETY: as in `push`.
            fill(unsafe { entry.assume_init_mut() });
            entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
        }
        None => _ = lost(Loss::RingFull),
    }
}

/// Pushes what a process has executed: it wakes user space at once.
#[inline(always)]
pub fn push_image(fill: impl FnOnce(&mut ImageRecord)) {
    match EVENTS.reserve::<ImageRecord>(0) {
        Some(mut entry) => {
            // SAFETY: as in `push`.
            fill(unsafe { entry.assume_init_mut() });
            entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
        }
        None => _ = lost(Loss::RingFull),
    }
}

/// `-EEXIST`.
pub const EEXIST: i32 = -17;
