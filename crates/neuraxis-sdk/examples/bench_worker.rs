//! The worker of the benchmark `runs.native`, and an echo server that shows what the SDK alone costs.
//!
//! `bench_worker http://127.0.0.1:7700` serves the agent `bench`: input N, then N code steps, each awaited; ends with
//! SIGINT and prints what it did. `bench_worker echo RUNS SECONDS` starts a server in a process of its own that
//! answers every step at once and records nothing, and measures the worker against it.

use std::{
    io::{self, BufRead as _, Write as _},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use neuraxis_sdk::{
    CancellationToken, Ctx, Failure, Options, RunId, Worker,
    frames::{Outcome, SUBPROTOCOL, Server as ServerFrame, Start, Welcome, Worker as WorkerFrame},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
    },
};

/// Steps of one run of the echo server.
const STEPS: u64 = 1000;

type Done = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["echo", runs, seconds] => measure_echo(runs, seconds),
        ["echo-server", runs, seconds] => serve_echo(runs, seconds),
        [url] => runtime().and_then(|runtime| runtime.block_on(worker((*url).to_owned(), 64))),
        _ => Err("usage: bench_worker URL | bench_worker echo RUNS SECONDS".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Box<dyn std::error::Error + Send + Sync>> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn measure_echo(runs: &str, seconds: &str) -> Done {
    let mut server =
        Command::new(std::env::current_exe()?).args(["echo-server", runs, seconds]).stdout(Stdio::piped()).spawn()?;
    let mut url = String::new();
    if let Some(stdout) = server.stdout.take() {
        io::BufReader::new(stdout).read_line(&mut url)?;
    }
    runtime()?.block_on(worker(url.trim().to_owned(), runs.parse()?))?;
    server.wait()?;
    Ok(())
}

async fn worker(url: String, runs: u32) -> Done {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = steps.clone();
    let worker = Worker::new(Options::new(url).name("bench").runs(runs)).agent("bench", move |ctx: Ctx, count: u64| {
        let counted = counted.clone();
        async move {
            for n in 0..count {
                ctx.step("add").args(n).run(|_, n: u64| async move { Ok(n + 1) }).await?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(count)
        }
    });
    let shutdown = CancellationToken::new();
    let began = Instant::now();
    tokio::select! {
        biased;
        ended = worker.run(shutdown.clone()) => drop(ended),
        _signal = tokio::signal::ctrl_c() => shutdown.cancel(),
    }
    let (seconds, steps) = (began.elapsed().as_secs_f64(), steps.load(Ordering::Relaxed) as f64);
    let config = json!({"runs": runs});
    let mut out = io::stdout().lock();
    writeln!(out, "{}", json!({"name": "sdk.steps", "value": steps / seconds, "unit": "steps/s", "config": config}))?;
    let cpu = cpu_seconds()? * 1e6 / steps.max(1.0);
    writeln!(out, "{}", json!({"name": "sdk.steps.cpu_us", "value": cpu, "unit": "us", "config": config}))?;
    Ok(())
}

/// Seconds of CPU that this process has used, user and system; Linux counts in hundredths.
fn cpu_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn serve_echo(runs: &str, seconds: &str) -> Done {
    let (runs, seconds) = (runs.parse()?, seconds.parse()?);
    runtime()?.block_on(echo(runs, Duration::from_secs(seconds)))
}

async fn echo(runs: u32, time: Duration) -> Done {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "http://{}", listener.local_addr()?)?;
    let (stream, _from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, choose).await?;
    let until = Instant::now() + time;
    let mut next = 0u64;
    while let Some(message) = socket.next().await {
        let mut message = Some(message);
        while let Some(Ok(Message::Text(text))) = message {
            for frame in answer(&serde_json::from_str(&text)?, runs, &mut next, Instant::now() < until) {
                socket.feed(Message::text(serde_json::to_string(&frame)?)).await?;
            }
            message = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}

fn answer(frame: &WorkerFrame, runs: u32, next: &mut u64, go_on: bool) -> Vec<ServerFrame> {
    let mut start = || {
        *next += 1;
        let mut id = [0; 10];
        id[2..].copy_from_slice(&next.to_be_bytes());
        ServerFrame::Start(Box::new(Start {
            run: RunId::from_bytes(id),
            inc: 1,
            agent: "bench".to_owned(),
            input: json!(STEPS),
            state: None,
            key: None,
            deadline: None,
            recorded: 0,
            live: true,
            traceparent: None,
        }))
    };
    match frame {
        WorkerFrame::Hello(_) => {
            let welcome = Welcome {
                protocol: 1,
                server: "echo".to_owned(),
                session: "s".to_owned(),
                max_frame_bytes: 1 << 20,
                credit: 1024,
                lease_ms: 10_000,
            };
            let mut frames = vec![ServerFrame::Welcome(welcome)];
            frames.extend((0..runs).map(|_| start()));
            frames
        }
        WorkerFrame::Step(step) => {
            let value = match &step.outcome {
                Some(Outcome::Ok(value)) => value.clone(),
                _ => Value::Null,
            };
            vec![ServerFrame::Result { call: step.call, value, reused: false, live: false }]
        }
        WorkerFrame::Complete { run, inc, .. } => {
            let closed = ServerFrame::Closed { run: *run, inc: *inc, state: "completed".to_owned() };
            if go_on { vec![closed, start()] } else { vec![closed, goodbye()] }
        }
        _ => Vec::new(),
    }
}

fn goodbye() -> ServerFrame {
    let problem =
        nx_types::Problem { code: nx_types::Code::new("NX-BENCH"), detail: "done".to_owned(), retryable: false };
    ServerFrame::Goodbye { problem, retry_ms: None }
}
