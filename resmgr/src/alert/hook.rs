//! Delivery to a command: one at a time, for no longer than it may take, and never more waiting than there is room for.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    sync::mpsc::{self, error::TrySendError},
    time::timeout,
};

use crate::model::Alert;

/// How long a command may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Alerts that wait for it.
const WAITING: usize = 64;

/// A command that is run for each alert.
#[derive(Debug)]
pub struct Hook {
    alerts: mpsc::Sender<Alert>,
    /// Alerts that there was no room for.
    dropped: u64,
}

impl Hook {
    /// Starts what runs the command; needs a tokio runtime.
    pub fn new(command: String) -> Self {
        let (alerts, mut waiting) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some(alert) = waiting.recv().await {
                if let Err(why) = run(&command, &alert).await {
                    tracing::warn!(command, alert = alert.id, "the command for alerts failed: {why}");
                }
            }
        });
        Self { alerts, dropped: 0 }
    }

    /// Delivers an alert, where there is room for it.
    pub fn deliver(&mut self, alert: &Alert) {
        if let Err(TrySendError::Full(_)) = self.alerts.try_send(alert.clone()) {
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                let dropped = self.dropped;
                tracing::warn!(
                    dropped,
                    "the command for alerts is too slow: alerts are in the log and in `resmgr alerts` only"
                );
            }
        }
    }
}

/// Runs the command by a shell, with the alert as a line of JSON on its standard input, and in its environment.
async fn run(command: &str, alert: &Alert) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("RESMGR_ALERT_TOOL", alert.tool.as_str())
        .env("RESMGR_ALERT_INSTANCE", alert.instance.to_string())
        .env("RESMGR_ALERT_KIND", alert.kind.to_string())
        .env("RESMGR_ALERT_LEVEL", format!("{:?}", alert.level).to_lowercase())
        .env("RESMGR_ALERT_STATE", format!("{:?}", alert.state).to_lowercase())
        .env("RESMGR_ALERT_MESSAGE", &alert.message)
        .stdin(Stdio::piped())
        // What it prints goes nowhere: a flood would be one in the log.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // With all that it has started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group::of(&child);
    let mut line = serde_json::to_vec(alert).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let finish = async {
        if let Some(mut input) = child.stdin.take() {
            // One that does not read it needs none.
            let _ = input.write_all(&line).await;
        }
        child.wait().await
    };
    let finished = timeout(WITHIN, finish).await;
    if finished.is_err() {
        group.kill();
        // It is waited for, so that it stays no zombie.
        let _ = child.wait().await;
    }
    group.is_over();
    match finished {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it took longer than {} s and was killed", WITHIN.as_secs())),
    }
}

/// The command with all that it has started: killed where nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Self {
        let pid = leader.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    /// Kills it. Its leader has not been waited for: the number is still its.
    fn kill(&self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    /// Its leader has been waited for.
    fn is_over(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
