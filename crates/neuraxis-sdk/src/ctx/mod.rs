//! What an agent asks of its run: steps, tools, waits, approvals, children, branches. Each request is answered from
//! the record, granted or performed by the server; nothing is decided here.

mod branch;
pub(crate) mod drive;
mod ops;
mod step;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nx_types::{RunId, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    branch::Branches,
    ops::{ApprovalStep, ChildStep, Decision, InferStep, SignalStep, SignalWithin, ToolStep},
    step::Step,
};
use crate::{
    call::log_frame,
    error::Error,
    frames::{self, Body, Start},
    json,
    link::{Link, Out},
    models::Inputs,
};

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For debugging.
    Debug,
    /// For information.
    Info,
    /// Something is odd.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One incarnation of a run on this worker.
pub(crate) struct Run {
    pub(crate) link: Arc<Link>,
    pub(crate) start: Start,
    live: AtomicBool,
    cancelled: CancellationToken,
    reason: OnceLock<String>,
    /// The run goes back to the server.
    release: CancellationToken,
    /// Granted executions that must end before the run may.
    pub(crate) executions: TaskTracker,
}

impl Run {
    pub(crate) fn new(link: Arc<Link>, start: Start, release: CancellationToken) -> Self {
        Self {
            live: AtomicBool::new(start.live),
            link,
            start,
            cancelled: CancellationToken::new(),
            reason: OnceLock::new(),
            release,
            executions: TaskTracker::new(),
        }
    }

    pub(crate) fn id(&self) -> RunId {
        self.start.run
    }

    pub(crate) fn inc(&self) -> u32 {
        self.start.inc
    }

    /// Lets every wait of the agent end with [`Error::Cancelled`].
    pub(crate) fn cancel(&self, reason: String) {
        self.reason.get_or_init(|| reason);
        self.cancelled.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    fn set_live(&self) {
        self.live.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Gives the run back: only its record can tell how it stands.
    fn give_back(&self) {
        self.release.cancel();
    }

    pub(crate) async fn released(&self) {
        self.release.cancelled().await;
    }

    fn cancellation(&self) -> Error {
        Error::Cancelled { reason: self.reason.get().cloned().unwrap_or_default().into_boxed_str() }
    }
}

/// An agent's way to its run. Cheap to clone. Within one branch, steps are made one after the other; for steps at the
/// same time, take a branch for each ([`Ctx::join`], [`Ctx::branches`]).
#[derive(Clone)]
pub struct Ctx {
    pub(crate) run: Arc<Run>,
    scope: Arc<branch::Scope>,
}

impl Ctx {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self { run, scope: Arc::new(branch::Scope::root()) }
    }

    /// The run.
    pub fn run_id(&self) -> RunId {
        self.run.id()
    }

    /// The key that the run was started with.
    pub fn run_key(&self) -> Option<&str> {
        self.run.start.key.as_deref()
    }

    /// When the run ends at the latest.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.run.start.deadline
    }

    /// Which process's attempt at the run this is, from 1.
    pub fn incarnation(&self) -> u32 {
        self.run.inc()
    }

    /// The W3C trace context of the run.
    pub fn traceparent(&self) -> Option<&str> {
        self.run.start.traceparent.as_deref()
    }

