//! What the tests need of the system: installed when missing, if we may.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Program, the argument that makes it print its version, the Debian packages that bring it.
const NEEDS: [(&str, &str, &[&str]); 5] = [
    ("python3", "--version", &["python3", "python3-venv", "python3-pip"]),
    ("curl", "--version", &["curl"]),
    ("node", "--version", &["nodejs", "npm"]),
    ("npm", "--version", &["npm"]),
    ("chromium", "--version", &["chromium"]),
];

/// Installs every missing program, or says which command would.
pub(crate) fn ensure() -> Result<()> {
    let mut packages: Vec<&str> = NEEDS
        .iter()
        .filter(|(program, flag, _)| !runs(program, &[flag]))
        .flat_map(|(_, _, packages)| packages.iter().copied())
        .collect();
    if !runs("python3", &["-c", "import ensurepip, venv"]) {
        packages.push("python3-venv");
    }
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !runs("apt-get", &["--version"]) || !is_root() {
        bail!("the tests need {list}; install them, for example: sudo apt-get install {list}");
    }
    println!("installing {list}");
    apt(&["update"])?;
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let status =
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()).status()?;
    if !status.success() {
        bail!("apt-get {} failed: {status}", args.join(" "));
    }
    Ok(())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a program runs and succeeds.
pub(crate) fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
