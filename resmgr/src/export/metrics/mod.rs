//! What is measured, as Prometheus and `OpenMetrics` have it: values in, text out. Knows no pid, command line or peer.

mod agent;
mod text;
mod tool;
mod values;

pub use text::Format;
pub use values::{AgentMeasured, InForce, Measured, ToolMeasured, ToolNow, ToolTotals};

impl Measured {
    /// The text of a scrape.
    pub fn text(&self, format: Format) -> String {
        let mut text = text::Text::new(format);
        tool::write(&mut text, &self.tools);
        agent::write(&mut text, &self.agent);
        text.finish()
    }
}

#[cfg(test)]
mod tests;
