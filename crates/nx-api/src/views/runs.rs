//! Runs, their steps and their events.

use nx_runs::service::{
    BulkRetried, ForkPoint, Inbox, Paged, ProgressView, RunEventView, RunStatus, RunSummary, RunView, StepStatus,
    StepView,
};
use nx_types::{Digest, EventId, Namespace, Problem, RunId, Seq, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{approvals::ApprovalBody, text, words};

words! {
    /// Where a run stands: `queued` no worker has it, `running` a worker executes it, `waiting` for time, a signal, a
    /// person, a child or a tool, `compensating` its completed steps are being undone; over are `completed`, `failed`
    /// (until it is retried) and `cancelled`.
    RunStatusBody from RunStatus { Queued, Running, Waiting, Compensating, Completed, Failed, Cancelled }
}

words! {
    /// Why a run needs a person: it `failed`, a step is `in_doubt`, a changed or new step wants a ruling (`ask`), a call
    /// waits for its `approval`.
    InboxBody from Inbox { Failed, InDoubt, Ask, Approval }
}

words! {
    /// Where a step stands: `started` a worker executes it or may, `retrying` an attempt failed and the next one follows,
    /// `waiting`, `in_doubt` it is unknown whether it took place, `completed`, `failed` for good, `superseded` a later
    /// revision or a ruling took its place.
    StepStatusBody from StepStatus { Started, Retrying, Waiting, InDoubt, Completed, Failed, Superseded }
}

/// A run in lists.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunSummaryBody {
    /// The run.
    #[schema(value_type = text::Run)]
    id: RunId,
    /// Its namespace.
    #[schema(value_type = text::Namespace)]
    namespace: Namespace,
    /// The agent.
    agent: String,
    /// Where it stands.
    status: RunStatusBody,
    /// The caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    /// When it was created.
    #[schema(value_type = text::Instant)]
    created: Timestamp,
    /// When its status last changed.
    #[schema(value_type = text::Instant)]
    updated: Timestamp,
    /// The present or last incarnation; 0 before the first.
    incarnation: u32,
    /// What it waits for, for people: `approval a_… of lead`, `sleep until …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<String>,
    /// Why it needs a person, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    inbox: Option<InboxBody>,
    /// `NAME: message` of the error, for failed runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// The run that started it as a child.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Run>, nullable = false)]
    parent: Option<RunId>,
}

impl From<RunSummary> for RunSummaryBody {
    fn from(run: RunSummary) -> Self {
        let RunSummary {
            id,
            namespace,
            agent,
            status,
            key,
            created,
            updated,
            incarnation,
            waiting_for,
            inbox,
            error,
            parent,
        } = run;
        Self {
            id,
            namespace,
            agent,
            status: status.into(),
            key,
            created,
            updated,
            incarnation,
            waiting_for,
            inbox: inbox.map(InboxBody::from),
            error,
            parent,
        }
    }
}

/// A page of runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunsBody {
    /// The runs.
    items: Vec<RunSummaryBody>,
    /// Pass as `cursor` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

impl From<Paged<RunSummary>> for RunsBody {
    fn from(page: Paged<RunSummary>) -> Self {
        Self { items: page.items.into_iter().map(RunSummaryBody::from).collect(), next: page.next }
    }
}

/// A run with a page of its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunBody {
    #[serde(flatten)]
    summary: RunSummaryBody,
    /// Who started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    by: Option<String>,
    /// What it was started with.
    input: Value,
    /// What it returned; absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StepErrorBody>, nullable = false)]
    failure: Option<Value>,
    /// When it ends at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Instant>, nullable = false)]
    deadline: Option<Timestamp>,
    /// The run that it was forked from, and before which of its steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    forked_from: Option<ForkPointBody>,
    /// How far executions are that a worker has now, where it says so (heartbeats). Not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    progress: Vec<ProgressBody>,
    /// How many steps it has in all.
    steps_total: u64,
    /// Steps by ordinal; a page of them for long runs, the newest unless asked otherwise.
    steps: Vec<StepBody>,
    /// Pass as `after` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_step: Option<u64>,
    /// Approvals in order of asking.
    approvals: Vec<ApprovalBody>,
    /// How the incarnations differed from the record, in words. Of a run of more than 10,000 events: those of the part
    /// that was read for this page, and of the newest events.
    notes: Vec<String>,
    /// Ordinals of recorded steps that the run ended without asking for.
    orphans: Vec<u64>,
    /// How many steps had ended before the present incarnation began, without orphans: those that it reuses. Not told of
    /// a run of more than 10,000 events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reused: Option<u64>,
    /// Number of events of the run so far: pass as `since` to wait for more.
    version: u64,
}

impl From<RunView> for RunBody {
    fn from(run: RunView) -> Self {
        let RunView {
            summary,
            by,
            input,
            result,
            failure,
            deadline,
            forked_from,
            progress,
            steps_total,
            steps,
            next_step,
            approvals,
            notes,
            orphans,
            reused,
            version,
        } = run;
        Self {
            summary: summary.into(),
            by,
            input,
            result,
            failure,
            deadline,
            forked_from: forked_from.map(ForkPointBody::from),
            progress: progress.into_iter().map(ProgressBody::from).collect(),
            steps_total,
            steps: steps.into_iter().map(StepBody::from).collect(),
            next_step,
            approvals: approvals.into_iter().map(ApprovalBody::from).collect(),
            notes,
            orphans,
            reused,
            version,
        }
    }
}

