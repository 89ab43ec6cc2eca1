//! What is asked of people, and what they say.

use std::collections::BTreeSet;

use neuraxis_sdk::frames::Approve;
use nx_types::{ApprovalId, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::{super::approval::Why, Json, digest, is_default, is_null, null};

/// `approval.requested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRequested {
    /// The approval.
    pub id: ApprovalId,
    /// The step it guards.
    pub n: u64,
    /// What is asked.
    pub why: Why,
    /// The step's scope and name, for people: `scope/name`.
    pub step: String,
    /// The exact arguments.
    #[serde(default = "null", skip_serializing_if = "is_null")]
    pub args: Json,
    /// Their SHA-256, base64url; a decision names it.
    #[serde(with = "digest")]
    pub hash: Digest,
    /// Whom, how long, how many.
    pub ask: Approve,
    /// When the first rung's time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The steps that a ruling may choose to reuse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<u64>,
    /// What policies want besides what the call itself asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Box<PolicyAsk>>,
}

/// What policies want of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAsk {
    /// Their terms.
    pub ask: nx_guard::decision::Ask,
    /// The call asks for nobody by itself: these terms alone count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alone: bool,
    /// When their time is over, whoever else might be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Digest of the policies that asked.
    pub policies: String,
}

/// `approval.escalated`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalEscalated {
    /// The approval.
    pub id: ApprovalId,
    /// Who is asked now.
    pub who: String,
    /// When their time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The rung, from 1.
    pub rung: u32,
}

/// `approval.voted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalVoted {
    /// The approval.
    pub id: ApprovalId,
    /// Who agreed.
    pub by: String,
    /// That person's roles.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<String>,
    /// What they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `approval.decided`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalDecided {
    /// The approval.
    pub id: ApprovalId,
    /// The step.
    pub n: u64,
    /// What was decided.
    pub decision: Ruling,
    /// Who decided.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The arguments as the person edited them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Json>,
    /// SHA-256 of the arguments that were approved, base64url: the edited ones if there are any.
    #[serde(with = "digest")]
    pub hash: Digest,
}

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// Yes.
    Approve,
    /// No.
    Deny,
    /// Changed arguments: the old value stands. New once step: the value of this step stands for it.
    Reuse {
        /// Which step's value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u64>,
    },
    /// Changed arguments: execute again. New once step: execute.
    Run,
    /// It took place, or shall count as such, with this value.
    Complete {
        /// The value.
        value: Json,
    },
    /// In doubt: it did not take place; execute it.
    NotDone,
    /// It fails.
    Fail,
}

/// `approval.expired` and `approval.withdrawn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalEnded {
    /// The approval.
    pub id: ApprovalId,
    /// Why.
    pub reason: String,
}
