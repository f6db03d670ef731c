//! Tools of a program on the live kernel: executed, tracked, refused, recovered, ended.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use resmgr::{
    manager::EnhancedResourceManager,
    model::{LimitsAsked, Mode, ResourceLimits, ResourceStatus, ToolName},
    tool::{
        Execution, ExecutorError, FunctionExecutor, McpError, McpExecutor, ProcessExecutor, Recovery, Tool, ToolError,
        ToolExecutor, ToolManager, Tried,
    },
};
use resmgr_tests::{Agent, binary, number, run, until};
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use serde_json::{Value, json};

fn name(name: &str) -> ToolName {
    name.parse().unwrap()
}

async fn tools(agent: &Agent) -> ToolManager {
    ToolManager::new(EnhancedResourceManager::connect(agent.socket()).await.unwrap())
}

fn is_for_limits<T>(result: &Result<T, ToolError>) -> bool {
    matches!(result, Err(ToolError::ExecutionFailed(why)) if why == "Resource limits exceeded")
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// Uses CPU time of its thread; tells how much.
fn spin(ns: u64) -> u64 {
    let began = thread_ns();
    loop {
        let used = thread_ns() - began;
        if used >= ns {
            return used;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_an_operation_and_its_turns_are_counted_by_themselves() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let tools = tools(&agent).await;
    let spins = FunctionExecutor::new(|_, execution| async move {
        let one = spin(60_000_000);
        tokio::time::sleep(Duration::from_millis(50)).await;
        execution.track_memory_allocation(7 << 20)?;
        execution.track_file_handle(3)?;
        Ok(Value::from(one + spin(40_000_000)))
    });
    tools.register_tool(Tool::new(name("spins")), spins).await.unwrap();
    let used = number(&tools.execute(&name("spins"), Value::Null).await.unwrap());
    let tool = agent.tool("spins");
    let ended = &tool["operations"]["ended"][0];
    assert_eq!(ended["name"], "spins", "{tool}");
    let counted = number(&ended["cpu_time_ns"]);
    // Beside what it measured itself there is what it did around that.
    assert!((used..used + 20_000_000).contains(&counted), "{counted} of {used}");
    assert_eq!(number(&tool["cpu_time_ns"]), counted);
    assert!(number(&ended["duration_ns"]) >= 150_000_000, "{ended}");
    // What it has not given back is given back.
    let usage = tools.resource_manager().usage(&name("spins")).await.unwrap();
    assert_eq!((usage.memory_bytes, usage.file_handles.len()), (0, 0));
    assert_eq!(number(&tool["peak"]["memory_bytes"]), 7 << 20, "{tool}");
    tools.unregister_tool(&name("spins")).await.unwrap();
    agent.ended("spins");
    let error = tools.execute(&name("spins"), Value::Null).await.unwrap_err();
    assert!(matches!(error, ToolError::NotRegistered(_)), "{error}");
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_execution_alone() {
    let agent = Agent::start(&[]);
    let tools = tools(&agent).await;
    let panics = FunctionExecutor::new(|input: Value, execution| async move {
        execution.track_memory_allocation(1 << 20)?;
        assert!(input != "panic", "as it was asked to");
        Ok(input)
    });
    tools.register_tool(Tool::new(name("panics")), panics).await.unwrap();
    let id = name("panics");
    let (panicked, worked) = tokio::join!(tools.execute(&id, "panic".into()), tools.execute(&id, "work".into()));
    let error = panicked.unwrap_err();
    assert!(
        matches!(&error, ToolError::Panicked { message, .. } if message == "as it was asked to"),
        "{error}"
    );
    assert_eq!(worked.unwrap(), "work");
    assert_eq!(tools.execute(&name("panics"), 5.into()).await.unwrap(), 5);
    let usage = tools.resource_manager().usage(&name("panics")).await.unwrap();
    assert_eq!(usage.memory_bytes, 0);
}

#[tokio::test]
async fn at_critical_executions_are_refused_once_a_raise_was_considered() {
    let agent = Agent::start(&[]);
    let tools = tools(&agent).await;
    let keeps = || {
        FunctionExecutor::new(|input: Value, execution: Execution| async move {
            execution
                .account()
                .track_memory_allocation(input.as_u64().unwrap_or(0))?;
            Ok(Value::Null)
        })
    };
    let id = name("keeps");
    tools.register_tool(Tool::new(id.clone()), keeps()).await.unwrap();
    tools.execute(&id, (99_u64 << 20).into()).await.unwrap();
    // Of a base of 100 MiB, that was critical, and is no more.
    tools.execute(&id, (300_u64 << 20).into()).await.unwrap();
    let refused = tools.execute(&id, (200_u64 << 20).into()).await;
    assert!(
        is_for_limits(&refused),
        "the executor was refused the memory: {refused:?}"
    );
    tools.execute(&id, (90_u64 << 20).into()).await.unwrap();
    // 489 of 500 MiB: there is nothing to raise.
    let account = tools.resource_manager().account(&id).unwrap();
    assert_eq!(account.status(), ResourceStatus::Critical);
    let refused = tools.execute(&id, 0.into()).await;
    assert!(is_for_limits(&refused), "{refused:?}");
    let last = tools.attempts(&id).unwrap().pop().unwrap();
    assert!(last.failure.unwrap().contains("Critical"));
    account.release_memory(400 << 20);
    tools.execute(&id, 0.into()).await.unwrap();

    let observed = name("observed");
    let tool = Tool {
        mode: Mode::Observe,
        ..Tool::new(observed.clone())
    };
    tools.register_tool(tool, keeps()).await.unwrap();
    tools.execute(&observed, (900_u64 << 20).into()).await.unwrap();
    tools.execute(&observed, 0.into()).await.unwrap();
    let twice = tools.register_tool(Tool::new(observed), keeps()).await.unwrap_err();
    assert!(matches!(twice, ToolError::AlreadyRegistered(_)), "{twice}");
}

/// Fails so many times, and counts what is asked of it.
struct Fails {
    times: AtomicU32,
    restarts: Arc<AtomicU32>,
}

impl ToolExecutor for Fails {
    async fn execute(&self, _: Value, _: Execution) -> Result<Value, ExecutorError> {
        let less = |times: u32| times.checked_sub(1);
        match self.times.fetch_update(SeqCst, SeqCst, less) {
            Ok(left) => Err(format!("{left} more").into()),
            Err(_) => Ok("done".into()),
        }
    }

    async fn restart(&self) -> Result<(), ExecutorError> {
        self.restarts.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_restarted_and_given_up_within_bounds() {
    let agent = Agent::start(&[]);
    let tools = tools(&agent).await;
    let restarts = Arc::new(AtomicU32::new(0));
    let recovery = Recovery {
        retries: 2,
        restarts: 1,
        unregister: true,
        backoff: Duration::from_millis(1),
    };
    for (tool, times, tried) in [
        ("once", 1, vec![Tried::Execute, Tried::Retry]),
        (
            "thrice",
            3,
            vec![Tried::Execute, Tried::Retry, Tried::Retry, Tried::Restart],
        ),
    ] {
        let executor = Fails {
            times: AtomicU32::new(times),
            restarts: restarts.clone(),
        };
        let id = name(tool);
        let tool = Tool {
            recovery,
            ..Tool::new(id.clone())
        };
        tools.register_tool(tool, executor).await.unwrap();
        assert_eq!(tools.execute(&id, Value::Null).await.unwrap(), "done");
        let attempts = tools.attempts(&id).unwrap();
        assert_eq!(attempts.iter().map(|attempt| attempt.what).collect::<Vec<_>>(), tried);
        assert!(attempts.iter().rev().skip(1).all(|attempt| attempt.failure.is_some()));
        assert_eq!(attempts.last().unwrap().failure, None);
    }
    assert_eq!(restarts.load(SeqCst), 1);
    let executor = Fails {
        times: AtomicU32::new(100),
        restarts: restarts.clone(),
    };
    let id = name("always");
    let tool = Tool {
        recovery,
        ..Tool::new(id.clone())
    };
    tools.register_tool(tool, executor).await.unwrap();
    let error = tools.execute(&id, Value::Null).await.unwrap_err();
    assert!(error.to_string().contains("97 more"), "the fourth try's: {error}");
    assert_eq!(
        restarts.load(SeqCst),
        3,
        "it is told to let go when it is unregistered, too"
    );
    assert!(matches!(tools.attempts(&id), Err(ToolError::NotRegistered(_))));
    agent.ended("always");
}

#[tokio::test]
async fn a_process_is_the_tools_from_its_first_instruction() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let tools = tools(&agent).await;
    let id = name("script");
    // It tells its cgroup, and uses CPU time.
    let script = "read -r input; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done
                  printf '{\"input\":%s,\"cgroup\":\"%s\"}' \"$input\" \"$(sed -n 's/^0:://p' /proc/$$/cgroup)\"";
    let executor = ProcessExecutor::new("sh").arg("-c").arg(script).require_agent();
    tools.register_tool(Tool::new(id.clone()), executor).await.unwrap();
    for round in 1..=2 {
        let said = tools.execute(&id, json!({ "n": round })).await.unwrap();
        assert_eq!(said["input"], json!({ "n": round }));
        let tool = agent.tool("script");
        let cgroup = said["cgroup"].as_str().unwrap();
        assert!(tool["cgroup"].as_str().unwrap().ends_with(cgroup), "{cgroup}: {tool}");
        // The shell, what it forks for `$(…)`, and what that may fork for `sed`.
        assert!(number(&tool["processes_total"]) >= 2 * round, "{tool}");
        assert_eq!(tool["process_count"], 0);
        assert_eq!(
            tool["ended_s"],
            Value::Null,
            "a tool of the library outlives its processes"
        );
        let ended = tool["operations"]["ended"].as_array().unwrap().last().unwrap();
        assert!(number(&ended["cpu_time_ns"]) > 1_000_000, "{tool}");
    }

    let fails = ProcessExecutor::new("sh").arg("-c").arg("echo sorry >&2; exit 3");
    tools.register_tool(Tool::new(name("fails")), fails).await.unwrap();
    let error = tools
        .execute(&name("fails"), Value::Null)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("exit status: 3") && error.contains("sorry"), "{error}");
    let missing = ProcessExecutor::new("/does/not/exist");
    tools.register_tool(Tool::new(name("missing")), missing).await.unwrap();
    let error = tools
        .execute(&name("missing"), Value::Null)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/does/not/exist") && error.contains("No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn an_execution_that_nobody_waits_for_is_over_with_its_process() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let tools = tools(&agent).await;
    let id = name("sleeps");
    let executor = ProcessExecutor::new("sleep").arg("60");
    tools.register_tool(Tool::new(id.clone()), executor).await.unwrap();
    let sleeping = tokio::spawn({
        let (tools, id) = (tools.clone(), id.clone());
        async move { tools.execute(&id, Value::Null).await }
    });
    let count = || agent.tool("sleeps")["process_count"].as_u64();
    tokio::task::spawn_blocking(|| ()).await.unwrap();
    while count() != Some(1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sleeping.abort();
    assert!(sleeping.await.unwrap_err().is_cancelled());
    while count() != Some(0) || agent.tool("sleeps")["operations"]["under_way"] != json!([]) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_its_agent_a_tool_works_untracked_unless_it_must_not() {
    let mut agent = Agent::start(&[]);
    let tools = tools(&agent).await;
    let (works, must) = (name("works"), name("must"));
    let executor = ProcessExecutor::new("echo").arg("works");
    tools
        .register_tool(Tool::new(works.clone()), executor.clone())
        .await
        .unwrap();
    tools
        .register_tool(Tool::new(must.clone()), executor.require_agent())
        .await
        .unwrap();
    assert_eq!(tools.execute(&must, Value::Null).await.unwrap(), "works\n");
    let output = run(&mut agent.client(&["cleanup", "must"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    agent.signal(Signal::KILL);
    until("it has ended", || agent.wait().is_none().then_some(()));
    assert_eq!(tools.execute(&works, Value::Null).await.unwrap(), "works\n");
    let error = tools.execute(&must, Value::Null).await.unwrap_err().to_string();
    assert!(error.contains("run echo"), "{error}");
    // The next one puts away what it has left.
    agent.start_again(&[]);
}

/// The server of these tests.
fn server() -> McpExecutor {
    McpExecutor::new(binary("mcp_server")).require_agent()
}

fn call(tool: &str, n: u64) -> Value {
    json!({ "name": tool, "arguments": { "n": n } })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

/// What a server was not able to do.
fn mcp_error(error: &ToolError) -> &McpError {
    match error {
        ToolError::Failed { source, .. } => source.downcast_ref().unwrap(),
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_mcp_server_is_kept_and_its_calls_are_operations_by_name() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let tools = tools(&agent).await;
    let id = name("server");
    tools.register_tool(Tool::new(id.clone()), server()).await.unwrap();
    let first = tools.execute(&id, call("pid", 0)).await.unwrap();
    let (burnt, slept) = tokio::join!(
        tools.execute(&id, call("burn", 200)),
        tools.execute(&id, call("sleep", 50))
    );
    assert_eq!((text(&burnt.unwrap()), text(&slept.unwrap())), ("burnt", "slept"));
    assert_eq!(
        tools.execute(&id, call("pid", 0)).await.unwrap(),
        first,
        "it is the same process"
    );
    let tool = agent.tool("server");
    assert_eq!(
        (&tool["process_count"], &tool["orphans"]),
        (&json!(1), &json!([])),
        "{tool}"
    );
    let ended = tool["operations"]["ended"].as_array().unwrap();
    let names: Vec<_> = ended.iter().map(|ended| ended["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pid", "sleep", "burn", "pid"], "{tool}");
    // Half of what it burnt while both went on is the other's.
    assert!(number(&ended[2]["cpu_time_ns"]) >= 100_000_000, "{tool}");

    // Who does not wait any more has its call given up: that one would go on for ever.
    let spinning = tokio::time::timeout(Duration::from_millis(300), tools.execute(&id, call("spin", 0)));
    assert!(spinning.await.is_err());
    let share = || agent.tool("server")["cpu_share"].as_f64().unwrap_or(1.0);
    while share() > 0.2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(agent.tool("server")["operations"]["under_way"], json!([]));

    let error = tools.execute(&id, call("fail", 0)).await.unwrap_err();
    assert!(
        matches!(mcp_error(&error), McpError::Failed { said, .. } if said == "fail"),
        "{error}"
    );
    let error = tools.execute(&id, "echo".into()).await.unwrap_err();
    assert!(error.to_string().contains(r#"{"name": "echo""#), "{error}");
    let error = tools.execute(&id, call("exit", 3)).await.unwrap_err();
    assert!(
        matches!(mcp_error(&error), McpError::Ended { status: Some(status), .. } if status.code() == Some(3)),
        "{error}"
    );
    let next = tools.execute(&id, call("pid", 0)).await.unwrap();
    assert_ne!(next, first, "it is another process");
    tools.unregister_tool(&id).await.unwrap();
    agent.ended("server");
}

#[tokio::test]
async fn what_is_no_mcp_server_says_so() {
    let agent = Agent::start(&[]);
    let tools = tools(&agent).await;
    for (tool, program, expected) in [
        ("echo", "echo", "does not answer as an MCP server"),
        ("none", "/does/not/exist", "No such file"),
    ] {
        let id = name(tool);
        tools
            .register_tool(Tool::new(id.clone()), McpExecutor::new(program))
            .await
            .unwrap();
        let error = tools.execute(&id, call("echo", 0)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn in_enforce_a_server_that_was_ended_for_its_limits_is_begun_anew() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let tools = tools(&agent).await;
    let id = name("server");
    let tool = Tool::new(id.clone());
    let cpu = |limits: ResourceLimits| ResourceLimits {
        max_cpu_time_ms: 1000,
        ..limits
    };
    let tool = Tool {
        base_limits: cpu(tool.base_limits),
        max_limits: cpu(tool.max_limits),
        mode: Mode::Enforce,
        ..tool
    };
    tools.register_tool(tool, server()).await.unwrap();
    let limits = LimitsAsked {
        grace_ms: Some(300),
        ..LimitsAsked::default()
    };
    tools.resource_manager().update_limits(&id, limits).await.unwrap();
    let first = tools.execute(&id, call("pid", 0)).await.unwrap();
    let raged = tools.execute(&id, call("rage", 0)).await;
    assert!(is_for_limits(&raged), "{raged:?}");
    let why = tools.attempts(&id).unwrap().pop().unwrap().failure.unwrap();
    assert!(why.contains("at its limit of cpu"), "{why}");
    let next = tools.execute(&id, call("pid", 0)).await.unwrap();
    assert_ne!(next, first);
    let tool = agent.tool("server");
    assert!(number(&tool["cpu_time_ns"]) < 1_000_000_000, "{tool}");
}
