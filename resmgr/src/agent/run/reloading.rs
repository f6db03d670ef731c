//! The configuration, read again while the agent runs: what was counted and learned, and which tools there are, stays.

use super::{Agent, ticks};
use crate::{
    agent::server::Caller,
    model::Clock as _,
    protocol::{Refusal, Reloaded},
};

impl Agent {
    /// Reads it again for a client.
    pub(super) fn reload_for(&mut self, caller: Caller) -> Result<Reloaded, Refusal> {
        caller.must_be_root("have the configuration read again")?;
        self.reload()
    }

    /// Reads it again, and goes by it from now on; where it cannot be used, by what was read before.
    pub(super) fn reload(&mut self) -> Result<Reloaded, Refusal> {
        let before = self.configuration.config().clone();
        let mut reloaded = self.configuration.read(self.clock.now().wall).inspect_err(|refusal| {
            tracing::error!("the configuration is not taken: {refusal}");
        })?;
        let config = self.configuration.config().clone();
        if config.sweep_interval != before.sweep_interval {
            self.tick = ticks(config.sweep_interval);
        }
        if config.tuning != before.tuning {
            self.engine.adaptive_mut().tune(config.tuning);
        }
        if config.alert_command != before.alert_command {
            self.alerting.deliver_to(config.alert_command);
        }
        if (&config.rules, &config.limits) != (&before.rules, &before.limits) {
            let tools = self
                .tools
                .reconfigure(&mut self.engine, config.rules, config.limits, &self.clock)?;
            reloaded.tools = tools;
            self.hold();
        }
        tracing::info!(changed = ?reloaded.changed, tools = reloaded.tools, "the configuration was read again");
        if !reloaded.after_restart.is_empty() {
            tracing::warn!(keys = ?reloaded.after_restart, "these hold once the agent is started again");
        }
        Ok(reloaded)
    }
}
