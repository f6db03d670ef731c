//! A host of three tools: a function, a program, and one that is refused. `cargo run --example tool_host [SOCKET]`: as a client
//! of the agent at a socket, or as root with an agent of its own.

use std::{env, error::Error};

use resmgr::{
    agent::AgentOptions,
    config::Config,
    manager::EnhancedResourceManager,
    tool::{FunctionExecutor, ProcessExecutor, Tool, ToolManager},
};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("tool-host-{}", std::process::id()));
    let manager = match env::args_os().nth(1) {
        Some(socket) => EnhancedResourceManager::connect(socket).await?,
        None => EnhancedResourceManager::embedded(AgentOptions::embedded(&folder, Config::default())).await?,
    };
    let tools = ToolManager::new(manager.clone());

    let sum = FunctionExecutor::new(|input: Value, execution| async move {
        let numbers = input.as_array().ok_or("write a list of numbers")?;
        execution.track_memory_allocation(8 * numbers.len() as u64)?;
        Ok(json!(numbers.iter().filter_map(Value::as_i64).sum::<i64>()))
    });
    tools.register_tool(Tool::new("sum".parse()?), sum).await?;
    println!("sum:    {}", tools.execute(&"sum".parse()?, json!([1, 2, 3])).await?);

    let kernel = ProcessExecutor::new("uname").arg("--kernel-release");
    tools.register_tool(Tool::new("kernel".parse()?), kernel).await?;
    println!("kernel: {}", tools.execute(&"kernel".parse()?, Value::Null).await?);

    // It keeps what it takes, until it is refused more than its maximum of 500 MiB.
    let hoard = FunctionExecutor::new(|_, execution| async move {
        execution.account().track_memory_allocation(200 << 20)?;
        Ok(json!(execution.account().status()))
    });
    tools.register_tool(Tool::new("hoard".parse()?), hoard).await?;
    for _ in 0..3 {
        match tools.execute(&"hoard".parse()?, Value::Null).await {
            Ok(status) => println!("hoard:  {status}"),
            Err(error) => println!("hoard:  {error}"),
        }
    }
    for tool in ["sum", "kernel", "hoard"] {
        let report = manager.report(&tool.parse()?).await?;
        let (memory, cpu) = (report.usage.memory_bytes, report.usage.cpu_time_ms);
        println!(
            "{tool}: {memory} bytes, {cpu} ms, {} processes ever",
            report.processes_total
        );
        tools.unregister_tool(&tool.parse()?).await?;
    }
    drop((tools, manager));
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
