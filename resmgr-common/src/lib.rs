//! What crosses the kernel boundary: integers with named padding, and the names both sides share. No logic.
//!
//! Every type is `#[repr(C)]`, holds no implicit padding and has its size asserted, so that the bytes that a BPF
//! program writes are the bytes that user space reads.
#![no_std]

mod counters;
mod descriptors;
mod event;
mod layout;
pub mod names;
mod sweep;
mod tool;

pub use counters::{
    Active, Correction, HANDSHAKE_SLOTS, Handed, HookIndex, Loss, Owner, ProcessCounters, TRACKED_BUCKETS, Tracked,
    process_bucket, socket_bucket,
};
pub use descriptors::{CALL_NUMBERS, CallEffect, Calls, Doubt, PLACE_SLOTS, Place, ToolMost, ToolRefused};
pub use event::{CrossingRecord, EventKind, EventRecord, IMAGE_ARGUMENTS_LEN, IMAGE_PATH_LEN, ImageRecord};
pub use layout::{Layout, RSS_KINDS, RssShape};
pub use sweep::{
    Address, FileRecord, NAME_LEN, RecordHeader, RecordKind, SocketRecord, SweepFacts, TaskFlags, TaskRecord,
};
pub use tool::{
    CrossedKey, Joining, TOOL_LEVELS, TOOL_NAME_LEN, TOOL_PATH_LEN, TOOL_RESOURCES, ToolCounters, ToolFlags, ToolLines,
    ToolRecord, ToolResource,
};

/// The version of everything in this crate: whatever is new in it raises it. Pins carry it: programs the version that they
/// are of, maps the one that gave them their layout ([`names::KEPT_MAPS`]).
pub const ABI_VERSION: u32 = 3;

/// Length of a command name in the kernel, the terminating NUL included (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// Asserts a type's size at compile time and, for user space, that it is plain data.
macro_rules! wire {
    ($type:ty, $size:expr) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
        #[cfg(feature = "user")]
        const _: () = {
            const fn is_plain_data<T: bytemuck::Pod>() {}
            is_plain_data::<$type>();
        };
    };
}
pub(crate) use wire;
