//! The engine in production: one task owns it, connections and requests reach it through a bounded queue, the log
//! answers by callback, and what it wants sent leaves after it is durable.
//!
//! `Options → Service → Handle → Error`. Reading goes past the engine, straight to the log.

mod answered;
mod decisions;
mod driver;
mod handle;
mod inlet;
pub(crate) mod lists;
mod policies;
mod requested;
mod show;
mod transport;
mod watch;

use std::sync::Arc;

use nx_journal::Journal;
use nx_types::Duration;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::engine::{
    Limits, Peer, RunKey,
    request::{
        ApprovalFilter, BulkRetried, ForkRequest, ModelAnswer, Page, Paged, Ruling, RunFilter, SessionRequest,
        SignalRequest, StartRequest, Started, StepsPage,
    },
    view::{
        ApprovalView, ForkPoint, Inbox, ProgressView, RunEventView, RunStatus, RunSummary, RunView, StepStatus,
        StepView, WhyNode, WorkerView,
    },
};
pub use decisions::{DecisionFilter, DecisionView};
pub use handle::Handle;
pub use policies::{PolicyChange, PolicyDiff, PolicyReport, RuleProposal};
pub use transport::{Connection, Inbound, Outbound, parse};
pub use watch::RunWatch;

use crate::{engine::Engine, error::Error};

/// How runs are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bounds of the engine.
    pub limits: Limits,
    /// The secret under which idempotency keys are derived: one per installation, in `keys/`. Losing it makes open
    /// idempotent steps in doubt at services that have seen the old keys.
    pub key: RunKey,
    /// The server's version, for `welcome`.
    pub version: String,
    /// Most inputs that wait for the engine; senders wait when it is full.
    pub queue: usize,
    /// Most batches of frames that wait for a connection; a connection that lags more is closed.
    pub outbound_batches: usize,
    /// Most commits handed to the log without an answer; the engine takes no input above it.
    pub commits_in_flight: usize,
    /// How long shutdown waits for commits in flight.
    pub shutdown_grace: Duration,
    /// Events of a run that is still read whole to be shown; of a longer one, only what the page of steps needs.
    pub shown_whole: u64,
}

impl Options {
    /// The defaults, with the installation's key.
    pub fn new(key: RunKey) -> Self {
        Self {
            limits: Limits::default(),
            key,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queue: 8192,
            outbound_batches: 4096,
            commits_in_flight: 4096,
            shutdown_grace: Duration::from_secs(5),
            shown_whole: 10_000,
        }
    }
}

/// The engine's task, to be run until shutdown.
#[derive(Debug)]
pub struct Service {
    driver: driver::Driver,
    requested: requested::Requested,
    answered: answered::Answered,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Service {
    /// Opens the runs of a log: those that are not over are taken up again.
    pub fn open(journal: Journal, options: Options) -> Result<(Handle, Self), Error> {
        let (sender, inputs) = mpsc::channel(options.queue.max(1));
        let inlet = Arc::new(inlet::Inlet::new(sender));
        let engine = Engine::open(
            options.limits.clone(),
            &options.key,
            options.version.clone(),
            journal.env().clone(),
            journal.reader(),
        )?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let handle = Handle::new(journal.clone(), inlet.clone(), &options, tasks.clone());
        let requested = requested::Requested::new(journal.clone(), handle.clone());
        let answered = answered::Answered::new(journal.clone(), handle.clone());
        let driver = driver::Driver::new(engine, journal, (inlet, inputs), handle.shared(), options, tasks.clone());
        Ok((handle, Self { driver, requested, answered, stop, tasks }))
    }

    /// A token that stops the service: connections get `goodbye`, commits in flight are awaited.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs until it is stopped or the log fails for good.
    pub async fn run(self) -> Result<(), Error> {
        let requested = self.tasks.spawn(self.requested.run(self.stop.clone()));
        let answered = self.tasks.spawn(self.answered.run(self.stop.clone()));
        let result = self.driver.run(self.stop.clone()).await;
        self.stop.cancel();
        requested.await.map_err(|_panic| Error::Closed)?;
        answered.await.map_err(|_panic| Error::Closed)?;
        self.tasks.close();
        self.tasks.wait().await;
        result
    }
}
