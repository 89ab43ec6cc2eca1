//! The commands, a file per noun.

mod approvals;
mod audit;
mod bench;
mod compress;
mod data;
mod dev;
mod engines;
mod events;
#[cfg(feature = "examples")]
mod example;
mod measure;
mod models;
mod policy;
mod resources;
mod runs;
mod token;
mod up;
mod why;
mod workers;

use std::{io::Read as _, process::ExitCode};

use anyhow::Context as _;
use clap::CommandFactory as _;
use serde_json::Value;

use crate::{
    cli::{Cli, Command, Format},
    client::Client,
};

/// What every client command has.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) format: Format,
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let context = Context { client: Client::new(cli.server)?, format: cli.output.format() };
    let done = match cli.command {
        Command::Up(args) => return up::run(args).await,
        Command::Dev(args) => return dev::run(args).await,
        Command::Run(args) => return runs::start(&context, args).await,
        Command::Runs(command) => return runs::run(&context, command).await,
        Command::Audit(command) => return audit::run(&context, command).await,
        Command::Doctor(args) => return data::doctor(&context, args).await,
        Command::Init(args) => resources::init(context.format, &args.kind),
        Command::Help(args) => resources::help(context.format, args.kind.as_deref()),
        Command::Apply(args) => resources::apply(&context, args).await,
        Command::Diff(args) => resources::diff(&context, args).await,
        Command::Get(args) => resources::get(&context, args).await,
        Command::Describe(args) => resources::describe(&context, args).await,
        Command::Delete(args) => resources::delete(&context, args).await,
        Command::Approvals(command) => approvals::run(&context, command).await,
        Command::Why(args) => why::run(&context, args).await,
        Command::Explain(args) => policy::explain(&context, args).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Model(command) => models::run(&context, command).await,
        Command::Infer(args) => models::infer(&context, args).await,
        Command::Compress(args) => compress::run(&context, *args).await,
        Command::Events(args) => events::run(&context, args).await,
        Command::Erase(args) => data::erase(&context, args).await,
        Command::Retain(args) => data::retain(&context, args).await,
        Command::RotateKey(args) => data::rotate(context.format, args).await,
        Command::Export(args) => data::export(&context, args).await,
        Command::Backup(args) => data::backup(&context, args).await,
        Command::Restore(args) => data::restore(context.format, &args),
        Command::Workers => workers::run(&context).await,
        Command::Token(command) => token::run(&context, command).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "neuraxis", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// JSON from an argument: as it stands, `@FILE`, or `-` for standard input.
pub(crate) fn json_argument(text: &str) -> anyhow::Result<Value> {
    let (content, place) = if text == "-" {
        let mut content = String::new();
        std::io::stdin().read_to_string(&mut content)?;
        (content, "standard input".to_owned())
    } else if let Some(path) = text.strip_prefix('@') {
        (std::fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?, format!("`{path}`"))
    } else {
        (text.to_owned(), format!("`{text}`"))
    };
    serde_json::from_str(&content).with_context(|| format!("{place} is not JSON; a text needs quotes: '\"text\"'"))
}

/// A text field of a JSON object; empty when absent.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A number field of a JSON object; 0 when absent.
pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or_default()
}

/// A list field of a JSON object; empty when absent.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
