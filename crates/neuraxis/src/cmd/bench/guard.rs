//! What a check of the guard takes: in process, and over loopback with the decision in the log.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::Range,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use nx_guard::bench::{CheckConfig, TraceConfig, check, policies};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Process, figure, native};
use crate::{cli::ServerArgs, client::Client};

/// Calls that are checked over loopback.
const CALLS: usize = 5000;
/// Those before them that are not counted.
const WARM_UP: usize = 500;
/// Labelled leaves of the run: each record and each mail has five.
const LEAVES: usize = 10_000;

/// In process: tracing and policies.
pub(super) async fn in_process() -> anyhow::Result<Vec<Value>> {
    let config = CheckConfig { policies: 1000, trace: TraceConfig { leaves: LEAVES, ..TraceConfig::default() } };
    let found = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        check(&config, &|| begun.elapsed().as_nanos() as u64)
    })
    .await??;
    let config = json!({"policies": 1000, "leaves": LEAVES, "calls": config.trace.calls});
    Ok(vec![
        figure("guard.check.p50_us", found.p50_us, "us", &config),
        figure("guard.check.p99_us", found.p99_us, "us", &config),
        figure("guard.check.policies_p50_us", found.decide_p50_us, "us", &config),
        figure("guard.check.policies_p99_us", found.decide_p99_us, "us", &config),
        figure("guard.check.compile_ms", found.compile_ms, "ms", &config),
    ])
}

/// Over one connection: each answer comes when its decision is in the log. The CPU time is that of a check and of the report of
/// its result.
pub(super) async fn over_http(dir: &Path) -> anyhow::Result<Vec<Value>> {
    let server = Process::start(dir).await?;
    let client = Client::new(ServerArgs { url: server.url.clone(), token: None, namespace: "default".to_owned() })?;
    let manifests: Vec<Value> = policies(1000)
        .into_iter()
        .map(|policy| {
            json!({"apiVersion": "neuraxis/v1", "kind": "Policy", "metadata": {"name": policy.name}, "spec": policy.spec})
        })
        .collect();
    for part in manifests.chunks(100) {
        client.post("/api/apply", &json!({"manifests": part})).await?;
    }
    let session = open(&client).await?;
    let url = server.url.clone();
    let cpu = server.cpu()?;
    let mut times = tokio::task::spawn_blocking(move || calls(&url, &session)).await??;
    let cpu = server.cpu()?.checked_sub(cpu).unwrap_or_default();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    let config = json!({"policies": 1000, "leaves": LEAVES, "calls": CALLS, "connections": 1});
    let figures = vec![
        figure("guard.http.p50_us", at(0.5), "us", &config),
        figure("guard.http.p99_us", at(0.99), "us", &config),
        figure("guard.http.cpu_us", cpu.as_secs_f64() * 1e6 / (WARM_UP + CALLS) as f64, "us", &config),
    ];
    server.end().await?;
    Ok(figures)
}

/// Calls, one after the other: how long the answer to each check takes.
fn calls(url: &str, session: &str) -> anyhow::Result<Vec<f64>> {
    let mut plain = Plain::connect(url)?;
    let path = format!("/api/guard/sessions/{session}");
    let (check, observe) = (format!("{path}/check"), format!("{path}/observe"));
    let mut times = Vec::with_capacity(CALLS);
    for n in 0..WARM_UP + CALLS {
        let mut body = json!({"tool": "pay/refund", "args": allowed(n)});
        let text = body.to_string();
        let begun = Instant::now();
        let verdict = plain.post(&check, &text)?;
        if n >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        let verdict: Value = serde_json::from_slice(verdict)?;
        anyhow::ensure!(verdict.get("decision") == Some(&json!("allow")), "a call is not allowed: {verdict}");
        // Then the call is made, and what came of it is told.
        if let Some(body) = body.as_object_mut() {
            body.insert("result".to_owned(), Value::Null);
        }
        plain.post(&observe, &body.to_string())?;
    }
    Ok(times)
}

/// One connection and nothing around it: what is measured is the server, not a client's machinery.
struct Plain {
    stream: TcpStream,
    host: String,
    answer: Vec<u8>,
}

