//! `compress`, `model verify`: wiring of the search in `nx-infer` to files, the server, a terminal and a key.

mod progress;
mod sign;
mod source;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nx_infer::{
    Manifest,
    dataset::{self, Wanted},
    engine::{Engine, Options as Loading},
    manifest::{After, Lineage},
    onnx::Limits,
    search::{
        Device, Ended, Folder, Metric, Options, Recipe, Report, Runner, Samples, Search, Speed, Statement,
        run as search,
    },
};
use serde::Serialize;
use serde_json::json;

pub(super) use self::source::{Original, is_file, of};
use super::{Context, engines, models};
use crate::{
    cli::{CompressArgs, Format, Judge, Output},
    output,
};

/// What a search came to.
struct Found {
    report: Report,
    statement: Statement,
    manifest: bool,
}

pub(super) async fn run(context: &Context, args: CompressArgs) -> anyhow::Result<()> {
    let Output::Folder(path) = args.folder.clone() else {
        bail!("-o takes the folder of the result; --format says how to print")
    };
    let original = of(context, &args.model, args.manifest.as_deref()).await?;
    ensure!(
        !args.pull || original.artifact.is_some(),
        "--pull adds a version to a model of the server; `{}` is a file: add the result with `model pull`",
        args.model
    );
    let signer = sign::signer(args.key.as_deref())?;
    let stop = Arc::new(AtomicBool::new(false));
    let (format, pull) = (args.format, args.pull);
    let mut searching = {
        let (original, path, stop) = (original.clone(), path.clone(), stop.clone());
        tokio::task::spawn_blocking(move || compress(&args, &original, &path, &stop))
    };
    let found = loop {
        tokio::select! {
            biased;
            found = &mut searching => break found??,
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                if stop.swap(true, Ordering::Relaxed) {
                    bail!("stopped at once; what was measured before is kept in `{}`", path.display());
                }
                eprintln!("\nstopping; once more stops at once");
            }
        }
    };
    let Some(found) = found else {
        bail!("stopped; what was measured is kept in `{}`, and the same command goes on from there", path.display());
    };
    let note = sign::note(&signer, &found.statement);
    let file = path.join(sign::NOTE);
    std::fs::write(&file, note).with_context(|| format!("cannot write `{}`", file.display()))?;
    tell(format, &path, &found, &original)?;
    if pull {
        models::pull(context, source::pull(&original, &path, &found.report)?).await?;
    } else if format == Format::Human && !unchanged(&found.report) {
        println!("\nNext:\n  {}", source::next(&original, &path, &found));
    }
    Ok(())
}

/// Searches, with its progress on standard error; none when it was told to stop.
fn compress(args: &CompressArgs, original: &Original, path: &Path, stop: &AtomicBool) -> anyhow::Result<Option<Found>> {
    let limits = Limits::default();
    let model = original.read(&limits)?;
    let given = original.manifest()?;
    let name = original.name();
    let manifest = match &given {
        Some(manifest) => {
            manifest.check_model(&model)?;
            manifest.clone()
        }
        None => Manifest::of(&name, &model)?,
    };
    ensure!(manifest.states.is_empty(), "a model that carries a state from run to run cannot be compressed here yet");
    let metric = metric(args, &manifest)?;
    let folder = Folder::open(path)?;
    let samples = read(args, &manifest, &metric)?;
    let found = engines::here()?;
    let target = &args.target;
    let chosen = match &target.engine {
        Some(name) => vec![found.named(name)?],
        None => found.for_model(&original.sha256()?).into_iter().map(|(engine, _)| engine).collect(),
    };
    let loading = Loading { threads: target.threads.unwrap_or(1), limits, ..Loading::default() };
    // the preferred one that runs the model
    let mut refused = Vec::new();
    let first = chosen.into_iter().find(|engine| {
        let loaded = nx_infer::engine::Session::load_model(&**engine, &model, &loading);
        loaded.map_err(|error| refused.push(error.to_string())).is_ok()
    });
    let first = first.with_context(|| format!("no engine here runs the model: {}", refused.join("; ")))?;
    let also: Result<Vec<Box<dyn Engine>>, _> = target.also.iter().map(|name| found.named(name)).collect();
    let opened: Vec<Box<dyn Engine>> = std::iter::once(first).chain(also?).collect();
    let engines: Vec<&dyn Engine> = opened.iter().map(|engine| &**engine).collect();
    let file = original.bytes()?;
    let mut runner = Runner::new(&model, &samples, &metric, &engines, loading)?.of_file(&file);
    runner.stop_on(stop);
    let options = Options {
        max_drop: args.max_drop,
        confidence: args.confidence,
        held_out: args.held_out,
        aim: target.aim,
        seed: args.seed,
        ..Options::default()
    };
    let subject = runner.subject(options.layers);
    let stored = folder.state()?.filter(|state| !state.facts.is_empty());
    let mut searching = match stored {
        Some(state) => Search::resume(options, subject, state).with_context(|| {
            format!("`{}` holds another search's measurements; give another -o, or delete it", path.display())
        })?,
        None => Search::new(options, subject)?,
    };
    let mut shown = progress::Shown::new(&folder, stop);
    let device = Device::here(target.class.clone());
    let ended = search(&mut searching, &mut runner, &device, &mut clock(), &mut |search, progress| {
        shown.watch(search, progress)
    });
    let kept = shown.end();
    // what was measured is kept whatever ended it
    folder.store(searching.state())?;
    kept?;
    let Ended::Done(done) = ended? else { return Ok(None) };
    let (report, released) = *done;
    let manifest = given.map(|manifest| lineage(manifest, &report)).transpose()?;
    let file = if report.released.recipe == Recipe::Original { file } else { released.write() };
    let statement = folder.finish(&report, &file, manifest.as_deref())?;
    Ok(Some(Found { report, statement, manifest: manifest.is_some() }))
}

