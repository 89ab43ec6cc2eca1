//! The embedded engine on another architecture: the suite of engines built for aarch64 and run under QEMU, where this machine
//! has what that takes. Where it has not, the test says that it was skipped, and why.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn sysroot() -> Option<PathBuf> {
    let told = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(told.stdout).ok()?.trim()))
}

#[test]
fn the_engines_suite_on_aarch64() {
    let library = sysroot().is_some_and(|root| root.join("lib/rustlib").join(TARGET).is_dir());
    let missing: Vec<&str> = [
        (!library).then_some("the target's standard library (rustup target add aarch64-unknown-linux-gnu)"),
        (!on_path(LINKER)).then_some("gcc-aarch64-linux-gnu"),
        (!on_path(EMULATOR)).then_some("qemu-user"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !missing.is_empty() {
        println!("skipped: the engines' suite on aarch64: this machine lacks {}", missing.join(", "));
        return;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aarch64");
    let done = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--target", TARGET, "--target-dir"])
        .arg(target)
        .args(["--test", "it", "engines::"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", format!("{EMULATOR} -L /usr/aarch64-linux-gnu"))
        .env("CC_aarch64_unknown_linux_gnu", LINKER)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
}
