//! Prints the log's figures: `cargo run --release -p nx-journal --example bench -- [append|verify] [DIR] [EVENTS]
//! [CASE]`.
#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::{error::Error, path::PathBuf};

use nx_journal::bench::{AppendConfig, append, verify};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_else(|| "append".to_owned());
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "bench-journal".to_owned()));
    let events: u64 = args.next().unwrap_or_else(|| "200000".to_owned()).parse()?;
    let only = args.next();
    let fresh = |name: &str| -> Result<PathBuf, Box<dyn Error>> {
        let dir = dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        Ok(dir)
    };
    if what == "verify" {
        println!("{:?}", verify(&fresh("verify")?, events)?);
        return Ok(());
    }
    for (name, config) in [
        ("small, 1024 under way", AppendConfig { events, ..AppendConfig::default() }),
        ("small, 64 under way", AppendConfig { events: events / 2, outstanding: 64, ..AppendConfig::default() }),
        (
            "small with state, 64",
            AppendConfig { events: events / 4, outstanding: 64, state: true, ..AppendConfig::default() },
        ),
        (
            "small with state, 8",
            AppendConfig { events: events / 10, outstanding: 8, state: true, ..AppendConfig::default() },
        ),
        (
            "small with state, 1",
            AppendConfig { events: events / 40, outstanding: 1, state: true, ..AppendConfig::default() },
        ),
        ("1 KiB, 1024", AppendConfig { events: events / 4, data_bytes: 1024, ..AppendConfig::default() }),
        ("2 KiB, 1024", AppendConfig { events: events / 8, data_bytes: 2048, ..AppendConfig::default() }),
        ("6 KiB, 1024", AppendConfig { events: events / 20, data_bytes: 6144, ..AppendConfig::default() }),
    ] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        println!("{name}: {:?}", append(&fresh("append")?, &config)?);
    }
    Ok(())
}
