//! Questions to people: approvals of calls, rulings on changed, doubtful and new steps.

use std::collections::{BTreeMap, BTreeSet};

use neuraxis_sdk::frames::Approve;
use nx_guard::decision::{Ask, Need};
use nx_types::{ApprovalId, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Json, PolicyAsk, Ruling};

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
    /// Who has agreed so far, each with their roles.
    pub votes: BTreeMap<String, BTreeSet<String>>,
    /// What policies want besides.
    pub policy: Option<Box<PolicyAsk>>,
}

impl Approval {
    /// The role or person who may decide now.
    pub fn who(&self) -> &str {
        let rung = (self.rung as usize).checked_sub(1).and_then(|rung| self.ask.escalate.get(rung));
        rung.map_or(self.ask.who.as_str(), |rung| rung.who.as_str())
    }

    /// How many different people must agree at least.
    pub fn quorum(&self) -> u32 {
        self.terms().needs.iter().map(|need| need.quorum).max().unwrap_or(1).max(1)
    }

    /// All that must agree: what the call asks for, and what policies want besides.
    pub fn terms(&self) -> Ask {
        terms(&self.ask, self.rung, self.policy.as_deref())
    }

    /// Whether these people's yes is enough.
    pub fn is_met_by(&self, people: &BTreeMap<String, BTreeSet<String>>) -> bool {
        self.terms().needs.iter().all(|need| {
            let count = people.iter().filter(|(person, roles)| speaks_for(need, person, roles)).count();
            count >= need.quorum.max(1) as usize
        })
    }

    /// Whether a person may decide: somebody of this name or role is asked.
    pub fn may(&self, person: &str, roles: &BTreeSet<String>) -> bool {
        self.terms().needs.iter().any(|need| speaks_for(need, person, roles))
    }
}

/// The role `admin` speaks for everyone.
fn speaks_for(need: &Need, person: &str, roles: &BTreeSet<String>) -> bool {
    need.counts(person, roles) || roles.contains("admin")
}

/// What a call asks for, with the rungs that were reached, and what policies want besides.
pub(crate) fn terms(ask: &Approve, rung: u32, policy: Option<&PolicyAsk>) -> Ask {
    let reached = ask.escalate.iter().take(rung as usize).map(|rung| rung.who.clone());
    let who = std::iter::once(ask.who.clone()).chain(reached).collect();
    let own = Ask { needs: [Need { who, quorum: ask.quorum.unwrap_or(1).max(1) }].into(), within_ms: ask.within_ms };
    match policy {
        None => own,
        Some(policy) if policy.alone => policy.ask.clone(),
        Some(policy) => own.merge(&policy.ask),
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
    pub roles: BTreeSet<String>,
    /// The answer.
    pub ruling: Ruling,
    /// The hash of the arguments that the person saw. `None` only where they were shown in the same request.
    pub hash: Option<Digest>,
    /// Why.
    pub reason: Option<String>,
    /// Edited arguments, if the approval allows it.
    pub args: Option<Json>,
}
