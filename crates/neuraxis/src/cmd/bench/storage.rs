//! What steps take on disk once the log is written back, by the size of their values. Contents are random texts, so
//! that nothing could make them smaller.

use std::path::Path;

use anyhow::ensure;
use neuraxis_sdk::{Ctx, Failure, Options, Worker};
use nx_journal::Journal;
use nx_types::Env;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Process, figure};
use crate::{cli::ServerArgs, client::Client, cmd};

/// Bytes of a value, and steps that return one.
const SIZES: [(usize, u64); 9] = [
    (10, 5000),
    (100, 5000),
    (1 << 10, 5000),
    (10 << 10, 1000),
    ((16 << 10) - 512, 1000),
    (16 << 10, 1000),
    (17 << 10, 1000),
    (100 << 10, 200),
    (1 << 20, 50),
];
/// Steps before counting starts: a log's first pages are no step's.
const WARM_UP: u64 = 20;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Task {
    steps: u64,
    bytes: usize,
}

async fn agent(ctx: Ctx, task: Task) -> Result<u64, Failure> {
    for _ in 0..task.steps {
        let _value: String =
            ctx.step("make").run(move |_call, ()| async move { Ok::<_, Failure>(content(task.bytes)) }).await?;
    }
    Ok(task.steps)
}

/// A random text of as many bytes.
fn content(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    Env::system().rng().fill(&mut random);
    random.into_iter().map(|byte| char::from(b'0' + byte % 64)).map(|c| if c == '\\' { '~' } else { c }).collect()
}

pub(super) async fn measure(dir: &Path) -> anyhow::Result<Vec<Value>> {
    let mut figures = Vec::new();
    for (bytes, steps) in SIZES {
        let dir = dir.join(bytes.to_string());
        std::fs::create_dir_all(&dir)?;
        run(&dir, Task { steps: WARM_UP, bytes }).await?;
        sweep(&dir.join("data")).await?;
        let before = used(&dir.join("data"))?;
        run(&dir, Task { steps, bytes }).await?;
        let unswept = used(&dir.join("data"))?;
        let swept = sweep(&dir.join("data")).await?;
        let each = (unswept - before) as f64 / steps as f64;
        let kept = each - swept as f64 / steps as f64;
        let config = json!({"value_bytes": bytes, "steps": steps});
        figures.push(figure("storage.step", each, "B/step", &config));
        figures.push(figure("storage.kept", kept, "B/step", &config));
        figures.push(figure("storage.kept.overhead", kept - bytes as f64, "B/step", &config));
        figures.push(figure("storage.kept.ratio", kept / bytes as f64, "x content", &config));
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(figures)
}

/// One run in a server of its own, from its start to its orderly end.
async fn run(dir: &Path, task: Task) -> anyhow::Result<()> {
    let server = Process::start(dir).await?;
    let worker = Worker::new(Options::new(&server.url)).agent("make", agent);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let token = stop.clone();
    tasks.spawn(async move { drop(worker.run(token).await) });
    let client = Client::new(ServerArgs { url: server.url.clone(), token: None, namespace: "default".to_owned() })?;
    let started = client.post("/api/runs", &json!({"agent": "make", "input": task})).await?;
    let path = format!("/api/runs/{}", cmd::text(&started, "run"));
    let mut view = started;
    while !matches!(cmd::text(&view, "status"), "completed" | "failed" | "cancelled") {
        view = client.get(&path, &[("wait", "60s".to_owned()), ("limit", "1".to_owned())]).await?;
    }
    ensure!(cmd::text(&view, "status") == "completed", "the run did not complete: {view}");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    server.end().await
}

/// What values left that travelled as blobs: the server sweeps it up after a day. Gives its bytes.
async fn sweep(data: &Path) -> anyhow::Result<u64> {
    let (journal, service) = Journal::open(nx_journal::Options::new(data), Env::system())?;
    let swept = journal.gc(nx_types::Duration::from_secs(0)).await?.bytes;
    drop(journal);
    tokio::task::spawn_blocking(move || service.join()).await??;
    Ok(swept)
}

/// Bytes of all files below a directory.
fn used(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { used(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
