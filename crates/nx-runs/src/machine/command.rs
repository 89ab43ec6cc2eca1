//! What can happen to one run from outside, and what has to be done about it.

use std::fmt;

use neuraxis_sdk::frames::{self, Effect, Found, Grant, Outcome, StepError};
use nx_types::{ApprovalId, Problem, Rng, RunId, Timestamp};

use super::{
    approval::Vote,
    event::{Json, Recorded, RunEvent},
    gate::{Gate, Verdict},
    key::KeyMaker,
};

/// What a decision may depend on besides the run and the command.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The instant it is.
    pub now: Timestamp,
    /// Randomness.
    pub rng: &'a dyn Rng,
    /// Makes idempotency keys.
    pub keys: &'a KeyMaker,
    /// Bounds.
    pub limits: &'a Limits,
    /// What calls must pass before they are executed.
    pub gate: &'a dyn Gate,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds on one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most steps since the last carry. Default: 4,000,000 (≈ 48 bytes of memory each while the run is loaded).
    pub steps: u64,
    /// Most calls of an incarnation without a terminal answer. Default: 1024.
    pub calls: usize,
    /// Longest scope, name, key or agent in bytes. Default: 512.
    pub name_bytes: usize,
    /// Most different scopes and names since the last carry. Default: 1,000,000.
    pub names: usize,
    /// Most signals that wait to be used. Default: 10,000.
    pub signals: usize,
    /// Most notes on divergence that one incarnation records. Default: 1000.
    pub notes: usize,
    /// How long a new once step waits for unused once records to be asked for, before a person is asked. Default: 1 s.
    pub ask_grace_ms: u64,
    /// How long a cancelled agent may take to stop before its incarnation is ended. Default: 30 s.
    pub cancel_grace_ms: u64,
    /// How much longer than `timeout_ms` the server waits for a worker to report. Default: 10 s.
    pub timeout_slack_ms: u64,
    /// Most times that a step is executed again because its worker was lost. Default: 20.
    pub lost_attempts: u32,
    /// Most attempts of an undo. Default: 10.
    pub undo_attempts: u32,
    /// Who is asked about changed, new and doubtful steps that name nobody. Default: `operator`.
    pub operator: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 4_000_000,
            calls: 1024,
            name_bytes: 512,
            names: 1_000_000,
            signals: 10_000,
            notes: 1000,
            ask_grace_ms: 1000,
            cancel_grace_ms: 30_000,
            timeout_slack_ms: 10_000,
            lost_attempts: 20,
            undo_attempts: 10,
            operator: "operator".to_owned(),
        }
    }
}

/// What is declared of a tool, by its Toolset or by the worker that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSpec {
    /// What calling it does to the world.
    pub effect: Effect,
    /// The tool that undoes it: `toolset/tool`.
    pub undo: Option<String>,
    /// The tool that tells whether a call took place: `toolset/tool`. It is called with `{args, idempotency_key}` and
    /// answers in the form of [`Found`]: `{"done": VALUE}`, `"not_done"` or `"unknown"`.
    pub probe: Option<String>,
    /// How long the outside honours an idempotency key.
    pub key_window_ms: Option<u64>,
    /// Longest time of one call, where the step names none.
    pub timeout_ms: Option<u64>,
}

