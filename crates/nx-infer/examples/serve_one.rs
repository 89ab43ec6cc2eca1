//! The smallest program that serves a model: the default engine and nothing else. It loads `MODEL.onnx`, answers one made-up
//! input and says what that took:
//!
//! `cargo build -p nx-infer --profile dist --example serve_one && target/dist/examples/serve_one testdata/models/digits.onnx`
//!
//! `ready_ms` is from the beginning of `main` to the first answer, reading the file included. Then it answers a thousand times
//! and says its resident memory.

use std::{collections::BTreeMap, path::Path, time::Duration};

use nx_infer::{
    Manifest, Tensor, bench,
    engine::{self, Options, Session},
    onnx::{Limits, Model},
};

type Failure = Box<dyn std::error::Error>;

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
fn clock() -> impl FnMut() -> Duration {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
fn main() -> Result<(), Failure> {
    let mut now = clock();
    let path = std::env::args().nth(1).ok_or("usage: serve_one MODEL.onnx")?;
    let model = Model::read_file(Path::new(&path), &Limits::default())?;
    let engine = engine::embedded().into_iter().next().ok_or("this build has no engine")?;
    let read = now();
    let mut session = Session::load_model(&*engine, &model, &Options::default())?;
    let loaded = now();
    let inputs = bench::inputs(&Manifest::of("model", &model)?, &BTreeMap::new())?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&inputs)?;
    let first = now();
    drop(model);
    let plan = bench::Plan { least: 1000, most: 1000, ..bench::Plan::default() };
    let figures = bench::measure(&mut session, &inputs, &plan, &mut now)?;
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let told = serde_json::json!({
        "engine": engine.name(), "read_ms": ms(read), "load_ms": ms(loaded.saturating_sub(read)),
        "first_ms": ms(first.saturating_sub(loaded)), "ready_ms": ms(first),
        "p50_us": figures.p50.as_secs_f64() * 1e6, "p99_us": figures.p99.as_secs_f64() * 1e6, "rss_kb": resident_kb(),
    });
    println!("{told}");
    Ok(())
}

fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}
