//! One line for a link of the chain.

use nx_types::{EventType, Seq};
use serde_json::Value;

/// Links that only join two others: the chain reads better without them.
pub(super) fn is_plumbing(kind: &str) -> bool {
    matches!(
        kind,
        "step.started"
            | "step.completed"
            | "step.attempt_failed"
            | "step.waiting"
            | "run.started"
            | "run.requested"
            | "model.requested"
            | "approval.requested"
            | "reflex.fired"
    )
}

/// What the agent's own code wrote, and no record of the runtime's.
pub(super) fn is_emitted(kind: &str) -> bool {
    !["run.", "step.", "approval.", "signal.", "reflex.", "guard.", "model.", "artifact."]
        .iter()
        .any(|ours| kind.starts_with(ours))
}

/// The line. Unknown types show what looks telling in their data.
pub(super) fn line(kind: &EventType, subject: &str, data: &Value) -> String {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
    let number = |pointer: &str| data.pointer(pointer).map_or_else(|| "?".to_owned(), Value::to_string);
    match kind.as_str() {
        "run.created" => created(data),
        "run.started" => format!("incarnation {} on {}", number("/inc"), text("/worker")),
        "run.completed" => format!("{subject} completed {}", brief(data.get("result"))),
        "run.failed" => format!("{subject} failed: {}: {}", text("/error/name"), text("/error/message")),
        "run.cancelled" => format!("{subject} cancelled: {}", text("/reason")),
        "run.cancel_requested" => format!("cancelled by {}: {}", text("/by"), text("/reason")),
        "run.interrupted" => format!("incarnation {} ended: {}", number("/inc"), text("/reason")),
        "run.retried" => format!("retried by {}", text("/by")),
        "run.requested" => format!("{subject} asked for a run of {}", text("/agent")),
        "reflex.fired" => subject.to_owned(),
        "step.started" | "step.completed" => step(data),
        "step.failed" => format!("{} failed: {}: {}", step(data), text("/error/name"), text("/error/message")),
        "step.attempt_failed" => format!("try {} failed: {}", number("/attempt"), text("/error/message")),
        "step.waiting" => format!("{} waits", step(data)),
        "step.in_doubt" => format!("{} in doubt: {}", step(data), text("/reason")),
        "step.resolved" => format!("{} settled by {}", step(data), text("/by")),
        "guard.decided" => guard(data),
        "approval.requested" => format!("{} was asked (hash {})", text("/ask/who"), short(&text("/hash"))),
        "approval.decided" => decided(data),
        "approval.escalated" => format!("{} escalated to {}", text("/id"), text("/who")),
        "approval.voted" => format!("{} agreed to by {}", text("/id"), text("/by")),
        "approval.expired" => format!("{} expired: {}", text("/id"), text("/reason")),
        "approval.withdrawn" => format!("{} withdrawn: {}", text("/id"), text("/reason")),
        "model.decided" => model(data),
        "model.requested" => format!("{} was asked by {}", text("/model"), text("/by")),
        "model.failed" => format!("{} gave no answer: {} ({})", text("/model"), text("/message"), text("/code")),
        "artifact.added" => artifact(data),
        "signal.received" => format!("signal {} by {}", text("/name"), text("/by")),
        other if subject.starts_with("run/") => format!("{other} {}", brief(Some(data))).trim_end().to_owned(),
        other => format!("{other} {subject} {}", brief(Some(data))).trim_end().to_owned(),
    }
}

/// `run redirect-and-refund/P88 by reflex/late-parcel`. A key that a reflex made of the event's id says nothing.
fn created(data: &Value) -> String {
    let text = |name: &str| data.get(name).and_then(Value::as_str);
    let (agent, by) = (text("agent").unwrap_or("?"), text("by").unwrap_or("?"));
    match text("key").filter(|key| !key.starts_with("reflex/")) {
        Some(key) => format!("run {agent}/{key} by {by}"),
        None => format!("run {agent} by {by}"),
    }
}

/// `refund/A17 cents=8400 order=A17`: the step, its key, its arguments.
fn step(data: &Value) -> String {
    let n = data.get("n").map_or_else(|| "?".to_owned(), Value::to_string);
    let Some(name) = data.pointer("/step/name").and_then(Value::as_str) else { return format!("step {n}") };
    let key = data.pointer("/step/key").and_then(Value::as_str).map(|key| format!("/{key}")).unwrap_or_default();
    format!("{name}{key} {}", brief(data.pointer("/step/args"))).trim_end().to_owned()
}

fn decided(data: &Value) -> String {
    let by = data.get("by").and_then(Value::as_str).unwrap_or("?");
    let hash = short(data.get("hash").and_then(Value::as_str).unwrap_or("?"));
    let decision = data.get("decision");
    let word = decision.and_then(Value::as_str).map(str::to_owned);
    let word = word.or_else(|| decision.and_then(Value::as_object).and_then(|map| map.keys().next().cloned()));
    let word = match word.as_deref() {
        Some("approve") => "approved".to_owned(),
        Some("deny") => "denied".to_owned(),
        Some(other) => format!("ruled {other}"),
        None => "decided".to_owned(),
    };
    let reason = data.get("reason").and_then(Value::as_str).map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{word} by {by} (hash {hash}){reason}")
}

