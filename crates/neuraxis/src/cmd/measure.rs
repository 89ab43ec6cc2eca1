//! `model device`, `model bench`, `model tune`: wiring of what `nx-infer` measures to processes, files and a terminal.

mod alone;

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use nx_infer::{
    Manifest, Tensor, bench,
    device::{Profile, Work, classes},
    engine::Engines,
    onnx::Limits,
    tune::{self, Choice, Plan, Setting},
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Context, compress::Original, engines, list, number};
use crate::{
    cli::{Format, ModelBenchArgs, TuneArgs},
    client::Client,
    output,
};

pub(super) fn device(format: Format) -> anyhow::Result<()> {
    let profile = Profile::here();
    let found = engines::here()?;
    let mut told = serde_json::to_value(&profile)?;
    if let Some(object) = told.as_object_mut() {
        let version =
            |engine: &dyn nx_infer::engine::Engine| json!({"name": engine.name(), "version": engine.version()});
        object.insert("engines".to_owned(), found.all().iter().map(|engine| version(&**engine)).collect());
    }
    output::show(format, &told, |_| {
        let line = |name: &str, value: String| {
            if !value.is_empty() {
                println!("{name:<13} {value}");
            }
        };
        let megabytes = |bytes: u64| format!("{} MB", bytes / 1_000_000);
        line("class", profile.class.clone());
        line("board", profile.board.clone().unwrap_or_default());
        line("processor", profile.processor.clone().unwrap_or_default());
        line("system", format!("{} {}", profile.system, profile.architecture));
        line("instructions", profile.instructions.join(" "));
        let physical = profile.cores.physical.map_or_else(String::new, |count| format!(", {count} cores"));
        let clock = profile.cores.max_mhz.map_or_else(String::new, |mhz| format!(", {mhz} MHz"));
        line("threads", format!("{} usable{physical}{clock}", profile.cores.usable));
        let caches =
            profile.caches.iter().map(|cache| format!("L{} {} {} kB", cache.level, cache.kind, cache.bytes / 1024));
        line("caches", caches.collect::<Vec<_>>().join(", "));
        line("memory", profile.memory_bytes.map_or_else(String::new, megabytes));
        let accelerators =
            profile.accelerators.iter().map(|each| format!("{} {} ({})", each.kind, each.name, each.place));
        let accelerators: Vec<String> = accelerators.collect();
        line("accelerators", if accelerators.is_empty() { "none found".to_owned() } else { accelerators.join(", ") });
        let heat = profile.thermals.iter().map(|each| format!("{} {:.1} °C", each.name, each.celsius));
        line("thermals", heat.collect::<Vec<_>>().join(", "));
        let here =
            found.all().iter().map(|engine| format!("{} {}", engine.name(), engine.version())).collect::<Vec<_>>();
        line("engines", here.join(", "));
        line("profile", profile.id.clone());
    })
}

/// What a model takes when it is run, made up.
fn made_up(original: &Original, shapes: &[(String, Vec<usize>)]) -> anyhow::Result<(Manifest, Vec<(String, Tensor)>)> {
    let model = original.read(&Limits::default())?;
    let manifest = match original.manifest()? {
        Some(manifest) => manifest,
        None => Manifest::of(&original.name(), &model)?,
    };
    let shapes: BTreeMap<String, Vec<usize>> = shapes.iter().cloned().collect();
    let inputs = bench::inputs(&manifest, &shapes)?;
    Ok((manifest, inputs))
}

fn threads(given: &[usize]) -> Vec<usize> {
    if given.is_empty() { Plan::new(Profile::here().cores.usable).threads } else { given.to_vec() }
}

pub(super) async fn bench(context: &Context, args: ModelBenchArgs) -> anyhow::Result<()> {
    let original = super::compress::of(context, &args.model, args.manifest.as_deref()).await?;
    if args.alone {
        return tokio::task::spawn_blocking(move || alone::run(&args, &original)).await?;
    }
    let found = engines::here()?;
    let names: Vec<String> = match args.engine.as_slice() {
        [] => found.names().into_iter().map(str::to_owned).collect(),
        given => given.to_vec(),
    };
    for name in &names {
        // one that is there and does not load is a row of the table
        if let Err(error @ nx_infer::Error::NoEngine { .. }) = found.named(name) {
            return Err(error.into());
        }
    }
    // what came from the server lies in a file for the others
    let kept = original.spill()?;
    let name = original.name();
    let profile = Profile::here();
    let mut rows = Vec::new();
    for engine in &names {
        for threads in threads(&args.threads) {
            let measured = child(&args, &kept, engine, threads).await;
            let row = measured.unwrap_or_else(|error| json!({"failed": error.to_string()}));
            if context.format == Format::Json {
                lines(&name, engine, threads, &row, &profile)?;
            }
            rows.push((engine.clone(), threads, row));
        }
    }
    let predicted = if args.predict { predictions(&original, &args, &found, &profile, &rows)? } else { Vec::new() };
    match context.format {
        Format::Json => {
            for each in &predicted {
                let config = json!({"predicted": true, "threads": each.threads, "class": each.class, "bound_us": each.bound_us,
                    "basis": each.basis});
                line(&format!("infer.{name}.predicted.p50_us"), each.predicted_us, "us", &config)?;
            }
            Ok(())
        }
        format => {
            let told: Vec<Value> = rows
                .iter()
                .map(|(engine, threads, row)| json!({"engine": engine, "threads": threads, "measured": row}))
                .collect();
            output::show(format, &json!({"model": name, "settings": told, "predicted": predicted}), |_| {
                table(&original, &profile, &rows, &predicted);
            })
        }
    }
}

