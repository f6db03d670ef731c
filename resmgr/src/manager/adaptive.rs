//! `AdaptiveResourceManager` of a program: its way to the agent, which learns from use, decides and holds limits.

use std::path::{Path, PathBuf};

use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc, oneshot},
};

use super::{Account, ResourceError, StatusChange, link::Order};
use crate::{
    model::{LimitsAsked, OperationUse, ToolLimits},
    protocol::{
        AdjustParams, Client, HistoryParams, HistoryReport, InitializeParams, LimitsSet, SetLimitsParams, StatusParams,
        ToldStatus, ToolStatus,
    },
};

/// The agent's side of a program's tools: their patterns, forecasts and limits. Each question has a connection of its own, so
/// that a long answer delays no other.
#[derive(Debug)]
pub struct AdaptiveResourceManager {
    socket: PathBuf,
    orders: mpsc::Sender<Order>,
    changes: broadcast::Sender<StatusChange>,
    /// Where the manager was made.
    runtime: Handle,
}

impl AdaptiveResourceManager {
    pub(super) fn new(socket: PathBuf, orders: mpsc::Sender<Order>, changes: broadcast::Sender<StatusChange>) -> Self {
        Self {
            socket,
            orders,
            changes,
            runtime: Handle::current(),
        }
    }

    /// The agent's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<StatusChange> {
        self.changes.subscribe()
    }

    async fn client(&self) -> Result<Client, ResourceError> {
        Ok(Client::connect(&self.socket).await?)
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, ResourceError>>) -> Order,
    ) -> Result<T, ResourceError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.orders.send(order(answer)).await;
        sent.map_err(|_| ResourceError::Closed)?;
        answered.await.map_err(|_| ResourceError::Closed)?
    }

    /// Has what an account holds told now, and takes in how its tool stands.
    pub(super) async fn tell(&self, account: &Account) -> Result<(), ResourceError> {
        self.order(|answer| Order::Tell(account.clone(), answer)).await?;
        if account.has_ended() {
            return Err(ResourceError::Ended(account.tool().clone()));
        }
        Ok(())
    }

    pub(super) async fn begin(&self, account: &Account, name: String) -> Result<u64, ResourceError> {
        self.order(|answer| Order::Begin(account.clone(), name, answer)).await
    }

    pub(super) async fn end(&self, account: &Account, operation: u64) -> Result<OperationUse, ResourceError> {
        self.order(|answer| Order::End(account.clone(), operation, Some(answer)))
            .await
    }

    /// An operation was dropped: it ends as soon as there is room to say so.
    pub(super) fn drop_operation(&self, account: &Account, operation: u64) {
        let order = Order::End(account.clone(), operation, None);
        if let Err(mpsc::error::TrySendError::Full(order)) = self.orders.try_send(order) {
            let orders = self.orders.clone();
            // On whatever thread it is dropped.
            self.runtime.spawn(async move { orders.send(order).await });
        }
    }

    pub(super) async fn initialize(&self, params: InitializeParams) -> Result<ToldStatus, ResourceError> {
        Ok(self.client().await?.initialize(params).await?)
    }

    pub(super) async fn set_limits(&self, account: &Account, limits: LimitsAsked) -> Result<LimitsSet, ResourceError> {
        let params = SetLimitsParams {
            tool: account.tool().clone(),
            instance: Some(account.instance()),
            limits,
            best_effort: false,
        };
        Ok(self.client().await?.set_limits(params).await?)
    }

    pub(super) async fn adjust(&self, account: &Account) -> Result<ToolLimits, ResourceError> {
        let params = AdjustParams {
            tool: account.tool().clone(),
            instance: account.instance(),
        };
        Ok(self.client().await?.adjust(params).await?.limits)
    }

    /// How a tool stands; one that has ended is an error.
    pub(super) async fn status(&self, account: &Account, forecast: bool) -> Result<ToolStatus, ResourceError> {
        let tool = self.last_status(account, forecast).await?;
        match tool.ended_s {
            None => Ok(tool),
            Some(_) => Err(ResourceError::Ended(account.tool().clone())),
        }
    }

    /// How a tool stands, or stood when it ended, while the agent remembers it.
    pub(super) async fn last_status(&self, account: &Account, forecast: bool) -> Result<ToolStatus, ResourceError> {
        let params = StatusParams {
            tool: Some(account.tool().clone()),
            forecast,
            ..StatusParams::default()
        };
        let report = self.client().await?.status(params).await?;
        let mut tools = report.tools.into_iter();
        let found = tools.find(|tool| tool.instance == account.instance());
        found.ok_or_else(|| ResourceError::Ended(account.tool().clone()))
    }

    pub(super) async fn history(&self, params: HistoryParams) -> Result<HistoryReport, ResourceError> {
        Ok(self.client().await?.history(params).await?)
    }
}