/// Something that happens to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A worker with room was chosen for the run ([`super::Run::wants_worker`]): begin an incarnation.
    Start {
        /// The worker process.
        worker: String,
        /// The version of its code.
        version: Option<String>,
    },
    /// A step frame of the present incarnation (the engine has checked the session; the machine checks `inc`).
    Step {
        /// The frame.
        step: Box<frames::Step>,
        /// For `tool` steps: what is declared. `None` if nobody declares it (yet): a recorded step is answered all
        /// the same, an unknown one comes back as [`Action::Unready`].
        tool: Option<ToolSpec>,
    },
    /// The outcome of a granted call.
    Done {
        /// The call.
        call: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// The answer of a probe that a call was asked for.
    Probed {
        /// The call.
        call: u64,
        /// What was found.
        found: Found,
    },
    /// The outcome of a grant of an earlier connection. Always answered by [`Action::LateTaken`].
    Late {
        /// The grant.
        grant: Grant,
        /// What came of it.
        outcome: Outcome,
    },
    /// A carry frame.
    Carry {
        /// The call.
        call: u64,
        /// The incarnation.
        inc: u32,
        /// The state.
        state: Json,
    },
    /// The agent returned.
    Complete {
        /// The incarnation.
        inc: u32,
        /// What.
        result: Json,
    },
    /// The agent raised an error.
    Fail {
        /// The incarnation.
        inc: u32,
        /// Which.
        error: StepError,
    },
    /// The agent stopped after a cancel.
    Stopped {
        /// The incarnation.
        inc: u32,
    },
    /// The worker gives the run back.
    Release {
        /// The incarnation.
        inc: u32,
    },
    /// The incarnation's worker is lost (its lease is over, or it came back on a new connection).
    Lost {
        /// Why, for people.
        reason: String,
        /// Grants of this run that still go on there or whose outcome is on the way: waited for, not in doubt.
        executing: Vec<Grant>,
    },
    /// Executions will not report any more: their worker (of a tool, an undo, or an earlier incarnation) is lost.
    GrantsLost {
        /// Which.
        grants: Vec<Grant>,
        /// Why, for people.
        reason: String,
    },
    /// A worker for a [`Action::Want`] was found: dispatch to it. If the want is over, nothing is dispatched.
    Ready {
        /// Which want.
        slot: Slot,
        /// For tools: what is declared now.
        tool: Option<ToolSpec>,
    },
    /// The outcome of a dispatched tool call or undo.
    ToolDone {
        /// The grant.
        grant: Grant,
        /// What it was dispatched for.
        purpose: Purpose,
        /// What came of it.
        outcome: Outcome,
    },
    /// [`super::Run::due`] has come.
    Tick,
    /// A person decides.
    Decide(Box<Vote>),
    /// A signal. The same id twice is once.
    Signal {
        /// The sender's id of it.
        id: String,
        /// The signal.
        name: String,
        /// What it brings.
        payload: Json,
        /// Who sends it.
        by: String,
    },
    /// Someone wants the run stopped and undone.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Someone wants a failed or cancelled run to go on.
    Retry {
        /// Who.
        by: String,
    },
    /// A child run has ended.
    ChildEnded {
        /// The step that waits for it.
        step: u64,
        /// The child.
        run: RunId,
        /// What came of it.
        outcome: Recorded,
    },
    /// A model has answered, or will not.
    ModelAnswered {
        /// The step that waits for it.
        step: u64,
        /// What came of it.
        outcome: Recorded,
    },
    /// The program of a session reports.
    Report(Box<Reported>),
    /// The engine wants the worker's room back: the run only waits ([`super::Run::parkable`]).
    Park,
    /// The log refuses for good to record how the run goes on: it fails, so that a person sees it. Nothing happens to a
    /// run that is over.
    Abandon {
        /// What the log said.
        error: StepError,
        /// Record the end and nothing else: not even undoing could be recorded.
        bare: bool,
    },
}

/// What the program of a session reports, or asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Reported {
    /// May this tool be called?
    Check {
        /// The tool.
        tool: String,
        /// The exact arguments.
        args: Json,
    },
    /// A tool was called.
    Observe {
        /// The tool.
        tool: String,
        /// The arguments.
        args: Json,
        /// What came of it.
        outcome: Outcome,
    },
    /// May this text go to the principal?
    Output {
        /// The text.
        text: String,
    },
    /// The session is over.
    Close,
}

/// What a session's program is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Guarded {
    /// Whether it may go on.
    pub outcome: nx_guard::decision::Outcome,
    /// The step that the question became.
    pub step: u64,
    /// The question that a person must answer first.
    pub approval: Option<ApprovalId>,
    /// Who has refused, if a person has.
    pub refused: Option<String>,
    /// What the gate said; `None` where a person's ruling stands.
    pub verdict: Option<Box<Verdict>>,
}

/// What a [`Action::Want`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A call of the present incarnation.
    Call(u64),
    /// The undo of this step (its own ordinal is given by the grant).
    Undo(u64),
}

/// Who can do it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A worker that serves the tool `toolset/tool`.
    Tool(String),
    /// A worker that offers the agent.
    Agent(String),
}

/// What a dispatch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The step itself.
    Execute,
    /// Whether it took place.
    Probe,
}

