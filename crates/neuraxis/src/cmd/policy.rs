//! `explain` and `policy`.

use serde_json::Value;

use super::{Context, list, text};
use crate::{
    cli::{DecisionsArgs, ExplainArgs, PolicyCommand},
    output,
};

/// Why the guard decided so.
pub(super) async fn explain(context: &Context, args: ExplainArgs) -> anyhow::Result<()> {
    let query = [("of", args.target), ("namespace", context.client.namespace().to_owned())];
    let decision = context.client.get("/api/guard/explain", &query).await?;
    output::show(context.format, &decision, |decision| {
        print!("{}", text(decision, "text"));
        println!(
            "decision {} · {} for {} · policies {}",
            text(decision, "id"),
            text(decision, "agent"),
            text(decision, "principal"),
            decision.pointer("/decision/policies").and_then(Value::as_str).map(output::short).unwrap_or_default(),
        );
        let rows: Vec<Vec<String>> =
            decision.pointer("/decision/origins").and_then(Value::as_array).into_iter().flatten().map(origin).collect();
        output::table(&["argument", "stands as", "sources", "found in"], &rows);
    })
}

/// Where an argument came from.
pub(super) fn origin(origin: &Value) -> Vec<String> {
    let sources: Vec<&str> = list(origin, "sources").iter().filter_map(Value::as_str).collect();
    let sink = origin.get("sink").and_then(Value::as_bool) == Some(true);
    let found = list(origin, "evidence").first();
    let place = found.map(|found| format!("{} {}", text(found, "source"), text(found, "pointer")).trim_end().to_owned());
    vec![
        format!("{}{}", text(origin, "pointer"), if sink { " (sink)" } else { "" }),
        text(origin, "standing").to_owned(),
        output::cut(&sources.join(" "), 60),
        place.unwrap_or_default(),
    ]
}

pub(super) async fn run(context: &Context, command: PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Decisions(args) => decisions(context, args).await,
    }
}

async fn decisions(context: &Context, args: DecisionsArgs) -> anyhow::Result<()> {
    let mut query = vec![("namespace", context.client.namespace().to_owned()), ("limit", args.limit.to_string())];
    let given = [
        ("outcome", args.outcome),
        ("call", args.call),
        ("run", args.run),
        ("since", args.since),
        ("cursor", args.cursor),
    ];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let page = context.client.get("/api/guard/decisions", &query).await?;
    output::show(context.format, &page, |page| {
        let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
        output::table(&["decision", "call", "outcome", "rule", "when"], &rows);
        if let Some(next) = page.get("next").and_then(Value::as_str) {
            println!("more: --cursor {next}");
        }
    })
}

fn row(decision: &Value) -> Vec<String> {
    let reason = decision.pointer("/decision/reasons/0");
    let rule = reason.map(|reason| format!("{}/{}", text(reason, "policy"), text(reason, "clause")));
    let id = text(decision, "id");
    let (run, step) = id.split_once('/').unwrap_or((id, ""));
    vec![
        format!("{}/{step}", output::short(run)),
        text(decision, "call").to_owned(),
        text(decision, "outcome").to_owned(),
        rule.unwrap_or_default(),
        output::moment(text(decision, "time")),
    ]
}
