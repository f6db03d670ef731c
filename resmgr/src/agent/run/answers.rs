//! From a question to its answer: at once, or by a task where that takes its time.

use std::time::Duration;

use serde::Serialize;

use super::Agent;
use crate::{
    agent::{
        metrics, report,
        server::{Caller, Question},
        tools::{self, Entry},
    },
    model::Clock as _,
    protocol::{Method, Refusal, RefusalCode, Registered, ReportParams, Reported, Response},
};

impl Agent {
    /// Answers a client, or has it answered.
    pub(super) fn answer(&mut self, question: Question) {
        let Question { method, caller, answer } = question;
        let outcome = match method {
            Method::Status(params) => {
                if params.fresh {
                    self.tools.look_into_leaves(&mut self.engine, &self.clock);
                }
                report::status(
                    &mut self.engine,
                    &params,
                    caller,
                    &self.configuration,
                    self.started,
                    self.historian.status(),
                    &self.clock,
                )
                .and_then(to_line)
            }
            Method::Attach(params) => self
                .tools
                .attach(&mut self.engine, &params, caller, &self.clock)
                .and_then(to_line),
            Method::SetLimits(params) => self
                .tools
                .set_limits(&mut self.engine, &params, caller, &self.clock)
                .and_then(to_line),
            Method::Alerts(params) => {
                self.alerting.ask(params, caller, answer);
                return;
            }
            Method::History(params) => {
                self.historian
                    .ask(params, caller, &mut self.engine, answer, &self.clock);
                return;
            }
            Method::BeginOperation(params) => self
                .operations
                .begin(&mut self.engine, &params, caller, &self.clock)
                .and_then(to_line),
            Method::EndOperation(params) => self
                .operations
                .end(&mut self.engine, &params, caller, &self.clock)
                .and_then(to_line),
            Method::Watch(params) => {
                self.operations.watch(&self.engine, params, caller, answer, &self.clock);
                return;
            }
            Method::Initialize(params) => self
                .tools
                .initialize(&mut self.engine, &params, caller, &self.clock)
                .and_then(to_line),
            Method::Reload(_) => self.reload_for(caller).and_then(to_line),
            Method::Configuration(_) => self.configuration.report(caller).and_then(to_line),
            Method::Report(params) => self.take_report(&params, caller).and_then(to_line),
            Method::Adjust(params) => tools::adjust(&mut self.engine, &params, caller, &self.clock).and_then(to_line),
            Method::CleanUp(params) => match self.tools.clean_up(&mut self.engine, &params, caller, &self.clock) {
                Ok(endings) => {
                    tokio::spawn(async move {
                        let _ = answer.send(to_line(endings.run().await));
                    });
                    return;
                }
                Err(refusal) => Err(refusal),
            },
            Method::Register(params) => {
                match self.tools.register(&mut self.engine, &params, caller, &self.clock) {
                    Ok((registered, Some(entry))) => {
                        // The kernel lets a process wait on its way into a cgroup: not this loop.
                        tokio::spawn(async move {
                            // A client that has hung up needs no answer.
                            let _ = answer.send(to_line(enter(registered, entry).await));
                        });
                        return;
                    }
                    Ok((registered, None)) => to_line(registered),
                    Err(refusal) => Err(refusal),
                }
            }
        };
        let _ = answer.send(outcome);
    }
}

impl Agent {
    /// Answers a scraper.
    pub(super) fn tell_scraper(&mut self, asked: metrics::Asked) {
        // Who hung up needs no answer.
        match asked {
            metrics::Asked::Numbers(answer) => {
                self.metrics.raised(self.alerting.take_raised(), self.clock.now());
                let agent = |engine: &mut _| {
                    let history = self.historian.status();
                    report::agent(engine, &self.configuration, self.started, history, self.clock.now())
                };
                let ended = self.tools.ended();
                let numbers = self.metrics.numbers(&mut self.engine, ended, agent, &self.clock);
                let _ = answer.send(numbers.map_err(|error| error.to_string()));
            }
            metrics::Asked::Health(answer) => _ = answer.send(self.health()),
        }
    }

    /// Whether numbers are no older than they may be: three sweeps, and ten seconds.
    fn health(&self) -> Result<(), String> {
        let old = (self.configuration.config().sweep_interval * 3).max(Duration::from_secs(10));
        let now_ns = self.clock.now().monotonic_ns;
        let refreshed_ns = self.engine.refreshed().map_or(0, |at| at.monotonic_ns);
        let age = Duration::from_nanos(now_ns.saturating_sub(refreshed_ns));
        if age > old {
            return Err(format!(
                "no sweep has succeeded for {} s: look at the agent's log",
                age.as_secs()
            ));
        }
        Ok(())
    }

    /// Takes in what a client tells of its tools, and answers with how they stand once limits have been raised.
    fn take_report(&mut self, params: &ReportParams, caller: Caller) -> Result<Reported, Refusal> {
        tools::report(&mut self.engine, params, caller, &self.clock)?;
        self.heed_crossings()?;
        Ok(tools::reported(&self.engine, params, caller))
    }
}

/// An answer's line.
pub(in crate::agent) fn to_line(content: impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(&Response::new(Ok(content)))
        .map_err(|error| Refusal::new(RefusalCode::Internal, error.to_string()))
}

/// Moves a caller into its tool's leaf; where that fails, it goes on where it is, and is told.
async fn enter(mut registered: Registered, entry: Entry) -> Registered {
    registered.warnings.extend(entry.enter().await);
    registered
}