    /// Whether the server asked the run to stop. Calls then return [`Error::Cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.run.is_cancelled()
    }

    /// A step: code of this worker whose outcome is recorded. Without more said its effect is `code`.
    pub fn step(&self, name: impl Into<String>) -> Step<()> {
        Step::new(self.clone(), name.into())
    }

    /// A tool of a toolset, by `toolset/tool`; the server finds a worker that serves it.
    pub fn tool(&self, name: impl Into<String>) -> ToolStep {
        ToolStep::new(self.clone(), name.into())
    }

    /// Another run of the named agent, whose result this one awaits.
    pub fn child<T: DeserializeOwned + Send + 'static>(
        &self,
        agent: impl Into<String>,
        input: impl Serialize,
    ) -> ChildStep<T> {
        ChildStep::new(self.clone(), agent.into(), json::encode(&input, "the child's input"))
    }

    /// A model's answer, by `NAME`, `NAME@ALIAS` or `NAME@VERSION`. It is asked once: a restart gets the recorded answer.
    pub fn infer(&self, model: impl Into<String>, inputs: impl Into<Inputs>) -> InferStep {
        InferStep::new(self.clone(), model.into(), inputs.into())
    }

    /// Waits for a signal of this name.
    pub fn signal<T: DeserializeOwned + Send + 'static>(&self, name: impl Into<String>) -> SignalStep<T> {
        SignalStep::new(self.clone(), name.into())
    }

    /// Asks a person, guarding no call. (An approval that guards a step is [`Step::approve`].)
    pub fn approval(&self, name: impl Into<String>, approve: frames::Approve) -> ApprovalStep {
        ApprovalStep::new(self.clone(), name.into(), approve)
    }

    /// Waits; the server keeps the time, over restarts too.
    pub async fn sleep(&self, time: Duration) -> Result<(), Error> {
        self.ask("sleep", Body::Sleep { ms: crate::millis(time) }).await.map(drop)
    }

    /// Appends an event of this type to the log; returns its place there.
    pub async fn emit<T: Serialize + ?Sized>(&self, event_type: &str, data: &T) -> Result<Value, Error> {
        let args = json::encode(data, "the event")?;
        self.ask(event_type, Body::Emit { args }).await
    }

    /// The instant it is, recorded: the same after a restart.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let value = self.ask("now", Body::Now).await?;
        json::decode(value, "`now`").map(Timestamp::from_millis)
    }

    /// A random number in [0, 1), recorded.
    pub async fn random(&self) -> Result<f64, Error> {
        json::decode(self.ask("random", Body::Random).await?, "`random`")
    }

    /// A UUID version 4, recorded.
    pub async fn uuid(&self) -> Result<String, Error> {
        json::decode(self.ask("uuid", Body::Uuid).await?, "`uuid`")
    }

    /// Replaces the run's history so far by a state: a restart enters the agent anew and finds it in
    /// [`Ctx::carried`]. Only in the agent's own body, with no branch under way.
    pub async fn carry<T: Serialize + ?Sized>(&self, state: &T) -> Result<(), Error> {
        if !self.scope.is_root() {
            return Err(Error::usage("`carry` was called in a branch; call it in the agent's own body"));
        }
        let state = json::encode(state, "the carried state")?;
        drive::carry(self, state).await?;
        self.scope.start_over();
        Ok(())
    }

    /// The state that the run carried, if it did: enter the agent from it.
    pub async fn carried<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        match &self.run.start.state {
            None => Ok(None),
            Some(state) => {
                let state = self.run.link.open(self.run_id(), state.clone()).await?;
                json::decode(state, "the carried state").map(Some)
            }
        }
    }

    /// Attaches a line to the run; at most 4 KiB. Lines beyond what the connection takes are left out.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.run.link.tell(&mut log_frame((self.run_id(), self.run.inc()), (None, None), level, message.into()));
    }

    /// Branches that run at the same time, each with steps of its own. The name tells groups apart; groups without
    /// one are counted.
    pub fn branches(&self, name: Option<&str>) -> Branches {
        Branches::new(self, name)
    }

    /// Runs a function over all items at the same time, each in a branch of its own; the results in the items' order,
    /// or the first error in that order once all have ended.
    pub async fn join<I, T, F, Fut, E>(&self, items: I, function: F) -> Result<Vec<T>, E>
    where
        I: IntoIterator,
        F: Fn(Self, I::Item) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let branches = self.branches(None);
        let all = items.into_iter().map(|item| function(branches.branch(), item));
        futures_util::future::join_all(all).await.into_iter().collect()
    }

    async fn ask(&self, name: &str, body: Body) -> Result<Value, Error> {
        drive::call(self, drive::Settings::named(name), body, None).await
    }

    pub(crate) async fn send_end(&self, mut frame: frames::Worker) -> Result<(), Error> {
        let run = &self.run;
        let text = run.link.seal(run.id(), &mut frame).await?;
        let sent = run.link.host.out.send(Out::Frame { epoch: run.link.epoch, text }).await;
        if sent.is_err() {
            tracing::debug!(run = %run.id(), "the connection was lost before the run's end was sent");
        }
        Ok(())
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("run", &self.run_id()).field("scope", &self.scope.path()).finish_non_exhaustive()
    }
}
