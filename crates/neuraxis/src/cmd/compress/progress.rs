//! How far a search is, for whoever waits: a line that is written over at a terminal, a line now and then in a file.

use std::{
    io::IsTerminal as _,
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nx_infer::search::{Folder, Progress, Search};

use crate::output;

/// Time between two lines where nobody looks.
const QUIET: Duration = Duration::from_secs(10);
/// Time between two times at which what was measured is written.
const STORED: Duration = Duration::from_secs(2);

pub(super) struct Shown<'s> {
    folder: &'s Folder,
    stop: &'s AtomicBool,
    terminal: bool,
    clock: Box<dyn FnMut() -> Duration>,
    told: Option<Duration>,
    stored: Duration,
    failed: Option<nx_infer::Error>,
}

impl<'s> Shown<'s> {
    pub(super) fn new(folder: &'s Folder, stop: &'s AtomicBool) -> Self {
        Self {
            folder,
            stop,
            terminal: std::io::stderr().is_terminal(),
            clock: Box::new(super::clock()),
            told: None,
            stored: Duration::ZERO,
            failed: None,
        }
    }

    pub(super) fn watch(&mut self, search: &Search, progress: &Progress) -> ControlFlow<()> {
        let now = (self.clock)();
        if now.saturating_sub(self.stored) >= STORED {
            self.stored = now;
            if let Err(error) = self.folder.store(search.state()) {
                self.failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        if self.terminal || self.told.is_none_or(|told| now.saturating_sub(told) >= QUIET) {
            self.told = Some(now);
            self.line(progress);
        }
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn line(&self, progress: &Progress) {
        let percent = progress.done * 100 / progress.total.max(1);
        let left = progress.left.map_or_else(String::new, |left| format!(", about {} left", told(left)));
        let line = format!("{percent:3} %{left}: {}", output::cut(&progress.doing, 70));
        if self.terminal {
            // to the line's beginning, and what stood there before is gone
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("{line}");
        }
    }

    /// The error that ended it, if one of writing did.
    pub(super) fn end(self) -> Result<(), nx_infer::Error> {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        self.failed.map_or(Ok(()), Err)
    }
}

fn told(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