impl Plain {
    fn connect(url: &str) -> anyhow::Result<Self> {
        let host = url.strip_prefix("http://").context("a server without TLS")?.to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, answer: Vec::new() })
    }

    /// Asks, in one write, and gives the answer's body.
    fn post(&mut self, path: &str, body: &str) -> anyhow::Result<&[u8]> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}",
            self.host
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer.clear();
        let body = loop {
            if let Some(body) = body_of(&self.answer)?
                && self.answer.len() >= body.end
            {
                break body;
            }
            let mut piece = [0; 16 << 10];
            let read = self.stream.read(&mut piece)?;
            anyhow::ensure!(read > 0, "the server closed the connection");
            self.answer.extend(piece.get(..read).unwrap_or_default());
        };
        self.answer.get(body).context("a body")
    }
}

/// Where the body of an answer begins and ends, once its head is there.
fn body_of(answer: &[u8]) -> anyhow::Result<Option<Range<usize>>> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default())?.to_ascii_lowercase();
    anyhow::ensure!(head.starts_with("http/1.1 2"), "the server answers {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("a content-length")?;
    Ok(Some(end + 4..end + 4 + length.trim().parse::<usize>()?))
}

/// The arguments of a call that policies allow, as most are: to whom the request names, of what a record says, with a text made
/// of several.
fn allowed(n: usize) -> Value {
    // The record 0 and the mail 0 have an account in common.
    let k = 1 + n % 999;
    json!({"order": k, "iban": format!("DE{:020}", k * 7919), "to": "ann@example.org", "cents": n % 5000, "by": "2025-01-11",
        "text": format!("dear customer {k}, your order {k} of street {} is refunded", k % 97)})
}

/// What labels cost a run of many small steps: against the same build where every value gets one label.
pub(super) async fn labels(dir: &Path, time: Duration) -> anyhow::Result<Vec<Value>> {
    let (mut own, mut constant) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for (more, costs) in [(&[][..], &mut own), (&["--constant-label"][..], &mut constant)] {
            let dir = dir.join(format!("{round}-{}", more.len()));
            std::fs::create_dir_all(&dir)?;
            let found = native("labels", &dir, 64, time, more).await?;
            let cost = found.get(1).and_then(|figure| figure.get("value")).and_then(Value::as_f64);
            costs.push(cost.context("the CPU time of a step")?);
        }
    }
    let median = |costs: &mut Vec<f64>| {
        costs.sort_by(f64::total_cmp);
        costs.get(costs.len() / 2).copied().unwrap_or_default()
    };
    let (own, constant) = (median(&mut own), median(&mut constant));
    let config = json!({"runs": 64, "rounds": 3, "seconds": time.as_secs_f64()});
    Ok(vec![
        figure("guard.labels.cpu_us", own, "us/step", &config),
        figure("guard.labels.constant_cpu_us", constant, "us/step", &config),
        figure("guard.labels.ratio", own / constant, "x", &config),
    ])
}

/// A session whose run holds records that are vouched for and mails that are not.
async fn open(client: &Client) -> anyhow::Result<String> {
    let output = json!({"trust": "trusted", "readers": ["ann@example.org"]});
    let opened = json!({
        "agent": "triage", "principal": "ann", "roles": ["clerk"],
        "prompt": "Refund order 77 to its customer and write to ann@example.org, 50 euro at most, by January 11th 2025",
        "tools": [
            {"name": "pay/refund", "effect": "once", "sinks": ["to"]},
            {"name": "shop/find_order", "effect": "read", "output": output},
            {"name": "mail/read", "effect": "read"},
        ],
    });
    let session = client.post("/api/guard/sessions", &opened).await?;
    let session = session.get("session").and_then(Value::as_str).context("a session")?.to_owned();
    let path = format!("/api/guard/sessions/{session}/observe");
    for n in 0..LEAVES / 10 {
        let record = json!({"id": n, "iban": format!("DE{:020}", n * 7919), "name": format!("customer {n} of street {}", n % 97),
            "mail": format!("c{n}@example.org"), "cents": n * 10});
        client.post(&path, &json!({"tool": "shop/find_order", "args": {"order": n}, "result": record})).await?;
        let mail = json!({"from": format!("c{n}@example.net"), "subject": format!("about order {n}"), "date": "2025-01-09",
            "body": format!("please refund my order number {n} of the street {} to DE{:020}, it is late", n % 89, n * 7907), "n": n});
        client.post(&path, &json!({"tool": "mail/read", "args": {"n": n}, "result": mail})).await?;
    }
    Ok(session)
}
