//! `resmgr top`: tools and what they use, on the whole screen, until somebody has seen enough.

mod columns;
mod keys;
mod pane;
mod screen;
mod state;
mod terminal;
mod view;
mod watch;

#[cfg(test)]
mod tests;

use std::{io::IsTerminal as _, path::Path};

use clap::Args;
use tokio::sync::mpsc;

use self::{
    keys::Todo,
    state::{SortBy, Top},
    terminal::{Terminal, Told},
    watch::Wanted,
};
use super::{Failure, failure::Code, output, status::Watch};
use crate::{model::ToolName, protocol::Client};

/// Flags of `resmgr top`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The tools of this name alone.
    #[arg(value_name = "TOOL")]
    tool: Option<ToolName>,
    /// What to order by at first, the largest first.
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    sort: SortBy,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = super::status::interval)]
    interval: Watch,
}

/// How many keys and changes of the terminal wait to be heard.
const WAITING: usize = 64;

/// Shows tools until a key or a signal ends it.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let error = anyhow::anyhow!("top needs a terminal: for a pipe or a file there is `resmgr status --watch`");
        return Err(Failure::new(Code::Usage, error));
    }
    if !output::can_be_painted() {
        let error =
            anyhow::anyhow!("the terminal is said to know nothing but text (TERM=dumb): use `resmgr status --watch`");
        return Err(Failure::new(Code::Usage, error));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Whoever starts it without an agent is told so as by any other command.
        let client = Client::connect(socket).await?;
        show(client, socket, arguments).await
    })
}

async fn show(client: Client, socket: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let Watch(interval) = arguments.interval;
    let mut top = Top::new(arguments.sort);
    let (wants, wanted) = tokio::sync::watch::channel(Wanted {
        tool: arguments.tool.clone(),
        ..Wanted::default()
    });
    let (seen, mut sees) = mpsc::channel(1);
    tokio::spawn(watch::watch(socket.to_owned(), Some(client), interval, wanted, seen));
    let (told, mut tells) = mpsc::channel(WAITING);
    // Before it is ours: no signal finds it so with nobody to give it back.
    terminal::listen(told)?;
    let mut terminal = Terminal::enter()?;
    loop {
        terminal.draw(&mut top)?;
        // Nothing is drawn between keys that came together.
        let todo = tokio::select! {
            seen = sees.recv() => match seen {
                Some(seen) => top.take(seen),
                None => return Err(Failure::new(Code::Failed, anyhow::anyhow!("nobody asks the agent any more"))),
            },
            told = tells.recv() => heard(&mut top, told),
        };
        let todo = std::iter::once(todo).chain(std::iter::from_fn(|| {
            tells.try_recv().ok().map(|told| heard(&mut top, Some(told)))
        }));
        for todo in todo.collect::<Vec<_>>() {
            match todo {
                Todo::Draw => {}
                Todo::DrawAnew => terminal.forget(),
                Todo::Suspend => terminal.suspend()?,
                Todo::Quit => return Ok(()),
            }
        }
        wants.send_if_modified(|wanted| {
            let names = top.expanded_names();
            let is_new = wanted.expanded != names;
            wanted.expanded = names;
            is_new
        });
    }
}

/// What follows from what the terminal or a signal told. A terminal that tells nothing any more has gone.
fn heard(top: &mut Top, told: Option<Told>) -> Todo {
    match told {
        Some(Told::Key(key)) => top.key(key),
        Some(Told::Resized) => Todo::DrawAnew,
        Some(Told::Suspend) => Todo::Suspend,
        Some(Told::Quit) | None => Todo::Quit,
    }
}
