//! The one test command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{system, tidy};

/// A part of the suite: its name and what runs it.
type Part = (&'static str, fn(&Path) -> Result<bool>);

const PARTS: [Part; 6] = [
    ("tidy", tidy::run),
    ("rust", rust),
    ("python", python),
    ("transcripts", transcripts),
    ("console", console),
    ("api", api),
];

/// Runs the named parts, or all of them. Goes on after a failure, so that one run shows everything.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<bool> {
    for name in names {
        if !PARTS.iter().any(|(part, _)| part == name) {
            bail!("no part `{name}`; there are {}", PARTS.map(|(part, _)| part).join(" "));
        }
    }
    system::ensure()?;
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, part) in PARTS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        match part(root) {
            Ok(true) => passed += 1,
            Ok(false) => failed.push(name),
            Err(error) => {
                println!("{name}: {error:#}");
                failed.push(name);
            }
        }
    }
    for name in &failed {
        println!("FAILED {name}");
    }
    println!("parts: {passed} passed, {} failed", failed.len());
    Ok(failed.is_empty())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn succeeds(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    Ok(command.status().with_context(|| format!("starting `{program}`"))?.success())
}

fn rust(root: &Path) -> Result<bool> {
    succeeds(cargo().args(["test", "--workspace", "--locked", "--no-fail-fast", "--quiet"]).current_dir(root))
}

/// Where caches outside the tree live: beside the build's output.
fn cache(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cache = target.join("test-cache");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// A virtual environment with the given requirements and our SDK; made again when the requirements change.
fn venv(root: &Path, name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let dir = cache(root)?.join(format!("venv-{name}"));
    let python = dir.join("bin/python");
    let stamp = dir.join("requirements.txt");
    let wanted = requirements.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && python.exists() {
        return Ok(python);
    }
    if !succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))? {
        bail!("python3 -m venv failed");
    }
    let pip = |args: &[&str]| {
        succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(args).current_dir(root))
    };
    if !pip(requirements)? {
        bail!("pip install {} failed", requirements.join(" "));
    }
    fs::write(stamp, wanted)?;
    Ok(python)
}

/// The binary as the build left it.
fn binary(root: &Path) -> Result<PathBuf> {
    if !succeeds(cargo().args(["build", "--workspace", "--locked", "--quiet"]).current_dir(root))? {
        bail!("the binary does not build");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug/neuraxis"))
}

fn python(root: &Path) -> Result<bool> {
    let python = venv(root, "sdk", &["websockets==15.0.1"])?;
    let unit = |dir: &str| {
        succeeds(
            Command::new(&python)
                .args(["-m", "unittest", "discover", "-s", dir, "-t", dir])
                .env("PYTHONPATH", root.join("sdk/python/src"))
                .current_dir(root),
        )
    };
    unit("sdk/python/tests")
}

/// Journeys against the real binary: the README's quickstart, the transcripts of the documentation, kills.
fn transcripts(root: &Path) -> Result<bool> {
    let python = venv(root, "sdk", &["websockets==15.0.1"])?;
    let binary = binary(root)?;
    let journeys = succeeds(
        Command::new(&python)
            .args(["-m", "unittest", "discover", "-s", "tests/journeys", "-t", "tests/journeys"])
            .env("PYTHONPATH", root.join("sdk/python/src"))
            .env("NEURAXIS_BIN", &binary)
            .current_dir(root),
    )?;
    let sdk = succeeds(
        Command::new(&python)
            .args(["-m", "unittest", "discover", "-s", "tests", "-p", "real_*.py"])
            .env("PYTHONPATH", "src")
            .env("NEURAXIS_BIN", &binary)
            .current_dir(root.join("sdk/python")),
    )?;
    Ok(journeys && sdk)
}

fn console(root: &Path) -> Result<bool> {
    let console = root.join("console");
    let binary = binary(root)?;
    let npm =
        |args: &[&str]| succeeds(Command::new("npm").args(args).current_dir(&console).env("NEURAXIS_BIN", &binary));
    // Not `npm ci`: it refuses a lock file in which packages for other systems are missing, which npm itself leaves out.
    let install = ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"];
    Ok(npm(&install)? && npm(&["run", "--silent", "check"])? && npm(&["test", "--silent"])?)
}

fn api(root: &Path) -> Result<bool> {
    let python = venv(root, "api", &["schemathesis==4.32.0"])?;
    let binary = binary(root)?;
    succeeds(
        Command::new(&python)
            .args(["tests/api/run.py"])
            .env("PATH_TO_SCHEMATHESIS", python.with_file_name("schemathesis"))
            .env("NEURAXIS_BIN", binary)
            .current_dir(root),
    )
}
