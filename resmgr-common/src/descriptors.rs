//! What the kernel refuses of a tool's descriptors: the line, the places of calls that are under way, and what is doubted.

use crate::wire;

/// The most that a tool may have of what hooks refuse: an element of the map `TOOL_MOST`, by slot. Written by user space alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ToolMost {
    /// Descriptors; 0 where none is refused.
    pub fds: u64,
}
wire!(ToolMost, 8);

/// What was refused to a tool: an element of the map `TOOL_REFUSED`, by slot. Written by the programs alone, but for the moment
/// in which user space takes a free slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct ToolRefused {
    /// Descriptors.
    pub fds: u64,
}
wire!(ToolRefused, 8);

/// Elements of the map `PLACES`, a power of two; its index is the thread id's lowest bits.
pub const PLACE_SLOTS: u32 = 16_384;

/// Descriptors that a call under way has been let have, and that count from then on: an element of the map `PLACES`. The
/// call's exit takes it out, and gives back what came to nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Place {
    /// Thread group id and thread id; 0 for none.
    pub thread: u64,
    /// The call's number.
    pub call: u32,
    /// How many.
    pub count: u32,
}
wire!(Place, 16);

/// What becomes of a descriptor that a call is let have: an element of [`Calls`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEffect {
    /// Nothing watches the call's exit: its descriptors are compared with the line, and not counted.
    Unseen = 0,
    /// The call's exit tells whether it has it.
    Settled = 1,
    /// It has it: nothing comes between.
    Had = 2,
    /// The call makes none, and closes some.
    Closes = 3,
    /// The call asks for two, one after the other, and its exit tells whether it has them.
    Pair = 4,
}

/// System calls by number, a power of two: the global `CALLS`. Each a [`CallEffect`].
pub const CALL_NUMBERS: usize = 512;

/// What each call does: the value of the global `CALLS`.
pub type Calls = [u8; CALL_NUMBERS];

/// A difference between what events had counted of a process's descriptors and what sweeps found: the value of the map
/// `DOUBTS`, by thread group id. A call that is under way looks like one; it is no other until it lasts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Doubt {
    /// Descriptors that were ever opened and closed, when it was last seen.
    pub counted: u64,
    /// The difference that the last sweep saw.
    pub last: i64,
    /// The least that all have seen.
    pub least: i64,
    /// How many sweeps have seen it.
    pub times: u64,
}
wire!(Doubt, 32);
