//! The MCP server: its tools and resources, as the protocol has them. What they tell is made in `answer`.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
        ResourceTemplate, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
    service::{RequestContext, ServerInitializeError},
    transport::stdio,
};
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    answer::{self, Answer, NoAnswer},
    question,
};
use crate::{
    cli::{Failure, failure::Code},
    model::ToolName,
    protocol::{AlertsReport, Client, HistoryReport, LimitsSet, StatusParams},
};

/// Where the resources of tools begin.
const TOOLS: &str = "resmgr://tools/";

/// What a client's model is told of this server.
const INSTRUCTIONS: &str = "resmgr counts, limits and explains what the tools on this Linux host use: MCP servers and other \
programs that were started under it. Ask it when a tool was slow, was refused something (EMFILE on open, EPERM on connect), \
was killed, or is about to be: `status` says how close each tool is to its limits, `explain` says why and what was done, \
`alerts` what somebody should know, `history` what was used over time, `top` which processes use most. Numbers of memory \
are bytes, of CPU time milliseconds of one core unless a name says otherwise. You see the tools of the user that this \
server runs as.";

/// Serves on standard input and output, until the client leaves or a signal comes.
pub(super) fn run(socket: &Path, allow_changes: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            served = serve(Server::new(socket, allow_changes)) => served,
            _ = terminated.recv() => Ok(()),
            _ = interrupted.recv() => Ok(()),
        }
    });
    // A read of standard input may be under way, and nothing ends that.
    runtime.shutdown_background();
    served
}

async fn serve(server: Server) -> Result<(), Failure> {
    let failed = |message: String| Failure::new(Code::Failed, anyhow::anyhow!(message));
    match server.serve(stdio()).await {
        Ok(running) => {
            let ended = running.waiting().await;
            ended.map(|_| ()).map_err(|error| failed(format!("serve MCP: {error}")))
        }
        // It left before it said who it is.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(failed(format!("serve MCP: {error}"))),
    }
}

/// The server. Each request is a connection to the agent of its own, so that an agent may be started anew meanwhile.
struct Server {
    socket: PathBuf,
    tools: Vec<Tool>,
}

impl Server {
    fn new(socket: &Path, allow_changes: bool) -> Self {
        Self {
            socket: socket.to_owned(),
            tools: tools(allow_changes),
        }
    }

    async fn answer(&self, name: &str, given: JsonObject) -> Result<CallToolResult, NoAnswer> {
        let socket = &self.socket;
        match name {
            "status" => told(answer::status(socket, read(given)?).await),
            "explain" => told(answer::explain(socket, read(given)?).await),
            "history" => told(answer::history(socket, read(given)?).await),
            "alerts" => told(answer::alerts(socket, read(given)?).await),
            "top" => told(answer::top(socket, read(given)?).await),
            "set_limits" => told(answer::set_limits(socket, read(given)?).await),
            _ => Err(NoAnswer(format!("there is no tool {name}"))),
        }
    }
}

/// The parameters of a call; where they are wrong, how.
fn read<T: DeserializeOwned>(given: JsonObject) -> Result<T, NoAnswer> {
    serde_json::from_value(Value::Object(given)).map_err(|error| NoAnswer(format!("wrong parameters: {error}")))
}

