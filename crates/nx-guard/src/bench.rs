//! Measuring a check: how long it takes over a run that holds many labelled leaves.
//!
//! Figures are measured, never judged. The clock is passed in.

use std::sync::Arc;

use nx_types::Timestamp;
use serde_json::{Value, json};

use crate::{
    Error,
    call::{Call, Facts, Scores},
    decision::Decision,
    guard::Guard,
    origin::{Context, Limits},
    policy::{Mode, Policy, PolicySet, PolicySpec, with_default},
    tool::{Output, Tool, Tools},
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceConfig {
    /// Labelled leaves of the run: half of them vouched for, half not.
    pub leaves: usize,
    /// Calls that are traced.
    pub calls: usize,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self { leaves: 10_000, calls: 10_000 }
    }
}

/// What it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceFigures {
    /// Median time of a call, in microseconds.
    pub p50_us: f64,
    /// The time that 99 of 100 calls stay under, in microseconds.
    pub p99_us: f64,
    /// Time to take in one leaf, in microseconds.
    pub add_us: f64,
}

/// A run of `leaves` leaves: records of a shop and mails.
pub fn context(leaves: usize) -> Result<Context, Error> {
    let request =
        json!("Refund order 77 to its customer and write to ann@example.org, 50 euro at most, by January 11th 2025");
    let mut context = Context::new(&request, Limits::default())?;
    let vouched = Output { readers: Some(["ann@example.org".to_owned()].into()), ..Output::trusted() };
    let mut add = |source: &str, value: Value, output: &Output| {
        let labels = output.labels(source, &value, false);
        context.add(source, None, &Arc::new(value), labels)
    };
    for n in 0..leaves / 10 {
        let record = json!({"id": n, "iban": format!("DE{:020}", n * 7919), "name": format!("customer {n} of street {}", n % 97),
            "mail": format!("c{n}@example.org"), "cents": n * 10});
        add("shop/find_order", record, &vouched)?;
        let mail = json!({"from": format!("c{n}@example.net"), "subject": format!("about order {n}"), "date": "2025-01-09",
            "body": format!("please refund my order number {n} of the street {} to DE{:020}, it is late", n % 89, n * 7907), "n": n});
        add("mail/read", mail, &Output::default())?;
    }
    Ok(context)
}

/// The arguments of the call number `n`: of the request, of a record, of a mail, of nowhere, and a text made of several.
pub fn arguments(n: usize) -> Value {
    let k = n % 1000;
    json!({"order": k, "iban": format!("DE{:020}", k * if n.is_multiple_of(2) { 7919 } else { 7907 }), "to": format!("c{k}@example.org"),
        "cents": n, "by": "2025-01-11", "text": format!("dear customer {k}, your order {k} of street {} is refunded", k % 97)})
}

/// Measures the tracing of calls. `now` is a monotonic clock in nanoseconds.
pub fn trace(config: &TraceConfig, now: &dyn Fn() -> u64) -> Result<TraceFigures, Error> {
    let tool = Tool::parse(&json!({"name": "pay/refund", "effect": "once", "sinks": ["iban", "cents", "to"]}))?;
    let begun = now();
    let context = context(config.leaves)?;
    let add_us = (now() - begun) as f64 / 1000.0 / config.leaves.max(1) as f64;
    let mut times = Vec::with_capacity(config.calls);
    for n in 0..config.calls {
        let args = arguments(n);
        let begun = now();
        let traced = context.trace(&tool, &args)?;
        times.push(now() - begun);
        drop(traced);
    }
    let (p50_us, p99_us) = quantiles(times);
    Ok(TraceFigures { p50_us, p99_us, add_us })
}

/// The median and the 99th percentile of times in nanoseconds, in microseconds.
fn quantiles(mut times: Vec<u64>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |ns| *ns as f64 / 1000.0);
    (at(0.5), at(0.99))
}

/// What is measured of a whole check: tracing, and the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckConfig {
    /// Policies, each with a clause, besides the one that ships.
    pub policies: usize,
    /// Labelled leaves of the run, and calls.
    pub trace: TraceConfig,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self { policies: 1000, trace: TraceConfig::default() }
    }
}

/// What a check took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckFigures {
    /// Median time of a check, in microseconds.
    pub p50_us: f64,
    /// The time that 99 of 100 checks stay under, in microseconds.
    pub p99_us: f64,
    /// The policies' part of it, median.
    pub decide_p50_us: f64,
    /// The policies' part of it, 99th percentile.
    pub decide_p99_us: f64,
    /// Clauses that were evaluated for a call, of all that there are.
    pub evaluated: usize,
    /// Time to compile the policies, in milliseconds.
    pub compile_ms: f64,
}

