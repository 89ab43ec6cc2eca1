//! Questions to people: approvals of calls, rulings on changed, doubtful and new steps.

use std::collections::BTreeSet;

use neuraxis_sdk::frames::Approve;
use nx_types::{ApprovalId, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Json, Ruling};

/// What a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// May this call be executed?
    Call,
    /// The arguments of a recorded step have changed: which counts?
    Changed,
    /// Did this step take place?
    InDoubt,
    /// The code asks for a new once step while recorded once steps are unused: is it one of them?
    NewOnce,
    /// A question that guards no call.
    Standalone,
}

impl Why {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Changed => "changed",
            Self::InDoubt => "in_doubt",
            Self::NewOnce => "new_once",
            Self::Standalone => "standalone",
        }
    }

    /// The answers that are possible.
    pub const fn choices(self) -> &'static [&'static str] {
        match self {
            Self::Call | Self::Standalone => &["approve", "deny"],
            Self::Changed => &["reuse", "run", "complete", "fail"],
            Self::InDoubt => &["complete", "not_done", "fail"],
            Self::NewOnce => &["run", "reuse", "complete", "fail"],
        }
    }
}

/// A question that waits for its answer, or was answered and not used yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The approval.
    pub id: ApprovalId,
    /// The step it guards.
    pub n: u64,
    /// What is asked.
    pub why: Why,
    /// The exact arguments.
    pub args: Json,
    /// Their hash.
    pub hash: Digest,
    /// Whom, how long, how many.
    pub ask: Approve,
    /// The rung that is asked now: 0 is `ask.who`, then `ask.escalate`.
    pub rung: u32,
    /// When its time is over.
    pub due: Option<Timestamp>,
    /// The steps that a ruling may choose to reuse.
    pub candidates: Vec<u64>,
    /// Who has agreed so far.
    pub votes: BTreeSet<String>,
}

impl Approval {
    /// The role or person who may decide now.
    pub fn who(&self) -> &str {
        let rung = (self.rung as usize).checked_sub(1).and_then(|rung| self.ask.escalate.get(rung));
        rung.map_or(self.ask.who.as_str(), |rung| rung.who.as_str())
    }

    /// How many different people must agree.
    pub fn quorum(&self) -> u32 {
        self.ask.quorum.unwrap_or(1).max(1)
    }
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// The approval.
    pub id: ApprovalId,
    /// The person.
    pub by: String,
    /// The person's roles. An approval's `who` names a role or the person; the role `admin` may decide everything.
    pub roles: Vec<String>,
    /// The answer.
    pub ruling: Ruling,
    /// The hash of the arguments that the person saw. `None` only where they were shown in the same request.
    pub hash: Option<Digest>,
    /// Why.
    pub reason: Option<String>,
    /// Edited arguments, if the approval allows it.
    pub args: Option<Json>,
}