/// A request that the agent could not answer.
fn failed(error: impl Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

/// An answer as MCP has it.
fn told<T: Serialize>(answer: Answer<T>) -> Result<CallToolResult, NoAnswer> {
    let (answer, lines) = answer?;
    let structured = serde_json::to_value(answer).map_err(|error| NoAnswer(format!("write the answer: {error}")))?;
    let mut result = CallToolResult::success(vec![ContentBlock::text(lines.join("\n"))]);
    result.structured_content = Some(structured);
    Ok(result)
}

/// The tools that there are.
fn tools(allow_changes: bool) -> Vec<Tool> {
    let reads = || ToolAnnotations::new().read_only(true).open_world(false);
    let mut tools = vec![
        tool::<question::Status, answer::Status>(
            "status",
            "What tools use now, and how close they are to their limits",
            "What each tool uses now (memory, CPU, open file descriptors, network connections, processes), its limits, and \
             how close it is: normal, warning (80 % of the limit in force), critical (95 %), emergency (100 %). Start here; \
             for the reasons ask `explain`.",
            reads(),
        ),
        tool::<question::Explain, answer::Explained>(
            "explain",
            "Why a tool was slowed, refused or ended",
            "Why a tool was slowed, refused or ended, and why its limits are what they are: each limit with where it comes \
             from, what came near it and when, what was done and on what evidence, what the kernel refused (descriptors: \
             EMFILE, connections: EPERM), how the tool's first process ended, what was learned of its use, and limits that \
             would fit it. Also for tools that have ended lately.",
            reads(),
        ),
        tool::<question::History, HistoryReport>(
            "history",
            "What a tool used over time",
            "What instances of a tool used over time: least, mean, most and quantiles of memory, CPU, descriptors and \
             connections a second, a minute or an hour, with the limits and the expected need of that time. For \"since when\" \
             and \"does it leak\".",
            reads(),
        ),
        tool::<question::Alerts, AlertsReport>(
            "alerts",
            "What somebody should know of tools",
            "What somebody should know: tools at their limits, growth that will reach one, processes left behind, bursts of \
             new processes; each with what to type. Asking acknowledges nothing.",
            reads(),
        ),
        tool::<question::Top, answer::Top>(
            "top",
            "Processes that use most",
            "The processes that use most memory, CPU, descriptors or connections, and the tool that each belongs to. Command \
             lines are those of the caller's own processes alone.",
            reads(),
        ),
    ];
    if allow_changes {
        tools.push(tool::<question::SetLimits, LimitsSet>(
            "set_limits",
            "Set limits of a tool that runs",
            "Sets limits of a tool that runs, until it ends: of the caller's own tools, and never above the operator's \
             ceiling; the answer says what holds now. Raise a maximum when `explain` shows that honest work is refused; a \
             lower one kills nothing by itself, but may slow the tool and refuse it more.",
            ToolAnnotations::new().read_only(false).destructive(false).idempotent(true).open_world(false),
        ));
    }
    tools
}

fn tool<Q: JsonSchema, A: JsonSchema>(
    name: &'static str,
    title: &str,
    text: &'static str,
    hints: ToolAnnotations,
) -> Tool {
    Tool::new(name, text, schema::<Q>(SchemaSettings::draft2020_12()))
        .with_title(title)
        .with_raw_output_schema(schema::<A>(SchemaSettings::draft2020_12().for_serialize()))
        .with_annotations(hints)
}

/// The schema of a type, without formats that JSON Schema does not have: clients complain of each.
fn schema<T: JsonSchema>(settings: SchemaSettings) -> Arc<JsonObject> {
    let plain = RecursiveTransform(|schema: &mut Schema| {
        let known = |format: &Value| {
            format
                .as_str()
                .is_some_and(|format| format == "date-time" || format == "ip")
        };
        if schema.get("format").is_some_and(|format| !known(format)) {
            schema.remove("format");
        }
    });
    let schema = settings
        .with_transform(plain)
        .into_generator()
        .into_root_schema_for::<T>();
    let mut schema = match schema.to_value() {
        Value::Object(schema) => schema,
        // `true` and `false` are schemas; none of ours is one.
        _ => JsonObject::new(),
    };
    for of_the_type in ["title", "description"] {
        schema.remove(of_the_type);
    }
    Arc::new(schema)
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("resmgr", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.get_tool(&request.name).is_none() {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_ref()).collect();
            let allowed = if request.name == "set_limits" {
                ": changes are not allowed here, unless the operator starts `resmgr mcp --allow-changes`"
            } else {
                ""
            };
            let message = format!(
                "there is no tool {}{allowed}; there are {}",
                request.name,
                names.join(", ")
            );
            return Err(ErrorData::invalid_params(message, None));
        }
        let answer = self.answer(&request.name, request.arguments.unwrap_or_default()).await;
        let result = answer.unwrap_or_else(|NoAnswer(why)| CallToolResult::error(vec![ContentBlock::text(why)]));
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut client = Client::connect(&self.socket).await.map_err(failed)?;
        let names = answer::names(&mut client).await.map_err(failed)?;
        let resource = |name: &ToolName| {
            Resource::new(format!("{TOOLS}{name}"), name.as_str())
                .with_description(format!(
                    "What the tool {name} uses now, its limits, and what was done to it"
                ))
                .with_mime_type("application/json")
        };
        Ok(ListResourcesResult::with_all_items(
            names.iter().map(resource).collect(),
        ))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(format!("{TOOLS}{{name}}"), "tool")
            .with_title("A tool's status")
            .with_description("What the tools of a name use now, their limits, and what was done to them")
            .with_mime_type("application/json");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let named = uri.strip_prefix(TOOLS).ok_or_else(|| {
            let message = format!("there is no resource {uri}: resources of tools are {TOOLS}NAME");
            ErrorData::resource_not_found(message, None)
        })?;
        let name: ToolName = named
            .parse()
            .map_err(|error: crate::model::BadToolName| ErrorData::resource_not_found(error.to_string(), None))?;
        let mut client = Client::connect(&self.socket).await.map_err(failed)?;
        let params = StatusParams {
            tool: Some(name.clone()),
            ..StatusParams::default()
        };
        let mut report = client.status(params).await.map_err(failed)?;
        report.tools.iter_mut().for_each(answer::without_others_peers);
        if report.tools.is_empty() {
            let NoAnswer(why) = answer::missing(&mut client, &name).await;
            return Err(ErrorData::resource_not_found(why, None));
        }
        let json = serde_json::to_string(&report).map_err(failed)?;
        let contents = ResourceContents::text(json, uri).with_mime_type("application/json");
        Ok(ReadResourceResult::new(vec![contents]).into())
    }
}