/// A value that is at hand, or stands in the run's event of this version.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// At hand.
    Inline(Json),
    /// The arguments ([`RunEvent::args`]) in the event of this version.
    ArgsAt(u64),
    /// The outcome ([`RunEvent::outcome`]) recorded by the event of this version.
    ValueAt(u64),
}

/// A tool call, a tool's probe or an undo function to hand to the worker chosen with [`Command::Ready`].
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The want that it serves.
    pub slot: Slot,
    /// The permission. A probe carries the grant in doubt.
    pub grant: Grant,
    /// What for: comes back in [`Command::ToolDone`].
    pub purpose: Purpose,
    /// What.
    pub work: Work,
    /// To hand on.
    pub idempotency_key: Option<String>,
    /// Longest time in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// What is dispatched.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// `frames::Server::Tool`.
    Tool {
        /// `toolset/tool`.
        name: String,
        /// The arguments.
        args: Json,
    },
    /// `frames::Server::Tool` that undoes: its arguments are `{args, result}`.
    UndoTool {
        /// `toolset/tool`.
        name: String,
        /// Arguments of the step to undo.
        args: Datum,
        /// Its result.
        result: Datum,
    },
    /// `frames::Server::Undo`.
    UndoFunction {
        /// The agent.
        agent: String,
        /// The function.
        function: String,
        /// Arguments of the step to undo.
        args: Datum,
        /// Its result.
        result: Datum,
    },
}

/// What a call is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Terminal: a fresh value.
    Value {
        /// The value.
        value: Json,
        /// The record is used up.
        live: bool,
    },
    /// Terminal: the outcome recorded by the event of this version ([`RunEvent::outcome`]); `reused` is true.
    Recorded {
        /// The event's place in the run, from 1.
        version: u64,
        /// The record is used up.
        live: bool,
    },
    /// Terminal: a fresh error.
    Error(StepError),
    /// Terminal: not accepted; nothing was recorded.
    Refused(Problem),
    /// Permission to execute.
    Execute {
        /// The permission. Its `step` is at least 2^52 for code and read steps, of which nothing is recorded yet.
        grant: Grant,
        /// To hand on.
        idempotency_key: Option<String>,
        /// The arguments as a person edited them.
        args: Option<Json>,
        /// Longest time.
        timeout_ms: Option<u64>,
    },
    /// Did it take place?
    Probe {
        /// The permission in doubt.
        grant: Grant,
        /// Its key.
        idempotency_key: Option<String>,
        /// The arguments.
        args: Json,
    },
    /// It waits.
    Wait {
        /// What for.
        why: frames::Waiting,
        /// Until when.
        until: Option<Timestamp>,
        /// The approval asked for.
        approval: Option<ApprovalId>,
    },
}

impl Answer {
    /// The frame. `recorded` must be given for [`Answer::Recorded`]: the outcome of the event it names.
    pub fn into_frame(self, call: u64, recorded: Option<Recorded>) -> frames::Server {
        use std::sync::Arc;
        match self {
            Self::Value { value, live } => {
                frames::Server::Result { call, value: Arc::unwrap_or_clone(value), reused: false, live }
            }
            Self::Recorded { live, .. } => match recorded {
                Some(Recorded::Value(value)) => {
                    frames::Server::Result { call, value: Arc::unwrap_or_clone(value), reused: true, live }
                }
                Some(Recorded::Error(error)) => frames::Server::Error { call, error, reused: true },
                None => frames::Server::Refused {
                    call: Some(call),
                    problem: crate::Error::invalid("the recorded outcome could not be read").problem(),
                },
            },
            Self::Error(error) => frames::Server::Error { call, error, reused: false },
            Self::Refused(problem) => frames::Server::Refused { call: Some(call), problem },
            Self::Execute { grant, idempotency_key, args, timeout_ms } => frames::Server::Execute {
                call,
                grant,
                idempotency_key,
                args: args.map(Arc::unwrap_or_clone),
                timeout_ms,
            },
            Self::Probe { grant, idempotency_key, args } => {
                frames::Server::Probe { call, grant, idempotency_key, args: Arc::unwrap_or_clone(args) }
            }
            Self::Wait { why, until, approval } => frames::Server::Wait { call, why, until, approval },
        }
    }
}

