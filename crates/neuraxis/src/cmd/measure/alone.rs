//! One setting of `model bench`, in a process that does nothing else.

use anyhow::Context as _;
use nx_infer::{
    Tensor, bench,
    engine::{Options, Session},
};
use serde_json::json;

use super::{Original, engines, made_up};
use crate::cli::ModelBenchArgs;

pub(super) fn run(args: &ModelBenchArgs, original: &Original) -> anyhow::Result<()> {
    let (engine, threads) = (args.engine.first().context("an engine")?, args.threads.first().context("threads")?);
    let (_, inputs) = made_up(original, &args.shape)?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let bytes = original.bytes()?;
    let before = resident_mb();
    let mut now = crate::cmd::compress::clock();
    // a library that is loaded for it belongs to it
    let engine = engines::here()?.named(engine)?;
    let mut session = Session::load(&*engine, bytes, &Options { threads: *threads, ..Options::default() })?;
    let loaded = now();
    session.run(&inputs)?;
    let first = now();
    let plan = bench::Plan { most: 100_000, time: args.time.to_std(), ..bench::Plan::default() };
    let figures = bench::measure(&mut session, &inputs, &plan, &mut now)?;
    let after = resident_mb();
    let told = json!({
        "version": engine.version(),
        "runs": figures.runs,
        "load_ms": loaded.as_secs_f64() * 1e3,
        "first_ms": first.saturating_sub(loaded).as_secs_f64() * 1e3,
        "p50_us": figures.p50.as_secs_f64() * 1e6,
        "p99_us": figures.p99.as_secs_f64() * 1e6,
        "rss_mb": after,
        "model_rss_mb": after.zip(before).map(|(after, before)| after - before),
    });
    println!("{told}");
    Ok(())
}

/// Resident memory of this process; none where the system does not say.
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0 / 1e6)
}