/// One setting, in a process of its own.
async fn child(args: &ModelBenchArgs, kept: &Original, engine: &str, threads: usize) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["model", "bench", "--alone", "--engine", engine, "--threads", &threads.to_string()]);
    command.args(["--time", &format!("{}ms", args.time.as_millis())]);
    for (name, sides) in &args.shape {
        let sides: Vec<String> = sides.iter().map(ToString::to_string).collect();
        command.arg("--shape").arg(format!("{name}={}", sides.join(",")));
    }
    let (model, manifest) = kept.files().context("the model is no file")?;
    if let Some(manifest) = manifest {
        command.arg("--manifest").arg(manifest);
    }
    command.arg("--").arg(model);
    if !engine.starts_with("onnxruntime") {
        // its library would count as memory of this one
        command.env("NEURAXIS_ONNXRUNTIME", "off").env_remove("NEURAXIS_PROVIDERS");
    }
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.lines().last().unwrap_or_default().trim_start_matches("neuraxis: ");
        bail!("{}", if said.is_empty() { done.status.to_string() } else { said.to_owned() });
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

fn line(name: &str, value: f64, unit: &str, config: &Value) -> anyhow::Result<()> {
    let value = (value * 1000.0).round() / 1000.0;
    println!("{}", serde_json::to_string(&json!({"name": name, "value": value, "unit": unit, "config": config}))?);
    Ok(())
}

/// What is measured of a setting, with its unit.
const FIGURES: [(&str, &str); 6] = [
    ("p50_us", "us"),
    ("p99_us", "us"),
    ("load_ms", "ms"),
    ("first_ms", "ms"),
    ("rss_mb", "MB"),
    ("model_rss_mb", "MB"),
];

fn lines(name: &str, engine: &str, threads: usize, row: &Value, profile: &Profile) -> anyhow::Result<()> {
    let mut config = json!({"threads": threads, "class": profile.class});
    for field in ["version", "runs", "failed"] {
        if let (Some(value), Some(config)) = (row.get(field), config.as_object_mut()) {
            config.insert(field.to_owned(), value.clone());
        }
    }
    if row.get("failed").is_some() {
        let failed =
            json!({"name": format!("infer.{name}.{engine}.p50_us"), "value": null, "unit": "us", "config": config});
        println!("{}", serde_json::to_string(&failed)?);
        return Ok(());
    }
    for (field, unit) in FIGURES {
        if let Some(value) = row.get(field).and_then(Value::as_f64) {
            line(&format!("infer.{name}.{engine}.{field}"), value, unit, &config)?;
        }
    }
    Ok(())
}

fn table(
    original: &Original,
    profile: &Profile,
    rows: &[(String, usize, Value)],
    predicted: &[nx_infer::device::Prediction],
) {
    println!("{} on {}", original.title(), profile.class);
    let told = |(engine, threads, row): &(String, usize, Value)| {
        let figure = |field: &str| {
            row.get(field).and_then(Value::as_f64).map_or_else(String::new, |value| format!("{value:.1}"))
        };
        let failed = row.get("failed").and_then(Value::as_str).map(|why| output::cut(why, 100));
        let engine = format!("{engine} {}", super::text(row, "version")).trim_end().to_owned();
        let mut cells = vec![engine, threads.to_string()];
        cells.extend(["load_ms", "first_ms", "p50_us", "p99_us", "rss_mb", "model_rss_mb"].map(figure));
        cells.push(failed.unwrap_or_default());
        cells
    };
    let headings = ["engine", "threads", "load ms", "first ms", "p50 us", "p99 us", "RSS MB", "of it model", ""];
    output::table(&headings, &rows.iter().map(told).collect::<Vec<_>>());
    if predicted.is_empty() {
        return;
    }
    println!("\nPredicted, not measured: the bound by data sheet, as far from it as the model is here.");
    let told = |each: &nx_infer::device::Prediction| {
        vec![
            each.class.clone(),
            each.threads.to_string(),
            format!("{:.0}", each.bound_us),
            format!("{:.0}", each.predicted_us),
        ]
    };
    output::table(&["class", "threads", "bound us", "predicted us"], &predicted.iter().map(told).collect::<Vec<_>>());
}

