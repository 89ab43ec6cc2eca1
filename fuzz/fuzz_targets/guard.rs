//! Guard requests: whatever a program declares, reports and asks is answered or refused, within bounds, without a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use nx_guard::{
    call::Scores,
    guard::{Guard, Observed},
    origin::Limits,
    tool::{Tool, Tools},
};
use serde_json::Value;

const LIMITS: Limits = Limits { bytes: 1 << 16, leaves: 1 << 12, depth: 32, argument_bytes: 1 << 14, argument_leaves: 256 };

fuzz_target!(|data: &[u8]| {
    let Ok(request) = serde_json::from_slice::<Value>(data) else { return };
    let declared = request.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
    let Ok(tools) = declared.iter().take(16).map(Tool::parse).collect::<Result<Vec<_>, _>>() else { return };
    let Ok(tools) = Tools::new(tools) else { return };
    let guard = Guard::new(tools);
    let prompt = request.get("prompt").cloned().unwrap_or_default();
    let plan = request.get("plan").and_then(|plan| serde_json::from_value(plan.clone()).ok());
    let Ok(mut context) = guard.begin(&prompt, plan, LIMITS) else { return };
    for seen in request.get("observe").and_then(Value::as_array).into_iter().flatten().take(16) {
        let tool = seen.get("tool").and_then(Value::as_str).unwrap_or_default();
        let result = Arc::new(seen.get("result").cloned().unwrap_or_default());
        let observed = Observed { tool, source: tool, event: None, result: Ok(&result), scores: Scores::default() };
        // An error leaves the context trusting less.
        drop(guard.observe(&mut context, &observed));
    }
    for asked in request.get("check").and_then(Value::as_array).into_iter().flatten().take(16) {
        let tool = asked.get("tool").and_then(Value::as_str).unwrap_or_default();
        let args = asked.get("args").cloned().unwrap_or_default();
        if let Ok(tool) = guard.tools().get(tool)
            && let Ok(traced) = context.trace(tool, &args)
        {
            assert!(traced.origins.len() <= LIMITS.argument_leaves);
        }
    }
});