/// `policy refunds@4/iban-from-record denied pay/refund.iban`, `policies allowed pay/refund`.
fn guard(data: &Value) -> String {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let did = match text("/decision/outcome") {
        "deny" => "denied",
        "ask" => "asked about",
        _ => "allowed",
    };
    let Some(reason) = data.pointer("/decision/reasons/0") else {
        return format!("policies {did} {}", text("/call"));
    };
    let part = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or("?");
    let argument = reason.pointer("/pointers/0").and_then(Value::as_str).unwrap_or_default();
    let argument = if argument.is_empty() { String::new() } else { format!(".{}", argument.trim_start_matches('/')) };
    format!("policy {}/{} {did} {}{argument}", part("policy"), part("clause"), text("/call"))
}

/// The place of the event that recorded the version of a model which decided. Only models write such events.
pub(super) fn version_behind(kind: &str, data: &Value) -> Option<Seq> {
    if kind != "model.decided" {
        return None;
    }
    data.get("artifact").and_then(Value::as_u64).map(Seq)
}

/// `7 (0.58) by digits@12 on rten from image/png of 312 bytes (sha256 9cabcdef…)`.
fn model(data: &Value) -> String {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let number = |pointer: &str| data.pointer(pointer).map_or_else(|| "?".to_owned(), Value::to_string);
    let said = match (data.get("label").and_then(Value::as_str), data.get("confidence").and_then(Value::as_f64)) {
        (Some(label), Some(sure)) => format!("`{}` ({sure:.2})", brief(Some(&Value::from(label)))),
        _ => "an answer".to_owned(),
    };
    format!(
        "{said} by {}@{} on {} from {} of {} bytes (sha256 {})",
        text("/model"),
        number("/version"),
        text("/engine"),
        text("/inputs/0/media"),
        number("/inputs/0/bytes"),
        short(text("/inputs/0/sha256")),
    )
}

/// `digits@12 added by local from digits.onnx (sha256 9cabcdef…)`.
fn artifact(data: &Value) -> String {
    let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or("?");
    let version = data.get("version").map_or_else(|| "?".to_owned(), Value::to_string);
    let from = data.get("source").map(|source| format!(" from {}", brief(Some(source)))).unwrap_or_default();
    format!("{}@{version} added by {}{from} (sha256 {})", text("artifact"), text("by"), short(text("sha256")))
}

/// The first digits of a hash, hexadecimal as every surface shows it.
fn short(hash: &str) -> String {
    let shown = crate::machine::digest::parse(hash).map_or_else(|| hash.to_owned(), |digest| digest.to_string());
    let head: String = shown.chars().take(8).collect();
    format!("{head}…")
}

/// A value cut to a line; an object's fields as `name=value`.
fn brief(value: Option<&Value>) -> String {
    // A picture in base64 tells nobody anything.
    let encoded = |text: &str| text.len() > 64 && !text.contains(char::is_whitespace);
    let plain = |value: &Value| match value.as_str() {
        Some(text) if encoded(text) => format!("({} characters)", text.len()),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Object(fields)) => {
            fields.iter().map(|(name, field)| format!("{name}={}", plain(field))).collect::<Vec<_>>().join(" ")
        }
        Some(other) => plain(other),
    };
    // What came from outside stays on its line and moves no cursor.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 80 {
        let head: String = text.chars().take(79).collect();
        format!("{head}…")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decisions_of_the_guard_name_rule_and_argument() {
        let kind = EventType::new("guard.decided").unwrap();
        let told = |decision: Value| line(&kind, "run/r_0", &json!({"call": "pay/refund", "decision": decision}));
        let reason =
            |pointers: Value| json!([{"policy": "refunds@4", "clause": "iban-from-record", "pointers": pointers}]);
        assert_eq!(told(json!({"outcome": "allow", "reasons": []})), "policies allowed pay/refund");
        assert_eq!(
            told(json!({"outcome": "deny", "reasons": reason(json!(["/iban", "/cents"]))})),
            "policy refunds@4/iban-from-record denied pay/refund.iban"
        );
        assert_eq!(
            told(json!({"outcome": "ask", "reasons": reason(json!([]))})),
            "policy refunds@4/iban-from-record asked about pay/refund"
        );
    }

    #[test]
    fn lines_are_for_people() {
        let decided = json!({"id": "a_0", "decision": "approve", "by": "lead", "hash": "9cabcdefghij", "reason": "ok"});
        let kind = EventType::new("approval.decided").unwrap();
        assert_eq!(line(&kind, "run/r_0", &decided), "approved by lead (hash 9cabcdef…): ok");
        let other = EventType::new("motor.overheated").unwrap();
        assert_eq!(line(&other, "motor/1", &json!({"c": 91})), "motor.overheated motor/1 c=91");
        assert_eq!(line(&other, "run/r_0", &json!({"c": "\u{1b}[2J\n"})), "motor.overheated c= [2J");
        let frame = json!({"camera": "cam0", "image": "iVBORw0K".repeat(50)});
        assert_eq!(
            line(&other, "parcel/P93", &frame),
            "motor.overheated parcel/P93 camera=cam0 image=(400 characters)"
        );
    }
}
