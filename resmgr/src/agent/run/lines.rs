//! What follows at once when the kernel tells that use has come to a line.

use super::Agent;
use crate::{agent::AgentError, model::SourceError};

impl Agent {
    /// Tells of lines that were crossed, and raises limits that use has come near to.
    pub(super) fn heed_crossings(&mut self) -> Result<(), SourceError> {
        let crossings = self.engine.take_crossings();
        if !crossings.is_empty() {
            self.alerting.crossed(&self.engine, &crossings, &self.clock);
            let risen = crossings.iter().filter(|crossing| crossing.risen);
            self.engine
                .raise(&risen.map(|crossing| crossing.slot).collect(), &self.clock)?;
            self.hold();
        }
        Ok(())
    }

    /// Takes in that the memory of leaves came to a line.
    pub(super) fn take_charges(&mut self) -> Result<(), AgentError> {
        let slots = self.tools.take_charges(&mut self.engine, &self.clock)?;
        if !slots.is_empty() {
            self.alerting.charged(&self.engine, &slots, &self.clock);
            self.engine.raise(&slots, &self.clock)?;
            // What is near the maximum is told of that, too, before the kernel acts.
            self.alerting.charged(&self.engine, &slots, &self.clock);
            self.hold();
        }
        Ok(())
    }
}
