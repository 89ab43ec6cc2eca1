//! The events of one run: everything that is recorded about it, on the subject `run/r_…`, schema version 1. The data
//! is JSON; the type stands in the event's header ([`RunEvent::kind`]). An event type of another name on the same
//! subject is one that the agent emitted itself ([`RunEvent::Emitted`]).

mod access;
mod approvals;
mod kept;

use std::{collections::BTreeSet, sync::Arc};

use neuraxis_sdk::frames::{Effect, Flow, StepError, Undo};
use nx_guard::{
    call::{Facts, Scores},
    guard::Endorsed,
    label::Labelled,
    origin::{Leak, Planned},
    tool::Tool,
};
use nx_types::{ApprovalId, Digest, EventId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use access::ARGS;
pub use access::{Recorded, end_of};
pub use approvals::{
    ApprovalDecided, ApprovalEnded, ApprovalEscalated, ApprovalRequested, ApprovalVoted, PolicyAsk, Ruling,
};
pub use kept::{Kept, KeptUndo};

use super::{approval::Why, digest};
use crate::Error;

/// A JSON value that events, calls and answers share without copying.
pub type Json = Arc<Value>;

/// The schema version of every event in this module.
pub const SCHEMA: u16 = 1;

/// One thing that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// `run.created`: always the first.
    Created(Box<Created>),
    /// `run.started`: an incarnation began.
    Started(Started),
    /// `run.interrupted`: the incarnation is over, the run is not.
    Interrupted(Interrupted),
    /// `run.carried`: the run's history so far is replaced by a state.
    Carried(Carried),
    /// `run.cancel_requested`: the agent is being stopped.
    CancelRequested(CancelRequested),
    /// `run.compensating`: the agent is over; completed steps are undone before the run ends.
    Compensating(Compensating),
    /// `run.completed`: the agent returned.
    Completed(Completed),
    /// `run.failed`: the agent raised an error, or could not go on.
    Failed(Failed),
    /// `run.cancelled`.
    Cancelled(Cancelled),
    /// `run.retried`: a failed or cancelled run is open again.
    Retried(Retried),
    /// `step.started`: durable before the execution of idempotent and once steps, tools and undos begins.
    StepStarted(StepStarted),
    /// `step.completed`.
    StepCompleted(StepCompleted),
    /// `step.attempt_failed`: another attempt follows.
    AttemptFailed(AttemptFailed),
    /// `step.failed`: no attempt follows.
    StepFailed(StepFailed),
    /// `step.waiting`: for time, a signal, another run or a person.
    StepWaiting(StepWaiting),
    /// `step.in_doubt`: it started, and nobody can tell yet whether it took place.
    StepInDoubt(StepInDoubt),
    /// `step.resolved`: a doubt is settled.
    StepResolved(StepResolved),
    /// `approval.requested`: a person is asked.
    ApprovalRequested(Box<ApprovalRequested>),
    /// `approval.escalated`: nobody decided in time; the next is asked.
    ApprovalEscalated(ApprovalEscalated),
    /// `approval.voted`: one of several people agreed.
    ApprovalVoted(ApprovalVoted),
    /// `approval.decided`.
    ApprovalDecided(Box<ApprovalDecided>),
    /// `approval.expired`: nobody decided in time, and nobody is left to ask.
    ApprovalExpired(ApprovalEnded),
    /// `approval.withdrawn`: the question has no object any more.
    ApprovalWithdrawn(ApprovalEnded),
    /// `signal.received`.
    SignalReceived(SignalReceived),
    /// `guard.decided`: policies decided about a call, before anything of it was executed.
    GuardDecided(Box<GuardDecided>),
    /// `incarnation.diverged`: the agent's code asked for something else than it did before.
    Diverged(Diverged),
    /// An event that the agent emitted: its type is the agent's, its data the agent's value.
    Emitted(Emitted),
}

/// `run.created`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The agent.
    pub agent: String,
    /// What it is called with.
    pub input: Json,
    /// The caller's key: at most one run of an agent has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the run ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The run and step that wait for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Who or what asked for it.
    pub by: String,
    /// The run that this one was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
    /// It is the session of a program that is not ours: its steps are reported, and no worker executes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<GuardSession>>,
    /// The labels of the input's leaves, where they are not all the one that stands in the event's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<Labelled>>,
}

