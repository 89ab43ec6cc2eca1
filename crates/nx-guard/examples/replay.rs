//! Answers guard requests, one JSON object a line, so that recorded agents can be replayed through the crate alone:
//! `{"session": {"prompt", "tools", "principal", "policy"?}}`, `{"check": {"tool", "args"}}`,
//! `{"observe": {"tool", "result" | "error"}}`, `{"output": {"text"}}`. The policy that ships decides, unless the session has
//! another text for it, and what is decided is explained.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use nx_guard::{
    Error,
    call::{Call, Facts, Scores},
    decision::Decision,
    detect::{Budget, Detectors},
    guard::{Guard, Observed, SUSPECT},
    origin::{Context, Limits},
    policy::{PolicySet, default_policy, explain},
    tool::{Tool, Tools},
};
use nx_types::Timestamp;
use serde_json::{Value, json};

/// What is ready for a set of tools; kept from one session to the next, as a server keeps it.
struct Ready {
    tools: Value,
    policy: Value,
    guard: Guard,
    policies: PolicySet,
}

struct Session {
    ready: Ready,
    context: Context,
    facts: Facts,
    /// The worst that detectors have said of a result.
    worst: Scores,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut session: Option<Session> = None;
    for line in stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = answer(&mut session, &request).unwrap_or_else(|error| json!({"error": error.to_string()}));
        let mut out = stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(session: &mut Option<Session>, request: &Value) -> Result<Value, Error> {
    if let Some(begin) = request.get("session") {
        let before = session.take().map(|session| session.ready);
        let kept = before.filter(|ready| ready.tools == begin["tools"] && ready.policy == begin["policy"]);
        let ready = kept.map_or_else(|| ready(&begin["tools"], &begin["policy"]), Ok)?;
        let context = ready.guard.begin(&begin["prompt"], None, Limits::default())?;
        *session = Some(Session {
            ready,
            context,
            facts: facts(begin["principal"].as_str().unwrap_or_default()),
            worst: Scores::default(),
        });
        return Ok(json!({}));
    }
    let Some(Session { ready: Ready { guard, policies, .. }, context, facts, worst }) = session else {
        return Ok(json!({"error": "no session"}));
    };
    let decide = |call: &Call<'_>| {
        let mut decision = policies.decide(call)?;
        decision.flip = policies.flip(call, &decision)?;
        Ok(decision)
    };
    let said = |tool: &str, decision: &Decision| {
        let explanation = explain(tool, decision);
        json!({"decision": decision.outcome, "reasons": decision.reasons, "explained": explanation.to_string()})
    };
    // What an injection may have done, it did by what was read; what may leave, leaves with the arguments.
    let facts = |leaving: &Value| Facts { scores: worst.of_call(scores(leaving)), ..facts.clone() };
    if let Some(check) = request.get("check") {
        let tool = check["tool"].as_str().unwrap_or_default();
        let decision = guard.check(context, (tool, &check["args"]), &facts(&check["args"]), &decide)?;
        return Ok(said(tool, &decision));
    }
    if let Some(output) = request.get("output") {
        let decision =
            guard.output(context, output["text"].as_str().unwrap_or_default(), &facts(&output["text"]), &decide)?;
        return Ok(said("output", &decision));
    }
    if let Some(observe) = request.get("observe") {
        let tool = observe["tool"].as_str().unwrap_or_default();
        let value = std::sync::Arc::new(observe["result"].clone());
        let result = observe["error"].as_str().map_or(Ok(&value), Err);
        let scores = result.map_or_else(|_| scores(&observe["error"]), |value| scores(value));
        guard.observe(context, &Observed { tool, source: tool, event: None, result, scores })?;
        *worst = worst.max(scores);
    }
    Ok(json!({}))
}

fn ready(tools: &Value, policy: &Value) -> Result<Ready, Error> {
    let declared = tools.as_array().into_iter().flatten().map(Tool::parse).collect::<Result<Vec<_>, _>>()?;
    let guard = Guard::new(Tools::new(declared)?);
    let mut shipped = default_policy();
    if let Some(text) = policy.as_str() {
        text.clone_into(&mut shipped.spec.cedar);
    }
    let policies = PolicySet::compile(&[shipped], guard.tools())?.set;
    Ok(Ready { tools: tools.clone(), policy: policy.clone(), guard, policies })
}

/// What detectors say of a value. What they did not look at counts as suspect.
fn scores(value: &Value) -> Scores {
    let report = Detectors::embedded().scan_value(value, Budget::default());
    let unseen = if report.complete { 0 } else { SUSPECT };
    report.scores.unseen(unseen)
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
