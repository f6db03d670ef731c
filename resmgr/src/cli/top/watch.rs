//! Asks the agent again and again, and again where it has gone. Decides nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    model::ToolName,
    protocol::{Client, ClientError, ProcessSelection, ProcessStatus, SortKey, StatusParams, StatusReport},
};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The tools of this name alone.
    pub(super) tool: Option<ToolName>,
    /// The names whose processes are shown.
    pub(super) expanded: BTreeSet<ToolName>,
}

/// What the agent said.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The tools.
    pub(super) report: StatusReport,
    /// The processes of those that are expanded.
    pub(super) processes: Vec<ProcessStatus>,
}

/// Asks at every interval, and at once when something else is wanted, until nobody wants to see it.
pub(super) async fn watch(
    socket: PathBuf,
    mut client: Option<Client>,
    interval: Duration,
    mut wanted: watch::Receiver<Wanted>,
    told: mpsc::Sender<Result<Seen, ClientError>>,
) {
    loop {
        let wants = wanted.borrow_and_update().clone();
        let seen = look(&mut client, &socket, &wants).await;
        if seen.is_err() {
            client = None;
        }
        if told.send(seen).await.is_err() {
            return;
        }
        // Either is a reason to look again; that nobody wants anything any more is found when it is told.
        let _ = timeout(interval, wanted.changed()).await;
    }
}

async fn look(client: &mut Option<Client>, socket: &Path, wants: &Wanted) -> Result<Seen, ClientError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(socket).await?),
    };
    let params = StatusParams {
        tool: wants.tool.clone(),
        ..StatusParams::default()
    };
    let report = client.status(params).await?;
    let mut processes = Vec::new();
    for name in &wants.expanded {
        let params = StatusParams {
            tool: Some(name.clone()),
            processes: ProcessSelection::All,
            sort: SortKey::Memory,
            ..StatusParams::default()
        };
        processes.extend(client.status(params).await?.processes.unwrap_or_default());
    }
    Ok(Seen { report, processes })
}
