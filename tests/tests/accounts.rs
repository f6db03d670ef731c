//! 64 tasks over 1,000 tools of one program: no update is lost, nothing locks up, and the agent has it all in the end. For
//! some seconds; with `RESMGR_TEST_FULL` for a minute.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use resmgr::{
    manager::EnhancedResourceManager,
    model::{LimitsAsked, Mode, OperationKind, ToolName},
};
use resmgr_tests::{Agent, Random, number, patience, seed};

const TASKS: usize = 64;
const TOOLS: usize = 1000;

/// What a task has told of a tool, in the end.
#[derive(Clone, Copy, Default)]
struct Sum {
    memory_bytes: u64,
    cpu_us: u64,
}

fn index(random: &mut Random) -> usize {
    usize::try_from(random.below(1000)).unwrap() % TOOLS
}

/// Tells something of a tool, or asks how it stands.
fn tell(manager: &EnhancedResourceManager, tool: &ToolName, task: usize, sum: &mut Sum, random: &mut Random) {
    match random.below(5) {
        0 => {
            manager.release_memory(tool, sum.memory_bytes / 2).unwrap();
            sum.memory_bytes -= sum.memory_bytes / 2;
        }
        1 => {
            let us = u64::from(random.below(50));
            manager.track_cpu_time(tool, Duration::from_micros(us)).unwrap();
            sum.cpu_us += us;
        }
        2 => {
            // Each task has numbers of its own: twice the same is once.
            let number = u32::try_from(task).unwrap();
            manager.track_file_handle(tool, number).unwrap();
            manager.track_file_handle(tool, number).unwrap();
            assert!(manager.release_file_handle(tool, number).unwrap());
            assert!(!manager.release_file_handle(tool, number).unwrap());
        }
        3 => {
            let _ = manager.status(tool).unwrap();
        }
        _ => {
            let bytes = u64::from(random.below(1 << 16));
            manager.track_memory_allocation(tool, bytes).unwrap();
            sum.memory_bytes += bytes;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_over_many_tools_lose_nothing() {
    let agent = Agent::start(&[]);
    let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
    let tools: Arc<Vec<ToolName>> = Arc::new((0..TOOLS).map(|n| format!("tool-{n}").parse().unwrap()).collect());
    let observed = LimitsAsked {
        mode: Some(Mode::Observe),
        ..LimitsAsked::default()
    };
    for tool in tools.iter() {
        manager
            .initialize_tool_with(tool, observed, OperationKind::Run)
            .await
            .unwrap();
    }
    let seconds = if env::var_os("RESMGR_TEST_FULL").is_some() {
        60
    } else {
        3
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let seed = seed();
    println!("RESMGR_TEST_SEED={seed}");
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (manager, tools) = (manager.clone(), tools.clone());
            let mut random = Random::new(seed, [u32::try_from(task).unwrap(), 0, 0]);
            tokio::spawn(async move {
                let mut sums = vec![Sum::default(); TOOLS];
                let mut told = 0_u64;
                while Instant::now() < until {
                    for _ in 0..256 {
                        let n = index(&mut random);
                        tell(&manager, &tools[n], task, &mut sums[n], &mut random);
                        told += 1;
                    }
                    if random.below(64) == 0 {
                        // One that asks the agent meanwhile.
                        let n = index(&mut random);
                        manager.limits(&tools[n]).await.unwrap();
                    }
                    tokio::task::yield_now().await;
                }
                (sums, told)
            })
        })
        .collect();
    let mut sums = vec![Sum::default(); TOOLS];
    let mut told = 0;
    for task in tasks {
        let (of_task, count) = tokio::time::timeout(patience(seconds + 30), task)
            .await
            .unwrap()
            .unwrap();
        told += count;
        for (sum, more) in sums.iter_mut().zip(of_task) {
            sum.memory_bytes += more.memory_bytes;
            sum.cpu_us += more.cpu_us;
        }
    }
    println!("{told} told in {seconds} s");
    // The last of it is told with the next batch.
    let deadline = Instant::now() + patience(10);
    loop {
        let status = agent.status(&[]);
        let wrong = status["tools"].as_array().unwrap().iter().find(|tool| {
            let n: usize = tool["name"].as_str().unwrap()["tool-".len()..].parse().unwrap();
            let (sum, usage) = (&sums[n], &tool["usage"]);
            number(&usage["memory_bytes"]) != sum.memory_bytes
                || number(&tool["cpu_time_ns"]) != sum.cpu_us * 1000
                || usage["file_handles"]
                    .as_array()
                    .is_some_and(|handles| !handles.is_empty())
        });
        let Some(wrong) = wrong else {
            assert_eq!(status["tools"].as_array().unwrap().len(), TOOLS);
            break;
        };
        assert!(Instant::now() < deadline, "{wrong}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
