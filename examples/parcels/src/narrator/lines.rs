//! The narrator's wording.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Event, Narrator, text};

/// The line of an event of a run, without the run.
pub(super) fn of_run(narrator: &Narrator, id: &str, event: Event<'_>) -> Option<String> {
    let data = event.data;
    let step = || narrator.step(id, data);
    match event.kind {
        "run.started" => {
            let incarnation = data.get("inc")?.as_u64()?;
            (incarnation > 1).then(|| format!("goes on, incarnation {incarnation}"))
        }
        "run.interrupted" => {
            let parked = data.get("parked").and_then(Value::as_bool).unwrap_or(false);
            (!parked).then(|| format!("interrupted: {}", text(data, "reason")))
        }
        "run.completed" => Some(format!("completed{}", result(data.get("result")?))),
        "run.failed" => Some(format!("failed: {}", error(data))),
        "run.cancelled" => Some(format!("cancelled: {}", text(data, "reason"))),
        "run.retried" => Some(format!("retried by {}", text(data, "by"))),
        "run.compensating" => Some("takes back what it did".to_owned()),
        "step.completed" => {
            let step = step();
            let attempt = data.get("attempt").and_then(Value::as_u64).unwrap_or(1);
            let tries = if attempt > 1 { format!(" (try {attempt})") } else { String::new() };
            worth(&step.kind).then(|| format!("✔ {}{tries}", step.name))
        }
        "step.attempt_failed" => {
            let attempt = data.get("attempt").and_then(Value::as_u64).unwrap_or(1);
            Some(format!("↻ {}: {}; try {} follows", step().name, error(data), attempt + 1))
        }
        "step.failed" => Some(format!("✘ {}: {}", step().name, error(data))),
        "step.in_doubt" => Some(format!("? {} in doubt: {}", step().name, text(data, "reason"))),
        "step.resolved" => Some(format!("✔ {} {}, says the {}", step().name, settled(data), text(data, "by"))),
        "guard.decided" => denied(narrator.mail(id), data),
        "approval.requested" => Some(requested(narrator, id, data)),
        "approval.decided" => Some(format!("{} {} by {}", step().name, decided(data), text(data, "by"))),
        "approval.escalated" => Some(format!("now asks {}", text(data, "who"))),
        "approval.expired" => Some(format!("nobody decided: {}", text(data, "reason"))),
        _ => None,
    }
}

/// Steps that are told; emitted events tell themselves, times and chances are nobody's news.
fn worth(kind: &str) -> bool {
    matches!(kind, "" | "code" | "tool" | "child" | "undo")
}

/// An incident.
pub(super) fn late(data: &Value) -> String {
    let slack = data.get("slack_min").and_then(Value::as_i64).unwrap_or_default();
    format!("parcel {} of order {} is late: it could wait {slack} min", text(data, "parcel"), text(data, "order"))
}

/// What a model read on a label: `camera P104 leaves by door 4 (0.99), reads digits@1`.
pub(super) fn digit(parcel: &str, data: &Value) -> String {
    let version = data.get("version").and_then(Value::as_u64).unwrap_or_default();
    let model = format!("{}@{version}", plain(text(data, "model"), 40));
    format!("camera {} leaves by door {} ({}), reads {model}", plain(parcel, 20), door(data, "label"), sure(data))
}

/// What it was not sure of.
pub(super) fn misread(data: &Value) -> String {
    let (parcel, model) = (plain(text(data, "parcel"), 20), plain(text(data, "model"), 60));
    let door = door(data, "door");
    format!("camera {parcel} misread: {model} says {door} and is not sure ({}); it went to door {door}", sure(data))
}

fn door(data: &Value, field: &str) -> String {
    plain(text(data, field), 20)
}

fn sure(data: &Value) -> String {
    format!("{:.2}", data.get("confidence").and_then(Value::as_f64).unwrap_or_default())
}

/// A mail to the dock. Anyone may have written it, also what would move a terminal's cursor.
pub(super) fn mail(data: &Value) -> String {
    let part = |field| plain(text(data, field), 60);
    format!("mail   {} from {}: {}", part("id"), part("from"), part("subject"))
}

/// Whether a decision of the guard denies.
pub(super) fn denies(data: &Value) -> bool {
    data.pointer("/decision/outcome").and_then(Value::as_str) == Some("deny")
}

