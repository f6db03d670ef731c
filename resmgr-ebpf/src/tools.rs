//! Tools: what their processes use together, compared with their lines as it changes; who joins and who leaves.
//!
//! A tool's sums are added to beside its processes'. A crossing is told once: whoever inserts it into the map tells it.

use aya_ebpf::bindings::BPF_NOEXIST;
use resmgr_common::{
    CrossedKey, EventKind, Loss, ProcessCounters, TOOL_LEVELS, TOOL_RESOURCES, ToolCounters, ToolLines, ToolResource,
};

use crate::{
    kernel::{Task, now_ns},
    maps::{self, CGROUPS, CROSSED, EEXIST, JOINING, TOOL_LINES, TOOLS, add, add_signed, facts, lost},
};

/// Idleness: less CPU time than this in a window ends an operation (5 % of one core).
const IDLE_SHARE: u64 = 20;
/// The window in which idleness is looked for, in nanoseconds.
const WINDOW_NS: u64 = 1_000_000_000;

/// A tool in its slot.
#[derive(Clone, Copy)]
pub struct Tool {
    slot: u32,
    sums: *mut ToolCounters,
}

/// Whether a window's time has passed. Clocks of run queues differ a little: a time that is not yet is none.
#[inline(always)]
fn has_passed(ns: u64) -> bool {
    (WINDOW_NS..u64::MAX / 2).contains(&ns)
}

impl Tool {
    /// The tool in a slot; `None` for the slot of processes in no tool.
    #[inline(always)]
    pub fn at(slot: u32) -> Option<Self> {
        if slot == 0 {
            return None;
        }
        let sums = TOOLS.get_ptr_mut(slot)?;
        Some(Self { slot, sums })
    }

    /// The tool of a process.
    #[inline(always)]
    pub fn of(counters: *const ProcessCounters) -> Option<Self> {
        // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
        Self::at(unsafe { (*counters).tool })
    }

    /// Its slot.
    #[inline(always)]
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// Its sums.
    #[inline(always)]
    pub fn sums(self) -> *mut ToolCounters {
        self.sums
    }

    /// Adds CPU time that a thread used up to `at_ns` of the run queue's clock.
    #[inline(always)]
    pub fn used_cpu(self, used_ns: u64, at_ns: u64, tgid: u32) {
        // SAFETY: the look-up in `at` returned Some, so the verifier bounded this slot. Windows are moved by whoever
        // comes first; two that come together move it to much the same place.
        unsafe {
            let before_ns = (*self.sums).cpu_ns;
            add(&raw mut (*self.sums).cpu_ns, used_ns);
            let began_ns = at_ns.wrapping_sub(used_ns);
            let rested_ns = began_ns.wrapping_sub((*self.sums).used_until_ns);
            let elapsed_ns = at_ns.wrapping_sub((*self.sums).window_start_ns);
            let in_window_ns = (before_ns + used_ns).wrapping_sub((*self.sums).window_cpu_ns);
            // Either nobody ran at all, or all of them together hardly did.
            let rested = has_passed(rested_ns);
            let is_over = has_passed(elapsed_ns);
            if rested || is_over && in_window_ns < elapsed_ns / IDLE_SHARE {
                (*self.sums).operation_start_ns = before_ns;
                (*self.sums).operations += 1;
            }
            if rested {
                (*self.sums).window_start_ns = began_ns;
                (*self.sums).window_cpu_ns = before_ns;
            } else if is_over {
                (*self.sums).window_start_ns = at_ns;
                (*self.sums).window_cpu_ns = before_ns + used_ns;
            }
            (*self.sums).used_until_ns = at_ns;
        }
        self.compare(ToolResource::Cpu, tgid);
    }

    /// Adds to one of its sums that rises and falls, and compares it with the lines.
    #[inline(always)]
    pub fn change(self, resource: ToolResource, difference: i64, tgid: u32) {
        // SAFETY: as in `used_cpu`; the sums are added to atomically.
        unsafe {
            match resource {
                ToolResource::Memory => {
                    add_signed(&raw mut (*self.sums).memory_pages, difference);
                    if (*self.sums).memory_pages > (*self.sums).memory_peak_pages {
                        (*self.sums).memory_peak_pages = (*self.sums).memory_pages;
                    }
                }
                ToolResource::Descriptors => add_signed(&raw mut (*self.sums).fds_open, difference),
                ToolResource::Connections => add_signed(&raw mut (*self.sums).connections_open, difference),
                ToolResource::Cpu => {}
            }
        }
        self.compare(resource, tgid);
    }