/// What a foreign program says of itself when it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardSession {
    /// The person that it acts for.
    pub principal: String,
    /// That person's roles.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<String>,
    /// Its tools.
    pub tools: Vec<Arc<Tool>>,
    /// A plan made from the trusted request alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Vec<Planned>>,
}

/// The step that waits for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// The step's ordinal in it.
    pub step: u64,
}

/// Where a fork comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The run.
    pub run: RunId,
    /// The first step that is not reused as it was.
    pub at: u64,
    /// Later effects take place; otherwise they are simulated from the other run's record.
    #[serde(default)]
    pub live: bool,
}

/// `run.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The incarnation, from 1.
    pub inc: u32,
    /// The worker process.
    pub worker: String,
    /// The version of the agent's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// `run.interrupted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The incarnation.
    pub inc: u32,
    /// Why, for people.
    pub reason: String,
    /// The server took the run off the worker because it only waits; it starts when something has happened.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parked: bool,
}

/// `run.carried`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// What the agent continues from.
    pub state: Json,
    /// The labels of the state's leaves, where they are not all the one that stands in the event's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<Labelled>>,
    /// What survives of the history, so that loading the run need not read it.
    pub kept: Box<Kept>,
    /// Completed steps of the segment that the code no longer asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
}

/// `run.cancel_requested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelRequested {
    /// Who asked: a person, `deadline`, `parent`.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// `run.compensating`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compensating {
    /// How the run ends once everything is undone.
    pub cause: Cause,
}

/// Why a run ends without a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It failed.
    Failed(StepError),
    /// It was cancelled: the reason.
    Cancelled(String),
}

/// `run.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// What the agent returned.
    pub result: Json,
    /// The labels of the result's leaves, where they are not all the one that stands in the event's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<Labelled>>,
    /// Records that the last incarnation did not use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
}

/// `run.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub error: StepError,
    /// Records that the last incarnation did not use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// Undos that failed; a person must look after these steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_undone: Vec<u64>,
}

/// A record that no step of the code asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The step's ordinal.
    pub n: u64,
    /// Its scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Its name.
    pub name: String,
    /// What it does to the world.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// How far it came: `completed`, `failed`, `started`, `in_doubt`, `waiting`.
    pub state: String,
}

/// `run.cancelled`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Why.
    pub reason: String,
    /// Undos that failed; a person must look after these steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_undone: Vec<u64>,
}

/// `run.retried`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retried {
    /// Who asked.
    pub by: String,
}

/// What a step is, as it is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// A function of the worker's code.
    #[default]
    Code,
    /// A tool.
    Tool,
    /// A wait for time.
    Sleep,
    /// A wait for a signal.
    Signal,
    /// A question to a person.
    Approval,
    /// Another run.
    Child,
    /// An event for the log.
    Emit,
    /// The time.
    Now,
    /// A random number.
    Random,
    /// A random id.
    Uuid,
    /// A compensation.
    Undo,
    /// A model's answer.
    Infer,
}

/// Who a step is. Stands in the first event about the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The branch; empty for the agent's own body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The name.
    pub name: String,
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Without a key: the how-manieth of the name in the scope since the last carry, from 1. 0 is the one after the
    /// highest recorded so far.
    #[serde(default, skip_serializing_if = "is_default")]
    pub occ: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: Kind,
    /// What it does to the world.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// SHA-256 of the arguments' canonical form (RFC 8785), base64url. The value store leaves it out where the
    /// arguments are large, and computes it when it reads them.
    #[serde(default = "no_hash", skip_serializing_if = "is_no_hash", with = "digest")]
    pub hash: Digest,
    /// The arguments.
    #[serde(default = "null", skip_serializing_if = "is_null")]
    pub args: Json,
    /// Raised by each rerun with other arguments at the same place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rev: u16,
    /// The step whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
    /// What undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// What was different from the record: `new`, `arguments changed`, `renamed from x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// References were substituted in the arguments: the hash is that of the arguments as they were given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub refs: bool,
    /// What the code declares of its own function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Box<Flow>>,
}

