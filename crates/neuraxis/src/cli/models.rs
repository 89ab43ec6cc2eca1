//! The commands about models.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use nx_types::Duration;

use super::{ModelBenchArgs, TuneArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Add a version of a model from a file or a URL.
    Pull(PullArgs),
    /// List models with their versions and aliases.
    List,
    /// Show a model, or a version with its manifest.
    #[command(after_help = "Examples:\n  neuraxis model show digits\n  neuraxis model show digits@2 -o yaml")]
    Show {
        /// NAME, NAME@ALIAS or NAME@VERSION.
        model: String,
    },
    /// Point an alias to a version; requests that are under way end on the version that they began with.
    #[command(
        after_help = "Examples:\n  neuraxis model alias digits live 2\n  neuraxis model alias digits canary --remove"
    )]
    Alias {
        /// The model.
        name: String,
        /// The alias; `live` is the one that a bare name stands for.
        alias: String,
        /// The version.
        #[arg(required_unless_present = "remove")]
        version: Option<u32>,
        /// Remove the alias.
        #[arg(long, conflicts_with = "version")]
        remove: bool,
    },
    /// Point an alias to where it pointed before.
    #[command(after_help = "Example:\n  neuraxis model rollback digits")]
    Rollback {
        /// The model.
        name: String,
        /// The alias.
        #[arg(default_value = "live")]
        alias: String,
    },
    /// Write a version's file, checked against its hash.
    #[command(after_help = "Example:\n  neuraxis model save digits@2 digits.onnx")]
    Save {
        /// NAME, NAME@ALIAS or NAME@VERSION.
        model: String,
        /// The new file.
        file: PathBuf,
    },
    /// Show what this machine is: instruction sets, cores, caches, memory, accelerators, temperatures, engines.
    #[command(after_help = "Example:\n  neuraxis model device -o json")]
    Device,
    /// Measure a model on this machine: engine × threads, cold load, latency, memory.
    Bench(ModelBenchArgs),
    /// Measure which engine and how many threads run a model fastest here, and keep the choice for the server.
    Tune(TuneArgs),
    /// Check what `compress` made: its signature, its files, and what was claimed.
    #[command(
        after_help = "Examples:\n  neuraxis model verify small\n  neuraxis model verify small --key neuraxis-report+1f0e3dad+Ac…"
    )]
    Verify {
        /// The folder.
        folder: PathBuf,
        /// The public key of who measured; that of one's own key when left out.
        #[arg(long)]
        key: Option<String>,
    },
    /// Delete a model or a version: its files and their keys too. What it decided stays in the log.
    #[command(after_help = "Examples:\n  neuraxis model delete digits@1\n  neuraxis model delete digits --yes")]
    Delete {
        /// NAME, or NAME@VERSION.
        model: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuraxis model pull digits --from digits.onnx --licence Apache-2.0
  neuraxis model pull digits --from https://models.example/digits.onnx --sha256 9c1f… --manifest digits.yaml --alias live

Beside FILE.onnx, FILE.yaml or FILE.json is taken as its manifest.")]
pub(crate) struct PullArgs {
    /// The model's name.
    pub(crate) name: String,
    /// The ONNX file, or its address (http, https).
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) from: String,
    /// The SHA-256 that it must have, hexadecimal; needed for a URL.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Its manifest, YAML or JSON: what goes in, what comes out, the steps before and after.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Its licence, an SPDX expression; needed where no manifest says it.
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
    /// An alias that is to point to it. The first version is `live` in any case.
    #[arg(long)]
    pub(crate) alias: Option<String>,
    /// The model that it was made from: NAME@VERSION.
    #[arg(long, value_name = "MODEL", requires = "method")]
    pub(crate) made_from: Option<String>,
    /// How it was made from that, for example `static-int8`.
    #[arg(long, requires = "made_from")]
    pub(crate) method: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuraxis infer digits seven.png
  neuraxis infer digits@2 seven.png --subject parcel/P88
  neuraxis infer iris --json '[[5.1, 3.5, 1.4, 0.2]]'
  neuraxis infer pair --json '{\"inputs\": {\"a\": {\"tensor\": [1]}, \"b\": {\"tensor\": [2]}}}'")]
pub(crate) struct InferArgs {
    /// NAME, NAME@ALIAS or NAME@VERSION.
    pub(crate) model: String,
    /// A picture (PNG, JPEG) or another file, whichever the model takes; `-` is standard input.
    #[arg(required_unless_present = "json")]
    pub(crate) file: Option<PathBuf>,
    /// Numbers instead: nested lists for a model of one input, or the whole body; `@FILE` reads a file, `-` standard input.
    #[arg(long, conflicts_with = "file")]
    pub(crate) json: Option<String>,
    /// What it is about, for example `parcel/P88`: `why parcel/P88` leads to the decision.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// The place in the log of the event that it follows from.
    #[arg(long, value_name = "SEQ")]
    pub(crate) cause: Option<u64>,
    /// How long it may take, a minute at most.
    #[arg(long, value_name = "DURATION")]
    pub(crate) deadline: Option<Duration>,
}