/// What is judged: what the manifest says of the output.
fn metric(args: &CompressArgs, manifest: &Manifest) -> anyhow::Result<Metric> {
    let outputs = &manifest.outputs;
    let output = match &args.judge {
        Some(name) => outputs.iter().position(|output| output.name == *name).with_context(|| {
            let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
            format!("the model has no output `{name}`; it has {}", names.join(", "))
        })?,
        None => 0,
    };
    let judged = outputs.get(output).context("the model has no output")?;
    let metric = match (args.threshold, judged.after.last()) {
        (Some(threshold), _) => Metric::Side { output, threshold },
        (None, Some(After::Ctc { blank })) => Metric::Text { output, blank: *blank, labels: judged.labels.clone() },
        (None, Some(After::Yolox(yolox))) => Metric::Detections { output, yolox: yolox.clone(), overlap: 0.5 },
        (None, _) => Metric::Class { output },
    };
    let labelled = matches!(metric, Metric::Class { .. } | Metric::Text { .. });
    ensure!(
        args.metric == Judge::Agreement || labelled,
        "`--metric accuracy` judges classes and texts; this output is judged by `--metric agreement`"
    );
    Ok(metric)
}

fn read(args: &CompressArgs, manifest: &Manifest, metric: &Metric) -> anyhow::Result<Samples> {
    let decode = |bytes: &[u8]| nx_models::picture(bytes);
    let wanted = Wanted::new(manifest, metric, args.metric == Judge::Accuracy, &decode);
    Ok(Samples::new(dataset::read(&args.data, &wanted)?))
}

/// The manifest of what was released, as YAML.
fn lineage(manifest: Manifest, report: &Report) -> anyhow::Result<String> {
    let lineage = Lineage {
        producer: Some(format!("neuraxis compress {}", report.version)),
        parent: Some(report.model.clone()),
        data: Some(report.data.clone()),
        seed: Some(report.options.seed),
        source: None,
    };
    output::yaml(&Manifest { hash: Some(report.released.hash.clone()), lineage: Some(lineage), ..manifest })
}

/// Whether the model is released as it was.
fn unchanged(report: &Report) -> bool {
    report.model == report.released.hash
}

#[derive(Serialize)]
struct Told<'t> {
    folder: String,
    released: &'t nx_infer::search::Released,
    samples: [usize; 2],
    engines: &'t [String],
    device: &'t Device,
}

fn tell(format: Format, path: &Path, found: &Found, original: &Original) -> anyhow::Result<()> {
    let report = &found.report;
    let told = Told {
        folder: path.display().to_string(),
        released: &report.released,
        samples: report.samples,
        engines: &report.engines,
        device: &report.device,
    };
    output::show(format, &told, |_| {
        let [bytes, before] = report.released.bytes;
        println!("{} → {}", original.title(), report.released.name);
        println!("  {}", report.released.claim.text);
        println!("  size   {bytes} of {before} bytes ({:.2} of it)", bytes as f64 / (before as f64).max(1.0));
        if let Some(latency) = &report.released.latency {
            println!("  speed  {}", speed(latency, report));
        }
        if let Some(score) = report.candidates.first().map(|row| row.score).filter(|score| *score < 0.5) {
            println!(
                "  note   the model as it was scores {:.1} % on these data: are they what it takes?",
                score * 100.0
            );
        }
        println!("  in     {}: model.onnx, report.md, report.svg, report.json, {}", path.display(), sign::NOTE);
    })
}

fn speed(latency: &nx_infer::search::Latency, report: &Report) -> String {
    let engine = report.engines.first().map_or("", String::as_str);
    let word = match latency.speed {
        Speed::Faster => "faster",
        Speed::Slower => "slower",
        Speed::NoDifference => "no difference shown",
    };
    format!(
        "{word} on {engine}, threads {}: p50 {:.0} µs, {:.2} of the original's time ({:.2} to {:.2}; itself again: {:.2})",
        report.threads, latency.p50_us, latency.ratio.median, latency.ratio.low, latency.ratio.high, latency.margin
    )
}

/// Checks a folder's signature and hashes, and says what was claimed.
pub(super) fn verify(format: Format, path: &Path, key: Option<&str>) -> anyhow::Result<()> {
    let (report, statement) = Folder::check(path)?;
    let by = sign::check(path, &statement, key)?;
    let told = json!({"verified": true, "signedBy": by.to_string(), "statement": statement, "report": report});
    output::show(format, &told, |_| {
        println!("signed by {by}");
        println!(
            "model.onnx, report.json{} are what was signed",
            if statement.manifest.is_some() { ", model.yaml" } else { "" }
        );
        println!("released: {} from {}", report.released.name, report.model);
        println!("claim:    {}", report.released.claim.text);
        println!("          scores are against {}; data {}", report.against, report.data);
        if let Some(latency) = &report.released.latency {
            println!("speed:    {}, device class {}", speed(latency, &report), report.device.class);
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
pub(super) fn clock() -> impl FnMut() -> Duration {
    let start = std::time::Instant::now();
    move || start.elapsed()
}
