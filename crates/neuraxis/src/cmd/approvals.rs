//! `approvals`.

use serde_json::{Value, json};

use super::{Context, json_argument, list, number, text};
use crate::{
    cli::{ApprovalsCommand, DecideArgs, Format},
    client::Client,
    output,
};

pub(super) async fn run(context: &Context, command: ApprovalsCommand) -> anyhow::Result<()> {
    match command {
        ApprovalsCommand::List { all, limit, cursor } => {
            let mut query =
                vec![("namespace", context.client.namespace().to_owned()), ("limit", limit.clamp(1, 1000).to_string())];
            query.extend(all.then(|| ("status", "any".to_owned())));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page = context.client.get("/api/approvals", &query).await?;
            output::show(context.format, &page, |page| {
                let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
                output::table(&["approval", "call", "run", "question", "who", "status", "until", "arguments"], &rows);
                if let Some(next) = page.get("next").and_then(Value::as_str) {
                    println!("… more: --cursor {next}");
                }
            })
        }
        ApprovalsCommand::Show { id } => {
            let approval = get(context, &id).await?;
            let candidates = candidates(context, &approval).await;
            output::show(context.format, &approval, |approval| show(approval, &candidates))
        }
        ApprovalsCommand::Approve(args) => decide(context, args, "approve", json!({})).await,
        ApprovalsCommand::Deny(args) => decide(context, args, "deny", json!({})).await,
        ApprovalsCommand::Rule { decision, args, value, step } => {
            let value = value.map(|value| json_argument(&value)).transpose()?;
            decide(context, args, &decision, json!({"value": value, "step": step})).await
        }
    }
}

async fn get(context: &Context, id: &str) -> anyhow::Result<Value> {
    let query = [("namespace", context.client.namespace().to_owned())];
    context.client.get(&Client::path(&["approvals", id]), &query).await
}

/// What is asked, in words.
fn question(why: &str) -> &str {
    match why {
        "call" => "may this call be made?",
        "standalone" => "the agent asks for a decision",
        "changed" => "the arguments have changed since this step was recorded: what counts?",
        "in_doubt" => "its worker was lost: did the call take place?",
        "new_once" => "is this call new, or one of those that are recorded?",
        other => other,
    }
}

fn texts(value: &Value, field: &str) -> String {
    list(value, field).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn row(approval: &Value) -> Vec<String> {
    vec![
        output::short(text(approval, "id")),
        text(approval, "call").to_owned(),
        output::short(text(approval, "run")),
        text(approval, "why").to_owned(),
        text(approval, "who").to_owned(),
        text(approval, "status").to_owned(),
        output::moment(text(approval, "deadline")),
        approval.get("args").map(|args| output::cut(&args.to_string(), 60)).unwrap_or_default(),
    ]
}

/// The recorded steps that `reuse` may name, a line each: what was done, and what came of it.
async fn candidates(context: &Context, approval: &Value) -> Vec<String> {
    if context.format != Format::Human {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for n in list(approval, "candidates").iter().filter_map(Value::as_u64) {
        let query = [
            ("namespace", context.client.namespace().to_owned()),
            ("after", n.saturating_sub(1).to_string()),
            ("limit", "1".to_owned()),
        ];
        let run = context.client.get(&Client::path(&["runs", text(approval, "run")]), &query).await;
        let step = run.ok().and_then(|run| list(&run, "steps").first().cloned()).unwrap_or_default();
        let label = [text(&step, "name"), text(&step, "key")].into_iter().filter(|part| !part.is_empty());
        let label = label.collect::<Vec<_>>().join("/");
        let mut line = format!("step {n} {label} {}", text(&step, "status"));
        for (mark, field) in [("of", "args"), ("→", "value")] {
            if let Some(value) = step.get(field).filter(|value| !value.is_null()) {
                line = format!("{line} {mark} {}", output::cut(&value.to_string(), 120));
            }
        }
        lines.push(line);
    }
    lines
}

fn show(approval: &Value, candidates: &[String]) {
    println!(
        "{}  {} in run {}  {}",
        text(approval, "id"),
        text(approval, "call"),
        text(approval, "run"),
        text(approval, "status")
    );
    if let Some(message) = approval.get("message").and_then(Value::as_str) {
        println!("{message}");
    }
    println!("question   {}", question(text(approval, "why")));
    println!("for        {}", text(approval, "who"));
    if number(approval, "quorum") > 1 {
        let votes = texts(approval, "votes");
        let by = if votes.is_empty() { String::new() } else { format!(" ({votes})") };
        println!("agree      {} of {}{by}", list(approval, "votes").len(), number(approval, "quorum"));
    }
    let waits = text(approval, "status") == "waiting";
    if waits && !text(approval, "deadline").is_empty() {
        println!("until      {}", output::moment(text(approval, "deadline")));
    }
    if waits && !list(approval, "escalate").is_empty() {
        println!("then       {}", texts(approval, "escalate"));
    }
    let editable = approval.get("edit").and_then(Value::as_bool) == Some(true);
    let editable = if editable { "  (may be edited: --edit)" } else { "" };
    println!("arguments  {}{editable}", approval.get("args").unwrap_or(&Value::Null));
    if let Some(edited) = approval.get("edited") {
        println!("edited     {edited}");
    }
    println!("hash       {}", text(approval, "hash"));
    if let Some(guard) = approval.get("guard").filter(|guard| guard.is_object()) {
        for reason in list(guard, "reasons") {
            println!("because    {} ({}/{})", text(reason, "text"), text(reason, "policy"), text(reason, "clause"));
        }
        let rows: Vec<Vec<String>> = list(guard, "origins").iter().map(super::policy::origin).collect();
        output::table(&["argument", "stands as", "sources", "found in"], &rows);
    }
    for (place, line) in candidates.iter().enumerate() {
        println!("{}{line}", if place == 0 { "reuse      " } else { "           " });
    }
    if waits {
        println!("choices    {}", texts(approval, "choices").replace(", ", " "));
    }
    if !text(approval, "decided_by").is_empty() {
        let reason = Some(text(approval, "reason")).filter(|reason| !reason.is_empty());
        println!(
            "decided    {} by {}{}",
            output::moment(text(approval, "decided")),
            text(approval, "decided_by"),
            reason.map(|said| format!(": {said}")).unwrap_or_default()
        );
    }
}

async fn decide(context: &Context, args: DecideArgs, decision: &str, more: Value) -> anyhow::Result<()> {
    let approval = get(context, &args.id).await?;
    let hash = match args.hash {
        Some(hash) => hash,
        None => {
            if !args.yes {
                show(&approval, &candidates(context, &approval).await);
                anyhow::ensure!(
                    output::confirm(&format!("{decision} this?"))?,
                    "nothing decided; give --hash with the hash that you saw, or --yes"
                );
            }
            text(&approval, "hash").to_owned()
        }
    };
    let mut body = json!({"decision": decision, "hash": hash, "reason": args.reason});
    if let (Some(fields), Some(more)) = (body.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
        if let Some(edit) = args.edit {
            fields.insert("args".to_owned(), json_argument(&edit)?);
        }
        fields.retain(|_, value| !value.is_null());
        fields.insert("namespace".to_owned(), context.client.namespace().into());
    }
    let id = text(&approval, "id").to_owned();
    let decided = context.client.post(&Client::path(&["approvals", &id, "decide"]), &body).await?;
    output::show(context.format, &decided, |decided| {
        println!("{}  {} · {}", output::short(&id), text(decided, "call"), text(decided, "status"));
    })
}
