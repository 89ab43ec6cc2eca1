//! One line for a link of the chain.

use nx_types::EventType;
use serde_json::Value;

/// The line. Unknown types show their subject and what looks telling in their data.
pub(super) fn line(kind: &EventType, subject: &str, data: &Value) -> String {
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
    let number = |pointer: &str| data.pointer(pointer).map_or_else(|| "?".to_owned(), Value::to_string);
    match kind.as_str() {
        "run.created" => {
            let key = data.get("key").and_then(Value::as_str).map(|key| format!("/{key}")).unwrap_or_default();
            format!("run {}{key} asked for by {}", text("/agent"), text("/by"))
        }
        "run.started" => format!("incarnation {} on {}", number("/inc"), text("/worker")),
        "run.completed" => format!("{subject} completed with {}", brief(data.get("result"))),
        "run.failed" => format!("{subject} failed: {}: {}", text("/error/name"), text("/error/message")),
        "run.cancelled" => format!("{subject} cancelled: {}", text("/reason")),
        "run.cancel_requested" => format!("cancelled by {}: {}", text("/by"), text("/reason")),
        "run.interrupted" => format!("incarnation {} ended: {}", number("/inc"), text("/reason")),
        "run.retried" => format!("retried by {}", text("/by")),
        "run.requested" => format!("{subject} asked for a run of {}", text("/agent")),
        "step.started" => format!("{} started with {}", step(data), brief(data.pointer("/step/args"))),
        "step.completed" => format!("{} returned {}", step(data), brief(data.get("value"))),
        "step.failed" => format!("{} failed: {}: {}", step(data), text("/error/name"), text("/error/message")),
        "step.attempt_failed" => {
            format!("{} attempt {} failed: {}", step(data), number("/attempt"), text("/error/message"))
        }
        "step.waiting" => format!("{} waits for {}", step(data), brief(data.get("wait"))),
        "step.in_doubt" => format!("{} in doubt: {}", step(data), text("/reason")),
        "step.resolved" => format!("{} settled by {}", step(data), text("/by")),
        "approval.requested" => {
            let (who, hash) = (text("/ask/who"), short(&text("/hash")));
            format!("{} asked {who} about {} (hash {hash})", text("/id"), brief(data.get("args")))
        }
        "approval.decided" => decided(data),
        "approval.escalated" => format!("{} escalated to {}", text("/id"), text("/who")),
        "approval.voted" => format!("{} agreed to by {}", text("/id"), text("/by")),
        "approval.expired" => format!("{} expired: {}", text("/id"), text("/reason")),
        "approval.withdrawn" => format!("{} withdrawn: {}", text("/id"), text("/reason")),
        "signal.received" => format!("signal {} by {}", text("/name"), text("/by")),
        other => format!("{other} {subject} {}", brief(Some(data))).trim_end().to_owned(),
    }
}

fn step(data: &Value) -> String {
    let n = data.get("n").map_or_else(|| "?".to_owned(), Value::to_string);
    match data.pointer("/step/name").and_then(Value::as_str) {
        Some(name) => format!("{name} (step {n})"),
        None => format!("step {n}"),
    }
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

fn short(hash: &str) -> String {
    let head: String = hash.chars().take(8).collect();
    format!("{head}…")
}

/// A value cut to a line.
fn brief(value: Option<&Value>) -> String {
    let text = value.filter(|value| !value.is_null()).map(Value::to_string).unwrap_or_default();
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
    fn lines_are_for_people() {
        let decided = json!({"id": "a_0", "decision": "approve", "by": "lead", "hash": "9cabcdefghij", "reason": "ok"});
        let kind = EventType::new("approval.decided").unwrap();
        assert_eq!(line(&kind, "run/r_0", &decided), "approved by lead (hash 9cabcdef…): ok");
        let other = EventType::new("motor.overheated").unwrap();
        assert_eq!(line(&other, "motor/1", &json!({"c": 91})), "motor.overheated motor/1 {\"c\":91}");
    }
}
