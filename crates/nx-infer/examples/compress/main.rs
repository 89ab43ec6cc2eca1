//! Searches for the fastest form of a classifier that keeps its accuracy:
//!
//! `cargo run -p nx-infer --release --example compress -- MODEL.onnx DATA… --max-drop 0.5% -o DIR`
//!
//! DATA is a directory with `images-idx3-ubyte.gz` and `labels-idx1-ubyte.gz`; `DIR@7000` leaves the first 7,000 out. DIR gets the
//! released model, the report as canonical JSON, as a table and as a drawing, and what was measured, from which a broken-off
//! search goes on. `--engine NAME` says what to search for, `--also NAME` times another; `--size` makes the file small
//! instead of the run short; `--agreement` takes the model's own answers for the truth.
//!
//! `… --guarantee 200` puts the promise to the test instead: as many searches on resampled data with known truth.

#[path = "../engines/engines.rs"]
mod engines;
mod guarantee;
mod idx;

use std::{fs, ops::ControlFlow, path::PathBuf, time::Duration};

use nx_infer::{
    engine::{self, Engine},
    onnx::{Limits, Model},
    search::{Aim, Device, Ended, Metric, Options, Runner, Samples, Search, State, run},
};

type Failure = Box<dyn std::error::Error>;

struct Arguments {
    model: PathBuf,
    data: Vec<String>,
    out: PathBuf,
    engines: Vec<String>,
    agreement: bool,
    guarantee: Option<u32>,
    options: Options,
}

fn arguments() -> Result<Arguments, Failure> {
    let mut given = std::env::args().skip(1);
    let mut found = Arguments {
        model: PathBuf::new(),
        data: Vec::new(),
        out: PathBuf::from("compressed"),
        engines: Vec::new(),
        agreement: false,
        guarantee: None,
        options: Options::default(),
    };
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("`{argument}` wants a value"));
        match argument.as_str() {
            "--max-drop" => found.options.max_drop = share(&value()?)?,
            "--confidence" => found.options.confidence = share(&value()?)?,
            "--seed" => found.options.seed = value()?.parse()?,
            "--rounds" => found.options.rounds = value()?.parse()?,
            "--engine" => found.engines.insert(0, value()?),
            "--also" => found.engines.push(value()?),
            "--guarantee" => found.guarantee = Some(value()?.parse()?),
            "--size" => found.options.aim = Aim::Size,
            "--agreement" => found.agreement = true,
            "-o" => found.out = value()?.into(),
            other if other.starts_with('-') => return Err(format!("there is no `{other}`").into()),
            other if found.model.as_os_str().is_empty() => found.model = other.into(),
            other => found.data.push(other.to_owned()),
        }
    }
    if found.data.is_empty() {
        return Err("usage: compress MODEL.onnx DATA… [--max-drop 0.5%] [--engine NAME] [--also NAME] [-o DIR]".into());
    }
    if found.engines.is_empty() {
        found.engines.extend(engine::names().first().map(|name| (*name).to_owned()));
    }
    Ok(found)
}

/// `0.5%` or `0.005`.
fn share(text: &str) -> Result<f64, Failure> {
    Ok(match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>()? / 100.0,
        None => text.parse()?,
    })
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
fn clock() -> impl FnMut() -> Duration {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

#[expect(clippy::print_stdout, reason = "what it found is what it prints")]
#[expect(clippy::print_stderr, reason = "how far it is")]
fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let model = Model::read_file(&arguments.model, &Limits::default())?;
    let input = model.inputs()?.first().map(|input| input.name.clone()).unwrap_or_default();
    let mut samples = Vec::new();
    for data in &arguments.data {
        samples.extend(idx::read(data, &input, !arguments.agreement)?);
    }
    let samples = Samples::new(samples);
    let opened: Result<Vec<Box<dyn Engine>>, Failure> =
        arguments.engines.iter().map(|name| engines::named(name)).collect();
    let opened = opened?;
    let engines: Vec<&dyn Engine> = opened.iter().map(|engine| &**engine).collect();
    let metric = Metric::Class { output: 0 };
    let mut runner = Runner::new(&model, &samples, &metric, &engines, engine::Options::default())?;
    if let Some(searches) = arguments.guarantee {
        return guarantee::run(&mut runner, &arguments.options, searches, &mut clock());
    }

    fs::create_dir_all(&arguments.out)?;
    let measured = arguments.out.join("measured.json");
    let subject = runner.subject(arguments.options.layers);
    let known = fs::read(&measured).ok().and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
    let resumed = known.and_then(|state| Search::resume(arguments.options.clone(), subject.clone(), state).ok());
    let mut search = match resumed {
        Some(search) => search,
        None => Search::new(arguments.options, subject)?,
    };
    let mut now = clock();
    let mut shown = String::new();
    let mut watch = |search: &Search, progress: &nx_infer::search::Progress| {
        let left = progress.left.map_or_else(String::new, |left| format!(", {:.0} s left", left.as_secs_f64()));
        let line = format!("{} of {} runs{left}: {}", progress.done, progress.total, progress.doing);
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
        let written = serde_json::to_vec(search.state()).ok().map(|bytes| fs::write(&measured, bytes));
        if matches!(written, Some(Ok(()))) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match run(&mut search, &mut runner, &Device::here(None), &mut now, &mut watch)? {
        Ended::Stopped => Err("what was measured cannot be written".into()),
        Ended::Done(done) => {
            let (report, model) = *done;
            fs::write(arguments.out.join("model.onnx"), model.write())?;
            fs::write(arguments.out.join("report.json"), report.canonical()?)?;
            fs::write(arguments.out.join("report.md"), report.markdown())?;
            fs::write(arguments.out.join("report.svg"), report.plot())?;
            println!("{}", report.markdown());
            Ok(())
        }
    }
}
