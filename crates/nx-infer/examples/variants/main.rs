//! Every form that the compressor makes of a model, as files to be compared with those of other tools:
//!
//! `cargo run -p nx-infer --release --features ort --example variants -- MODEL.onnx CALIBRATION OUT [RECIPE…]`
//!
//! CALIBRATION holds a directory for each sample with `input_N.pb`, as ONNX's own tests lie. OUT gets a file for each recipe of the
//! search's grid, and for the best static forms some with their most sensitive layers in `f32`. Calibration runs on ONNX Runtime
//! where it is found, else on the embedded engine. Names of recipes make those alone, as files are named. `bench/inference/compression.py` compares them.
//!
//! `variants time SAMPLE FILE…` prints a line for each file: milliseconds of a run in the embedded engine, or why it refuses it.

#[path = "../engines/engines.rs"]
mod engines;
mod sensitive;

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use nx_infer::{
    Tensor,
    compress::{self, Granularity, Quantise, Ranges, observe::Method},
    engine::{self, Engine, Session},
    onnx::{Limits, Model, read_tensor},
    search::{Recipe, grid},
};
use serde_json::json;

pub(crate) type Failure = Box<dyn std::error::Error>;
pub(crate) type Sample = Vec<(String, Tensor)>;

/// Runs of a file that are timed.
const RUNS: usize = 15;

fn sample(directory: &Path) -> Result<Sample, Failure> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pb"));
    paths.sort();
    paths.iter().map(|path| Ok(read_tensor(fs::read(path)?.into(), &Limits::default())?)).collect()
}

fn samples(directory: &Path) -> Result<Vec<Sample>, Failure> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.iter().map(|path| sample(path)).collect()
}

pub(crate) fn named(samples: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    samples.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

#[expect(clippy::print_stderr, reason = "how far it is")]
fn variants(model: &Path, calibration: &Path, out: &Path, only: &[&str]) -> Result<(), Failure> {
    let found = engines::named("onnxruntime");
    let engine: Box<dyn Engine> = match found {
        Ok(engine) => engine,
        Err(_) => engines::named("rten")?,
    };
    let model = Model::read_file(model, &Limits::default())?;
    let samples = samples(calibration)?;
    let (folded, _) = compress::fold(&compress::clean(&model)?.0)?;
    let options = engine::Options::default();
    let seen: OnceCell<Result<Ranges, String>> = OnceCell::new();
    let calibrate = || {
        let seen = compress::calibrate(&*engine, &folded, &samples, &Quantise::default(), &options);
        seen.map_err(|error| error.to_string())
    };
    let ranges = || {
        let seen = seen.get_or_init(calibrate).clone();
        seen.map_err(|reason| nx_infer::Error::Compress { step: "calibrate", reason })
    };
    let named = |recipe: &Recipe| recipe.name().replace([' ', ','], "-").replace("--", "-");
    fs::create_dir_all(out)?;
    let wanted = |recipe: &Recipe| only.is_empty() || only.contains(&named(recipe).as_str());
    let write = |recipe: &Recipe| match wanted(recipe).then(|| recipe.make(&model, &folded, &ranges)).transpose() {
        Ok(None) => Ok(()),
        Ok(Some(made)) => fs::write(out.join(format!("{}.onnx", named(recipe))), made.write()),
        Err(error) => {
            eprintln!("{}: {error}", recipe.name());
            Ok(())
        }
    };
    for recipe in grid() {
        write(&recipe)?;
    }
    for range in [Method::MinMax, Method::Percentile { percent: 99.99 }, Method::Entropy, Method::Mse] {
        write(&Recipe::Layers { granularity: Granularity::Tensor, range, keep: BTreeSet::new() })?;
    }
    if !only.is_empty() {
        return Ok(());
    }
    let range = Method::Mse;
    let make = |recipe: &Recipe| recipe.make(&model, &folded, &ranges);
    let probed = Recipe::Layers { granularity: Granularity::Channel, range, keep: [].into() };
    let order = sensitive::order(&*engine, &folded, &samples, &probed, &make)?;
    for kept in std::iter::successors(Some(1), |kept| Some(kept * 2)).take_while(|kept| *kept <= order.len() / 2) {
        let keep: BTreeSet<String> = order.iter().take(kept).cloned().collect();
        for granularity in [Granularity::Tensor, Granularity::Channel] {
            write(&Recipe::Int8 { granularity, range, bits: 8, keep: keep.clone() })?;
            write(&Recipe::Layers { granularity, range, keep: keep.clone() })?;
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
fn milliseconds(file: &Path, sample: &[(String, Tensor)]) -> Result<f64, Failure> {
    let mut session = Session::load(&*engines::named("rten")?, fs::read(file)?, &engine::Options::default())?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run(&named(sample))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

#[expect(clippy::print_stdout, reason = "figures are what it prints")]
fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["time", data, files @ ..] => {
            let sample = sample(Path::new(data))?;
            for file in files {
                let figure = milliseconds(Path::new(file), &sample);
                println!(
                    "{}",
                    figure.map_or_else(|error| json!({"refused": error.to_string()}), |ms| json!({"ms": ms}))
                );
            }
            Ok(())
        }
        [model, calibration, out, only @ ..] => {
            variants(Path::new(model), Path::new(calibration), Path::new(out), only)
        }
        _ => Err("usage: variants MODEL.onnx CALIBRATION OUT [RECIPE…], or variants time SAMPLE FILE…".into()),
    }
}
