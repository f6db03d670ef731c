//! `resmgr mcp wrap`: puts `resmgr exec` before the commands of an MCP host's configuration, and takes it off again. Shows
//! first, asks, and keeps a copy.

mod edit;
mod file;
mod server;
mod shown;
mod tree;

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf, absolute},
};

use clap::Args;

use self::{
    edit::{Edit, edited, put_before, take_off},
    file::{Original, failure},
    server::{Is, Server},
    tree::{Format, Node},
};
use crate::{
    cli::{Failure, SOCKET, failure::Code, output},
    model::{Mode, Profile},
};

/// Flags of `resmgr mcp wrap`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The host's configuration: JSON with `mcpServers` or `servers`, comments allowed; or Codex's TOML.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take resmgr off again.
    #[arg(long, conflicts_with_all = ["profile", "mode"])]
    undo: bool,
    /// This server alone; may be given again.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The tools' limits: light (the built-in ones), standard or heavy.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// What is done beyond a limit: observe, throttle or enforce.
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// The resmgr that is written [default: this one, by its absolute path].
    #[arg(long, value_name = "PATH")]
    command: Option<String>,
    /// Show what would be changed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Change it without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

/// What is to be changed, and what is to be said of each server.
struct Plan {
    edits: Vec<Edit>,
    said: Vec<String>,
}

/// Shows, asks, changes.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    let original = Original::read(&arguments.file)?;
    let format = match arguments.file.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("toml") => Format::Toml,
        _ => Format::Json,
    };
    let here = Here::new(arguments, socket)?;
    // Some editors begin a file with a mark of its encoding.
    let text = original.text.trim_start_matches('\u{feff}');
    let mark = &original.text[..original.text.len() - text.len()];
    let plan = here.plan(text, format)?;
    output::print(&plan.said)?;
    if plan.edits.is_empty() {
        return Ok(output::print(&["nothing to change".to_owned()])?);
    }
    let new = edited(text, &plan.edits);
    here.check(&new, format)?;
    output::print(&shown::difference(text, &plan.edits))?;
    if arguments.dry_run {
        return Ok(());
    }
    original.writable()?;
    if !arguments.yes && !agreed(&arguments.file)? {
        return Ok(output::print(&["nothing is changed".to_owned()])?);
    }
    let copy = original.replace(&format!("{mark}{new}"))?;
    let file = arguments.file.display();
    let done = format!("{file} is changed; what it was: {}; restart its host", copy.display());
    Ok(output::print(&[done])?)
}

/// Asks on the terminal.
fn agreed(path: &Path) -> Result<bool, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let message = "standard input is no terminal to ask on: nothing is changed; --yes changes it without asking";
        return Err(failure(message.to_owned()));
    }
    eprint!("Change {}? [y/N] ", path.display());
    io::stderr().flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What is put before commands.
struct Here<'a> {
    arguments: &'a Arguments,
    command: String,
    socket: Option<String>,
}

impl<'a> Here<'a> {
    fn new(arguments: &'a Arguments, socket: &Path) -> Result<Self, Failure> {
        let text = |path: PathBuf| {
            let path = path.into_os_string().into_string();
            path.map_err(|path| failure(format!("{} is no text in UTF-8", path.display())))
        };
        let command = match &arguments.command {
            Some(command) => command.clone(),
            None => text(std::env::current_exe()?)?,
        };
        // Hosts hand on few variables, and start servers where they like.
        let socket = (socket != Path::new(SOCKET))
            .then(|| text(absolute(socket)?))
            .transpose()?;
        Ok(Self {
            arguments,
            command,
            socket,
        })
    }

    /// Whether a command is resmgr.
    fn known(&self, command: &str) -> bool {
        command == self.command || Path::new(command).file_name().is_some_and(|name| name == "resmgr")
    }

    fn servers(&self, root: &Node, format: Format) -> Result<Vec<Server>, Failure> {
        server::all(root, format, &|command| self.known(command)).ok_or_else(|| {
            let looked_for = server::places(format);
            let file = self.arguments.file.display();
            failure(format!(
                "{file} names no MCP servers: {looked_for} were looked for, and none is a table there"
            ))
        })
    }

