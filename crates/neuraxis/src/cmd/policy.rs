//! `explain` and `policy`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Context, list, resources, text};
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
    let place =
        found.map(|found| format!("{} {}", text(found, "source"), text(found, "pointer")).trim_end().to_owned());
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
        PolicyCommand::Test { file } => test(context, &file).await,
        PolicyCommand::Diff { file, since } => diff(context, &file, since).await,
        PolicyCommand::Propose { target, reason, since } => propose(context, &target, reason, since).await,
    }
}

async fn test(context: &Context, files: &[PathBuf]) -> anyhow::Result<()> {
    let manifests = if files.is_empty() { Vec::new() } else { resources::manifests(files)? };
    let body = json!({"manifests": manifests, "namespace": context.client.namespace()});
    let done = context.client.post("/api/policies/test", &body).await?;
    let tests = list(&done, "items").iter().flat_map(|item| list(item, "tests"));
    let (passed, failed): (Vec<&Value>, Vec<&Value>) =
        tests.partition(|test| test.get("passed").and_then(Value::as_bool) == Some(true));
    output::show(context.format, &done, |_| {
        for test in &failed {
            let found = test.pointer("/found/outcome").and_then(Value::as_str).unwrap_or("?");
            println!(
                "FAILED {}/{}: expected {}, found {found}",
                text(test, "policy"),
                text(test, "test"),
                text(test, "expected")
            );
        }
        println!("{} passed, {} failed", passed.len(), failed.len());
    })?;
    anyhow::ensure!(failed.is_empty(), "{} tests of policies failed", failed.len());
    Ok(())
}

async fn diff(context: &Context, files: &[PathBuf], since: Option<String>) -> anyhow::Result<()> {
    let mut body = json!({"manifests": resources::manifests(files)?, "namespace": context.client.namespace()});
    put(&mut body, "since", since);
    let done = context.client.post("/api/policies/diff", &body).await?;
    output::show(context.format, &done, |done| {
        let rows: Vec<Vec<String>> = list(done, "changes").iter().map(changed).collect();
        output::table(&["decision", "call", "before", "after", "rules now"], &rows);
        let newest = if done.get("truncated").and_then(Value::as_bool) == Some(true) { " (the newest)" } else { "" };
        println!(
            "{} of {} recorded calls{newest} would be decided otherwise",
            rows.len(),
            done.get("looked_at").unwrap_or(&Value::Null)
        );
    })
}

fn changed(change: &Value) -> Vec<String> {
    let of = |pointer: &str| change.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
    let rules: Vec<&str> = change
        .pointer("/after/clauses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    vec![of("/decision"), of("/tool"), of("/before/outcome"), of("/after/outcome"), rules.join(" ")]
}

async fn propose(context: &Context, target: &str, reason: Option<String>, since: Option<String>) -> anyhow::Result<()> {
    let mut body = json!({"of": target, "namespace": context.client.namespace()});
    put(&mut body, "reason", reason);
    put(&mut body, "since", since);
    let done = context.client.post("/api/policies/propose", &body).await?;
    output::show(context.format, &done, |done| {
        println!("{}", text(done, "cedar"));
        let through: Vec<&str> = list(done, "lets_through").iter().filter_map(Value::as_str).collect();
        println!(
            "// of {} recorded calls it would have let through {}{}{}",
            done.get("looked_at").unwrap_or(&Value::Null),
            through.len(),
            if through.is_empty() { "" } else { ": " },
            output::cut(&through.join(" "), 400),
        );
    })
}

fn put(body: &mut Value, name: &str, value: Option<String>) {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        fields.insert(name.to_owned(), value.into());
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
