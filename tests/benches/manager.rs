//! What the library costs its program: records and statuses a second on each core, by one thread and by one a core, over
//! tools of their own and over the same one, while the agent is told. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use resmgr::{
    manager::{Account, EnhancedResourceManager},
    model::{LimitsAsked, Mode, OperationKind, ToolName},
};
use resmgr_tests::Agent;

/// How long each is measured, and how many calls are made between two looks at the clock.
const TIME: Duration = Duration::from_secs(1);
const CALLS: u64 = 1000;
/// Tools of the program, of which each thread uses its own.
const TOOLS: usize = 1000;

/// One call of a tool; the number counts on.
type Call = fn(&EnhancedResourceManager, &ToolName, &Account, u64);

const CALLED: [(&str, Call); 7] = [
    ("record: memory, by name", |manager, tool, _, n| {
        if n.is_multiple_of(2) {
            manager.track_memory_allocation(tool, 4096).unwrap();
        } else {
            manager.release_memory(tool, 4096).unwrap();
        }
    }),
    ("record: CPU time, by name", |manager, tool, _, _| {
        manager.track_cpu_time(tool, Duration::from_nanos(10)).unwrap();
    }),
    ("record: a descriptor, by name", |manager, tool, _, n| {
        if n.is_multiple_of(2) {
            manager.track_file_handle(tool, 3).unwrap();
        } else {
            manager.release_file_handle(tool, 3).unwrap();
        }
    }),
    ("status, by name", |manager, tool, _, _| {
        black_box(manager.status(tool).unwrap());
    }),
    ("record: memory, by account", |_, _, account, n| {
        if n.is_multiple_of(2) {
            account.track_memory_allocation(4096).unwrap();
        } else {
            account.release_memory(4096);
        }
    }),
    ("record: CPU time, by account", |_, _, account, _| {
        account.track_cpu_time(Duration::from_nanos(10)).unwrap();
    }),
    ("status, by account", |_, _, account, _| {
        black_box(account.status());
    }),
];

/// Calls a second of each of so many threads, each over its own tool or all over one.
fn measure(manager: &EnhancedResourceManager, tools: &[ToolName], threads: usize, apart: bool, call: Call) -> f64 {
    let together = Barrier::new(threads);
    let each = |thread: usize| {
        let tool = &tools[if apart { thread * 7 } else { 0 }];
        let account = manager.account(tool).unwrap();
        together.wait();
        let began = Instant::now();
        let mut calls = 0;
        while began.elapsed() < TIME {
            for n in 0..CALLS {
                call(manager, tool, &account, n);
            }
            calls += CALLS;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is printed by four digits")]
        let rate = calls as f64 / began.elapsed().as_secs_f64();
        rate
    };
    thread::scope(|scope| {
        let each = &each;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || each(thread))).collect();
        let rates = running.into_iter().map(|running| running.join().unwrap());
        rates.fold(f64::INFINITY, f64::min)
    })
}

fn main() {
    let agent = Agent::start(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let tools: Vec<ToolName> = (0..TOOLS).map(|n| format!("tool-{n}").parse().unwrap()).collect();
    let observed = LimitsAsked {
        mode: Some(Mode::Observe),
        ..LimitsAsked::default()
    };
    let manager = runtime.block_on(async {
        let manager = EnhancedResourceManager::connect(agent.socket()).await.unwrap();
        for tool in &tools {
            let begun = manager.initialize_tool_with(tool, observed, OperationKind::Run);
            begun.await.unwrap();
        }
        manager
    });
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("millions a second of each thread, over {TOOLS} tools; aim: 1 and more a core");
    println!(
        "{:<34} {:>10} {:>14} {:>14}",
        "",
        "1 thread",
        format!("{cores}, apart"),
        format!("{cores}, on one")
    );
    for (what, call) in CALLED {
        let million = |threads, apart| measure(&manager, &tools, threads, apart, call) / 1e6;
        println!(
            "{what:<34} {:>10.2} {:>14.2} {:>14.2}",
            million(1, true),
            million(cores, true),
            million(cores, false)
        );
    }
    let operations = runtime.block_on(operations(&manager));
    println!("operations begun and ended, one after another: {operations:.0} a second");
}

/// Operations a second of a tool, each told to the agent and answered.
async fn operations(manager: &EnhancedResourceManager) -> f64 {
    let tool: ToolName = "operated".parse().unwrap();
    let begun = manager.initialize_tool_with(&tool, LimitsAsked::default(), OperationKind::Api);
    begun.await.unwrap();
    let (began, mut count) = (Instant::now(), 0_u32);
    while began.elapsed() < TIME {
        let operation = manager.begin_operation(&tool, "bench").await.unwrap();
        operation.end().await.unwrap();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}