/// `step.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepStarted {
    /// The step's ordinal in the run, from 1.
    pub n: u64,
    /// Who it is, in the first event about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<Identity>>,
    /// The attempt, from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
    /// Until when the outside honours the idempotency key, if that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_until: Option<Timestamp>,
    /// A worker that can tell whether it took place was declared.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probe: bool,
}

/// `step.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCompleted {
    /// The step's ordinal.
    pub n: u64,
    /// Who it is, in the first event about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<Identity>>,
    /// What it returned.
    #[serde(default = "null", skip_serializing_if = "is_null")]
    pub value: Json,
    /// The value is that of this step instead: a person ruled so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The attempt that succeeded; 0 for a signal that did not come in time.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
    /// In a fork: the step happened after the fork's point; its value serves simulation only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub later: bool,
    /// The labels of the value's leaves, where they are not all the one that stands in the event's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<Labelled>>,
    /// What the guard made of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Box<Seen>>,
}

impl StepCompleted {
    /// A completed step without anything optional.
    pub fn new(n: u64, step: Option<Box<Identity>>, value: Json, attempt: u32) -> Self {
        Self { n, step, value, from: None, attempt, later: false, labels: None, seen: None }
    }
}

/// What the guard made of a value that entered the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// An extraction: untrusted text became a trusted value of a narrow shape, or did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsed: Option<Endorsed>,
    /// What detectors said of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scores: Scores,
}

/// `guard.decided`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardDecided {
    /// The step's ordinal: the one that the step has, or will have.
    pub n: u64,
    /// What is called: `toolset/tool`, `step/name` for a function of the agent's code, `output`.
    pub call: String,
    /// What calling it does to the world.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// The exact arguments, references substituted.
    #[serde(default = "null", skip_serializing_if = "is_null")]
    pub args: Json,
    /// Their SHA-256, base64url.
    #[serde(with = "digest")]
    pub hash: Digest,
    /// What was decided, and why.
    pub decision: nx_guard::decision::Decision,
    /// What held at the moment.
    pub facts: Facts,
    /// Whether the request asks for this kind of action.
    #[serde(default, skip_serializing_if = "is_default")]
    pub asked: bool,
    /// Whether a value that a sink takes stands in the request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub named: bool,
    /// Restricted values that the call would bring to somebody who may not read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaks: Vec<Leak>,
}

/// `step.attempt_failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptFailed {
    /// The step's ordinal.
    pub n: u64,
    /// Who it is, in the first event about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<Identity>>,
    /// The attempt that failed.
    pub attempt: u32,
    /// Why.
    pub error: StepError,
    /// When the next begins.
    pub next: Timestamp,
}

/// `step.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFailed {
    /// The step's ordinal.
    pub n: u64,
    /// Who it is, in the first event about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<Identity>>,
    /// Why.
    pub error: StepError,
    /// The attempts made; 0 if it was never executed.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempt: u32,
}

/// `step.waiting`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepWaiting {
    /// The step's ordinal.
    pub n: u64,
    /// Who it is, in the first event about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<Identity>>,
    /// What for.
    pub wait: Wait,
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// An instant.
    Sleep {
        /// The instant.
        until: Timestamp,
    },
    /// A signal of the step's name.
    Signal {
        /// At the latest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Another run.
    Child {
        /// The run.
        run: RunId,
    },
    /// A person's approval.
    Approval {
        /// The approval.
        id: ApprovalId,
    },
    /// A person's ruling.
    Ask {
        /// The approval.
        id: ApprovalId,
        /// About what.
        why: Why,
    },
    /// A model's answer.
    Model,
}

/// `step.in_doubt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepInDoubt {
    /// The step's ordinal.
    pub n: u64,
    /// The attempt.
    pub attempt: u32,
    /// Why.
    pub reason: String,
}

/// `step.resolved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepResolved {
    /// The step's ordinal.
    pub n: u64,
    /// The attempt that was in doubt.
    pub attempt: u32,
    /// What is known now.
    pub how: How,
    /// Who knows it.
    pub by: By,
    /// The labels of the value's leaves, where they are not all the one that stands in the event's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<Labelled>>,
}

