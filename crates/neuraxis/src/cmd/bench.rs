//! `bench`: figures, one JSON object a line. It judges nothing.

mod guard;
mod resume;
mod storage;

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
use nx_journal::bench::{AppendConfig, EraseConfig, append, erase, verify};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{BenchArgs, ServerArgs},
    client::Client,
};

const NAMES: [&str; 13] = [
    "guard.check",
    "guard.http",
    "guard.labels",
    "journal.append",
    "journal.erase",
    "journal.verify",
    "runs.native.c1",
    "runs.native.c8",
    "runs.native.c64",
    "runs.resume.history",
    "runs.resume.carry",
    "start.ready_ms",
    "storage",
];
/// Events of the journal's benchmarks.
const EVENTS: u64 = 500_000;
/// Steps of one run; a run that ends is followed by the next.
const STEPS: u64 = 5000;
/// Steps between two carries of the resumed run.
const CARRY_EVERY: u64 = 1000;
/// Time before counting starts.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    let names: Vec<&str> =
        NAMES.into_iter().filter(|name| *name == args.name || name.starts_with(&format!("{}.", args.name))).collect();
    ensure!(!names.is_empty(), "no benchmark `{}`; there are {}", args.name, NAMES.join(" "));
    let base = args.dir.unwrap_or_else(std::env::temp_dir).join(format!("neuraxis-bench-{}", std::process::id()));
    for name in names {
        let dir = base.join(name);
        std::fs::create_dir_all(&dir)?;
        let figures = measure(name, &dir, args.time.to_std(), args.steps).await;
        std::fs::remove_dir_all(&base)?;
        for figure in figures? {
            println!("{figure}");
        }
    }
    Ok(())
}

async fn measure(name: &str, dir: &Path, time: Duration, steps: u64) -> anyhow::Result<Vec<Value>> {
    match name {
        "journal.append" => {
            let config = AppendConfig { events: EVENTS, ..AppendConfig::default() };
            let dir = dir.to_path_buf();
            let found = tokio::task::spawn_blocking(move || append(&dir, &config)).await??;
            let config = json!({"events": config.events, "data_bytes": config.data_bytes, "outstanding": config.outstanding,
                "sync_p50_us": found.sync_p50_us});
            Ok(vec![
                figure(name, found.events_per_s, "events/s", &config),
                figure("journal.append.cpu_us", found.cpu_us, "us/event", &config),
                figure("journal.append.seal_us", found.seal_us, "us/event", &config),
                figure("journal.append.tree_us", found.tree_us, "us/event", &config),
                figure("journal.append.bytes", found.bytes_per_event, "B/event", &config),
            ])
        }
        "journal.verify" => {
            let dir = dir.to_path_buf();
            let found = tokio::task::spawn_blocking(move || verify(&dir, EVENTS)).await??;
            ensure!(found.findings == 0, "a fresh log does not verify");
            let config = json!({"events": EVENTS});
            Ok(vec![
                figure(name, found.events_per_s, "events/s", &config),
                figure("journal.verify.cpu_us", found.cpu_us, "us/event", &config),
            ])
        }
        "journal.erase" => {
            let (dir, config) = (dir.to_path_buf(), EraseConfig::default());
            let found = tokio::task::spawn_blocking(move || erase(&dir, &config)).await??;
            let config = json!({"events": config.rows, "rows": config.rows, "subjects": config.subjects,
                "erased": config.erased, "database_bytes": found.database_bytes});
            Ok(vec![
                figure("journal.erase.p50_ms", found.median_us / 1000.0, "ms", &config),
                figure("journal.erase.cpu_ms", found.cpu_us / 1000.0, "ms", &config),
            ])
        }
        "guard.check" => guard::in_process().await,
        "guard.http" => guard::over_http(dir).await,
        "guard.labels" => guard::labels(dir, time).await,
        "start.ready_ms" => start(dir).await,
        "storage" => storage::measure(dir).await,
        "runs.resume.history" => resume::measure(name, dir, steps, None).await,
        "runs.resume.carry" => resume::measure(name, dir, steps, Some(CARRY_EVERY)).await,
        _ => {
            let runs = name.rsplit_once(".c").and_then(|(_, count)| count.parse().ok()).context("a count of runs")?;
            native(name, dir, runs, time, &[]).await
        }
    }
}

fn figure(name: &str, value: f64, unit: &str, config: &Value) -> Value {
    json!({"name": name, "value": (value * 1000.0).round() / 1000.0, "unit": unit, "config": config})
}

