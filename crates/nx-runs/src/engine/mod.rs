//! All runs of a server: worker sessions, routing, incarnations, timers, tool calls, approvals, child runs, parking.
//!
//! Sans-I/O: [`Engine::handle`], [`Engine::committed`] and [`Engine::tick`] take in what happened and leave
//! [`Output`]s. State changes are applied when their commit is handed out and taken back when it fails; frames and
//! answers come out only after what they tell is durable. The engine reads recorded values through
//! [`nx_journal::Reader`], and does no other I/O.

mod actions;
mod commit;
pub(crate) mod fold;
mod forks;
mod frames_in;
mod guard;
mod ingest;
mod io;
mod loading;
mod open;
mod outstanding;
pub mod record;
mod refusal;
pub mod request;
mod requests;
mod routing;
pub mod rows;
mod runs;
mod sessions;
mod slot;
mod timers;
pub mod view;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::Arc,
};

pub use io::{Input, Output, Peer, Request, Response, SessionId, Ticket, Token};
use neuraxis_sdk::frames::Grant;
use nx_journal::Reader;
use nx_types::{Env, Namespace, RunId, Timestamp};

use self::{
    commit::{Pending, Report},
    loading::Loading,
    outstanding::Outstanding,
    refusal::Stuck,
    routing::Queues,
    sessions::Session,
    slot::{Dormant, Slot},
    timers::Timers,
};
use crate::{
    kinds::Declared,
    machine::{self, KeyMaker},
};

/// Bounds of the engine, and its times.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bounds on one run.
    pub run: machine::Limits,
    /// How long a worker's work survives without a sign of life. Default: 10 s.
    pub lease: nx_types::Duration,
    /// How long a worker that came back may take to report outcomes it has kept. Default: 2 s.
    pub late_grace: nx_types::Duration,
    /// A run that has only waited for this long is taken off its worker. Default: 30 s.
    pub park_after: nx_types::Duration,
    /// How long a connection may take to say `hello`. Default: 10 s.
    pub hello_within: nx_types::Duration,
    /// Most calls of a connection without a terminal answer. Default: 1024.
    pub credit: u32,
    /// Most connections. Default: 4096.
    pub sessions: usize,
    /// Most runs held in memory; above it new runs are refused. Default: 200,000.
    pub runs: usize,
    /// Most bytes of a run's input, a step's arguments, a value or a state. Default: 64 MiB.
    pub value_bytes: usize,
    /// Most runs handed to one worker. Default: 1024.
    pub runs_per_worker: u32,
    /// Events of a run that are read at once when it is loaded; a longer one is read in slices, others going on
    /// meanwhile. Default: 4096.
    pub load_at_once: usize,
    /// Gives every value this one label instead of its own, to measure what labels cost. Make it an untrusted one: then
    /// nothing is trusted that should not be.
    pub constant_label: Option<nx_types::SharedLabel>,
    /// First wait before a run is taken up again after the log refused a commit; doubles up to 30 s. Default: 250 ms.
    pub refused_wait: nx_types::Duration,
}

impl Default for Limits {
    fn default() -> Self {
        use nx_types::Duration;
        Self {
            run: machine::Limits::default(),
            lease: Duration::from_secs(10),
            late_grace: Duration::from_secs(2),
            park_after: Duration::from_secs(30),
            hello_within: Duration::from_secs(10),
            credit: 1024,
            sessions: 4096,
            runs: 200_000,
            value_bytes: 64 << 20,
            runs_per_worker: 1024,
            load_at_once: 4096,
            constant_label: None,
            refused_wait: Duration::from_millis(250),
        }
    }
}

/// The installation's secret under which idempotency keys are derived.
#[derive(Clone)]
pub struct RunKey(Arc<[u8; 32]>);

impl RunKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(bytes))
    }

    /// A fresh key.
    pub fn random(rng: &dyn nx_types::Rng) -> Self {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        Self::new(bytes)
    }

    /// The bytes, to be kept in a file that only the server can read.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunKey(..)")
    }
}

