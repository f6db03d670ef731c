//! Command lines as they are seen in the wild.
use super::*;

#[test]
fn servers_are_found_by_what_launches_them() {
    for (command, name) in [
        ("npx -y @modelcontextprotocol/server-filesystem /srv/u", "filesystem"),
        ("npm exec @modelcontextprotocol/server-everything", "everything"),
        ("npm exec @playwright/mcp@latest --headless", "playwright"),
        ("npx -y -p @upstash/context7-mcp@1.0.6 run-it", "context7"),
        ("bunx figma-developer-mcp --stdio", "figma-developer"),
        ("pnpm dlx n8n-mcp", "n8n"),
        ("uvx mcp-server-fetch", "fetch"),
        ("uv tool uvx --from git+https://github.com/a/b-mcp serve", "b"),
        ("uv tool run mcp-server-git==2025.1 --repository /x", "git"),
        ("uv --directory /srv/u/weather-mcp run server.py", "weather"),
        ("uv run --with mcp[cli] mcp run /srv/u/weather/server.py", "weather"),
        ("pipx run mcp-server-time", "time"),
        ("docker run -i --rm -e TOKEN mcp/fetch", "fetch"),
        (
            "podman run -v /a:/b --name x -i ghcr.io/github/github-mcp-server:v1",
            "github",
        ),
        ("docker run -i r:5000/x/some-mcp@sha256:00", "some"),
        ("/usr/bin/python3 -m mcp_server_git --repository /x", "git"),
        ("/srv/u/.venv/bin/python3.12 /srv/u/.venv/bin/mcp-server-time", "time"),
        ("python -u /srv/u/weather-mcp/src/server.py", "weather"),
        ("python3 -m mcp.server.fastmcp", "mcp-server-fastmcp"),
        ("node /srv/u/.npm/_npx/5a/node_modules/.bin/mcp-server-memory", "memory"),
        (
            "node --max-old-space-size=512 -r dotenv /srv/x/node_modules/@acme/mcp/dist/index.js",
            "acme",
        ),
        ("deno run -A npm:@acme/tool-mcp@2", "tool"),
        ("java -Xmx1g -jar /opt/jira-mcp.jar", "jira"),
        ("/opt/bin/github-mcp-server stdio", "github"),
        ("/bin/sh /tmp/mcp-server-notes.sh", "notes"),
        ("mcp-server-sqlite --db-path /x", "sqlite"),
        ("/usr/bin/python3 /usr/local/bin/fastmcp run /srv/u/notes.py", "notes"),
    ] {
        let launched = Launched::of(command);
        assert!(launched.is_server, "{command}: {launched:?}");
        assert_eq!(launched.name(), name, "{command}: {launched:?}");
    }
}

#[test]
fn what_only_mentions_servers_is_none() {
    for command in [
        "vim mcp-server-fetch.py",
        "grep -r mcp-server-fetch .",
        "tail -f /var/log/mcp-server.log",
        "git clone https://github.com/modelcontextprotocol/servers",
        "npm install @modelcontextprotocol/server-filesystem",
        "npx -y eslint src/mcp",
        "npx @modelcontextprotocol/inspector node x.js",
        "pip install mcp-server-fetch",
        "python3 -m pip install mcp",
        "python3 /usr/bin/pip install mcp-server-fetch",
        "python3 -c import mcp; print(mcp)",
        "node -e require('mcp')",
        "node /srv/u/mcp/tools/format.js",
        "node /srv/u/mcp-server.test.js",
        "python3 /srv/u/mcp_client.py",
        "uvx ruff check mcp",
        "docker run --name mcp -d mongo:7",
        "docker build -t mcp/fetch .",
        "docker pull mcp/fetch",
        "bash -c npx -y @modelcontextprotocol/server-filesystem",
        "sh -lc mcp-server-fetch",
        "mc",
        "java -jar /opt/app.jar mcp",
        "uv pip install mcp",
        "uv run pytest tests/mcp",
        "-bash",
        "bash",
        "python3",
        "",
        " ",
        "\u{fffd}\u{fffd}",
    ] {
        assert!(
            !Launched::of(command).is_server,
            "{command}: {:?}",
            Launched::of(command)
        );
    }
}

#[test]
fn a_subcommand_may_be_a_server() {
    for command in [
        "gopls mcp",
        "/usr/bin/codex mcp-server",
        "claude mcp serve",
        "docker mcp gateway run",
    ] {
        assert!(Launched::of(command).subcommand, "{command}");
    }
    for command in ["npx mcp", "python3 mcp", "gopls serve mcp"] {
        assert!(!Launched::of(command).subcommand, "{command}");
    }
}

#[test]
fn any_command_line_has_a_name_that_a_tool_can_have() {
    let long = format!("npx {}-mcp", "x".repeat(4000));
    for command in [
        "npx mcp",
        "uvx @/mcp",
        "uvx …-mcp-…",
        long.as_str(),
        "mcp",
        "\u{1f600}",
        "---",
        "npx -p",
        "/",
    ] {
        let name = Launched::of(command).name();
        assert!(name.parse::<crate::model::ToolName>().is_ok(), "{command}: {name}");
    }
}