/// A server in a process of its own, so that its CPU time is its own.
struct Process {
    child: Child,
    url: String,
    ready: Duration,
}

impl Process {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, &[]).await
    }

    async fn start_with(dir: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir.join("data"))
            .args(more)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().context("the server's output is ours")?;
        let mut lines = BufReader::new(out).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some(url) = line.strip_prefix("ready ") {
                return Ok(Self { child, url: url.to_owned(), ready: begun.elapsed() });
            }
        }
        anyhow::bail!("the server ended before it was ready")
    }

    fn file(&self, name: &str) -> anyhow::Result<String> {
        let pid = self.child.id().context("the server has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{name}"))?)
    }

    /// Asks it to end, and waits until it has: its log is then written back.
    async fn end(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("the server has ended")?, rustix::process::Signal::TERM)?;
        self.child.wait().await?;
        Ok(())
    }

    /// CPU time so far, user and system.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = self.file("stat")?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Resident memory in bytes.
    fn resident(&self) -> anyhow::Result<u64> {
        let status = self.file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS in /proc/PID/status")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}

async fn start(dir: &Path) -> anyhow::Result<Vec<Value>> {
    let mut times = Vec::new();
    let mut resident = 0;
    for round in 0..5 {
        let dir = dir.join(round.to_string());
        std::fs::create_dir_all(&dir)?;
        let server = Process::start(&dir).await?;
        times.push(server.ready.as_secs_f64() * 1000.0);
        resident = server.resident()?;
    }
    times.sort_by(f64::total_cmp);
    let config = json!({"starts": times.len(), "log": "new"});
    Ok(vec![
        figure("start.ready_ms", times.get(times.len() / 2).copied().unwrap_or_default(), "ms", &config),
        figure("start.rss_mb", resident as f64 / 1e6, "MB", &config),
    ])
}

/// Counts its steps, and tells its end to whoever starts the next run: asking the server would be measured too.
async fn bench_agent((counter, ended): (Arc<AtomicU64>, Arc<Semaphore>), ctx: Ctx, steps: u64) -> Result<u64, Failure> {
    for step in 0..steps {
        let _echo: u64 =
            ctx.step("echo").args(step).run(|_call, step: u64| async move { Ok::<_, Failure>(step) }).await?;
        counter.fetch_add(1, Ordering::Relaxed);
    }
    ended.add_permits(1);
    Ok(steps)
}

async fn native(name: &str, dir: &Path, runs: u32, time: Duration, more: &[&str]) -> anyhow::Result<Vec<Value>> {
    let server = Process::start_with(dir, more).await?;
    let (counter, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let ended = Arc::new(Semaphore::new(0));
    let told = (Arc::clone(&counter), Arc::clone(&ended));
    let mut options = Options::new(&server.url);
    options.runs = runs;
    let worker = Worker::new(options).agent("bench", move |ctx, steps: u64| bench_agent(told.clone(), ctx, steps));
    let token = stop.clone();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move { drop(worker.run(token).await) });
    let args = ServerArgs { url: server.url.clone(), token: None, namespace: "default".to_owned() };
    let client = Client::new(args)?;
    for _ in 0..runs {
        let (client, token, ended) = (client.clone(), stop.clone(), Arc::clone(&ended));
        tasks.spawn(async move {
            while !token.is_cancelled() {
                let body = json!({"agent": "bench", "input": STEPS});
                if client.post("/api/runs", &body).await.is_err() {
                    return;
                }
                let Some(Ok(permit)) = token.run_until_cancelled(ended.acquire()).await else { return };
                permit.forget();
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let (steps, cpu, begun) = (counter.load(Ordering::Relaxed), server.cpu()?, Instant::now());
    tokio::time::sleep(time).await;
    let (steps, cpu) = (counter.load(Ordering::Relaxed) - steps, server.cpu()?.saturating_sub(cpu));
    let (elapsed, resident) = (begun.elapsed(), server.resident()?);
    stop.cancel();
    let bytes = std::fs::metadata(dir.join("data").join("journal.db")).map_or(0, |data| data.len());
    drop(server);
    tasks.close();
    let config = json!({"runs": runs, "seconds": elapsed.as_secs_f64(), "steps": steps, "rss_mb": resident as f64 / 1e6,
        "database_bytes": bytes});
    ensure!(steps > 0, "no step was done");
    Ok(vec![
        figure(name, steps as f64 / elapsed.as_secs_f64(), "steps/s", &config),
        figure(&format!("{name}.cpu_us"), cpu.as_secs_f64() * 1e6 / steps as f64, "us/step", &config),
    ])
}