/// `DENY pay/refund.iban ← mail m_88 "/body" (untrusted), rule iban-from-record`. What is allowed tells itself when it is
/// done, what is asked when people are.
fn denied(mail: Option<&str>, data: &Value) -> Option<String> {
    if !denies(data) {
        return None;
    }
    let reason =
        data.pointer("/decision/reasons")?.as_array()?.iter().find(|reason| text(reason, "outcome") == "deny")?;
    let (call, clause) = (text(data, "call"), text(reason, "clause"));
    let pointer = reason.pointer("/pointers/0").and_then(Value::as_str);
    let of = |origin: &&Value| Some(text(origin, "pointer")) == pointer;
    let origin = data.pointer("/decision/origins").and_then(Value::as_array).and_then(|all| all.iter().find(of));
    let (Some(pointer), Some(origin)) = (pointer, origin) else {
        return Some(format!("DENY {call}, rule {clause}: {}", plain(text(reason, "text"), 120)));
    };
    let found = origin.pointer("/evidence/0").unwrap_or(&Value::Null);
    // The first event of a run holds its input; the input of this agent is a mail.
    let from = match mail.filter(|_| found.get("event").and_then(Value::as_u64) == Some(1)) {
        Some(mail) => format!("mail {mail}"),
        None => plain(text(found, "source"), 60).replacen('/', " ", 1),
    };
    let place = plain(text(found, "pointer"), 60);
    let place = if place.is_empty() { place } else { format!(" \"{place}\"") };
    let argument = pointer.trim_start_matches('/');
    Some(format!("DENY {call}.{argument} ← {from}{place} ({}), rule {clause}", text(origin, "standing")))
}

fn requested(narrator: &Narrator, id: &str, data: &Value) -> String {
    let who = data.get("ask").map(|ask| text(ask, "who")).unwrap_or_default();
    let named = narrator
        .known(id, data)
        .map(|step| step.name)
        .unwrap_or_else(|| format!("{}{}", text(data, "step"), data.get("args").map(amount).unwrap_or_default()));
    format!("⏸ {named} waits for {who} (hash {}…)", hash(data))
}

/// The first digits of the arguments' hash, as the command line shows it: in hexadecimal.
fn hash(data: &Value) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(text(data, "hash")).unwrap_or_default();
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn decided(data: &Value) -> String {
    match data.get("decision") {
        Some(Value::String(word)) => match word.as_str() {
            "approve" => "approved".to_owned(),
            "deny" => "denied".to_owned(),
            other => format!("ruled `{other}`"),
        },
        Some(Value::Object(ruling)) => {
            let word = ruling.keys().next().map(String::as_str).unwrap_or_default();
            format!("ruled `{word}`")
        }
        _ => "decided".to_owned(),
    }
}

fn settled(data: &Value) -> &'static str {
    match data.get("how") {
        Some(Value::String(word)) if word == "not_done" => "did not take place",
        Some(Value::Object(how)) if how.contains_key("failed") => "counts as failed",
        _ => "took place",
    }
}

/// A step by name, with its key, and the amount if it moves money: `refund A17 €84.00`.
pub(super) fn step_name(identity: &Value) -> String {
    if text(identity, "kind") == "undo" {
        return format!("undid {}", text(identity, "name"));
    }
    let key = text(identity, "key");
    let space = if key.is_empty() { "" } else { " " };
    let amount = identity.get("args").map(amount).unwrap_or_default();
    format!("{}{space}{key}{amount}", text(identity, "name"))
}

fn amount(args: &Value) -> String {
    args.get("cents").and_then(Value::as_i64).map(|cents| format!(" {}", euros(cents))).unwrap_or_default()
}

fn euros(cents: i64) -> String {
    format!("€{}.{:02}", cents / 100, (cents % 100).abs())
}

/// A run's result, where it says more than that there is one.
fn result(result: &Value) -> String {
    match (result.get("order"), result.get("cents").and_then(Value::as_i64), result.get("late")) {
        (Some(Value::String(order)), Some(cents), _) => format!(": order {order} got {}", euros(cents)),
        (_, _, Some(late)) => format!(": {late} parcels are late"),
        _ => String::new(),
    }
}

/// The scalars of a run's input: `conveyor-1 90.4`.
pub(super) fn input(input: &Value) -> String {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(plain(text, 40)),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => Some(format!("{float:.1}")),
            _ => Some(number.to_string()),
        },
        _ => None,
    };
    match input {
        Value::Object(fields) => fields.values().filter_map(scalar).take(4).collect::<Vec<_>>().join(" "),
        other => scalar(other).unwrap_or_default(),
    }
}

fn error(data: &Value) -> String {
    let error = data.get("error").unwrap_or(&Value::Null);
    let message = text(error, "message");
    plain(if message.is_empty() { text(error, "name") } else { message }, 120)
}

/// A text on one line, without what a terminal would act on, no longer than this.
pub(super) fn plain(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As much of a run's id as the command line needs to know it among a few hundred: `r_7f3k2m`.
pub(super) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}