/// How a doubt is settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It took place.
    Completed {
        /// What it returned.
        value: Json,
    },
    /// It did not take place.
    NotDone,
    /// It is treated as failed.
    Failed {
        /// Why.
        error: StepError,
    },
}

/// Who settles a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The declared probe.
    Probe,
    /// A person.
    Person,
    /// The worker that executed it, after all.
    Late,
}

/// `signal.received`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalReceived {
    /// The sender's id of it: a second of the same id is ignored.
    pub id: String,
    /// The signal.
    pub name: String,
    /// What it brings.
    #[serde(default = "null", skip_serializing_if = "is_null")]
    pub payload: Json,
    /// Who sent it.
    pub by: String,
}

/// `incarnation.diverged`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverged {
    /// The incarnation.
    pub inc: u32,
    /// What is different.
    pub notes: Vec<Note>,
}

/// One difference between the agent's code and the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The step's ordinal.
    pub n: u64,
    /// What is different: `renamed from x`, `reordered`.
    pub what: String,
}

/// An event that the agent emitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Emitted {
    /// Its id, which is the step's result. Absent when read back (it stands in the header).
    pub id: Option<EventId>,
    /// Its type.
    pub kind: String,
    /// Its data.
    pub data: Json,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Stands for a hash that is to be computed.
pub(crate) fn no_hash() -> Digest {
    Digest([0; 32])
}

pub(crate) fn is_no_hash(hash: &Digest) -> bool {
    hash.0 == [0; 32]
}

pub(super) fn null() -> Json {
    Arc::new(Value::Null)
}

fn is_null(value: &Json) -> bool {
    value.is_null()
}

macro_rules! codec {
    ($($name:literal => $variant:ident),+ $(,)?) => {
        impl RunEvent {
            /// The event's type in the log.
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)+
                    Self::Emitted(emitted) => &emitted.kind,
                }
            }

            /// The event's data: JSON, every value in full.
            pub fn encode(&self) -> Result<Vec<u8>, Error> {
                let encoded = match self {
                    $(Self::$variant(body) => serde_json::to_vec(body),)+
                    Self::Emitted(emitted) => serde_json::to_vec(&emitted.data),
                };
                encoded.map_err(|error| Error::value(format!("`{}` cannot be written: {error}", self.kind())))
            }

            /// The event of type `kind` with this data. An unknown type is an emitted event.
            pub fn decode(kind: &str, data: &[u8]) -> Result<Self, Error> {
                let decoded = match kind {
                    $($name => serde_json::from_slice(data).map(Self::$variant),)+
                    _ => serde_json::from_slice(data)
                        .map(|data| Self::Emitted(Emitted { id: None, kind: kind.to_owned(), data })),
                };
                decoded.map_err(|error| Error::value(format!("`{kind}` cannot be read: {error}")))
            }
        }
    };
}

codec! {
    "run.created" => Created,
    "run.started" => Started,
    "run.interrupted" => Interrupted,
    "run.carried" => Carried,
    "run.cancel_requested" => CancelRequested,
    "run.compensating" => Compensating,
    "run.completed" => Completed,
    "run.failed" => Failed,
    "run.cancelled" => Cancelled,
    "run.retried" => Retried,
    "step.started" => StepStarted,
    "step.completed" => StepCompleted,
    "step.attempt_failed" => AttemptFailed,
    "step.failed" => StepFailed,
    "step.waiting" => StepWaiting,
    "step.in_doubt" => StepInDoubt,
    "step.resolved" => StepResolved,
    "approval.requested" => ApprovalRequested,
    "approval.escalated" => ApprovalEscalated,
    "approval.voted" => ApprovalVoted,
    "approval.decided" => ApprovalDecided,
    "approval.expired" => ApprovalExpired,
    "approval.withdrawn" => ApprovalWithdrawn,
    "signal.received" => SignalReceived,
    "guard.decided" => GuardDecided,
    "incarnation.diverged" => Diverged,
}