    fn read(&self, text: &str, format: Format) -> Result<Vec<Server>, Failure> {
        let name = match format {
            Format::Json => "JSON",
            Format::Toml => "TOML",
        };
        let file = self.arguments.file.display();
        let root = tree::read(text, format).map_err(|error| failure(format!("{file} is no {name}: {error}")))?;
        self.servers(&root, format)
    }

    fn plan(&self, text: &str, format: Format) -> Result<Plan, Failure> {
        let servers = self.read(text, format)?;
        self.only_there(&servers)?;
        let is_taken = |server: &Server| match &server.is {
            Is::Wrapped(started, _) => started.tool().map(str::to_owned),
            _ => None,
        };
        let mut taken: BTreeSet<String> = servers.iter().filter_map(is_taken).collect();
        let mut plan = Plan {
            edits: Vec::new(),
            said: Vec::new(),
        };
        let only = &self.arguments.only;
        for server in servers
            .iter()
            .filter(|server| only.is_empty() || only.contains(&server.key))
        {
            let said = match &server.is {
                Is::Plain(_) if self.arguments.undo => "left alone: resmgr is not before it".to_owned(),
                Is::Plain(started) => {
                    let name = server::name(&server.key, &mut taken);
                    let before = self.before(&name);
                    let before: Vec<&str> = before.iter().map(String::as_str).collect();
                    plan.edits
                        .extend(put_before(text, format, started, &self.command, &before));
                    format!("becomes the tool {name}")
                }
                Is::Wrapped(started, own) if self.arguments.undo => {
                    plan.edits.extend(take_off(text, format, started, *own));
                    "resmgr is taken off".to_owned()
                }
                Is::Wrapped(started, _) => match started.tool() {
                    Some(tool) => format!("left alone: it is the tool {tool} already"),
                    None => "left alone: resmgr is before it already".to_owned(),
                },
                Is::Else(why) => format!("left alone: {why}"),
            };
            plan.said.push(format!("{}: {said}", server.key));
        }
        plan.edits.sort_by_key(|edit| edit.at.start);
        Ok(plan)
    }

    /// Fails where a server is asked for that is not there.
    fn only_there(&self, servers: &[Server]) -> Result<(), Failure> {
        let keys: Vec<&str> = servers.iter().map(|server| server.key.as_str()).collect();
        let Some(missing) = self.arguments.only.iter().find(|only| !keys.contains(&only.as_str())) else {
            return Ok(());
        };
        let message = format!("there is no server {missing}: there are {}", keys.join(", "));
        Err(Failure::new(Code::Usage, anyhow::anyhow!(message)))
    }

    /// The arguments that come before a command.
    fn before(&self, name: &str) -> Vec<String> {
        let mut before: Vec<String> = vec!["exec".to_owned()];
        let mut flag = |flag: &str, value: String| before.extend([flag.to_owned(), value]);
        if let Some(socket) = &self.socket {
            flag("--socket", socket.clone());
        }
        flag("--operations", "mcp".to_owned());
        flag("--tool", name.to_owned());
        if let Some(profile) = self.arguments.profile {
            flag("--profile", format!("{profile:?}").to_lowercase());
        }
        if let Some(mode) = self.arguments.mode {
            flag("--mode", mode.to_string());
        }
        before.push("--".to_owned());
        before
    }

    /// Fails where the text to come does not say what is meant.
    fn check(&self, new: &str, format: Format) -> Result<(), Failure> {
        let only = &self.arguments.only;
        let servers = self.read(new, format)?;
        let not_done = |server: &&Server| {
            let meant = only.is_empty() || only.contains(&server.key);
            meant
                && matches!(
                    (&server.is, self.arguments.undo),
                    (Is::Plain(_), false) | (Is::Wrapped(..), true)
                )
        };
        match servers.iter().find(not_done) {
            None => Ok(()),
            Some(server) => {
                let file = self.arguments.file.display();
                let message = format!(
                    "{file}: {} is written in a way that resmgr cannot change: do it by hand",
                    server.key
                );
                Err(failure(message))
            }
        }
    }
}
