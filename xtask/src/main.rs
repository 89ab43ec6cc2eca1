//! Development tasks. `cargo xtask test` is the one test command: it installs what the tests need, checks the tree, and
//! runs every suite. `cargo xtask tidy` runs the checks alone.
//!
//! What is *not* here: product code. Nothing of this ships.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who started it")]

mod system;
mod test;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

const HELP: &str = "\
usage: cargo xtask TASK

  test [PART ...]  install what the tests need and run them: tidy rust python transcripts console api
  tidy             check the tree: crate graph, file lengths, error codes, documents
  setup            install what the tests need and stop
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<bool> {
    let root = root()?;
    match args.split_first() {
        Some((task, parts)) if task == "test" => test::run(&root, parts),
        Some((task, _)) if task == "tidy" => tidy::run(&root),
        Some((task, _)) if task == "setup" => system::ensure().map(|()| true),
        _ => {
            print!("{HELP}");
            Ok(args.first().is_some_and(|arg| arg == "--help" || arg == "help"))
        }
    }
}

fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask stands in the workspace")?.to_path_buf())
}