    /// Compares a resource's use with the lines around it.
    #[inline(always)]
    pub fn compare(self, resource: ToolResource, tgid: u32) {
        let Some(lines) = TOOL_LINES.get_ptr(self.slot) else {
            return;
        };
        let n = resource as usize;
        // SAFETY: both look-ups returned Some, so the verifier bounded both slots; the level is masked to its range.
        unsafe {
            let value = self.value(resource, lines);
            let level = core::hint::black_box((*self.sums).levels[n]) as usize & (TOOL_LEVELS - 1);
            if value >= (*lines).rise[n][level] || value < (*lines).fall[n][level] {
                tool_crossed(self.slot, n as u32, value as u64, tgid);
            }
        }
    }

    /// Its use of a resource, as it is compared with lines.
    #[inline(always)]
    unsafe fn value(self, resource: ToolResource, lines: *const ToolLines) -> i64 {
        let sums = self.sums;
        // SAFETY: as in `compare`.
        unsafe {
            (*lines).adjust[resource as usize]
                + match resource {
                    ToolResource::Memory => (*sums).memory_pages,
                    ToolResource::Descriptors => (*sums).fds_open,
                    ToolResource::Connections => (*sums).connections_open,
                    ToolResource::Cpu if (*lines).endless != 0 => (*sums).cpu_ns as i64,
                    ToolResource::Cpu => ((*sums).cpu_ns - (*sums).operation_start_ns) as i64,
                }
        }
    }

    /// A process joins, with all that it holds. Its connections are counted by the sockets, where a sweep meets them.
    #[inline(always)]
    pub fn join(self, counters: *const ProcessCounters, tgid: u32) {
        // SAFETY: the verifier bounded both slots; the sums are added to atomically.
        unsafe {
            add_signed(&raw mut (*self.sums).processes, 1);
            add(&raw mut (*self.sums).processes_total, 1);
            let (fds, pages) = ((*counters).fds_open, (*counters).memory_pages - (*counters).born_pages);
            self.change(ToolResource::Descriptors, fds, tgid);
            self.change(ToolResource::Memory, pages, tgid);
        }
    }

    /// A process leaves, with all that it held.
    #[inline(always)]
    pub fn leave(self, counters: *const ProcessCounters, tgid: u32) {
        // SAFETY: as in `join`.
        unsafe {
            add_signed(&raw mut (*self.sums).processes, -1);
            let (fds, pages) = ((*counters).fds_open, (*counters).memory_pages - (*counters).born_pages);
            self.change(ToolResource::Descriptors, -fds, tgid);
            self.change(ToolResource::Memory, -pages, tgid);
        }
    }

    /// A process never joined.
    #[inline(always)]
    pub fn unjoin(self, counters: *const ProcessCounters, tgid: u32) {
        // SAFETY: as in `join`.
        unsafe { add(&raw mut (*self.sums).processes_total, u64::MAX) };
        self.leave(counters, tgid);
    }

    /// A process has ended: what is final of it goes into the sums.
    #[inline(always)]
    pub fn ended(self, counters: *const ProcessCounters, tgid: u32) {
        // SAFETY: the verifier bounded the counters' slot.
        let (cpu_ns, peak_rss_pages) = unsafe { ((*counters).cpu_ns, (*counters).peak_rss_pages) };
        self.add_ended(cpu_ns, peak_rss_pages);
        self.leave(counters, tgid);
    }

    /// A process has ended that was not known to be the tool's.
    #[inline(always)]
    pub fn came_and_went(self, cpu_ns: u64, peak_rss_pages: u64) {
        // SAFETY: as in `join`.
        unsafe { add(&raw mut (*self.sums).processes_total, 1) };
        self.add_ended(cpu_ns, peak_rss_pages);
    }

    #[inline(always)]
    fn add_ended(self, cpu_ns: u64, peak_rss_pages: u64) {
        // SAFETY: as in `join`; of racing peaks the higher one may lose, once.
        unsafe {
            add(&raw mut (*self.sums).ended_cpu_ns, cpu_ns);
            if peak_rss_pages > (*self.sums).peak_rss_pages {
                (*self.sums).peak_rss_pages = peak_rss_pages;
            }
        }
    }
}

