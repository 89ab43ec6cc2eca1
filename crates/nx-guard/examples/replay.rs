//! Answers guard requests, one JSON object a line, so that recorded agents can be replayed through the crate alone:
//! `{"session": {"prompt", "tools"}}`, `{"check": {"tool", "args"}}`, `{"observe": {"tool", "result"}}`,
//! `{"output": {"text", "reader"}}`. The policy that ships decides, and what it decides is explained.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use nx_guard::{
    Error,
    call::{Call, Facts, Scores},
    decision::Decision,
    guard::{Guard, Observed},
    origin::{Context, Limits},
    policy::{PolicySet, explain, with_default},
    tool::{Tool, Tools},
};
use nx_types::Timestamp;
use serde_json::{Value, json};

struct Session {
    guard: Guard,
    context: Context,
    policies: PolicySet,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut session: Option<Session> = None;
    for line in stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = answer(&mut session, &request)?;
        let mut out = stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(session: &mut Option<Session>, request: &Value) -> Result<Value, Error> {
    if let Some(begin) = request.get("session") {
        let tools = begin["tools"].as_array().into_iter().flatten().map(Tool::parse).collect::<Result<Vec<_>, _>>()?;
        let guard = Guard::new(Tools::new(tools)?);
        let policies = PolicySet::compile(&with_default(Vec::new()), guard.tools())?.set;
        let context = guard.begin(&begin["prompt"], None, Limits::default())?;
        *session = Some(Session { guard, context, policies });
        return Ok(json!({}));
    }
    let Some(Session { guard, context, policies }) = session else { return Ok(json!({"error": "no session"})) };
    let decide = |call: &Call<'_>| {
        let mut decision = policies.decide(call)?;
        decision.flip = policies.flip(call, &decision)?;
        Ok(decision)
    };
    let said = |tool: &str, decision: &Decision| {
        let explanation = explain(tool, decision);
        json!({"decision": decision.outcome, "explained": explanation.to_string(), "origins": decision.origins})
    };
    if let Some(check) = request.get("check") {
        let tool = check["tool"].as_str().unwrap_or_default();
        let decision = guard.check(context, (tool, &check["args"]), &facts("user"), &decide)?;
        return Ok(said(tool, &decision));
    }
    if let Some(output) = request.get("output") {
        let facts = facts(output["reader"].as_str().unwrap_or("user"));
        let decision = guard.output(context, output["text"].as_str().unwrap_or_default(), &facts, &decide)?;
        return Ok(said("output", &decision));
    }
    if let Some(observe) = request.get("observe") {
        let tool = observe["tool"].as_str().unwrap_or_default();
        let value = std::sync::Arc::new(observe["result"].clone());
        let result = Ok(&value);
        guard.observe(context, &Observed { tool, source: tool, event: None, result, scores: Scores::default() })?;
    }
    Ok(json!({}))
}

fn facts(principal: &str) -> Facts {
    Facts {
        now: Timestamp::default(),
        scores: Scores::default(),
        approvals: 0,
        principal: principal.to_owned(),
        roles: std::collections::BTreeSet::new(),
        agent: "replayed".to_owned(),
    }
}