/// How far an execution is, as its worker said last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProgressBody {
    /// The step, tool or undo function, or the agent itself.
    name: String,
    /// When the worker said so.
    #[schema(value_type = text::Instant)]
    time: Timestamp,
    /// What it said.
    detail: Value,
}

impl From<ProgressView> for ProgressBody {
    fn from(progress: ProgressView) -> Self {
        let ProgressView { name, time, detail } = progress;
        Self { name, time, detail }
    }
}

/// Where a fork left its parent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForkPointBody {
    /// The parent.
    #[schema(value_type = text::Run)]
    run: RunId,
    /// Steps with a smaller ordinal are the parent's; all that it had when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at_step: Option<u64>,
    /// Whether later effects are performed.
    live: bool,
}

impl From<ForkPoint> for ForkPointBody {
    fn from(fork: ForkPoint) -> Self {
        let ForkPoint { run, at_step, live } = fork;
        Self { run, at_step, live }
    }
}

/// An error of the agent's code or of the world that it called.
#[derive(Debug, ToSchema)]
#[schema(as = StepErrorBody)]
#[expect(dead_code, reason = "the form of an error in the description; the record holds it as JSON")]
pub(crate) struct StepErrorBody {
    /// The error's class: `HTTPStatusError`, `ValueError`.
    name: String,
    /// The message.
    message: String,
    /// Whether trying again may help.
    #[schema(nullable = false)]
    retryable: Option<bool>,
    /// What the other side asked to wait (Retry-After), in milliseconds.
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// More, for people: a traceback, a status.
    details: Option<Value>,
}

/// A step of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepBody {
    /// The ordinal in the run, from 1.
    n: u64,
    /// The branch; empty for the agent's own body.
    scope: String,
    /// The name.
    name: String,
    /// The caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    /// What it is: `code`, `tool`, `sleep`, `signal`, `approval`, `child`, `emit`, `now`, `random`, `uuid`, `undo`. A later
    /// release may know more.
    kind: String,
    /// What it does to the world: `code`, `read`, `idempotent`, `once`.
    effect: String,
    /// Where it stands.
    status: StepStatusBody,
    /// Attempts so far.
    attempts: u32,
    /// How often it ran with other arguments.
    revision: u32,
    /// Hash of its arguments.
    #[schema(value_type = text::Digest)]
    hash: Digest,
    /// Its arguments, if the record holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
    /// Its value; absent until it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// Its last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<StepErrorBody>, nullable = false)]
    error: Option<Value>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_for: Option<String>,
    /// How it differs from the record: `arguments changed: revision 1`, `renamed from x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<String>,
    /// The child run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Run>, nullable = false)]
    child: Option<RunId>,
    /// When its first event was recorded.
    #[schema(value_type = text::Instant)]
    started: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Instant>, nullable = false)]
    ended: Option<Timestamp>,
    /// The incarnation that executed it, where it is known from what was read (always in a run of up to 10,000 events).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    incarnation: Option<u32>,
    /// Place of its last event in the log.
    #[schema(value_type = text::Seq)]
    seq: Seq,
}

impl From<StepView> for StepBody {
    fn from(step: StepView) -> Self {
        let StepView {
            n,
            scope,
            name,
            key,
            kind,
            effect,
            status,
            attempts,
            revision,
            hash,
            args,
            value,
            error,
            waiting_for,
            note,
            child,
            started,
            ended,
            incarnation,
            seq,
        } = step;
        Self {
            n,
            scope,
            name,
            key,
            kind,
            effect,
            status: status.into(),
            attempts,
            revision,
            hash,
            args,
            value,
            error,
            waiting_for,
            note,
            child,
            started,
            ended,
            incarnation,
            seq,
        }
    }
}

/// An event of a run: the data of each server-sent event of `/api/runs/{run}/events`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunEventBody {
    /// The place in the log.
    #[schema(value_type = text::Seq)]
    seq: Seq,
    /// The place in the run, from 1: pass as `after` to continue.
    version: u64,
    /// The event's id, a UUID version 7.
    #[schema(value_type = String, format = "uuid")]
    id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    kind: String,
    /// When.
    #[schema(value_type = text::Instant)]
    time: Timestamp,
    /// The content, by type; `null` if it was erased.
    data: Value,
}

impl From<RunEventView> for RunEventBody {
    fn from(event: RunEventView) -> Self {
        let RunEventView { seq, version, id, kind, time, data } = event;
        Self { seq, version, id, kind, time, data }
    }
}

/// What came of a bulk retry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetriedBody {
    /// Runs that were re-opened.
    #[schema(value_type = Vec<text::Run>)]
    retried: Vec<RunId>,
    /// Runs that were not.
    skipped: Vec<SkippedBody>,
}

/// A run that was not re-opened.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SkippedBody {
    /// The run.
    #[schema(value_type = text::Run)]
    run: RunId,
    /// The stable code of why.
    code: String,
    /// Why, in words.
    detail: String,
    /// Whether the same request may succeed later.
    retryable: bool,
}

impl From<BulkRetried> for RetriedBody {
    fn from(done: BulkRetried) -> Self {
        let skipped = |(run, problem): (RunId, Problem)| {
            let Problem { code, detail, retryable } = problem;
            SkippedBody { run, code: code.as_str().to_owned(), detail, retryable }
        };
        Self { retried: done.retried, skipped: done.skipped.into_iter().map(skipped).collect() }
    }
}
