//! Descriptor tables: how many are open, and which of them are sockets.

use super::{File, current_task, fill, follow, offset, probe, socket::SocketOperations, window};
use crate::maps::SocketFiles;

/// Windows of 4,096 descriptors that a count visits at most: the verifier follows each step of the loop.
const COUNT_WINDOWS: u32 = 4;
/// Words of 64 descriptors whose files a walk visits at most; larger tables are left to a detailed pass.
const WALK_WORDS: u32 = 8;

/// A descriptor table, by address.
#[derive(Clone, Copy)]
pub struct Table {
    files: u64,
    /// Whether it is the running task's, whose pointers may be typed.
    is_current: bool,
}

impl Table {
    /// The table at an address.
    #[inline(always)]
    pub fn at(files: u64) -> Self {
        Self {
            files,
            is_current: false,
        }
    }

    /// The table of the task that runs.
    #[inline(always)]
    pub fn of_current() -> Self {
        Self {
            files: follow(current_task(), offset!(task_files)),
            is_current: true,
        }
    }

    /// A field of the table's, or of its `fdtable`.
    #[inline(always)]
    fn field<T: Copy>(self, base: u64, offset: u32) -> T {
        if self.is_current {
            follow(base, offset)
        } else {
            probe(base, offset)
        }
    }

    /// The address, to compare; 0 where the task has none.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.files
    }

    /// Counts the open descriptors: the set bits of the table.
    ///
    /// `None` where the task has no table, or one that is too large to be counted here.
    #[inline(always)]
    pub fn count(self) -> Option<u64> {
        if self.files == 0 {
            return None;
        }
        let fdt: u64 = self.field(self.files, offset!(files_fdt));
        let words = self.field::<u32>(fdt, offset!(fdtable_max_fds)) / 64;
        let bitmap: u64 = self.field(fdt, offset!(fdtable_open_fds));
        if words == 1 {
            return Some(ones(probe(bitmap, 0)));
        }
        let window = window()?;
        let mut open = 0;
        for chunk in 0..COUNT_WINDOWS {
            let first = chunk * 64;
            fill(window, bitmap + u64::from(first) * 8);
            for (word, n) in window.iter().zip(first..) {
                // What lies beyond the bitmap is read, but not counted.
                if n >= words {
                    return Some(open);
                }
                open += ones(*word);
            }
        }
        (words <= COUNT_WINDOWS * 64).then_some(open)
    }

    /// Counts the descriptors that have files: not those that a call is about to return. `None` where the table is too large
    /// to be walked.
    ///
    /// Each step is computed: the verifier would follow both ways of a branch.
    #[inline(always)]
    pub fn installed(self) -> Option<u64> {
        let window = window()?;
        let fdt: u64 = self.field(self.files, offset!(files_fdt));
        let words = self.field::<u32>(fdt, offset!(fdtable_max_fds)) / 64;
        let array: u64 = self.field(fdt, offset!(fdtable_fd));
        let mut installed = 0;
        for chunk in 0..WALK_WORDS {
            if chunk >= words {
                break;
            }
            fill(window, array + u64::from(chunk) * 512);
            for &file in window.iter() {
                let file = core::hint::black_box(file);
                installed += core::hint::black_box(file | file.wrapping_neg()) >> 63;
            }
        }
        (words <= WALK_WORDS).then_some(installed)
    }

    /// Lists the files that are sockets; false where the table, or the sockets, go on beyond what is listed.
    ///
    /// The count is kept in the list, not in a local variable: the verifier follows each value of a variable, and would
    /// follow every combination here, but none of what is in a map.
    #[inline(always)]
    pub fn list_sockets(self, list: &mut SocketFiles) -> bool {
        // SAFETY: a write inside the list; volatile, so that it is not kept in a register.
        unsafe { core::ptr::write_volatile(&raw mut list.count, 0) };
        let (Some(operations), Some(window)) = (SocketOperations::known(), window()) else {
            return true;
        };
        let fdt: u64 = self.field(self.files, offset!(files_fdt));
        let words = self.field::<u32>(fdt, offset!(fdtable_max_fds)) / 64;
        let array: u64 = self.field(fdt, offset!(fdtable_fd));
        for chunk in 0..WALK_WORDS {
            if chunk >= words {
                break;
            }
            fill(window, array + u64::from(chunk) * 512);
            for &file in window.iter() {
                if file != 0 && File::at(file).operations() == operations.0 {
                    // SAFETY: as above; the mask keeps the index inside the list.
                    unsafe {
                        let count = core::ptr::read_volatile(&raw const list.count);
                        list.files[count as usize & (SocketFiles::MOST - 1)] = file;
                        core::ptr::write_volatile(&raw mut list.count, count + 1);
                    }
                }
            }
        }
        words <= WALK_WORDS && list.count <= SocketFiles::MOST as u64
    }

    /// The file behind a descriptor that a call has just accepted: tables do not shrink, so it is inside.
    #[inline(always)]
    pub fn file(self, fd: u32) -> Option<File> {
        let fdt: u64 = self.field(self.files, offset!(files_fdt));
        let array: u64 = self.field(fdt, offset!(fdtable_fd));
        match probe(array + u64::from(fd) * 8, 0) {
            0 => None,
            file => Some(File::at(file)),
        }
    }
}

/// The number of set bits: BPF has no instruction for it.
#[inline(always)]
fn ones(word: u64) -> u64 {
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56
}
