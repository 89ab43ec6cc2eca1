//! State rows of runs and approvals: what they hold and how they are found. They change only when a status does.

use nx_journal::{IndexEntry, Precondition, Put, index};
use nx_types::{ApprovalId, Namespace, RunId, Subject, Timestamp};
use ring::digest;
use serde::{Deserialize, Serialize};

use super::view::{ApprovalView, Inbox, RunStatus, RunSummary};
use crate::error::Error;

/// The kind of a run's row. Key: the run's id.
pub const RUN: &str = "run";
/// The kind of the row that makes a run key unique. Key: [`run_key`].
pub const RUN_KEY: &str = "run_key";
/// The kind of an approval's row. Key: the approval's id.
pub const APPROVAL: &str = "approval";

/// The kind of the row that names a namespace with runs, in the default namespace. Key: the namespace.
pub const NAMESPACE: &str = "run_namespace";

/// Index of runs by creation.
pub const BY_CREATED: &str = "created";
/// Index of runs by status, then creation.
pub const BY_STATUS: &str = "status";
/// Index of runs by agent, then creation.
pub const BY_AGENT: &str = "agent";
/// Index of runs in the inbox by reason, then update.
pub const BY_INBOX: &str = "inbox";
/// Index of runs that are not over by the instant at which they want to be woken.
pub const BY_OPEN: &str = "open";
/// Index of approvals by status, then creation.
pub const BY_APPROVAL_STATUS: &str = "status";
/// Index of approvals by run.
pub const BY_RUN: &str = "run";

/// What the row of a run holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// What lists show.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// When the run wants to be woken next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<Timestamp>,
    /// A step waits for a child run: whether that has ended must be looked up after a crash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_child: bool,
    /// The version of the run's last `run.carried`: loading begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<u64>,
    /// The server took it off its worker because it only waits: it needs none until something happens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
}

/// What the row of an approval holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRow {
    /// What lists show; large arguments are left out and read from the event.
    #[serde(flatten)]
    pub view: ApprovalView,
    /// The place of its `approval.requested` among the run's events.
    pub version: u64,
    /// The arguments stand in the event alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub args_in_event: bool,
}

/// Arguments over this size stand in the event alone.
const MAX_ARGS_BYTES: usize = 64 << 10;

fn entry(name: &str, value: Vec<u8>) -> IndexEntry {
    IndexEntry { name: name.to_owned(), value }
}

fn timed(first: &str, time: Timestamp) -> Vec<u8> {
    index::pair(first.as_bytes(), &index::time(time))
}

impl Inbox {
    /// The reason as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Ask => "ask",
            Self::Approval => "approval",
        }
    }
}

/// The row of a run as a change of the log.
pub fn put_run(row: &RunRow) -> Result<Put, Error> {
    let summary = &row.summary;
    let mut entries = vec![
        entry(BY_CREATED, index::time(summary.created)),
        entry(BY_STATUS, timed(summary.status.as_str(), summary.created)),
        entry(BY_AGENT, timed(&summary.agent, summary.created)),
    ];
    if let Some(inbox) = summary.inbox {
        entries.push(entry(BY_INBOX, timed(inbox.as_str(), summary.updated)));
    }
    if !summary.status.is_over() {
        entries.push(entry(BY_OPEN, index::time(row.wake.unwrap_or_default())));
    }
    Ok(Put {
        namespace: summary.namespace.clone(),
        kind: RUN.to_owned(),
        key: summary.id.to_string(),
        data_subject: Subject::run(summary.id).to_string(),
        bytes: encode(row)?,
        index: entries,
    })
}

/// The row of an approval as a change of the log.
pub fn put_approval(row: &ApprovalRow) -> Result<Put, Error> {
    let view = &row.view;
    let entries = vec![
        entry(BY_APPROVAL_STATUS, timed(&view.status, view.created)),
        entry(BY_RUN, timed(&view.run.to_string(), view.created)),
        entry(BY_CREATED, index::time(view.created)),
    ];
    let edited = view.edited.as_ref().map(encode).transpose()?;
    let bytes = if encode(&view.args)?.len() + edited.map_or(0, |edited| edited.len()) > MAX_ARGS_BYTES {
        let view = ApprovalView { args: serde_json::Value::Null, edited: None, ..view.clone() };
        encode(&ApprovalRow { view, version: row.version, args_in_event: true })?
    } else {
        encode(row)?
    };
    Ok(Put {
        namespace: view.namespace.clone(),
        kind: APPROVAL.to_owned(),
        key: view.id.to_string(),
        data_subject: Subject::run(view.run).to_string(),
        bytes,
        index: entries,
    })
}

/// The row that makes a run key unique, and the precondition that it is not there yet.
pub fn claim_key(namespace: &Namespace, agent: &str, key: &str, run: RunId) -> (Precondition, Put) {
    let row = run_key(agent, key);
    let free =
        Precondition::StateAt { namespace: namespace.clone(), kind: RUN_KEY.to_owned(), key: row.clone(), version: 0 };
    let put = Put {
        namespace: namespace.clone(),
        kind: RUN_KEY.to_owned(),
        key: row,
        data_subject: Subject::run(run).to_string(),
        bytes: run.to_string().into_bytes(),
        index: Vec::new(),
    };
    (free, put)
}

/// The row that names a namespace with runs.
pub fn put_namespace(namespace: &Namespace) -> Put {
    Put {
        namespace: Namespace::default(),
        kind: NAMESPACE.to_owned(),
        key: namespace.to_string(),
        data_subject: "runs".to_owned(),
        bytes: Vec::new(),
        index: Vec::new(),
    }
}

/// The row key of a run key. Keys of rows are stored in clear and a run key may name a person, so it is a hash.
pub fn run_key(agent: &str, key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(agent.len() as u64).to_be_bytes());
    context.update(agent.as_bytes());
    context.update(key.as_bytes());
    let hash = context.finish();
    let mut bytes = [0; 16];
    for (byte, of) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *of;
    }
    nx_types::Origin(bytes).to_string()
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(row).map_err(|error| Error::value(error.to_string()))
}

/// Reads the row of a run.
pub fn read_run(bytes: &[u8]) -> Result<RunRow, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::value(format!("damaged row of a run: {error}")))
}

/// Reads the row of an approval.
pub fn read_approval(bytes: &[u8]) -> Result<ApprovalRow, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::value(format!("damaged row of an approval: {error}")))
}

/// The index range of runs with a status.
pub fn with_status(status: RunStatus) -> nx_journal::IndexRange {
    nx_journal::IndexRange::Prefix(index::pair(status.as_str().as_bytes(), b""))
}

/// The index range of rows whose first part is this text.
pub fn with_text(text: &str) -> nx_journal::IndexRange {
    nx_journal::IndexRange::Prefix(index::pair(text.as_bytes(), b""))
}

/// The row key of an approval.
pub fn approval_key(id: ApprovalId) -> String {
    id.to_string()
}
