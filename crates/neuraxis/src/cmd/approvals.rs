//! `approvals`.

use serde_json::{Value, json};

use super::{Context, json_argument, list, text};
use crate::{
    cli::{ApprovalsCommand, DecideArgs},
    client::Client,
    output,
};

pub(super) async fn run(context: &Context, command: ApprovalsCommand) -> anyhow::Result<()> {
    match command {
        ApprovalsCommand::List { all } => {
            let mut query = vec![("namespace", context.client.namespace().to_owned())];
            query.extend(all.then(|| ("status", "any".to_owned())));
            let page = context.client.get("/api/approvals", &query).await?;
            output::show(context.format, &page, |page| {
                let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
                output::table(&["approval", "call", "run", "question", "who", "status", "until", "arguments"], &rows);
            })
        }
        ApprovalsCommand::Show { id } => {
            let approval = get(context, &id).await?;
            output::show(context.format, &approval, show)
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

fn show(approval: &Value) {
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
    println!("question   {}", text(approval, "why"));
    println!("for        {}", text(approval, "who"));
    println!("until      {}", output::moment(text(approval, "deadline")));
    println!("arguments  {}", approval.get("args").unwrap_or(&Value::Null));
    println!("hash       {}", text(approval, "hash"));
    if let Some(guard) = approval.get("guard").filter(|guard| guard.is_object()) {
        for reason in list(guard, "reasons") {
            println!("because    {} ({}/{})", text(reason, "text"), text(reason, "policy"), text(reason, "clause"));
        }
        let rows: Vec<Vec<String>> = list(guard, "origins").iter().map(super::policy::origin).collect();
        output::table(&["argument", "stands as", "sources", "found in"], &rows);
    }
    let choices: Vec<&str> = list(approval, "choices").iter().filter_map(Value::as_str).collect();
    println!("choices    {}", choices.join(" "));
    if !text(approval, "decided_by").is_empty() {
        let reason = Some(text(approval, "reason")).filter(|reason| !reason.is_empty());
        println!(
            "decided    by {}{}",
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
                show(&approval);
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
