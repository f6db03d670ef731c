//! An `io_uring` with room for one request: enough to open a file by it.

use std::{
    ffi::{CStr, c_void},
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, OFlags},
    io::{Errno, Result},
    io_uring::{
        IORING_OFF_CQ_RING, IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringEnterFlags, IoringOp, IoringRegisterOp,
        IoringSqeFlags, addr_or_splice_off_in_union, io_uring_cqe, io_uring_enter, io_uring_params, io_uring_ptr,
        io_uring_register, io_uring_setup, io_uring_sqe, len_union, op_flags_union,
        splice_fd_in_or_file_index_or_addr_len_union,
    },
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use super::Descriptor;

/// Where the kernel puts what a ring opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// In the descriptor table.
    InTable,
    /// Among the ring's own files, which are in no table.
    InRing,
}

/// How long the kernel may take to open a file.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ring with its memory. Dropping it gives the memory back; its descriptor stays open.
pub struct Ring {
    descriptor: Descriptor,
    params: io_uring_params,
    submissions: Mapping,
    completions: Mapping,
    entries: Mapping,
}

impl Ring {
    /// `io_uring_setup`, without its memory.
    pub fn setup() -> Result<Descriptor> {
        Self::setup_with(&mut io_uring_params::default())
    }

    fn setup_with(params: &mut io_uring_params) -> Result<Descriptor> {
        // SAFETY: the parameters outlive the call, and name no memory and no other ring.
        let ring = unsafe { io_uring_setup(1, params)? };
        Ok(Descriptor::from(ring))
    }

    /// Makes a ring. Nobody may close its descriptor as long as it is used.
    pub fn new() -> Result<Self> {
        let mut params = io_uring_params::default();
        let descriptor = Self::setup_with(&mut params)?;
        let mapped = Self::map(descriptor, params);
        if mapped.is_err() {
            descriptor.close()?;
        }
        mapped
    }

    fn map(descriptor: Descriptor, params: io_uring_params) -> Result<Self> {
        let submissions_len = params.sq_off.array as usize + params.sq_entries as usize * size_of::<u32>();
        let completions_len = params.cq_off.cqes as usize + params.cq_entries as usize * size_of::<io_uring_cqe>();
        let entries_len = params.sq_entries as usize * size_of::<io_uring_sqe>();
        Ok(Self {
            descriptor,
            submissions: Mapping::new(descriptor, submissions_len, IORING_OFF_SQ_RING)?,
            completions: Mapping::new(descriptor, completions_len, IORING_OFF_CQ_RING)?,
            entries: Mapping::new(descriptor, entries_len, IORING_OFF_SQES)?,
            params,
        })
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    /// Opens a file for reading; by a thread of the kernel where `aside`. Returns the number of its descriptor where it got
    /// one.
    pub fn open(&self, path: &'static CStr, installed: Installed, aside: bool) -> Result<Option<Descriptor>> {
        let mut request = io_uring_sqe {
            opcode: IoringOp::Openat,
            fd: rustix::fd::AsRawFd::as_raw_fd(&CWD),
            addr_or_splice_off_in: addr_or_splice_off_in_union {
                addr: io_uring_ptr::new(path.as_ptr().cast_mut().cast::<c_void>()),
            },
            len: len_union { len: 0 },
            op_flags: op_flags_union {
                open_flags: OFlags::RDONLY,
            },
            ..io_uring_sqe::default()
        };
        if aside {
            request.flags |= IoringSqeFlags::ASYNC;
        }
        if installed == Installed::InRing {
            self.make_room()?;
            // Counted from one: zero says that the table is meant.
            request.splice_fd_in_or_file_index_or_addr_len =
                splice_fd_in_or_file_index_or_addr_len_union { file_index: 1 };
        }
        let returned = self.submit(request)?;
        match (installed, u32::try_from(returned)) {
            (Installed::InTable, Ok(number)) => Ok(Some(Descriptor::numbered(number))),
            (Installed::InRing, Ok(0)) => Ok(None),
            // A kernel before 5.15 takes no notice of where the file is wanted.
            (Installed::InRing, Ok(number)) => Descriptor::numbered(number).close().and(Err(Errno::NOSYS)),
            (_, Err(_)) => Err(Errno::from_raw_os_error(-returned)),
        }
    }

    /// Registers one empty place for a file.
    fn make_room(&self) -> Result<()> {
        let empty: i32 = -1;
        // SAFETY: the kernel reads the one number, which outlives the call.
        let registered = unsafe {
            io_uring_register(
                self.descriptor,
                IoringRegisterOp::RegisterFiles,
                (&raw const empty).cast(),
                1,
            )
        };
        registered.map(drop)
    }

    /// Hands a request to the kernel and waits for what comes of it.
    fn submit(&self, request: io_uring_sqe) -> Result<i32> {
        let tail = self.submissions.word(self.params.sq_off.tail);
        let position = tail.load(Ordering::Relaxed);
        // SAFETY: the entries' mapping holds at least one, and the kernel reads none before the tail moves.
        unsafe { self.entries.at::<io_uring_sqe>(0).write(request) };
        self.submissions
            .word(self.params.sq_off.array)
            .store(0, Ordering::Relaxed);
        tail.store(position.wrapping_add(1), Ordering::Release);
        // SAFETY: the one thing that the request points to is its path, which is there for ever.
        unsafe { io_uring_enter(self.descriptor, 1, 0, IoringEnterFlags::empty())? };

        let head = self.completions.word(self.params.cq_off.head);
        let done = self.completions.word(self.params.cq_off.tail);
        let deadline = Instant::now() + PATIENCE;
        let position = head.load(Ordering::Relaxed);
        while done.load(Ordering::Acquire) == position {
            assert!(Instant::now() < deadline, "io_uring does not complete a request");
            // SAFETY: nothing is submitted. It lets the kernel finish what a thread of its own began.
            unsafe { io_uring_enter(self.descriptor, 0, 0, IoringEnterFlags::GETEVENTS)? };
            rustix::thread::sched_yield();
        }
        let index = position
            & self
                .completions
                .word(self.params.cq_off.ring_mask)
                .load(Ordering::Relaxed);
        let offset = self.params.cq_off.cqes as usize + index as usize * size_of::<io_uring_cqe>();
        // SAFETY: the mask keeps the index inside the completions, and the tail says that this one is written. The result
        // follows eight bytes of the caller's own.
        let returned = unsafe { self.completions.at::<i32>(offset + size_of::<u64>()).read_volatile() };
        head.store(position.wrapping_add(1), Ordering::Release);
        Ok(returned)
    }
}

/// A part of a ring's memory.
struct Mapping {
    start: NonNull<c_void>,
    len: usize,
}

impl Mapping {
    fn new(ring: Descriptor, len: usize, part: u64) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses, of a ring that nobody closes meanwhile.
        let start = unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, ring, part)? };
        let start = NonNull::new(start).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len })
    }

    /// A place in it, by its offset in bytes.
    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.len, "beyond the ring's memory");
        // SAFETY: inside the mapping, as just asserted.
        unsafe { self.start.as_ptr().byte_add(offset).cast() }
    }

    /// A word that the kernel reads or writes at any time.
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: inside the mapping, where the kernel aligns its words; it touches them by atomic accesses as well.
        unsafe { &*self.at::<AtomicU32>(offset as usize) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's alone, and every reference to it borrows from it.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be given back");
    }
}
