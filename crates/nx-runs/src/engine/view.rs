//! What the surfaces get to see of runs, approvals and workers: plain data, serialised as it is.

use nx_types::{ApprovalId, Digest, EventId, Namespace, RunId, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// No worker has it yet, or none has it any more.
    Queued,
    /// A worker executes it.
    Running,
    /// It waits for time, a signal, a person, a child or a worker's tool.
    Waiting,
    /// Its completed steps are being undone.
    Compensating,
    /// It returned.
    Completed,
    /// It failed for good; it stands in the inbox until it is retried.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RunStatus {
    /// The status as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the run is over (a failed run can be retried).
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Why a run stands in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inbox {
    /// It failed.
    Failed,
    /// A step is in doubt and a person must say whether it took place.
    InDoubt,
    /// A person must rule on a changed or new step.
    Ask,
    /// A person must approve a call.
    Approval,
}

/// A run in lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub id: RunId,
    /// Its namespace.
    pub namespace: Namespace,
    /// The agent.
    pub agent: String,
    /// Where it stands.
    pub status: RunStatus,
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When its status last changed.
    pub updated: Timestamp,
    /// The present or last incarnation; 0 before the first.
    pub incarnation: u32,
    /// What it waits for, for people: `approval a_… of lead`, `sleep until …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Why it stands in the inbox, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<Inbox>,
    /// `NAME: message` of the error, for failed runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The run that started it as a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
}

/// A run as `runs show` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The summary.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What it was started with.
    pub input: Value,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Value>,
    /// When it ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The run that it was forked from, and before which of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkPoint>,
    /// How far executions are that a worker has now, where it says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<ProgressView>,
    /// How many steps it has in all.
    pub steps_total: u64,
    /// Steps by ordinal; a page of them for long runs, the newest unless asked otherwise.
    pub steps: Vec<StepView>,
    /// Pass as [`StepsPage::after`] to read on; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<u64>,
    /// Approvals in order of asking.
    pub approvals: Vec<ApprovalView>,
    /// How the incarnations differed from the record, in the words of `runs show`. Of a run of more than 10,000 events:
    /// those of the part that was read for this page, and of the newest events.
    pub notes: Vec<String>,
    /// Ordinals of recorded steps that the run ended without asking for.
    pub orphans: Vec<u64>,
    /// How many steps had ended before the present incarnation began, without orphans: those that it reuses. Not told of
    /// a run of more than 10,000 events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<u64>,
    /// Number of events of the run so far: where a watcher continues.
    pub version: u64,
}

/// How far an execution is, as its worker said last. Not recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressView {
    /// The step, tool or undo function, or the agent itself.
    pub name: String,
    /// When the worker said so.
    pub time: Timestamp,
    /// What it said.
    pub detail: Value,
}

/// Where a fork left its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The parent.
    pub run: RunId,
    /// Steps with a smaller ordinal are the parent's; all that it had when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_step: Option<u64>,
    /// Whether later effects are performed.
    pub live: bool,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// A worker executes it, or may.
    Started,
    /// An attempt failed; the next one follows.
    Retrying,
    /// It waits: see [`StepView::waiting_for`].
    Waiting,
    /// It is unknown whether it took place.
    InDoubt,
    /// It has a value.
    Completed,
    /// It failed for good.
    Failed,
    /// A later revision or a ruling took its place.
    Superseded,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The ordinal in the run, from 1.
    pub n: u64,
    /// The branch; empty for the agent's own body.
    pub scope: String,
    /// The name.
    pub name: String,
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it is: `code`, `tool`, `sleep`, `signal`, `approval`, `child`, `infer`, `emit`, `now`, `random`, `uuid`, `undo`.
    pub kind: String,
    /// What it does to the world: `code`, `read`, `idempotent`, `once`.
    pub effect: String,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts so far.
    pub attempts: u32,
    /// The revision: how often it ran with other arguments.
    pub revision: u32,
    /// Hash of its arguments.
    pub hash: Digest,
    /// Its arguments, if the record holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// How it differs from the record: `arguments changed: revision 1`, `renamed from x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The child run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<RunId>,
    /// When its first event was recorded.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The incarnation that executed it, where it is known from what was read (always in a run of up to 10,000 events).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u32>,
    /// Place of its last event in the log.
    pub seq: Seq,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// The approval.
    pub id: ApprovalId,
    /// Its namespace.
    pub namespace: Namespace,
    /// The run.
    pub run: RunId,
    /// The step's ordinal.
    pub step: u64,
    /// The agent.
    pub agent: String,
    /// The step's name: the call that it guards.
    pub call: String,
    /// The question: `call`, `changed`, `in_doubt`, `new_once`, `standalone`.
    pub why: String,
    /// `waiting`, `approved`, `denied`, `ruled`, `expired`, `withdrawn`.
    pub status: String,
    /// Who may decide now: a role or person.
    pub who: String,
    /// Who is asked next, in order.
    pub escalate: Vec<String>,
    /// How many different people must agree.
    pub quorum: u32,
    /// Who has agreed so far.
    pub votes: Vec<String>,
    /// The exact arguments.
    pub args: Value,
    /// Their hash; a decision names the hash that it saw.
    pub hash: Digest,
    /// Whether the decider may change the arguments.
    pub edit: bool,
    /// The answers that are possible: `approve`, `deny`; `reuse`, `run`, `complete`, `not_done`, `fail`.
    pub choices: Vec<String>,
    /// Ordinals of the recorded steps that `reuse` may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<u64>,
    /// What the person is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What policies decided about the call, and where each argument came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Box<nx_guard::decision::Decision>>,
    /// When it was asked.
    pub created: Timestamp,
    /// Until when the present one may decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// Why they decided so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The arguments as edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Value>,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
}

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// The connection's name.
    pub session: String,
    /// The process, as it names itself.
    pub worker: String,
    /// The SDK.
    pub sdk: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Agents, with versions.
    pub agents: Vec<String>,
    /// Toolsets.
    pub toolsets: Vec<String>,
    /// Runs it has now.
    pub runs: u32,
    /// Runs it takes at most.
    pub max_runs: u32,
    /// Calls in flight.
    pub calls: u32,
    /// When it connected.
    pub connected: Timestamp,
    /// When it was last heard of.
    pub heard: Timestamp,
}

/// An event of a run, its data decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEventView {
    /// The place in the log.
    pub seq: Seq,
    /// The place in the run, from 1: pass as `after` to continue.
    pub version: u64,
    /// The event's id.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub time: Timestamp,
    /// The content; `null` if it was erased.
    pub data: Value,
}

/// A node of the causation tree: what happened, and what it followed from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyNode {
    /// The place in the log.
    pub seq: Seq,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// When.
    pub time: Timestamp,
    /// One line for people: `refund/A17 €84`, `approved by lead (hash 9c…)`.
    pub text: String,
    /// The details that the line is made of.
    pub data: Value,
    /// What it followed from; the first is the direct cause.
    #[serde(default)]
    pub because: Vec<Self>,
    /// A link that only joins two others; the text form passes over it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plumbing: bool,
    /// Causes exist but were cut off by the depth's or breadth's bound.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}
