//! A long run is killed with its server, and resumed: how long until it has gone one step further, in how much memory.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use neuraxis_sdk::{Ctx, Failure, Options, Worker};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Process, figure};
use crate::{cli::ServerArgs, client::Client, cmd};

/// How often the resumed run is looked at.
const FINE_LOOK: Duration = Duration::from_millis(2);
/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What the agent of a process does.
#[derive(Debug, Clone)]
struct Part {
    /// Steps that it executes before it stands still; all of them when left out.
    until: Option<u64>,
    /// Steps between two carries.
    carry: Option<u64>,
    /// Steps seen so far.
    seen: Arc<AtomicU64>,
}

async fn agent(part: Part, ctx: Ctx, steps: u64) -> Result<u64, Failure> {
    let first: u64 = ctx.carried().await?.unwrap_or_default();
    for step in first..steps {
        if part.until == Some(step) {
            std::future::pending::<()>().await;
        }
        let _echo: u64 =
            ctx.step("echo").args(step).run(|_call, step: u64| async move { Ok::<_, Failure>(step) }).await?;
        part.seen.store(step + 1, Ordering::Relaxed);
        if part.carry.is_some_and(|every| (step + 1) % every == 0) {
            ctx.carry(&(step + 1)).await?;
        }
    }
    Ok(steps)
}

fn worker(url: &str, part: Part) -> Worker {
    Worker::new(Options::new(url)).agent("long", move |ctx, steps: u64| agent(part.clone(), ctx, steps))
}

fn client(url: &str) -> anyhow::Result<Client> {
    Client::new(ServerArgs { url: url.to_owned(), token: None, namespace: "default".to_owned() })
}

pub(super) async fn measure(name: &str, dir: &Path, steps: u64, carry: Option<u64>) -> anyhow::Result<Vec<Value>> {
    let tasks = TaskTracker::new();
    let server = Process::start(dir).await?;
    let (seen, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let first = worker(&server.url, Part { until: Some(steps), carry, seen: Arc::clone(&seen) });
    let token = stop.clone();
    tasks.spawn(async move { drop(first.run(token).await) });
    let started = client(&server.url)?.post("/api/runs", &json!({"agent": "long", "input": steps + 1})).await?;
    let path = format!("/api/runs/{}", cmd::text(&started, "run"));
    let begun = Instant::now();
    let mut peak = 0;
    while seen.load(Ordering::Relaxed) < steps {
        tokio::time::sleep(LOOK).await;
        peak = peak.max(server.resident()?);
    }
    let recorded = begun.elapsed();
    drop(server);
    stop.cancel();

    let server = Process::start(dir).await?;
    let (went, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let second = worker(&server.url, Part { until: None, carry, seen: Arc::clone(&went) });
    let token = stop.clone();
    let begun = Instant::now();
    tasks.spawn(async move { drop(second.run(token).await) });
    let mut resumed_peak = 0;
    while went.load(Ordering::Relaxed) <= steps {
        tokio::time::sleep(FINE_LOOK).await;
        resumed_peak = resumed_peak.max(server.resident()?);
    }
    let resumed = begun.elapsed();
    let query = [("wait", "60s".to_owned()), ("limit", "1".to_owned())];
    let view = client(&server.url)?.get(&path, &query).await?;
    stop.cancel();
    tasks.close();
    ensure!(cmd::text(&view, "status") == "completed", "the run did not complete: {view}");
    let bytes = std::fs::metadata(dir.join("data").join("journal.db")).context("the log is there")?.len();
    let config = json!({"steps": steps, "carry_every": carry, "record_s": recorded.as_secs_f64(), "database_bytes": bytes,
        "rss_recording_mb": peak as f64 / 1e6, "rss_resuming_mb": resumed_peak as f64 / 1e6});
    Ok(vec![figure(name, resumed.as_secs_f64() * 1000.0, "ms", &config)])
}
