//! Latency, CPU time and memory of one model on one engine.

use std::{fs, path::Path, time::Duration};

use nx_infer::{
    Tensor,
    bench::{Plan, measure},
    engine::{Options, Session},
    onnx::{Limits, read_tensor},
};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

pub(crate) fn tensors(set: &Path, kind: &str) -> Result<Vec<(String, Tensor)>, nx_infer::Error> {
    let files = (0..).map_while(|at| fs::read(set.join(format!("{kind}_{at}.pb"))).ok());
    files.map(|bytes| read_tensor(bytes.into(), &Limits::default())).collect()
}

/// User and system time of this process.
fn cpu() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn memory_kb(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
fn clock() -> impl FnMut() -> Duration {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
pub(crate) fn run(directory: &Path, name: &str, threads: usize) -> Result<(), Failure> {
    let mut now = clock();
    let engine = crate::engines::named(name)?;
    let bytes = fs::read(directory.join("model.onnx"))?;
    let inputs = tensors(&directory.join("test_data_set_0"), "input")?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let before = memory_kb("VmRSS:");
    let start = now();
    let mut session = Session::load(&*engine, bytes, &Options { threads, ..Options::default() })?;
    let loaded = now();
    session.run(&inputs)?;
    let first = now();
    let (cpu_before, wall_before) = (cpu(), now());
    let figures = measure(&mut session, &inputs, &Plan { warm_up: 0, ..Plan::default() }, &mut now)?;
    let used = cpu()
        .zip(cpu_before)
        .map(|(after, before)| after.saturating_sub(before).as_micros() as f64 / figures.runs as f64);
    println!(
        "{}",
        json!({
            "model": directory.file_name().map(|name| name.to_string_lossy()), "engine": name, "version": engine.version(),
            "threads": threads, "runs": figures.runs, "load_ms": loaded.saturating_sub(start).as_secs_f64() * 1e3,
            "first_ms": first.saturating_sub(loaded).as_secs_f64() * 1e3, "least_us": figures.least.as_secs_f64() * 1e6,
            "p50_us": figures.p50.as_secs_f64() * 1e6, "p99_us": figures.p99.as_secs_f64() * 1e6, "cpu_us": used,
            "wall_s": now().saturating_sub(wall_before).as_secs_f64(), "rss_kb": memory_kb("VmRSS:"), "peak_kb": memory_kb("VmHWM:"),
            "rss_before_kb": before,
        })
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
pub(crate) fn load(directory: &Path, name: &str) -> Result<(), Failure> {
    let mut now = clock();
    let engine = crate::engines::named(name)?;
    let bytes = fs::read(directory.join("model.onnx"))?;
    let inputs = tensors(&directory.join("test_data_set_0"), "input")?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut session = Session::load(&*engine, bytes, &Options::default())?;
    session.run(&inputs)?;
    println!("{}", json!({ "engine": name, "cold_ms": now().as_secs_f64() * 1e3, "rss_kb": memory_kb("VmRSS:") }));
    Ok(())
}
