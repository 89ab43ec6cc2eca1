//! The `neuraxis` command: a server, and a client of its API. Wiring only; what a command does stands in the crate of
//! its frontier or behind the API.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to the person who started it")]

mod cli;
mod client;
mod cmd;
mod output;
mod unpack;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging(cli.verbose);
    quiet_pipes();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("neuraxis: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(cmd::run(cli)) {
        Ok(code) => code,
        Err(error) => output::failure(&error),
    };
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    code
}

/// Threads for sockets and the engine: half of the cores. The log's writer and blocking reads have the others, and on a
/// small machine a step that waits for nobody else spares the waking of a second thread.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// A reader that goes away (`neuraxis runs list | head`) ends the command without a word.
fn quiet_pipes() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if !text.starts_with("failed printing to stdout: Broken pipe") {
            usual(panic);
        }
    }));
}

fn logging(verbose: u8) {
    use tracing_subscriber::{EnvFilter, fmt};
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("NEURAXIS_LOG").unwrap_or_else(|_err| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).with_target(false).init();
}
