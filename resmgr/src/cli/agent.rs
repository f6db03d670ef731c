//! `resmgr agent`: from flags, environment and file to an agent that runs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tokio::sync::mpsc;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{
    Failure,
    failure::Code,
    status::{self, Watch},
};
use crate::{
    agent::{self, AgentOptions},
    config::{self, ConfigSource, DEFAULT_FILE, MetricsListen},
    kernel::BpfObject,
    model::Tuning,
};

/// Flags of `resmgr agent`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Arguments {
    /// Configuration file [default: /etc/resmgr/resmgr.toml, where it is there].
    #[arg(long, value_name = "FILE", env = "RESMGR_CONFIG")]
    config: Option<PathBuf>,
    /// Read no configuration file: what is built in holds.
    #[arg(long)]
    no_config: bool,
    /// Folder for what survives a restart.
    #[arg(
        long,
        value_name = "DIR",
        env = "RESMGR_STATE_DIR",
        default_value = "/var/lib/resmgr"
    )]
    state_dir: PathBuf,
    /// Folder for pins, under a BPF file system.
    #[arg(
        long,
        value_name = "DIR",
        env = "RESMGR_PIN_DIR",
        default_value = "/sys/fs/bpf/resmgr"
    )]
    pin_dir: PathBuf,
    /// Cgroup under which tools get leaves of their own [default: resmgr under the root of cgroup v2].
    #[arg(long, value_name = "DIR", env = "RESMGR_CGROUP_ROOT")]
    cgroup_root: Option<PathBuf>,
    /// Undo everything on exit.
    #[arg(long)]
    ephemeral: bool,
    /// Time between sweeps, 100ms to 60s [default: 1s].
    #[arg(long, value_name = "TIME", env = "RESMGR_SWEEP_INTERVAL")]
    sweep_interval: Option<String>,
    /// What is paid for when limits are chosen: calm (few changes), balanced (less room) or safe (few uses beyond what is
    /// expected) [default: calm].
    #[arg(long, value_name = "TUNING", env = "RESMGR_TUNING")]
    tuning: Option<Tuning>,
    /// Go by events alone, after one sweep at the start.
    #[arg(long)]
    no_sweep: bool,
    /// Whose events are counted: those of tools' processes, or of every process; all with --no-sweep.
    #[arg(
        long,
        value_enum,
        value_name = "WHOSE",
        env = "RESMGR_TRACK",
        default_value = "tools"
    )]
    track: Track,
    /// Where /metrics and /healthz are answered: an address, its port 0 for any free one, or off [default: 127.0.0.1:9465;
    /// with --ephemeral any free port].
    #[arg(long, value_name = "ADDR", env = "RESMGR_METRICS_LISTEN")]
    metrics_listen: Option<MetricsListen>,
    /// Detach the programs that an earlier agent left, forget what they counted, and end.
    #[arg(long, conflicts_with_all = ["ephemeral", "status"])]
    release: bool,
    /// What to log: error, warn, info, debug or trace, or a list like `info,resmgr::kernel=debug`.
    #[arg(long, value_name = "LEVEL", env = "RESMGR_LOG", default_value = "info")]
    log: String,
    /// Show the status on standard output: once, then stop; or live, until the agent stops.
    #[arg(long, value_enum, value_name = "HOW")]
    status: Option<Show>,
    /// Load this BPF object instead of the one built in.
    #[arg(long, value_name = "FILE", env = "RESMGR_BPF_OBJECT")]
    bpf_object: Option<PathBuf>,
    /// Read the kernel's type information from this file.
    #[arg(long, value_name = "FILE", env = "RESMGR_BTF")]
    btf: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Track {
    Tools,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Show {
    Once,
    Live,
}

impl Arguments {
    fn options(&self, socket: PathBuf) -> Result<AgentOptions, Failure> {
        let usage = |error| Failure::new(Code::Usage, error);
        let interval = self.sweep_interval.as_deref();
        let interval = interval.map(|text| config::sweep_interval("--sweep-interval", text));
        let file = self.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let source = ConfigSource {
            // It may be read again from another folder.
            file: (!self.no_config).then(|| std::path::absolute(&file).unwrap_or(file)),
            optional: self.config.is_none(),
            sweep_interval: interval.transpose().map_err(usage)?,
            tuning: self.tuning,
            metrics: self.metrics_listen,
        };
        let configuration = source.read().map_err(usage)?;
        let object = match &self.bpf_object {
            Some(path) => BpfObject::from_file(path).map_err(agent::AgentError::from)?,
            None => BpfObject::embedded(),
        };
        Ok(AgentOptions {
            socket,
            state_dir: self.state_dir.clone(),
            pin_dir: self.pin_dir.clone(),
            cgroup_root: self.cgroup_root.clone(),
            ephemeral: self.ephemeral,
            embedded: false,
            no_sweep: self.no_sweep,
            track_all: self.track == Track::All,
            configuration,
            source: Some(source),
            object,
            btf: self.btf.clone(),
        })
    }
}

/// Runs the agent in the foreground.
pub(super) fn run(arguments: &Arguments, socket: &Path) -> Result<(), Failure> {
    start_log(&arguments.log)?;
    if arguments.release {
        return Ok(agent::release(
            &arguments.pin_dir,
            &arguments.state_dir,
            arguments.cgroup_root.clone(),
        )?);
    }
    let options = arguments.options(socket.to_owned())?;
    let show = arguments.status;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopped) = mpsc::channel(1);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let shown = async {
            let Some(show) = show else {
                return std::future::pending().await;
            };
            if is_ready.await.is_err() {
                return std::future::pending().await;
            }
            let second = Duration::from_secs(1);
            let watch = match show {
                Show::Once => {
                    // CPU use is known from the second look on.
                    tokio::time::sleep(second).await;
                    None
                }
                Show::Live => Some(Watch(second)),
            };
            let result = status::show(socket, &status::Arguments::overview(watch)).await;
            // The agent may be stopping already.
            let _ = stop.send(()).await;
            result
        };
        let agent = agent::run(options, || _ = ready.send(()), stopped);
        tokio::pin!(agent, shown);
        tokio::select! {
            biased;
            ended = &mut agent => Ok(ended?),
            result = &mut shown => {
                agent.await?;
                result
            }
        }
    })
}

/// What to log. A bare word must be a level: the parser would take any other for the name of a module.
fn parse_levels(levels: &str) -> Option<Targets> {
    let is_meant = |item: &str| item.contains('=') || item.trim().parse::<LevelFilter>().is_ok();
    levels.split(',').all(is_meant).then(|| levels.parse().ok()).flatten()
}

/// Sends the log to standard error; the programs' own messages come the same way.
fn start_log(levels: &str) -> Result<(), Failure> {
    let targets = parse_levels(levels).ok_or_else(|| {
        let message =
            format!("--log {levels}: write error, warn, info, debug, trace or off, or a list like `warn,resmgr=debug`");
        Failure::new(Code::Usage, anyhow::Error::msg(message))
    })?;
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::registry()
        .with(format.with_ansi(colours))
        .with(targets)
        .try_init()
        .map_err(|error| Failure::new(Code::Failed, error))
}
