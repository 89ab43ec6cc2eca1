//! `dev`: a server, and a Python worker that restarts when a file beside it changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::up;
use crate::cli::DevArgs;

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long a worker has to give its runs back before it is killed.
const GRACE: Duration = Duration::from_secs(5);

pub(super) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    ensure!(args.file.is_file(), "there is no file `{}`", args.file.display());
    let probe = Command::new(&args.python)
        .args(["-c", "import neuraxis"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .with_context(|| format!("cannot start `{}`; name another with --python", args.python))?;
    ensure!(probe.success(), "`{}` has no package `neuraxis`; install it: pip install ./sdk/python", args.python);
    let running = up::start(&args.up).await?;
    println!("ready {}", running.url);
    let stop = running.stop.clone();
    let worker = work(&args, running.url.clone(), stop.clone());
    let result = tokio::select! {
        biased;
        () = up::signalled() => Ok(()),
        result = worker => result,
    };
    stop.cancel();
    running.finish().await?;
    result.map(|()| ExitCode::SUCCESS)
}

async fn work(args: &DevArgs, url: String, stop: CancellationToken) -> anyhow::Result<()> {
    let dir =
        args.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".")).to_path_buf();
    let mut seen = files(&dir);
    let mut child = spawn(args, &url)?;
    let mut reported = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return end(&mut child).await,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = files(&dir);
        if now != seen {
            seen = now;
            println!("{} changed: the worker restarts", args.file.display());
            end(&mut child).await?;
            child = spawn(args, &url)?;
            reported = false;
        } else if let Some(status) = child.try_wait()?
            && !reported
        {
            println!("the worker ended ({status}); it starts again when a file changes");
            reported = true;
        }
    }
}

fn spawn(args: &DevArgs, url: &str) -> anyhow::Result<Child> {
    Command::new(&args.python)
        .args(["-m", "neuraxis", "worker", "--while-stdin"])
        .arg(&args.file)
        .env("NEURAXIS_URL", url)
        // Held open as long as this process lives: a worker that outlived it would serve old code to the next one.
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start `{}`", args.python))
}

/// Asks the worker to give its runs back and waits for it.
async fn end(child: &mut Child) -> anyhow::Result<()> {
    if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
        && rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
        && tokio::time::timeout(GRACE, child.wait()).await.is_ok()
    {
        return Ok(());
    }
    child
        .kill()
        .await
        .or_else(|error| if error.kind() == std::io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) })?;
    Ok(())
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Option<std::time::SystemTime>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "py"))
        .map(|path| {
            let changed = path.metadata().and_then(|meta| meta.modified()).ok();
            (path, changed)
        })
        .collect()
}
