//! `model device`, `model bench`, `model tune`: what is asked for, as it is typed.

use std::path::PathBuf;

use clap::Args;
use nx_types::Duration;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuraxis model bench digits.onnx
  neuraxis model bench digits@live --threads 1,2 --engine rten -o json
  neuraxis model bench detector.onnx --shape images=1,3,640,640 --predict

Each setting runs in a process of its own: loading is cold, and memory is its own. Inputs are made up from the manifest or the \
model; --shape gives a dimension that is open. -o json prints one object a line, as `neuraxis bench` does:
{\"name\":\"infer.MODEL.ENGINE.p50_us\",\"value\":…,\"unit\":\"us\",\"config\":{…}}.")]
pub(crate) struct ModelBenchArgs {
    /// An ONNX file, or a model of the server: NAME, NAME@ALIAS, NAME@VERSION.
    pub(crate) model: String,
    /// Only these engines; all that are here when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Vec<String>,
    /// Threads of a run; 1, 2 and all cores, 8 at most, when left out.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = threads)]
    pub(crate) threads: Vec<usize>,
    /// The shape of an input.
    #[arg(long, value_name = "NAME=1,3,…", value_parser = shape)]
    pub(crate) shape: Vec<(String, Vec<usize>)>,
    /// How long each setting is run.
    #[arg(long, default_value = "2s")]
    pub(crate) time: Duration,
    /// The model's manifest; for a file the one beside it when left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Also say what other classes of devices may take: reckoned from counted work, marked as predicted.
    #[arg(long)]
    pub(crate) predict: bool,
    /// Measure one setting in this process.
    #[arg(long, hide = true)]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuraxis model tune digits                      every version of the server's model
  neuraxis model tune digits.onnx small/model.onnx --time 20s

Settings are engine × threads, execution providers of $NEURAXIS_PROVIDERS included, for each of the models given: its variants. \
They run by turns, 30 s at most in all. The choice is kept under the hash of the model's file and the profile of this machine \
(`model device`), and the server uses it when it loads that file: it looks in $NEURAXIS_TUNED, else ~/.cache/neuraxis/tuned.")]
pub(crate) struct TuneArgs {
    /// ONNX files, or models of the server; a bare NAME stands for all of its versions.
    #[arg(required = true)]
    pub(crate) models: Vec<String>,
    /// Only these engines; all that are here when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Vec<String>,
    /// Threads of a run; 1, 2 and all cores, 8 at most, when left out.
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = threads)]
    pub(crate) threads: Vec<usize>,
    /// The shape of an input.
    #[arg(long, value_name = "NAME=1,3,…", value_parser = shape)]
    pub(crate) shape: Vec<(String, Vec<usize>)>,
    /// How long all of it may take, 30s at most.
    #[arg(long, default_value = "15s")]
    pub(crate) time: Duration,
}

fn threads(text: &str) -> Result<usize, String> {
    let count = text.trim().parse().ok().filter(|count| (1..=256).contains(count));
    count.ok_or_else(|| "threads are 1 to 256".to_owned())
}

fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let wrong = || "the form is NAME=1,3,224,224".to_owned();
    let (name, sides) = text.split_once('=').ok_or_else(wrong)?;
    let sides: Option<Vec<usize>> = sides.split(',').map(|side| side.trim().parse().ok()).collect();
    Ok((name.to_owned(), sides.ok_or_else(wrong)?))
}
