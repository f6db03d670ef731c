//! Sweeps: runs an iterator, and makes processes of its records. The making is pure; the reading is not.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read as _},
};

use aya::programs::Iter;
use bytes::{Buf, BytesMut};
use resmgr_common::{Correction, RSS_KINDS, RecordHeader, RecordKind, SocketRecord, TaskFlags, TaskRecord};

use super::{KernelError, events, wire};
use crate::model::{AddressSpaceId, Comm, Memory, ProcessId, ProcessSample, SocketId, TableId};

/// Bytes asked for at once; the kernel gives at most 32 KiB a read.
const READ_BYTES: usize = 64 << 10;

/// Runs an iterator to its end, and hands each record to `take` with its kind. Returns how many bytes there were.
pub(super) fn run(
    program: &'static str,
    iterator: &mut Iter,
    buffer: &mut BytesMut,
    mut take: impl FnMut(u32, &[u8]),
) -> Result<u64, KernelError> {
    let failed = |message: String| KernelError::Iterate { program, message };
    let link = iterator.attach().map_err(|error| failed(error.to_string()))?;
    let link = iterator.take_link(link).map_err(|error| failed(error.to_string()))?;
    let mut stream = link.into_file().map_err(|error| failed(error.to_string()))?;
    buffer.clear();
    let mut total = 0;
    loop {
        let filled = buffer.len();
        buffer.resize(filled + READ_BYTES, 0);
        let read = match stream.read(&mut buffer[filled..]) {
            Ok(n) => n,
            // The kernel asks to be called again where a stop took long.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                buffer.truncate(filled);
                continue;
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        buffer.truncate(filled + read);
        if read == 0 {
            return if buffer.is_empty() {
                Ok(total)
            } else {
                Err(failed(format!("{} bytes of half a record at the end", buffer.len())))
            };
        }
        total += read as u64;
        while let Some(header) = wire::read::<RecordHeader>(buffer) {
            let len = header.len as usize;
            if len < size_of::<RecordHeader>() {
                return Err(failed(format!("a record of {len} bytes")));
            }
            let Some(record) = buffer.get(..len) else {
                break;
            };
            take(header.kind, record);
            buffer.advance(len);
        }
    }
}

/// Puts processes together from the records of their threads.
#[derive(Default)]
pub(super) struct Assembly {
    /// Each apart: there are thousands, and a map that grows moves what it holds.
    processes: HashMap<u32, Box<Assembled>>,
}

/// What a detailed pass found of one process.
#[derive(Default)]
pub(super) struct FoundInDetail {
    /// Table and number of each descriptor: the iterator visits a table once for each thread.
    pub(super) descriptors: HashSet<(u64, u32)>,
    /// Connected sockets.
    pub(super) sockets: HashSet<SocketId>,
}

/// A process while its records come in.
#[derive(Default)]
struct Assembled {
    /// The leader's record. Another thread's stands for it until it comes; a leader that has exited is still listed, so it
    /// always does.
    task: TaskRecord,
    has_leader: bool,
    threads: u32,
    live_cpu_ns: u64,
    dead_cpu_ns: u64,
    /// Each distinct descriptor table, with its open descriptors.
    tables: Vec<(u64, u64)>,
    memory: Option<AddressSpace>,
    /// What threads have yet to add to its resident pages, by kind.
    rss_cached: [i64; RSS_KINDS],
    sockets: Vec<SocketId>,
    table_cut: bool,
    adopted: bool,
}

/// What a thread's record says of the address space.
#[derive(Clone, Copy)]
struct AddressSpace {
    id: AddressSpaceId,
    rss_pages: [i64; RSS_KINDS],
    virtual_pages: u64,
    peak_rss_pages: u64,
}

impl Assembly {
    /// Takes a record in.
    pub(super) fn take(&mut self, kind: u32, record: &[u8]) {
        if kind == RecordKind::Task as u32 {
            if let Some(task) = wire::read::<TaskRecord>(record) {
                self.processes.entry(task.tgid).or_default().take_task(&task);
            }
        } else if kind == RecordKind::Socket as u32
            && let Some(socket) = wire::read::<SocketRecord>(record)
        {
            let sockets = &mut self.processes.entry(socket.tgid).or_default().sockets;
            let socket = SocketId(socket.sock);
            // A socket under several numbers of one table counts once; most processes have few.
            if !sockets.contains(&socket) {
                sockets.push(socket);
            }
        }
    }

    /// The processes with tables that were too large for the sweep: a detailed pass has to count them.
    pub(super) fn cut(&self) -> Vec<u32> {
        let cut = self.processes.iter().filter(|(_, process)| process.table_cut);
        cut.map(|(&pid, _)| pid).collect()
    }

    /// How many processes the sweep took into tools.
    pub(super) fn adopted(&self) -> u64 {
        self.processes.values().filter(|process| process.adopted).count() as u64
    }

    /// Puts what a detailed pass found in the place of what the sweep found of a process's tables.
    pub(super) fn complete(&mut self, pid: u32, found: FoundInDetail) {
        if let Some(process) = self.processes.get_mut(&pid) {
            let mut tables: HashMap<u64, u64> = HashMap::new();
            for (files, _) in &found.descriptors {
                *tables.entry(*files).or_default() += 1;
            }
            process.tables = tables.into_iter().collect();
            process.sockets = found.sockets.into_iter().collect();
        }
    }

    /// By how much events' counts differ from the truth, of the processes that a sweep cannot correct by itself: their
    /// leader's table is not all that they have, or was not walked to its end.
    pub(super) fn corrections(&self) -> HashMap<u32, Correction> {
        let correction = |pid: u32, process: &Assembled| {
            let leader = Some(&process.task)
                .filter(|leader| process.has_leader && leader.flags & TaskFlags::COUNTERS_READ != 0)?;
            let is_simple = !process.table_cut && matches!(process.tables[..], [(files, _)] if files == leader.files);
            if is_simple || process.threads == 0 {
                return None;
            }
            let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let fds: u64 = process.tables.iter().map(|&(_, fds)| fds).sum();
            let correction = Correction {
                fds: signed(fds) - leader.counters.fds_open,
                connections: signed(process.sockets.len() as u64) - leader.counters.connections_open,
            };
            Some((pid, correction))
        };
        let processes = self.processes.iter();
        processes
            .filter_map(|(&pid, process)| correction(pid, process))
            .collect()
    }

    /// The processes.
    pub(super) fn finish(self, page_bytes: u64) -> Vec<ProcessSample> {
        let finish = |(pid, process): (u32, Box<Assembled>)| process.finish(pid, page_bytes);
        self.processes.into_iter().filter_map(finish).collect()
    }
}

impl Assembled {
    fn take_task(&mut self, task: &TaskRecord) {
        let has = |flag| task.flags & flag != 0;
        // Threads end while a sweep goes on: the latest count of ended threads is the fullest.
        self.dead_cpu_ns = self.dead_cpu_ns.max(task.dead_cpu_ns);
        self.live_cpu_ns += task.cpu_ns;
        if !has(TaskFlags::ZOMBIE) {
            self.threads += 1;
        }
        if has(TaskFlags::OWN_TABLE) && !self.tables.iter().any(|&(files, _)| files == task.files) {
            self.tables.push((task.files, task.fds));
        }
        self.table_cut |= has(TaskFlags::TABLE_CUT);
        self.adopted |= has(TaskFlags::ADOPTED);
        if task.mm != 0 {
            for (sum, cached) in self.rss_cached.iter_mut().zip(task.rss_cached) {
                *sum += i64::from(cached);
            }
        }
        if has(TaskFlags::MEMORY_READ) {
            self.memory = Some(AddressSpace {
                id: AddressSpaceId(task.mm),
                rss_pages: task.rss_pages,
                virtual_pages: task.virtual_pages,
                peak_rss_pages: task.peak_rss_pages,
            });
        }
        if has(TaskFlags::LEADER) || !self.has_leader {
            self.task = *task;
            self.has_leader = has(TaskFlags::LEADER);
        }
    }

    fn finish(self, pid: u32, page_bytes: u64) -> Option<ProcessSample> {
        let task = &self.task;
        // A socket's record precedes its task's; a process that ended in between has only that.
        if task.tgid != pid {
            return None;
        }
        let has = |flag| task.flags & flag != 0;
        let bytes = |memory: &AddressSpace, kind: usize| {
            u64::try_from(memory.rss_pages[kind] + self.rss_cached[kind]).unwrap_or(0) * page_bytes
        };
        let memory = self.memory.map_or_else(Memory::default, |memory| Memory {
            file_bytes: bytes(&memory, 0),
            anon_bytes: bytes(&memory, 1),
            swap_bytes: bytes(&memory, 2),
            shmem_bytes: bytes(&memory, 3),
        });
        let resident = memory.anon_bytes + memory.file_bytes + memory.shmem_bytes;
        let counters_known = has(TaskFlags::COUNTERS_READ) || has(TaskFlags::COUNTERS_BEGUN);
        Some(ProcessSample {
            id: ProcessId {
                pid,
                start_ns: task.start_ns,
            },
            ppid: task.ppid,
            uid: task.uid,
            euid: task.euid,
            comm: Comm(task.comm),
            kernel_thread: has(TaskFlags::KERNEL_THREAD),
            zombie: has(TaskFlags::ZOMBIE) && self.threads == 0,
            threads: self.threads,
            cpu_ns: self.live_cpu_ns + self.dead_cpu_ns,
            memory: Some(memory),
            born_bytes: if counters_known {
                u64::try_from(task.counters.born_pages).unwrap_or(0) * page_bytes
            } else {
                0
            },
            virtual_bytes: self.memory.map_or(0, |memory| memory.virtual_pages * page_bytes),
            peak_rss_bytes: Some(
                self.memory
                    .map_or(0, |memory| memory.peak_rss_pages * page_bytes)
                    .max(resident),
            ),
            address_space: self.memory.map(|memory| memory.id),
            open_fds: self.tables.iter().map(|&(_, fds)| fds).sum(),
            tables: self.tables.iter().map(|&(files, fds)| (TableId(files), fds)).collect(),
            connections: self.sockets.len() as u64,
            sockets: self.sockets,
            events: counters_known.then(|| events::counts(&task.counters)),
            tool: counters_known.then(|| events::tool(&task.counters)).flatten(),
            cgroup: task.cgroup,
        })
    }
}

#[cfg(test)]
mod tests;
