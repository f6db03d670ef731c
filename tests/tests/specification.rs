//! The specification's own code against this library: its structs, its enum, its fragments, its signatures.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{future::Future, sync::Arc};

use chrono::{DateTime, Utc};
use resmgr::{
    manager::{AdaptiveResourceManager, EnhancedResourceManager, ResourceError, ResourceTracker},
    model::{PatternKind, ResourceLimits, ResourcePattern, ResourceStatus, ResourceUsage, ToolLimits, ToolName},
    tool::{Tool, ToolError, ToolExecutor, ToolManager},
};

#[test]
fn its_structs_have_its_fields_of_its_types() {
    let usage = ResourceUsage {
        memory_bytes: 1_usize,
        cpu_time_ms: 2_u64,
        file_handles: Vec::<u32>::new(),
        network_connections: Vec::<u32>::new(),
        ..ResourceUsage::default()
    };
    assert_eq!(usage.memory_bytes, 1);
    let limits = ResourceLimits {
        max_memory_bytes: 1_usize,
        max_cpu_time_ms: 2_u64,
        max_file_handles: 3_usize,
        max_network_connections: 4_usize,
    };
    assert_eq!(limits.max_cpu_time_ms, 2);
    let pattern = ResourcePattern {
        average_usage: 1_f64,
        trend: 2_f64,
        seasonality: None::<Vec<f64>>,
        last_update: DateTime::<Utc>::UNIX_EPOCH,
        kind: PatternKind::Steady,
        confidence: 0.0,
        significance: 0.0,
        period_s: None,
    };
    assert!(pattern.seasonality.is_none());
}

#[test]
fn its_limits_are_the_ones_that_a_tool_has() {
    let (base, max) = (ToolLimits::LIGHT.bases(), ToolLimits::LIGHT.maxima());
    let all = |limits: ResourceLimits| {
        (
            limits.max_memory_bytes >> 20,
            limits.max_cpu_time_ms / 1000,
            limits.max_file_handles,
            limits.max_network_connections,
        )
    };
    assert_eq!(all(base), (100, 30, 50, 10));
    assert_eq!(all(max), (500, 120, 200, 50));
    let tool = Tool::new("tool".parse().unwrap());
    assert_eq!((tool.base_limits, tool.max_limits), (base, max));
}

/// The fragment of its section on errors.
fn resource_exhaustion(status: ResourceStatus) -> Result<(), ToolError> {
    if status == ResourceStatus::Critical {
        return Err(ToolError::ExecutionFailed("Resource limits exceeded".to_string()));
    }
    Ok(())
}

#[test]
fn its_statuses_are_there_and_its_comparison_holds() {
    for status in [ResourceStatus::Normal, ResourceStatus::Warning] {
        resource_exhaustion(status).unwrap();
    }
    let error = resource_exhaustion(ResourceStatus::Critical).unwrap_err();
    assert_eq!(error.to_string(), "Resource limits exceeded");
    // Its thresholds name one more, which is above.
    assert!(ResourceStatus::Emergency > ResourceStatus::Critical);
    let (of, limit) = (ResourceStatus::of, 1000);
    assert_eq!(
        [of(799, limit), of(800, limit)],
        [ResourceStatus::Normal, ResourceStatus::Warning]
    );
    assert_eq!(
        [of(949, limit), of(950, limit)],
        [ResourceStatus::Warning, ResourceStatus::Critical]
    );
    assert_eq!(of(1000, limit), ResourceStatus::Emergency);
}

/// Its fragment of a tool manager, over this library's.
struct TheirManager {
    resource_manager: EnhancedResourceManager,
}

impl TheirManager {
    async fn register_tool(&self, tool: Tool, _executor: impl ToolExecutor + 'static) -> Result<(), ToolError> {
        let (base_limits, max_limits) = (tool.base_limits, tool.max_limits);
        // Initialize resource management
        self.resource_manager
            .initialize_tool(&tool.id, base_limits, max_limits)
            .await?;
        Ok(())
    }
}

/// Compiles where the methods have its signatures: what they take, in its order, and what they return.
async fn has_its_signatures<E: ToolExecutor + 'static>(
    manager: &EnhancedResourceManager,
    tools: &ToolManager,
    tool: Tool,
    executor: E,
) {
    let id: &ToolName = &tool.id.clone();
    let (base, max): (ResourceLimits, ResourceLimits) = (tool.base_limits, tool.max_limits);
    let initialized: Result<(), ResourceError> = manager.initialize_tool(id, base, max).await;
    initialized.unwrap();
    let registered: Result<(), ToolError> = tools.register_tool(tool, executor).await;
    registered.unwrap();
}

fn is_shared<T: Clone + Send + Sync + 'static>() {}
fn is_sent<T: Send>(_: impl Future<Output = T> + Send) {}

#[test]
fn everything_may_be_shared_between_tasks() {
    is_shared::<EnhancedResourceManager>();
    is_shared::<ToolManager>();
    is_shared::<ResourceTracker>();
    is_shared::<Arc<AdaptiveResourceManager>>();
    // Never polled: that it compiles is the claim.
    let ask = |manager: &'static EnhancedResourceManager, tools: &'static ToolManager, id: &'static ToolName| {
        is_sent(manager.usage(id));
        is_sent(manager.history(id));
        is_sent(tools.execute(id, serde_json::Value::Null));
        let echo = resmgr::tool::FunctionExecutor::new(|input, _| async move { Ok(input) });
        is_sent(has_its_signatures(manager, tools, Tool::new(id.clone()), echo));
        let theirs = TheirManager {
            resource_manager: manager.clone(),
        };
        let echo = resmgr::tool::FunctionExecutor::new(|input, _| async move { Ok(input) });
        is_sent(async move { theirs.register_tool(Tool::new(id.clone()), echo).await });
    };
    let _ = ask;
}