/// The tools of services that policies are about; the first is the one that is called.
pub fn tools() -> Result<Tools, Error> {
    let properties = json!({"order": {"type": "integer"}, "iban": {"type": "string"}, "to": {"type": "string"},
        "cents": {"type": "integer"}, "by": {"type": "string"}, "text": {"type": "string"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["order", "iban", "to", "cents"]});
    let tool = |n: usize| {
        Tool::parse(
            &json!({"name": tool_name(n), "effect": "once", "sinks": ["iban", "cents", "to"], "inputSchema": schema}),
        )
    };
    Tools::new((0..TOOLS).map(tool).collect::<Result<Vec<_>, _>>()?)
}

/// How many tools there are.
const TOOLS: usize = 250;

fn tool_name(n: usize) -> String {
    if n == 0 { "pay/refund".to_owned() } else { format!("service{n}/act") }
}

/// Policies as installations write them: each about one tool, some of them about one class of principals.
pub fn policies(count: usize) -> Vec<Policy> {
    (0..count).map(policy).collect()
}

fn policy(n: usize) -> Policy {
    let tool = tool_name(n % TOOLS);
    let (head, condition) = match n / TOOLS % 4 {
        0 => (
            "principal",
            "unless { [Source::\"shop/find_order\", Source::\"request\"].containsAll(context.from.iban) }".to_owned(),
        ),
        1 => ("principal", format!("when {{ context.args.cents > {} }}", 5000 + n)),
        2 => (
            "principal in Role::\"clerk\"",
            "when { context.sinks.untrusted.contains(\"to\") || context.leaks }".to_owned(),
        ),
        _ => ("principal == User::\"mallory\"", "when { context.args.cents > 100 }".to_owned()),
    };
    let cedar = format!(
        "@id(\"rule\") @ask(\"lead within 4h\")\nforbid({head}, action == Tool::\"{tool}\", resource)\n  {condition};\n"
    );
    let spec = PolicySpec { mode: Mode::Enforce, cedar, tests: Vec::new() };
    Policy { name: format!("policy{n}"), revision: 1, spec }
}

/// The policies as one text that Cedar itself takes, the policy that ships among them.
pub fn cedar(count: usize) -> String {
    let all = with_default(policies(count));
    let texts = all.iter().map(|policy| policy.spec.cedar.replace("Tool::\"", "Tool::Action::\""));
    texts.collect::<Vec<_>>().join("\n")
}

/// Measures whole checks. `now` is a monotonic clock in nanoseconds.
pub fn check(config: &CheckConfig, now: &dyn Fn() -> u64) -> Result<CheckFigures, Error> {
    let guard = Guard::new(tools()?);
    let begun = now();
    let set = PolicySet::compile(&with_default(policies(config.policies)), guard.tools())?.set;
    let compile_ms = (now() - begun) as f64 / 1e6;
    let context = context(config.trace.leaves)?;
    let facts = Facts {
        now: Timestamp::from_millis(1_760_000_000_000),
        scores: Scores::default(),
        approvals: 0,
        principal: "ann".to_owned(),
        roles: ["clerk".to_owned(), "viewer".to_owned()].into(),
        agent: "triage".to_owned(),
    };
    let evaluated = std::cell::Cell::new(0);
    let (mut times, mut deciding) = (Vec::with_capacity(config.trace.calls), Vec::with_capacity(config.trace.calls));
    for n in 0..config.trace.calls {
        let args = arguments(n);
        let took = std::cell::Cell::new(0);
        let decide = |call: &Call<'_>| -> Result<Decision, Error> {
            let begun = now();
            let decision = set.decide(call);
            took.set(now() - begun);
            evaluated.set(set.asked(call));
            decision
        };
        let begun = now();
        let decision = guard.check(&context, (&tool_name(0), &args), &facts, &decide)?;
        times.push(now() - begun);
        deciding.push(took.get());
        drop(decision);
    }
    let (p50_us, p99_us) = quantiles(times);
    let (decide_p50_us, decide_p99_us) = quantiles(deciding);
    Ok(CheckFigures { p50_us, p99_us, decide_p50_us, decide_p99_us, evaluated: evaluated.get(), compile_ms })
}
