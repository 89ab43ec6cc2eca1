//! The worker's process: connects, is welcomed, executes, reconnects for as long as it takes. One task owns the
//! WebSocket; agents and executions reach it by bounded queues.
//!
//! What is *not* here: any memory of a run. A lost connection drops the agents; the record starts them again.

mod connect;
mod connection;
mod dispatch;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use nx_types::RunId;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::{Connection, End};
use crate::{
    blob::Blobs,
    error::Error,
    frames::{self, Executing, Grant, Hello, Outcome, PROTOCOL, Welcome},
    link::{Finished, Host, Out},
    net::Address,
    options::Options,
    worker::Offers,
};

/// What outlives a connection, owned by the one task that runs the worker.
pub(crate) struct Session {
    options: Options,
    offers: Arc<Offers>,
    address: Address,
    worker: String,
    epoch: u64,
    host: Arc<Host>,
    out: mpsc::Receiver<Out>,
    agents: TaskTracker,
    /// Granted executions still going on, this connection's and earlier ones'.
    executing: BTreeSet<(RunId, Grant)>,
    /// Outcomes of earlier connections' grants, until the server has taken them.
    late: BTreeMap<(RunId, Grant), Outcome>,
    /// Outcomes of tools that this connection has sent; at its loss they become late.
    told: VecDeque<((RunId, Grant), Outcome)>,
}

/// Executes until `shutdown`.
pub(crate) async fn run(options: Options, offers: Arc<Offers>, shutdown: CancellationToken) -> Result<(), Error> {
    let mut session = Session::new(options, offers)?;
    let mut wait = session.options.reconnect_min;
    loop {
        session.epoch += 1;
        let connected = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            connected = connect::connect(&session.options, &session.address, session.hello()) => connected,
        };
        match connected {
            Ok((socket, welcome)) => {
                wait = session.options.reconnect_min;
                session.welcomed(&welcome);
                match Connection::new(&mut session, socket, &welcome).run(&shutdown).await {
                    End::Shutdown => return Ok(()),
                    End::Lost(reason) => tracing::warn!(%reason, "the connection to the server was lost"),
                    End::Goodbye { problem, retry_ms: None } => {
                        return Err(Error::TurnedAway { problem: Box::new(problem) });
                    }
                    End::Goodbye { problem, retry_ms: Some(ms) } => {
                        tracing::info!(%problem, "the server closed the connection");
                        wait = Duration::from_millis(ms).clamp(session.options.reconnect_min, Duration::from_mins(1));
                    }
                }
            }
            Err(error @ (Error::Connect { .. } | Error::Protocol { .. })) => {
                tracing::warn!(%error, "connects again in about {} ms", wait.as_millis());
            }
            Err(Error::TurnedAway { problem }) if problem.retryable => {
                tracing::warn!(%problem, "connects again in about {} ms", wait.as_millis());
            }
            Err(error) => return Err(error),
        }
        if session.pause(wait, &shutdown).await.is_break() {
            return Ok(());
        }
        wait = (wait * 2).min(session.options.reconnect_max);
    }
}

impl Session {
    fn new(options: Options, offers: Arc<Offers>) -> Result<Self, Error> {
        let address = Address::parse(&options)?;
        let (sender, out) = mpsc::channel(options.queue.max(1));
        let blobs = Blobs::new(address.clone(), options.token.clone());
        let host = Arc::new(Host { out: sender, executions: TaskTracker::new(), blobs });
        let worker = format!("{}-{:08x}", options.name, options.env.rng().next_u64() >> 32);
        Ok(Self {
            options,
            offers,
            address,
            worker,
            epoch: 0,
            host,
            out,
            agents: TaskTracker::new(),
            executing: BTreeSet::new(),
            late: BTreeMap::new(),
            told: VecDeque::new(),
        })
    }

    fn hello(&self) -> Hello {
        let outcomes = self.late.keys().copied();
        let executing = self.executing.iter().copied().chain(outcomes);
        Hello {
            protocol: vec![PROTOCOL],
            sdk: concat!("neuraxis-sdk/", env!("CARGO_PKG_VERSION")).to_owned(),
            worker: self.worker.clone(),
            namespace: self.options.namespace.clone(),
            agents: self.offers.agent_offers(),
            toolsets: self.offers.toolset_offers(),
            runs: self.options.runs,
            executing: executing.map(|(run, grant)| Executing { run, grant }).collect(),
        }
    }

    fn welcomed(&self, welcome: &Welcome) {
        tracing::info!(
            server = %welcome.server,
            session = %welcome.session,
            worker = %self.worker,
            executing = self.executing.len() + self.late.len(),
            "connected"
        );
    }

    /// Waits before the next attempt, shortened by up to half at random; outcomes that arrive meanwhile are kept.
    async fn pause(&mut self, wait: Duration, shutdown: &CancellationToken) -> std::ops::ControlFlow<()> {
        let share = (self.options.env.rng().next_u64() % 512) as u32;
        let until = tokio::time::Instant::now() + wait - wait / 1024 * share;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return std::ops::ControlFlow::Break(()),
                Some(out) = self.out.recv() => {
                    if let Out::Finished(finished) = out {
                        self.keep(finished);
                    }
                }
                () = tokio::time::sleep_until(until) => return std::ops::ControlFlow::Continue(()),
            }
        }
    }

    /// Keeps an outcome until the server has taken it; the frame that hands it over.
    fn keep(&mut self, finished: Finished) -> frames::Worker {
        let Finished { run, grant, outcome, .. } = finished;
        self.executing.remove(&(run, grant));
        self.late.insert((run, grant), outcome.clone());
        frames::Worker::Late { run, grant, outcome }
    }
}
