//! Approvals.

use nx_runs::service::{ApprovalView, Paged};
use nx_types::{ApprovalId, Digest, Namespace, RunId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::text;

/// A question to a person: may this call be made, with exactly these arguments; or, what is to become of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalBody {
    /// The approval.
    #[schema(value_type = text::Approval)]
    id: ApprovalId,
    /// Its namespace.
    #[schema(value_type = text::Namespace)]
    namespace: Namespace,
    /// The run.
    #[schema(value_type = text::Run)]
    run: RunId,
    /// The step's ordinal.
    step: u64,
    /// The agent.
    agent: String,
    /// The step's name: the call that it guards.
    call: String,
    /// The question: `call`, `standalone`, `changed`, `in_doubt`, `new_once`. A later release may know more.
    why: String,
    /// Where it stands.
    #[schema(value_type = ApprovalStatus)]
    status: String,
    /// Who may decide now: a role or person.
    who: String,
    /// Who is asked next, in order.
    escalate: Vec<String>,
    /// How many different people must agree.
    quorum: u32,
    /// Who has agreed so far.
    votes: Vec<String>,
    /// The exact arguments.
    args: Value,
    /// Their hash; a decision names the hash that it saw.
    #[schema(value_type = text::Digest)]
    hash: Digest,
    /// Whether the decider may change the arguments.
    edit: bool,
    /// The answers that are possible: `approve`, `deny`; `reuse`, `run`, `complete`, `not_done`, `fail`.
    choices: Vec<String>,
    /// Ordinals of the recorded steps that `reuse` may name.
    candidates: Vec<u64>,
    /// What the person is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
    /// What policies decided about the call, and where each argument came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    guard: Option<Box<nx_guard::decision::Decision>>,
    /// When it was asked.
    #[schema(value_type = text::Instant)]
    created: Timestamp,
    /// Until when the present one may decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Instant>, nullable = false)]
    deadline: Option<Timestamp>,
    /// Who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decided_by: Option<String>,
    /// Why they decided so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The arguments as edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<Value>,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Instant>, nullable = false)]
    decided: Option<Timestamp>,
}

/// Where an approval stands: `waiting`; decided: `approved`, `denied`, `ruled` (what is to become of a step); over without
/// a decision: `expired`, `withdrawn`.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the words of the description; the rows hold them as texts")]
enum ApprovalStatus {
    Waiting,
    Approved,
    Denied,
    Ruled,
    Expired,
    Withdrawn,
}

impl From<ApprovalView> for ApprovalBody {
    fn from(approval: ApprovalView) -> Self {
        let ApprovalView {
            id,
            namespace,
            run,
            step,
            agent,
            call,
            why,
            status,
            who,
            escalate,
            quorum,
            votes,
            args,
            hash,
            edit,
            choices,
            candidates,
            message,
            guard,
            created,
            deadline,
            decided_by,
            reason,
            edited,
            decided,
        } = approval;
        Self {
            id,
            namespace,
            run,
            step,
            agent,
            call,
            why,
            status,
            who,
            escalate,
            quorum,
            votes,
            args,
            hash,
            edit,
            choices,
            candidates,
            message,
            guard,
            created,
            deadline,
            decided_by,
            reason,
            edited,
            decided,
        }
    }
}

/// A page of approvals, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalsBody {
    /// The approvals.
    items: Vec<ApprovalBody>,
    /// Pass as `cursor` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

impl From<Paged<ApprovalView>> for ApprovalsBody {
    fn from(page: Paged<ApprovalView>) -> Self {
        Self { items: page.items.into_iter().map(ApprovalBody::from).collect(), next: page.next }
    }
}
