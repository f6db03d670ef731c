//! What clients tell of tools, beside what the source does.

use super::Engine;
use crate::{
    model::{Clock, Crossing, Source, ToldUse, ToolSlot},
    track::TooMany,
};

impl<S: Source> Engine<S> {
    /// Takes in what a client tells of a tool, and which lines that has crossed.
    pub fn tell(&mut self, slot: ToolSlot, told: &ToldUse, pid: u32, clock: &impl Clock) -> Result<(), TooMany> {
        let Some(tool) = self.tracker.tool_mut(slot) else {
            return Ok(());
        };
        let at_ns = clock.now().monotonic_ns;
        let taken = tool.by_client.take(told, at_ns);
        tool.share_out(tool.sums.cpu_ns);
        // What came and went since is seen once.
        let instance = tool.identity.instance;
        for (resource, level, risen) in tool.crossings_told() {
            let value = self.tracker.tool(slot).map_or(0, |tool| tool.value(resource));
            let crossing = Crossing {
                slot,
                instance,
                resource,
                level,
                risen,
                pid,
                value,
                at_ns,
            };
            self.tracker.apply_crossing(crossing);
            self.crossings.push(crossing);
        }
        taken
    }
}