/// Takes a resource of a tool past the lines that its use has passed, or back behind one; tells each once.
///
/// A function of its own, of numbers alone: the verifier follows it once, not once for each place that calls it.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tool_crossed(slot: u32, resource: u32, value: u64, tgid: u32) -> u32 {
    let (Some(sums), Some(lines)) = (TOOLS.get_ptr_mut(slot), TOOL_LINES.get_ptr(slot)) else {
        return 0;
    };
    let n = resource as usize & (TOOL_RESOURCES - 1);
    let value = value as i64;
    // SAFETY: both look-ups returned Some, so the verifier bounded both slots; indices are masked to their ranges.
    unsafe {
        let level = core::hint::black_box((*sums).levels[n]) as usize & (TOOL_LEVELS - 1);
        if value < (*lines).fall[n][level] {
            // By one level; the next event takes it further.
            let removed = CROSSED.remove(line(slot, n, level)).is_ok();
            (*sums).levels[n] = (level as u32).saturating_sub(1);
            if removed {
                tell(sums, slot, n, level, 0, value, tgid);
            }
            return 0;
        }
        for level in 1..TOOL_LEVELS {
            if value < (*lines).rise[n][level - 1] {
                break;
            }
            match CROSSED.insert(line(slot, n, level), 1u8, u64::from(BPF_NOEXIST)) {
                Ok(()) => {
                    (*sums).levels[n] = level as u32;
                    tell(sums, slot, n, level, 1, value, tgid);
                }
                Err(EEXIST) => (*sums).levels[n] = level as u32,
                Err(_) => _ = lost(Loss::CrossingsFull),
            }
        }
    }
    0
}

/// Compares all of a tool's use with its lines: those may have been drawn anew since its last event.
///
/// A function of its own, as [`tool_crossed`] is.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tool_compared(slot: u32, tgid: u32) -> u32 {
    if let Some(tool) = Tool::at(slot) {
        tool.compare(ToolResource::Memory, tgid);
        tool.compare(ToolResource::Cpu, tgid);
        tool.compare(ToolResource::Descriptors, tgid);
        tool.compare(ToolResource::Connections, tgid);
    }
    0
}

/// The key of a line.
#[inline(always)]
fn line(slot: u32, resource: usize, level: usize) -> CrossedKey {
    CrossedKey {
        tool: slot,
        line: (resource * TOOL_LEVELS + level) as u32,
    }
}

#[inline(always)]
fn tell(sums: *const ToolCounters, slot: u32, resource: usize, level: usize, risen: u32, value: i64, tgid: u32) {
    // SAFETY: the caller's look-up returned Some, so the verifier bounded this slot.
    let instance = unsafe { (*sums).instance };
    maps::push_crossing(|crossing| {
        crossing.kind = EventKind::Crossing as u32;
        crossing.tool = slot;
        crossing.instance = instance;
        crossing.resource = resource as u32;
        crossing.level = level as u32;
        crossing.risen = risen;
        crossing.tgid = tgid;
        crossing.value = value as u64;
        crossing.at_ns = now_ns();
    });
}

/// The agent's thread group id.
#[inline(always)]
pub fn agent() -> u32 {
    match facts() {
        Some(facts) => facts.agent,
        None => 0,
    }
}

/// The slot of a process's tool, 0 for none.
#[inline(always)]
pub fn of_process(tgid: u32) -> u32 {
    match maps::counters_of(tgid) {
        // SAFETY: get_ptr returned Some, so the verifier bounded this slot.
        Some(counters) => unsafe { (*counters).tool },
        None => 0,
    }
}

/// The slot that a process is to be taken into, because it was named or because of the cgroup that it is in; 0 for none.
///
/// A number, not an `Option`: the compiler would carry its empty payload about, which verifiers refuse to see read.
#[inline(always)]
pub fn wanted_by(task: Task, tgid: u32) -> u32 {
    match facts() {
        Some(facts) if facts.adopting != 0 => {}
        _ => return 0,
    }
    if let Some(joining) = JOINING.get_ptr(tgid) {
        // SAFETY: get_ptr returned Some, so the verifier bounded this slot.
        let (start_ns, tick_ns, tool) = unsafe { ((*joining).start_ns, (*joining).tick_ns, (*joining).tool) };
        if task.leader().start_ns().wrapping_sub(start_ns) < tick_ns {
            return tool;
        }
    }
    match CGROUPS.get_ptr(task.cgroup()) {
        // SAFETY: as above.
        Some(slot) => unsafe { *slot },
        None => 0,
    }
}

const _: () = assert!(TOOL_RESOURCES == 4 && TOOL_LEVELS.is_power_of_two());
