//! Measuring a check: how long it takes over a run that holds many labelled leaves.
//!
//! Figures are measured, never judged. The clock is passed in.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    Error,
    origin::{Context, Limits},
    tool::{Output, Tool},
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
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |ns| *ns as f64 / 1000.0);
    Ok(TraceFigures { p50_us: at(0.5), p99_us: at(0.99), add_us })
}