/// What the engine does once the decision's events are durable, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send `start` to the worker named in [`Command::Start`].
    Start(Box<Start>),
    /// Answer a call of the present incarnation.
    Reply {
        /// The call.
        call: u64,
        /// The answer.
        answer: Answer,
    },
    /// A tool step that is not in the record, and nobody declares the tool: hand the command in again when someone
    /// does; tell the worker to wait (`Waiting::Tool`). The machine has forgotten the request.
    Unready {
        /// The request.
        step: Box<frames::Step>,
    },
    /// Send `cancel` to the incarnation's worker.
    Cancel {
        /// The incarnation.
        inc: u32,
        /// Why.
        reason: String,
    },
    /// Send `closed` to the incarnation's worker, if it is still there: the incarnation is over.
    Close {
        /// The incarnation.
        inc: u32,
        /// `completed`, `failed`, `cancelled`, `fenced`, `parked`.
        state: &'static str,
    },
    /// Send `late_taken` to the worker that sent `late`.
    LateTaken {
        /// The grant.
        grant: Grant,
    },
    /// Find a worker with room, then hand in [`Command::Ready`]; keep the want until then.
    Want {
        /// For which call or undo. A second want of the same slot replaces the first.
        slot: Slot,
        /// Who can do it.
        target: Target,
    },
    /// The want is over.
    Unwant {
        /// Which.
        slot: Slot,
    },
    /// Send the work to the worker for which [`Command::Ready`] was handed in.
    Dispatch(Box<Dispatch>),
    /// Answer what a session's program asked.
    Guarded(Box<Guarded>),
    /// Create this run unless it exists (its id is recorded; creating it in the same commit is best).
    StartChild {
        /// The waiting step.
        step: u64,
        /// The child's id.
        run: RunId,
        /// Its agent.
        agent: String,
        /// Its input.
        input: Datum,
    },
    /// Ask a model, by an event in the same commit; hand in [`Command::ModelAnswered`] when it has answered.
    AskModel {
        /// The waiting step.
        step: u64,
        /// The model.
        model: String,
        /// What it is asked.
        args: Datum,
    },
    /// Cancel a child run, unless it has ended.
    CancelChild {
        /// The child.
        run: RunId,
        /// Why.
        reason: String,
    },
    /// The run has ended and another waits for it: hand [`Command::ChildEnded`] to that one.
    NotifyParent {
        /// The waiting run.
        run: RunId,
        /// Its step.
        step: u64,
        /// What came of this run.
        outcome: Recorded,
    },
}

/// What `start` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The incarnation.
    pub inc: u32,
    /// The agent.
    pub agent: String,
    /// The run's input.
    pub input: Json,
    /// The state it carried.
    pub state: Option<Json>,
    /// The run's key.
    pub key: Option<String>,
    /// When it ends at the latest.
    pub deadline: Option<Timestamp>,
    /// Steps in the record since the last carry.
    pub recorded: u64,
    /// None of them is unused.
    pub live: bool,
}

/// What a command leads to. The run has taken the events in already: if they do not become durable, drop the run and
/// load it again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// What happened, in order; possibly nothing.
    pub events: Vec<RunEvent>,
    /// What to do once that is durable.
    pub actions: Vec<Action>,
}

/// Something started that the engine must look after once a run was loaded.
#[derive(Debug, Clone, PartialEq)]
pub enum Obligation {
    /// An execution was permitted and has not reported. If its worker does not claim it (in `hello.executing`) within
    /// a lease, hand in [`Command::GrantsLost`].
    Outstanding {
        /// The grant.
        grant: Grant,
        /// It is a tool's or an undo's, not the agent's worker's.
        dispatched: bool,
        /// What it does to the world.
        effect: Effect,
    },
    /// A step waits for a child run: create it if it does not exist; if it has ended, hand in [`Command::ChildEnded`].
    Child {
        /// The step.
        step: u64,
        /// The child.
        run: RunId,
    },
    /// An incarnation was with this worker: unless it comes back in a lease, hand in [`Command::Lost`]. If it does
    /// come back, hand it in at once, with what the worker says it executes.
    Incarnation {
        /// The incarnation.
        inc: u32,
        /// The worker.
        worker: String,
    },
}
