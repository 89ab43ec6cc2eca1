//! `run` and `runs`.

use std::{io::IsTerminal as _, io::Write as _, process::ExitCode, time::Duration};

use serde_json::{Value, json};

use super::{Context, json_argument, list, number, text};
use crate::{
    cli::{Format, RunArgs, RunsCommand, RunsListArgs},
    client::{Client, Failure},
    output,
};

/// How long `watch` waits for a server that went away.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn start(context: &Context, args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut body = json!({
        "agent": args.agent,
        "input": json_argument(&args.input)?,
        "namespace": context.client.namespace(),
    });
    if let Some(fields) = body.as_object_mut() {
        fields.extend(args.key.map(|key| ("key".to_owned(), key.into())));
        fields.extend(args.deadline.map(|deadline| ("deadline".to_owned(), deadline.to_string().into())));
    }
    let started = context.client.post("/api/runs", &body).await?;
    let run = text(&started, "run").to_owned();
    if args.detach {
        output::show(context.format, &started, |_| println!("{run}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if started.get("existing").and_then(Value::as_bool) == Some(true) && context.format == Format::Human {
        eprintln!("{} was started under this key before, with its own input", output::short(&run));
    }
    watch(context, &run).await
}

pub(super) async fn run(context: &Context, command: RunsCommand) -> anyhow::Result<ExitCode> {
    match command {
        RunsCommand::List(args) => show_list(context, args).await?,
        RunsCommand::Show { run, after, limit, full } => {
            let mut query = Vec::new();
            query.extend(after.map(|after| ("after", after.to_string())));
            query.extend(limit.map(|limit| ("limit", limit.to_string())));
            let view = view(context, &run, &query).await?;
            output::show(context.format, &view, |view| show(view, full))?;
        }
        RunsCommand::Watch { run } => return watch(context, &run).await,
        RunsCommand::Cancel { run, reason } => act(context, &run, "cancel", json!({"reason": reason})).await?,
        RunsCommand::Signal { run, name, payload, id } => {
            let body = json!({"name": name, "payload": json_argument(&payload)?, "id": id});
            act(context, &run, "signal", body).await?;
        }
        RunsCommand::Fork { run, at, input, result, live } => {
            let parse = |value: Option<String>| value.map(|value| json_argument(&value)).transpose();
            let body = json!({"at_step": at, "input": parse(input)?, "result": parse(result)?, "live": live});
            let forked = post(context, &run, "fork", body).await?;
            output::show(context.format, &forked, |forked| println!("{}", text(forked, "run")))?;
        }
        RunsCommand::Retry { run: Some(run), .. } => act(context, &run, "retry", json!({})).await?,
        RunsCommand::Retry { run: None, agent, error, all } => {
            anyhow::ensure!(
                all || agent.is_some() || error.is_some(),
                "name a run, or choose with --agent, --error or --all"
            );
            let body = drop_nulls(json!({"agent": agent, "error": error, "namespace": context.client.namespace()}));
            let done = context.client.post("/api/runs/retry", &body).await?;
            output::show(context.format, &done, |done| {
                println!("{} retried, {} skipped", list(done, "retried").len(), list(done, "skipped").len());
                for skipped in list(done, "skipped") {
                    println!(
                        "  {}  {} [{}]",
                        output::short(text(skipped, "run")),
                        text(skipped, "detail"),
                        text(skipped, "code")
                    );
                }
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn drop_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

fn path(run: &str) -> String {
    Client::path(&["runs", run])
}

async fn post(context: &Context, run: &str, verb: &str, mut body: Value) -> anyhow::Result<Value> {
    if let Some(fields) = body.as_object_mut() {
        fields.insert("namespace".to_owned(), context.client.namespace().into());
    }
    context.client.post(&format!("{}/{verb}", path(run)), &drop_nulls(body)).await
}

async fn act(context: &Context, run: &str, verb: &str, body: Value) -> anyhow::Result<()> {
    let answer = post(context, run, verb, body).await?;
    output::show(context.format, &answer, |_| println!("{run}: {verb} recorded"))
}

async fn view(context: &Context, run: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
    let mut all = vec![("namespace", context.client.namespace().to_owned())];
    all.extend(query.iter().cloned());
    context.client.get(&path(run), &all).await
}

async fn show_list(context: &Context, args: RunsListArgs) -> anyhow::Result<()> {
    let mut query = vec![("namespace", context.client.namespace().to_owned()), ("limit", args.limit.to_string())];
    query.extend(args.status.map(|status| ("status", status)));
    query.extend(args.agent.map(|agent| ("agent", agent)));
    query.extend(args.inbox.then(|| ("inbox", "any".to_owned())));
    query.extend(args.key.map(|key| ("key", key)));
    query.extend(args.cursor.map(|cursor| ("cursor", cursor)));
    let page = context.client.get("/api/runs", &query).await?;
    output::show(context.format, &page, |page| {
        let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
        output::table(&["run", "agent", "key", "status", "updated", "note"], &rows);
        if let Some(next) = page.get("next").and_then(Value::as_str) {
            println!("… more: --cursor {next}");
        }
    })
}

fn row(run: &Value) -> Vec<String> {
    let note = ["error", "waiting_for"].iter().find_map(|field| run.get(field).and_then(Value::as_str));
    vec![
        output::short(text(run, "id")),
        text(run, "agent").to_owned(),
        output::cut(text(run, "key"), 32),
        text(run, "status").to_owned(),
        output::moment(text(run, "updated")),
        output::cut(note.unwrap_or_default(), 80),
    ]
}

fn mark(status: &str) -> &'static str {
    match status {
        "completed" => "✔",
        "failed" => "✘",
        "in_doubt" => "?",
        "retrying" => "↻",
        "superseded" => "⊘",
        "waiting" => "⏸",
        _ => "…",
    }
}

/// One step in a few words: `✔ refund 31ms (try 2; 503)`.
fn step(step: &Value) -> String {
    let status = text(step, "status");
    let mut words = format!("{} {}", mark(status), text(step, "name"));
    let times = (text(step, "started").parse(), text(step, "ended").parse());
    if let (Ok(started), Ok(ended)) = times {
        let (started, ended): (nx_types::Timestamp, nx_types::Timestamp) = (started, ended);
        words = format!("{words} {}", output::lasted(ended.since(started).as_millis()));
    }
    let mut notes = Vec::new();
    if number(step, "attempts") > 1 {
        notes.push(format!("try {}", number(step, "attempts")));
    }
    if let Some(error) = step.get("error").filter(|error| !error.is_null()) {
        notes.push(output::cut(text(error, "message"), 60));
    }
    if status == "waiting" {
        notes.push(text(step, "waiting_for").to_owned());
    }
    notes.retain(|note| !note.is_empty());
    if !notes.is_empty() {
        words = format!("{words} ({})", notes.join("; "));
    }
    words
}

fn show(run: &Value, full: bool) {
    println!("{}  {} {}  {}", text(run, "id"), text(run, "agent"), text(run, "key"), text(run, "status"));
    println!("created {}  incarnation {}", output::moment(text(run, "created")), number(run, "incarnation"));
    if let Some(waiting) = run.get("waiting_for").and_then(Value::as_str) {
        println!("waits for {waiting}");
    }
    let earlier = list(run, "steps").first().map_or(0, |step| number(step, "n").saturating_sub(1));
    if earlier > 0 {
        println!("      … {earlier} earlier steps: --after 0");
    }
    for item in list(run, "steps") {
        let scope = text(item, "scope");
        let place = if scope.is_empty() { String::new() } else { format!("{scope}/") };
        println!("{:>4}  {place}{}", number(item, "n"), step(item));
        if let Some(note) = item.get("note").and_then(Value::as_str) {
            println!("      note: {note}");
        }
        if full {
            for field in ["args", "value"] {
                if let Some(value) = item.get(field) {
                    println!("      {field}: {value}");
                }
            }
        }
    }
    for progress in list(run, "progress") {
        let detail = progress.get("detail").map(|detail| output::cut(&detail.to_string(), 100)).unwrap_or_default();
        println!("      … {}: {detail}, at {}", text(progress, "name"), output::moment(text(progress, "time")));
    }
    if let Some(next) = run.get("next_step").and_then(Value::as_u64) {
        println!("      … {} steps in all: --after {next}", number(run, "steps_total"));
    }
    for approval in list(run, "approvals") {
        println!(
            "  {}  {} of {}: {}",
            text(approval, "id"),
            text(approval, "call"),
            text(approval, "who"),
            text(approval, "status")
        );
    }
    for note in list(run, "notes").iter().filter_map(Value::as_str) {
        println!("  {note}");
    }
    for field in ["result", "failure"] {
        if let Some(value) = run.get(field).filter(|value| !value.is_null()) {
            println!("{field}: {value}");
        }
    }
    if !list(run, "orphans").is_empty() {
        println!("orphans: {}", Value::from(list(run, "orphans").to_vec()));
    }
}

pub(super) fn is_over(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

/// Follows a run: each step as it ends, then one line about the whole.
async fn watch(context: &Context, run: &str) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::new(context.format);
    let (mut version, mut rounds, mut logged) = (0, 0, 0);
    let mut lost: Option<tokio::time::Instant> = None;
    let view = loop {
        // The second look is a short one: a run that is still queued then says what it waits for.
        let wait = if rounds == 1 { "2s" } else { "20s" };
        let query = [("since", version.to_string()), ("wait", wait.to_owned())];
        match view(context, run, &query).await {
            Ok(view) => {
                lost = None;
                version = number(&view, "version");
                screen.update(&view);
                if context.format == Format::Human {
                    screen.log(&lines(context, text(&view, "id"), &mut logged).await);
                }
                if is_over(text(&view, "status")) {
                    break view;
                }
                rounds += 1;
                if rounds == 2 && text(&view, "status") == "queued" {
                    queued(context, &view).await;
                }
            }
            Err(error) => {
                let gone = matches!(error.downcast_ref(), Some(Failure::Unreachable { .. }) | None);
                let since = *lost.get_or_insert_with(tokio::time::Instant::now);
                if !gone || since.elapsed() > PATIENCE {
                    screen.end();
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    };
    screen.end();
    output::show(context.format, &view, summary)?;
    Ok(if text(&view, "status") == "completed" { ExitCode::SUCCESS } else { ExitCode::from(output::RUN_FAILED) })
}

/// What the run's worker logged from a place in the log on, a line each; the place moves behind it.
async fn lines(context: &Context, run: &str, from: &mut u64) -> Vec<String> {
    let query = [
        ("namespace", context.client.namespace().to_owned()),
        ("subject", format!("run/{run}")),
        ("type", "run.logged".to_owned()),
        ("from", from.to_string()),
        ("limit", "1000".to_owned()),
    ];
    // The run itself is what is followed: lines that cannot be had now come with the next look.
    let Ok(page) = context.client.get("/api/events", &query).await else { return Vec::new() };
    let mut lines = Vec::new();
    for event in list(&page, "items") {
        *from = number(event, "seq") + 1;
        let data = event.get("data").unwrap_or(&Value::Null);
        for line in list(data, "lines") {
            let clock = text(line, "time").get(11..19).unwrap_or_default();
            let step = Some(text(line, "step")).filter(|step| !step.is_empty());
            let step = step.map(|step| format!("{step}: ")).unwrap_or_default();
            lines.push(format!("  {clock}Z {:<7} {step}{}", text(line, "level"), text(line, "message")));
        }
        if number(data, "dropped") > 0 {
            lines.push(format!("  … {} logged lines were dropped", number(data, "dropped")));
        }
    }
    lines
}

/// Tells a person why nothing happens: most often no worker offers the agent, or its name is mistyped.
async fn queued(context: &Context, view: &Value) {
    if context.format != Format::Human {
        return;
    }
    let agent = text(view, "agent");
    let Ok(page) = context.client.get("/api/workers", &[]).await else { return };
    let mut offered: Vec<&str> = list(&page, "items")
        .iter()
        .flat_map(|worker| list(worker, "agents"))
        .filter_map(|agent| agent.as_str()?.split('@').next())
        .collect();
    offered.sort_unstable();
    offered.dedup();
    let run = output::short(text(view, "id"));
    if offered.contains(&agent) {
        eprintln!("{run}  queued: the workers that offer `{agent}` are busy");
    } else {
        // Only the spelling differs, as `refund_order` from `refund-order`.
        let alike = |name: &&&str| name.replace(['_', '-'], "").eq_ignore_ascii_case(&agent.replace(['_', '-'], ""));
        if let Some(meant) = offered.iter().find(alike) {
            eprintln!("{run}  no worker offers agent `{agent}`; did you mean `{meant}`?");
        }
        let known = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        eprintln!("{run}  queued until a worker offers agent `{agent}`; offered now: {known}");
    }
}

fn summary(view: &Value) {
    let mut parts = Vec::new();
    if number(view, "incarnation") > 1
        && let Some(reused) = view.get("reused").and_then(Value::as_u64)
    {
        parts.push(format!("recovered at step {}", reused + 1));
        let repeated = list(view, "steps").iter().filter(|step| number(step, "revision") > 0).count();
        parts.push(format!("{reused} reused, {repeated} repeated"));
    }
    parts.push(text(view, "status").to_owned());
    if let Some(error) = view.get("error").and_then(Value::as_str) {
        parts.push(error.to_owned());
    }
    println!("{}  {}", output::short(text(view, "id")), parts.join(" · "));
    if let Some(result) = view.get("result").filter(|result| !result.is_null()) {
        println!("{result}");
    }
}

/// Prints steps as they end: on one growing line for a person, a line each otherwise.
struct Screen {
    on: bool,
    person: bool,
    begun: bool,
    shown: std::collections::BTreeMap<u64, String>,
}

impl Screen {
    fn new(format: Format) -> Self {
        let person = std::io::stdout().is_terminal();
        Self { on: format == Format::Human, person, begun: false, shown: Default::default() }
    }

    fn update(&mut self, view: &Value) {
        if !self.on {
            return;
        }
        for item in list(view, "steps") {
            let status = text(item, "status");
            if matches!(status, "started" | "retrying") {
                continue;
            }
            let words = step(item);
            let key = number(item, "n");
            if self.shown.get(&key).is_some_and(|shown| *shown == words) {
                continue;
            }
            let id = output::short(text(view, "id"));
            match (self.person, self.begun) {
                (true, true) => print!("   {words}"),
                (true, false) => print!("{id}  {words}"),
                (false, _) => println!("{id}  {words}"),
            }
            self.begun = true;
            self.shown.insert(key, words);
        }
        drop(std::io::stdout().flush());
    }

    /// Lines of the run's worker, between the steps.
    fn log(&mut self, lines: &[String]) {
        if !lines.is_empty() {
            self.end();
            for line in lines {
                println!("{line}");
            }
        }
    }

    fn end(&mut self) {
        if self.on && self.person && self.begun {
            println!();
        }
        self.begun = false;
    }
}