/// All runs of a server.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    keys: KeyMaker,
    version: String,
    env: Env,
    reader: Reader,
    now: Timestamp,
    /// By how many microseconds the engine's time is ahead of a wall clock that went back.
    ahead: i64,
    sessions: BTreeMap<SessionId, Session>,
    runs: HashMap<RunId, Box<Slot>>,
    dormant: HashMap<RunId, Dormant>,
    loading: BTreeMap<RunId, Loading>,
    queues: Queues,
    outstanding: Outstanding,
    timers: Timers,
    pending: VecDeque<Pending>,
    next_token: u64,
    /// Namespaces with runs.
    namespaces: BTreeSet<Namespace>,
    /// Run keys claimed by commits on their way.
    claimed: BTreeMap<(Namespace, String), RunId>,
    declared: BTreeMap<Namespace, Arc<Declared>>,
    /// Runs whose commit the log refused: when they are taken up again, and after how long a wait.
    refused: BTreeMap<RunId, nx_types::Duration>,
    /// Runs with a commit that the log refused for good; until their end is recorded.
    stuck: BTreeMap<RunId, Stuck>,
    /// Lines that runs logged and that will not be written, until they are counted in the record.
    lines_dropped: BTreeMap<RunId, u64>,
    /// The creation of the newest run.
    last_created: Timestamp,
    /// Who has reported an outcome of an earlier connection that is on its way into the record.
    late: BTreeMap<(RunId, Grant), Vec<SessionId>>,
    /// The report that is being taken in.
    report: Option<Report>,
    /// Reports that the log refused: taken in again when their run is.
    unrecorded: BTreeMap<RunId, Vec<Report>>,
    /// Runs with steps whose tool nobody declares yet.
    unready: BTreeSet<RunId>,
    out: Vec<Output>,
}

impl Engine {
    /// Takes in what happened. `now` is the wall clock's time. Should it go back, the engine's own time goes on from where
    /// it was, at the clock's pace: deadlines and leases neither stand still nor happen twice.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.advance(now);
        match input {
            Input::Frame { session, frame } => self.frame(session, frame),
            Input::Alive { session } => self.heard(session),
            Input::Connected { session, peer } => self.connected(session, peer),
            Input::Malformed { session, problem } => self.goodbye(session, problem, None),
            Input::Disconnected { session } => self.disconnected(session),
            Input::Request { ticket, request } => self.request(ticket, *request),
            Input::Declared { namespace, declared } => {
                self.declared.insert(namespace.clone(), Arc::new(declared));
                self.queues.stir();
                self.offer_tools(&namespace);
            }
        }
    }

    /// Does everything that is due: timers, and runs that wait for a worker.
    pub fn tick(&mut self, now: Timestamp) {
        self.advance(now);
        self.fire_timers();
        self.load_on();
        self.route();
    }

    /// When [`Engine::tick`] is to be called at the latest, by the wall clock.
    pub fn wake(&self) -> Option<Timestamp> {
        let next = if self.loading.is_empty() { self.timers.next()? } else { self.now };
        Some(Timestamp::from_micros(next.as_micros().saturating_sub(self.ahead)))
    }

    /// What is to be done, in order.
    pub fn drain(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    /// Says goodbye to all workers, so that they come back to the next server soon.
    pub fn shut_down(&mut self, now: Timestamp) {
        self.advance(now);
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.goodbye(session, crate::Error::Closed.problem(), Some(500));
        }
    }

    /// Number of runs that are being loaded in slices.
    pub fn loading(&self) -> usize {
        self.loading.len()
    }

    /// Number of commits handed out and not reported yet.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    fn advance(&mut self, now: Timestamp) {
        let own = now.as_micros().saturating_add(self.ahead);
        let back = self.now.as_micros() - own;
        if back > 0 {
            tracing::warn!(micros = back, "the clock went back");
            self.ahead += back;
        }
        self.now = self.now.max(Timestamp::from_micros(own));
    }
}