/// What other classes may take, by the fastest setting of one thread here.
fn predictions(
    original: &Original,
    args: &ModelBenchArgs,
    found: &Engines,
    profile: &Profile,
    rows: &[(String, usize, Value)],
) -> anyhow::Result<Vec<nx_infer::device::Prediction>> {
    let plain = |(_, threads, row): &(String, usize, Value)| {
        row.get("p50_us").and_then(Value::as_f64).filter(|_| *threads == 1)
    };
    let measured =
        rows.iter().filter_map(plain).min_by(f64::total_cmp).context("--predict needs a run with one thread")?;
    let (_, inputs) = made_up(original, &args.shape)?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let model = original.read(&Limits::default())?;
    let engines = found.all();
    let counted = engines.iter().rev().find_map(|engine| Work::of(&**engine, &model, &inputs).ok());
    let work = counted.context("the work of the model cannot be counted: no engine here shows its inner values")?;
    let known: Vec<_> = classes().iter().filter_map(|class| class.predict(&work, 1, profile, measured)).collect();
    ensure!(!known.is_empty(), "there are no figures for this machine's class `{}` to predict from", profile.class);
    Ok(known)
}

pub(super) async fn tune(context: &Context, args: TuneArgs) -> anyhow::Result<()> {
    let mut variants = Vec::new();
    for word in &args.models {
        if super::compress::is_file(word) || word.contains('@') {
            variants.push(super::compress::of(context, word, None).await?);
            continue;
        }
        let here = [("namespace", context.client.namespace().to_owned())];
        let found = context.client.get(&Client::path(&["models", word]), &here).await?;
        for version in list(&found, "versions") {
            let word = format!("{word}@{}", number(version, "version"));
            variants.push(super::compress::of(context, &word, None).await?);
        }
    }
    let told = tokio::task::spawn_blocking(move || tuned(&args, &variants)).await??;
    output::show(context.format, &told, |told| {
        let rows = list(told, "variants").iter().flat_map(rows_of).collect::<Vec<_>>();
        output::table(&["model", "engine", "threads", "p50 us", "p99 us", ""], &rows);
        println!("\nkept in {}; a server that looks there uses it", super::text(told, "folder"));
        let fastest = super::text(told, "fastest");
        if list(told, "variants").len() > 1 && !fastest.is_empty() {
            println!("fastest here: {fastest}");
        }
    })
}

fn rows_of(variant: &Value) -> Vec<Vec<String>> {
    let chosen = |setting: &Value| {
        ["engine", "threads"].iter().all(|field| setting.get(field) == variant.pointer(&format!("/setting/{field}")))
    };
    let row = |setting: &Value| {
        let figure =
            |field: &str| setting.get(field).and_then(Value::as_f64).map_or_else(String::new, |v| format!("{v:.1}"));
        let note = if chosen(setting) { "chosen".to_owned() } else { output::cut(super::text(setting, "leftOut"), 80) };
        let engine = format!("{} {}", super::text(setting, "engine"), super::text(setting, "version"));
        let threads = number(setting, "threads").to_string();
        vec![super::text(variant, "model").to_owned(), engine, threads, figure("p50Us"), figure("p99Us"), note]
    };
    list(variant, "measured").iter().map(row).collect()
}

fn tuned(args: &TuneArgs, variants: &[Original]) -> anyhow::Result<Value> {
    let found = engines::here()?;
    let kept = found.kept().context("there is no home directory to keep choices in; set $NEURAXIS_TUNED")?.clone();
    let profile = Profile::here();
    let time = args.time.to_std().min(tune::MOST);
    let each = time / u32::try_from(variants.len()).unwrap_or(u32::MAX).max(1);
    let plan = Plan {
        threads: threads(&args.threads),
        engines: args.engine.clone(),
        time: each.max(Duration::from_millis(200)),
    };
    let mut now = super::compress::clock();
    let (mut told, mut fastest): (Vec<Value>, Option<(f64, String)>) = (Vec::new(), None);
    for original in variants {
        let (_, inputs) = made_up(original, &args.shape)?;
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let bytes = original.bytes()?;
        let measured: Vec<Setting> = tune::measure(&found, &bytes, &inputs, &plan, &mut now)?;
        let reasons: Vec<String> = measured.iter().filter_map(|setting| setting.left_out.clone()).collect();
        let choice = Choice::of(&bytes, &profile, measured)
            .with_context(|| format!("no engine here runs {}: {}", original.title(), reasons.join("; ")))?;
        kept.keep(&choice)?;
        if let Some(p50) = choice.setting.p50_us
            && fastest.as_ref().is_none_or(|(least, _)| p50 < *least)
        {
            fastest = Some((p50, original.title()));
        }
        told.push(json!({"model": original.title(), "sha256": choice.model, "setting": choice.setting, "measured": choice.measured}));
    }
    Ok(
        json!({"profile": profile.id, "class": profile.class, "folder": kept.folder().display().to_string(), "variants": told,
        "fastest": fastest.map(|(_, title)| title)}),
    )
}
