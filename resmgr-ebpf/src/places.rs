//! Places that calls under way have: what they were let have and is counted, until their exits take it out. Refuses nothing.

use resmgr_common::{CALL_NUMBERS, CallEffect, Calls, PLACE_SLOTS, Place, ProcessCounters};

use crate::{
    maps::{PLACES, TOOL_MOST},
    tools::Tool,
};

/// What each call does to descriptors; user space overrides it.
#[unsafe(no_mangle)]
static CALLS: Calls = [CallEffect::Unseen as u8; CALL_NUMBERS];

/// What a call does to descriptors: a [`CallEffect`].
#[inline(always)]
pub fn effect_of(call: u32) -> u8 {
    if call as usize >= CALL_NUMBERS {
        return CallEffect::Unseen as u8;
    }
    // The verifier of 6.1 is to see a mask, which the compiler would take out behind the comparison; and what is compared and
    // what is masked are one to the compiler, unless it is hidden from it.
    let at = core::hint::black_box(call as usize) & (CALL_NUMBERS - 1);
    // SAFETY: a read inside of a static; volatile because the loader, not the compiler, decides the values.
    unsafe { core::ptr::read_volatile((&raw const CALLS).cast::<u8>().add(at)) }
}

/// The most descriptors that a tool may have; 0 where none is refused.
#[inline(always)]
pub fn most(tool: Tool) -> i64 {
    match TOOL_MOST.get_ptr(tool.slot()) {
        // SAFETY: the look-up returned Some, so the verifier bounded this slot.
        Some(most) => unsafe { (*most).fds as i64 },
        None => 0,
    }
}

/// Whether descriptors are refused to a process's tool.
#[inline(always)]
pub fn is_limited(counters: *const ProcessCounters) -> bool {
    Tool::of(counters).is_some_and(|tool| most(tool) != 0)
}

/// The element of a thread. One with the same lowest bits may write over it: then a place is given back by a sweep.
#[inline(always)]
fn element(thread: u64) -> Option<*mut Place> {
    PLACES.get_ptr_mut(thread as u32 & (PLACE_SLOTS - 1))
}

/// Keeps a place for a thread's call. What is there of an earlier one, whose exit went by unseen, stays counted.
#[inline(always)]
pub fn keep(thread: u64, call: u32, effect: u8) {
    if let Some(place) = element(thread) {
        // SAFETY: get_ptr_mut returned Some, so the verifier bounded this slot.
        unsafe {
            let is_second = (*place).thread == thread && (*place).call == call && (*place).count == 1;
            let count = if is_second && effect == CallEffect::Pair as u8 {
                2
            } else {
                1
            };
            *place = Place { thread, call, count };
        }
    }
}

/// A thread's call is let have nothing: what is there is of an earlier one.
#[inline(always)]
pub fn clear(thread: u64) {
    settle(thread, u32::MAX);
}

/// Takes out the places of a thread's call that ends: how many it was let have, all of which are counted. What is there of an
/// earlier call, whose exit went by unseen, is taken out with it, and stays counted.
#[inline(always)]
pub fn settle(thread: u64, call: u32) -> i64 {
    match element(thread) {
        // SAFETY: as in `keep`.
        Some(place) => unsafe {
            if (*place).thread != thread {
                return 0;
            }
            (*place).thread = 0;
            if (*place).call == call {
                i64::from((*place).count)
            } else {
                0
            }
        },
        None => 0,
    }
}
