//! What the surfaces ask of runs.

use std::collections::BTreeSet;

use nx_journal::Cause;
use nx_types::{Digest, Namespace, RunId, Seq, SharedLabel, Timestamp, TraceParent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::view::{Inbox, RunStatus};
use crate::machine::{GuardSession, Recorded};

/// Asks for a new run.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The agent.
    pub agent: String,
    /// The agent's input.
    pub input: Value,
    /// With a key the request is idempotent: the same agent and key is the same run.
    pub key: Option<String>,
    /// When the run ends at the latest.
    pub deadline: Option<Timestamp>,
    /// Who asks: a person or token name.
    pub by: String,
    /// The event that led to it.
    pub cause: Cause,
    /// W3C trace context.
    pub trace: Option<TraceParent>,
    /// The label of the input; `None` for a trusted request.
    pub label: Option<SharedLabel>,
}

impl StartRequest {
    /// A request in the default namespace with nothing optional.
    pub fn new(agent: impl Into<String>, input: Value) -> Self {
        Self {
            namespace: Namespace::default(),
            agent: agent.into(),
            input,
            key: None,
            deadline: None,
            by: "system".to_owned(),
            cause: Cause::None,
            trace: None,
            label: None,
        }
    }
}

/// Asks for the session of a program that is not ours.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The program's name.
    pub agent: String,
    /// What it is asked to do.
    pub prompt: Value,
    /// For whom, with which tools.
    pub session: GuardSession,
    /// Who asks: a person or token name.
    pub by: String,
    /// When the session ends at the latest; a day from now when left out.
    pub deadline: Option<Timestamp>,
}

/// What came of a [`StartRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// The key was known: this run was started by an earlier request.
    pub existing: bool,
}

/// Asks for a new run that shares a prefix of another's record.
#[derive(Debug, Clone, PartialEq)]
pub struct ForkRequest {
    /// The run to fork.
    pub run: RunId,
    /// Steps with a smaller ordinal are reused; this and later ones are not. `None`: all recorded steps are.
    pub at_step: Option<u64>,
    /// Another input.
    pub input: Option<Value>,
    /// Another result of the step `at_step`, in place of executing it.
    pub result: Option<Value>,
    /// Perform later effects. Otherwise they are simulated.
    pub live: bool,
    /// Who asks.
    pub by: String,
}

/// A model has answered a step of a run, or will not.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelAnswer {
    /// The namespace.
    pub namespace: Namespace,
    /// The run.
    pub run: RunId,
    /// The step that asked.
    pub step: u64,
    /// The place of the event that says so.
    pub place: Seq,
    /// The label of the answer; `None` for a trusted one.
    pub label: Option<SharedLabel>,
    /// What came of it.
    pub outcome: Recorded,
}

/// A signal to a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalRequest {
    /// The step's name that waits for it, now or later.
    pub name: String,
    /// The value that the step gets.
    pub payload: Value,
    /// With an id the request is idempotent.
    pub id: Option<String>,
    /// Who sends it.
    pub by: String,
}

/// A person's answer to an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// One of the approval's `choices`.
    pub decision: String,
    /// The hash of the arguments that the person saw; `None` only where the surface showed them in the same request.
    pub hash: Option<Digest>,
    /// The person.
    pub by: String,
    /// The person's roles; an approval's `who` names a role or the person.
    pub roles: BTreeSet<String>,
    /// Why.
    pub reason: Option<String>,
    /// Edited arguments, if the approval allows it.
    pub args: Option<Value>,
    /// The value, for `complete`.
    pub value: Option<Value>,
    /// The step to reuse, for `reuse` where several could be meant.
    pub step: Option<u64>,
}

/// Which runs a list shows; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunFilter {
    /// Only this status.
    pub status: Option<RunStatus>,
    /// Only this agent.
    pub agent: Option<String>,
    /// Only those in the inbox for this reason.
    pub inbox: Option<Inbox>,
    /// Only those in the inbox, for whatever reason.
    pub needs_person: bool,
    /// Only the run with this key.
    pub key: Option<String>,
    /// Only those that ended with an error of this name (`HTTPStatusError`).
    pub error: Option<String>,
}

/// Which approvals a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalFilter {
    /// Only those that wait (the default list), or those with this status.
    pub status: Option<String>,
    /// Only those that this role or person may decide.
    pub who: Option<String>,
    /// Only those of this run.
    pub run: Option<RunId>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Continue after this cursor, as the previous page gave it.
    pub cursor: Option<String>,
    /// Most entries; 50 when left out, at most 1,000.
    pub limit: Option<usize>,
}

/// Which steps of a run are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepsPage {
    /// Steps with a greater ordinal; the newest ones when left out.
    pub after: Option<u64>,
    /// Most steps.
    pub limit: usize,
}

impl Default for StepsPage {
    fn default() -> Self {
        Self { after: None, limit: 1000 }
    }
}

/// A page's entries and where the next one begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paged<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The next page's cursor; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What came of a bulk retry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkRetried {
    /// Runs that were re-opened.
    pub retried: Vec<RunId>,
    /// Runs that were not, and why.
    pub skipped: Vec<(RunId, nx_types::Problem)>,
}
