//! The programs that start MCP servers and commands for a model: by which names they run, and where they keep their
//! configuration. Looks at nothing.

use super::launch::Launched;

/// What a host's children are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Children {
    /// What it runs is run for its model, but for itself.
    Commands,
    /// It has many processes of its own: only those are told from them that look like MCP servers.
    Mixed,
}

/// A host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// As people call it.
    pub(super) name: &'static str,
    /// What it begins the names of commands that it runs with.
    pub(super) short: &'static str,
    /// Names of its program, or of the script that it is.
    programs: &'static [&'static str],
    /// Parts of its program's path.
    paths: &'static [&'static str],
    pub(super) children: Children,
    /// Where `resmgr mcp wrap` finds its servers, below the home folder.
    pub(super) files: &'static [&'static str],
}

const fn host(
    name: &'static str,
    short: &'static str,
    children: Children,
    programs: &'static [&'static str],
    paths: &'static [&'static str],
    files: &'static [&'static str],
) -> Host {
    Host {
        name,
        short,
        programs,
        paths,
        children,
        files,
    }
}

use Children::{Commands, Mixed};

#[rustfmt::skip]
static HOSTS: [Host; 17] = [
    host("Claude Code", "claude", Commands, &["claude", "claude-code"], &[], &[".claude.json"]),
    host("Claude Desktop", "claude-desktop", Mixed, &["claude-desktop"], &[], &[".config/Claude/claude_desktop_config.json"]),
    host("Codex CLI", "codex", Commands, &["codex"], &[], &[".codex/config.toml"]),
    host("Gemini CLI", "gemini", Commands, &["gemini", "gemini-cli"], &[], &[".gemini/settings.json"]),
    host("Qwen Code", "qwen", Commands, &["qwen", "qwen-code"], &[], &[".qwen/settings.json"]),
    host("Goose", "goose", Commands, &["goose", "goosed"], &[], &[]),
    host("opencode", "opencode", Commands, &["opencode"], &[], &[]),
    host("Copilot CLI", "copilot", Commands, &["copilot"], &[], &[".copilot/mcp-config.json"]),
    host("Aider", "aider", Commands, &["aider"], &[], &[]),
    host("OpenHands", "openhands", Commands, &["openhands"], &[], &[]),
    host("Cursor CLI", "cursor", Commands, &["cursor-agent"], &[], &[".cursor/mcp.json"]),
    host("Cursor", "cursor", Mixed, &["cursor"], &["/.cursor-server/"], &[".cursor/mcp.json"]),
    host("VS Code", "code", Mixed, &["code", "code-insiders", "codium"], &["/.vscode-server/"], &[".config/Code/User/mcp.json"]),
    host("Windsurf", "windsurf", Mixed, &["windsurf"], &["/.windsurf-server/"], &[".codeium/windsurf/mcp_config.json"]),
    host("Zed", "zed", Mixed, &["zed", "zed-editor"], &["/.zed_server/"], &[]),
    host("Kiro", "kiro", Mixed, &["kiro", "kiro-cli"], &[], &[".kiro/settings/mcp.json"]),
    host("LM Studio", "lm-studio", Mixed, &["lm-studio", "lmstudio"], &[], &[".lmstudio/mcp.json"]),
];

/// The host that a process is.
pub(super) fn host_of(comm: &str, command: &str, launched: &Launched) -> Option<&'static Host> {
    if launched.is_server || launched.subcommand {
        return None;
    }
    let program = command.split(' ').next().unwrap_or_default();
    let script = launched
        .label
        .as_deref()
        .map(|label| label.rsplit('/').next().unwrap_or(label));
    let names = [Some(launched.program.as_str()), script, Some(comm)];
    HOSTS.iter().find(|host| {
        let is_name = |name: &&str| names.iter().flatten().any(|own| own.eq_ignore_ascii_case(name));
        host.programs.iter().any(is_name) || host.paths.iter().any(|part| program.contains(part))
    })
}
