//! The library on the live kernel: embedded, as a client, as an ordinary user's; what becomes of its tools.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, path::Path, process::Command, time::Duration};

use resmgr::{
    agent::AgentOptions,
    config::Config,
    manager::{EnhancedResourceManager, ResourceError},
    model::{LimitSpan, LimitsAsked, Mode, OperationKind, Resource, ResourceStatus, ToolLimits, ToolName},
};
use resmgr_tests::{Agent, binary, number, patience, run, unprivileged};
use rustix::process::Signal;
use serde_json::Value;

/// Waits for a future to bring what it is asked for, as [`until`] does.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut there: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + patience(30);
    loop {
        if let Some(found) = there().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "in vain waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn name(name: &str) -> ToolName {
    name.parse().unwrap()
}

async fn initialize(manager: &EnhancedResourceManager, tool: &ToolName) {
    let light = ToolLimits::LIGHT;
    manager
        .initialize_tool(tool, light.bases(), light.maxima())
        .await
        .unwrap();
}

/// The tools of a name, as the command line shows them.
fn shown(socket: &Path, tool: &str) -> Vec<Value> {
    let mut status = Command::new(binary("resmgr"));
    let output = run(status.arg("--socket").arg(socket).args(["status", tool, "--json"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let mut report: Value = serde_json::from_str(&output.stdout).unwrap();
    report["tools"].as_array_mut().unwrap().split_off(0)
}

/// Tells known numbers, and compares what the library says with what the command line shows.
async fn shows_the_same(manager: &EnhancedResourceManager) {
    let tool = name("same");
    initialize(manager, &tool).await;
    manager.track_memory_allocation(&tool, 30 << 20).unwrap();
    manager.release_memory(&tool, 10 << 20).unwrap();
    manager.track_cpu_time(&tool, Duration::from_millis(1250)).unwrap();
    for handle in 3..1503 {
        // Beyond the maximum of 200 each is refused.
        assert_eq!(
            manager.track_file_handle(&tool, handle).is_ok(),
            handle < 203,
            "{handle}"
        );
    }
    for handle in 13..203 {
        assert!(manager.release_file_handle(&tool, handle).unwrap());
    }
    for connection in [7, 8, 7] {
        manager.track_network_connection(&tool, connection).unwrap();
    }
    let usage = manager.usage(&tool).await.unwrap();
    assert_eq!(usage.memory_bytes, 20 << 20);
    assert_eq!(usage.cpu_time_ms, 1250);
    assert_eq!(usage.file_handles, (3..13).collect::<Vec<u32>>());
    assert_eq!(usage.network_connections, [7, 8]);

    let shown = shown(manager.socket(), "same");
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(shown[0]["usage"], serde_json::to_value(&usage).unwrap());
    assert_eq!(shown[0]["origin"], "api");
    assert_eq!(shown[0]["enforcement"]["mode"], "enforce");
    let limits = manager.limits(&tool).await.unwrap();
    assert_eq!(shown[0]["limits"], serde_json::to_value(limits).unwrap());
    assert_eq!(shown[0]["status"], "normal");
    assert_eq!(manager.status(&tool).unwrap(), ResourceStatus::Normal);
    assert_eq!(number(&shown[0]["peak"]["memory_bytes"]), 30 << 20);
    assert_eq!(number(&shown[0]["peak"]["open_fds"]), 200);

    // It is learned from like any other.
    let pattern = eventually("two samples", || async {
        manager.pattern(&tool, Resource::Memory).await.unwrap()
    });
    let average = pattern.await.average_usage;
    assert!((average - f64::from(20 << 20)).abs() < 1.0, "{average}");
    assert!(!manager.predict_usage(&tool, Resource::Memory).await.unwrap().is_empty());
    let history = manager.history(&tool).await.unwrap();
    assert!(!history.rows.is_empty(), "{history:?}");

    manager.reset_tool(&tool).await.unwrap();
    assert_eq!(manager.usage(&tool).await.unwrap().memory_bytes, 0);
    manager.cleanup_tool(&tool).await.unwrap();
    assert!(matches!(manager.status(&tool), Err(ResourceError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_the_same_numbers_as_the_command_line() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    shows_the_same(&manager).await;
}

#[tokio::test]
async fn an_embedded_agent_shows_the_same_and_leaves_nothing() {
    let folder = Agent::folder();
    let config = Config {
        sweep_interval: Duration::from_millis(100),
        ..Config::default()
    };
    let options = AgentOptions::embedded(folder.path(), config);
    let leaves = options.cgroup_root.clone();
    let manager = EnhancedResourceManager::embedded(options).await.unwrap();
    shows_the_same(&manager).await;
    manager.close().await.unwrap();
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    assert!(leaves.is_none_or(|leaves| !leaves.exists()));
}

#[tokio::test]
async fn an_embedded_agent_that_cannot_start_says_why() {
    let options = AgentOptions::embedded(Path::new("/dev/null"), Config::default());
    let error = EnhancedResourceManager::embedded(options).await.unwrap_err();
    assert!(error.to_string().contains("/dev/null"), "{error}");
    let error = EnhancedResourceManager::connect("/dev/null/resmgr.sock")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no agent answers"), "{error}");
}

/// Where the one that runs as an ordinary user finds its agent.
const SOCKET: &str = "RESMGR_TEST_LIBRARY_SOCKET";

/// The ordinary user's part of the test below; by itself it has nothing to do.
#[tokio::test]
async fn ordinary_users_part() {
    let Some(socket) = env::var_os(SOCKET) else { return };
    let manager = EnhancedResourceManager::connect(socket).await.unwrap();
    let tool = name("theirs");
    initialize(&manager, &tool).await;
    manager.track_memory_allocation(&tool, 5 << 20).unwrap();
    assert_eq!(manager.usage(&tool).await.unwrap().memory_bytes, 5 << 20);
    assert!(shown(manager.socket(), "roots").is_empty());
    // It ends without a word: its tool is left.
}

#[tokio::test]
async fn an_ordinary_user_has_their_own_tools_which_end_with_their_process() {
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    initialize(&manager, &name("roots")).await;
    let mut part = Command::new(env::current_exe().unwrap());
    part.args(["--exact", "ordinary_users_part"])
        .env(SOCKET, agent.socket());
    let output = run(unprivileged(&mut part));
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);
    let tool = agent.ended("theirs");
    assert_eq!(number(&tool["uid"]), 65_534);
    assert_eq!(number(&tool["peak"]["memory_bytes"]), 5 << 20);
    assert_eq!(shown(&agent.socket(), "roots")[0]["ended_s"], Value::Null);
}

#[tokio::test]
async fn what_is_told_crosses_lines_raises_limits_and_is_refused_beyond_the_maximum() {
    let agent = Agent::start(&["--sweep-interval", "200ms"]);
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    let tool = name("grows");
    initialize(&manager, &tool).await;
    let mut changes = manager.status_changes();
    manager.track_memory_allocation(&tool, 90 << 20).unwrap();
    assert_eq!(manager.status(&tool).unwrap(), ResourceStatus::Warning, "of 100 MiB");
    let limits = manager.adjust_limits(&tool).await.unwrap();
    // A quarter more than is used is 80 % of it.
    assert!(limits.memory.current >= 140 << 20, "{limits:?}");
    assert_eq!(manager.status(&tool).unwrap(), ResourceStatus::Normal);
    let alert = agent.alert("grows", |alert| alert["level"] == "warning");
    assert_eq!(alert["kind"]["limit"], "memory", "{alert}");

    manager.track_memory_allocation(&tool, 400 << 20).unwrap();
    let change = tokio::time::timeout(patience(10), changes.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (&change.tool, change.to),
        (&tool, ResourceStatus::Critical),
        "490 of 500 MiB"
    );
    let error = manager.track_memory_allocation(&tool, 11 << 20).unwrap_err();
    assert!(
        matches!(error, ResourceError::LimitExceeded { resource: Resource::Memory, limit, .. } if limit == 500 << 20),
        "{error}"
    );
    let raised = LimitsAsked {
        memory: Some(LimitSpan {
            base: None,
            max: 600 << 20,
        }),
        ..LimitsAsked::default()
    };
    manager.update_limits(&tool, raised).await.unwrap();
    manager.track_memory_allocation(&tool, 11 << 20).unwrap();

    let observed = LimitsAsked {
        mode: Some(Mode::Observe),
        ..LimitsAsked::default()
    };
    manager.update_limits(&tool, observed).await.unwrap();
    manager.track_memory_allocation(&tool, 1 << 30).unwrap();
    manager.disable_tracking(&tool).unwrap();
    manager.track_memory_allocation(&tool, 1 << 30).unwrap();
    assert_eq!(manager.usage(&tool).await.unwrap().memory_bytes, (501 + 1024) << 20);
    manager.enable_tracking(&tool).unwrap();
}

#[tokio::test]
async fn operations_of_what_is_told_are_counted_one_by_one() {
    let agent = Agent::start(&[]);
    let (manager, tool) = operating(&agent, 2000).await;
    manager.track_cpu_time(&tool, Duration::from_secs(50)).unwrap();
    let one = manager.begin_operation(&tool, "one").await.unwrap();
    manager.track_cpu_time(&tool, Duration::from_millis(600)).unwrap();
    let used = one.end().await.unwrap();
    assert_eq!((used.cpu_time_ns, used.overlapped), (600_000_000, false));

    let over = manager.begin_operation(&tool, "over").await.unwrap();
    manager.track_cpu_time(&tool, Duration::from_secs(3)).unwrap();
    let refused = manager.begin_operation(&tool, "refused").await.unwrap_err();
    assert!(refused.to_string().contains("cpu"), "{refused}");
    // A guard that is dropped, on another thread, has ended its operation.
    std::thread::spawn(move || drop(over)).join().unwrap();
    eventually("the next one may begin", || async {
        manager.begin_operation(&tool, "next").await.ok()
    })
    .await
    .end()
    .await
    .unwrap();
}

async fn operating(agent: &Agent, max_ms: u64) -> (EnhancedResourceManager, ToolName) {
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    let tool = name("operates");
    let limits = cpu_limits(max_ms);
    manager
        .initialize_tool_with(&tool, limits, OperationKind::Api)
        .await
        .unwrap();
    (manager, tool)
}

fn cpu_limits(max_ms: u64) -> LimitsAsked {
    LimitsAsked {
        cpu: Some(LimitSpan {
            base: Some(max_ms),
            max: max_ms,
        }),
        ..LimitsAsked::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_gone_has_ended_its_operation_however_it_went() {
    let agent = Agent::start(&[]);
    let (manager, tool) = operating(&agent, 60_000).await;
    let under_way = || shown(&agent.socket(), "operates")[0]["operations"]["under_way"].clone();
    let ended = |what| async move {
        eventually(what, || async {
            under_way().as_array().unwrap().is_empty().then_some(())
        })
        .await;
    };

    let guard = manager.begin_operation(&tool, "panics").await.unwrap();
    assert_eq!(under_way()[0]["name"], "panics");
    let panics = std::thread::spawn(move || {
        let _guard = guard;
        panic!("as it was asked to")
    });
    assert!(panics.join().is_err());
    ended("it ends with a panic").await;

    let guard = manager.begin_operation(&tool, "cancelled").await.unwrap();
    let cancelled = tokio::spawn(async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    assert_eq!(under_way()[0]["name"], "cancelled");
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    ended("it ends with a task that is cancelled").await;

    // Whoever asks for one, or for its end, may be cancelled before there is an answer.
    for _ in 0..50 {
        let begins = manager.begin_operation(&tool, "hasty");
        assert!(tokio::time::timeout(Duration::ZERO, begins).await.is_err());
        let guard = manager.begin_operation(&tool, "impatient").await.unwrap();
        let _ = tokio::time::timeout(Duration::ZERO, guard.end()).await;
    }
    let last = manager.begin_operation(&tool, "last").await.unwrap();
    // What is asked of the agent is asked one after another.
    eventually("they end", || async {
        (under_way().as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    last.end().await.unwrap();
    let total = || shown(&agent.socket(), "operates")[0]["operations"]["ended_total"].clone();
    assert_eq!(total(), 2 + 50 * 2 + 1);
}

#[tokio::test]
async fn nested_operations_share_what_both_use_and_heed_limits_that_change() {
    let agent = Agent::start(&[]);
    let (manager, tool) = operating(&agent, 2000).await;
    let outer = manager.begin_operation(&tool, "outer").await.unwrap();
    manager.track_cpu_time(&tool, Duration::from_millis(100)).unwrap();
    let inner = manager.begin_operation(&tool, "inner").await.unwrap();
    manager.track_cpu_time(&tool, Duration::from_millis(200)).unwrap();
    let used = inner.end().await.unwrap();
    assert_eq!((used.cpu_time_ns, used.overlapped), (100_000_000, true));
    manager.track_cpu_time(&tool, Duration::from_millis(1300)).unwrap();

    // 1500 ms are 75 % of what it may use.
    manager
        .begin_operation(&tool, "fits")
        .await
        .unwrap()
        .end()
        .await
        .unwrap();
    manager.update_limits(&tool, cpu_limits(1550)).await.unwrap();
    let refused = manager.begin_operation(&tool, "refused").await.unwrap_err();
    assert!(refused.to_string().contains("of 1.55s"), "{refused}");
    manager.update_limits(&tool, cpu_limits(60_000)).await.unwrap();
    manager
        .begin_operation(&tool, "fits again")
        .await
        .unwrap()
        .end()
        .await
        .unwrap();
    let used = outer.end().await.unwrap();
    assert_eq!((used.cpu_time_ns, used.overlapped), (1_500_000_000, true));
}

/// Tells what is there again once an agent answers that knows less.
async fn outlives(agent: &mut Agent, is_adopted: bool) {
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    let tool = name("outlives");
    initialize(&manager, &tool).await;
    manager.track_memory_allocation(&tool, 5 << 20).unwrap();
    manager.track_file_handle(&tool, 3).unwrap();
    manager.usage(&tool).await.unwrap();
    let before = manager.account(&tool).unwrap().instance();
    agent.signal(Signal::KILL);
    agent.wait();
    // What is told while nobody listens is counted.
    manager.track_memory_allocation(&tool, 2 << 20).unwrap();
    assert!(manager.usage(&tool).await.is_err());
    agent.start_again(&[]);
    let usage = eventually("the agent is found", || async { manager.usage(&tool).await.ok() }).await;
    assert_eq!((usage.memory_bytes, usage.file_handles), (7 << 20, vec![3]));
    let shown = shown(&agent.socket(), "outlives");
    assert_eq!(shown.len(), 1, "{shown:?}");
    let account = manager.account(&tool).unwrap();
    assert_eq!(number(&shown[0]["instance"]), account.instance());
    if is_adopted {
        assert_eq!(account.instance(), before);
    }
}

#[tokio::test]
async fn a_tool_outlives_an_agent_that_is_killed() {
    outlives(&mut Agent::start(&[]), false).await;
    outlives(&mut Agent::start_pinned(&[]), true).await;
}

#[tokio::test]
async fn what_somebody_else_has_ended_has_ended() {
    let agent = Agent::start(&[]);
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    let tool = name("ended");
    initialize(&manager, &tool).await;
    manager.usage(&tool).await.unwrap();
    let output = run(&mut agent.client(&["cleanup", "ended"]));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    eventually("it is told", || async {
        manager.track_memory_allocation(&tool, 1).err()
    })
    .await;
    assert!(matches!(manager.usage(&tool).await, Err(ResourceError::Ended(_))));
    assert!(matches!(
        manager
            .initialize_tool(&tool, ToolLimits::LIGHT.bases(), ToolLimits::LIGHT.maxima())
            .await,
        Err(ResourceError::Known(_))
    ));
    manager.cleanup_tool(&tool).await.unwrap();
    initialize(&manager, &tool).await;
}
