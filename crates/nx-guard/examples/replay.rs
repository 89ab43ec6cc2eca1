//! Answers guard requests, one JSON object a line, so that recorded agents can be replayed through the crate alone:
//! `{"session": {"prompt", "tools"}}`, `{"check": {"tool", "args"}}`, `{"observe": {"tool", "result"}}`,
//! `{"output": {"text", "reader"}}`. The decision is the plain rule: a sink that something untrusted may have chosen asks, so does what was not asked for, so does a leak.

use std::{
    io::{BufRead as _, Write as _, stdin, stdout},
    sync::Arc,
};

use nx_guard::{
    decision::Standing,
    origin::{Context, Limits, Traced},
    tool::{Effect, Tool, Tools},
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut session: Option<(Tools, Context)> = None;
    for line in stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = answer(&mut session, &request)?;
        let mut out = stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(session: &mut Option<(Tools, Context)>, request: &Value) -> Result<Value, nx_guard::Error> {
    if let Some(begin) = request.get("session") {
        let tools = begin["tools"].as_array().into_iter().flatten().map(Tool::parse).collect::<Result<Vec<_>, _>>()?;
        *session = Some((Tools::new(tools)?, Context::new(&begin["prompt"], Limits::default())?));
        return Ok(json!({}));
    }
    let Some((tools, context)) = session else { return Ok(json!({"error": "no session"})) };
    if let Some(check) = request.get("check") {
        let tool = tools.get(check["tool"].as_str().unwrap_or_default())?;
        let traced = context.trace(tool, &check["args"])?;
        return Ok(json!({"decision": decide(tool, &traced), "traced": traced}));
    }
    if let Some(output) = request.get("output") {
        let reader = output["reader"].as_str().unwrap_or("user").to_owned();
        let traced = context.trace_text(output["text"].as_str().unwrap_or_default(), &[reader].into())?;
        return Ok(json!({"decision": if traced.leaks.is_empty() { "allow" } else { "ask" }, "traced": traced}));
    }
    if let Some(observe) = request.get("observe") {
        let tool = tools.get(observe["tool"].as_str().unwrap_or_default())?;
        let result = Arc::new(observe["result"].clone());
        context.add(&tool.name, None, &result, tool.output.labels(&tool.name, &result, false))?;
    }
    Ok(json!({}))
}

fn decide(tool: &Tool, traced: &Traced) -> &'static str {
    let chosen = traced.origins.iter().any(|origin| origin.sink && origin.standing > Standing::Own);
    let unasked = !traced.named && !traced.asked;
    if tool.effect != Effect::Read && (chosen || unasked || !traced.leaks.is_empty()) || chosen {
        "ask"
    } else {
        "allow"
    }
}
