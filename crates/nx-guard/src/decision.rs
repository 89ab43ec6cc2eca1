//! What the guard answers, and why. Plain data: it is journaled as it stands and explained from it later.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guard::REQUEST;

/// What may happen with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The call may be made.
    Allow,
    /// A person must release it first.
    Ask,
    /// The call may not be made.
    Deny,
}

/// How strongly a value is known to come from where it should. In order: a later one is weaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// An explicit reference, substituted by the engine.
    Reference,
    /// It stands in the trusted request.
    Request,
    /// It is, or is composed of, values that a trusted source vouches for.
    Trusted,
    /// The model's own words or arithmetic over a context that holds nothing untrusted.
    Own,
    /// A trusted source vouches for the same value that an untrusted one names.
    Ambiguous,
    /// The model's own words or arithmetic over a context that holds something untrusted: it may come from anywhere.
    Context,
    /// It stands in an untrusted value and nowhere else.
    Untrusted,
}

impl Standing {
    /// Whether nothing untrusted can have chosen the value.
    pub fn is_trusted(self) -> bool {
        self <= Self::Own
    }
}

/// Where a part of an argument was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The source: `request`, `mail/m_88`, `shop/find_order`.
    pub source: String,
    /// The event that holds the value, by its place in the run (its subject's version), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<u64>,
    /// The place in that value (RFC 6901).
    pub pointer: String,
    /// How it was found: `value`, `number`, `date`, `words`, `phrase`, `reference`, `context`.
    pub how: String,
}

/// Where one leaf of the arguments came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The place in the arguments (RFC 6901).
    pub pointer: String,
    /// How it stands.
    pub standing: Standing,
    /// The sources of its label.
    pub sources: BTreeSet<String>,
    /// Whether a sink takes it.
    pub sink: bool,
    /// Readers of its label; `None` is anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<BTreeSet<String>>,
    /// At most [`MAX_EVIDENCE`] places, the strongest first.
    pub evidence: Vec<Evidence>,
}

impl Origin {
    /// Whether a sink takes it, the request says it, and nothing untrusted says it too.
    pub fn is_named(&self) -> bool {
        self.sink && self.standing == Standing::Request && self.evidence.iter().all(|found| found.source == REQUEST)
    }
}

/// Most places named for one leaf.
pub const MAX_EVIDENCE: usize = 4;

/// Who must release a call, and how fast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// All of these must be met. One person's yes counts for each need that names the person or a role of theirs.
    pub needs: BTreeSet<Need>,
    /// Milliseconds until the question expires; `None` never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
}

/// How many of whom must agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Need {
    /// Roles, or people by name; empty is anyone.
    pub who: BTreeSet<String>,
    /// How many different people.
    pub quorum: u32,
}

impl Need {
    /// Whether who meets this need meets the other as well.
    fn covers(&self, other: &Self) -> bool {
        let narrower = other.who.is_empty() || (!self.who.is_empty() && self.who.is_subset(&other.who));
        narrower && self.quorum >= other.quorum
    }

    /// Whether the person, who has these roles, counts.
    pub fn counts(&self, person: &str, roles: &BTreeSet<String>) -> bool {
        self.who.is_empty() || self.who.contains(person) || !self.who.is_disjoint(roles)
    }
}

impl Ask {
    /// The terms that meet both: every need of either, the shorter time. A need that another covers is left out, so that
    /// the order of merging does not matter.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let all: BTreeSet<&Need> = self.needs.iter().chain(&other.needs).collect();
        let covered = |need: &Need| all.iter().any(|other| *other != need && other.covers(need));
        Self {
            needs: all.iter().filter(|need| !covered(need)).map(|need| (*need).clone()).collect(),
            within_ms: match (self.within_ms, other.within_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, None) | (None, one) => one,
            },
        }
    }

    /// Whether these people's yes releases the call. Who stands twice counts once.
    pub fn met_by(&self, people: &BTreeMap<String, BTreeSet<String>>) -> bool {
        self.needs.iter().all(|need| {
            let count = people.iter().filter(|(person, roles)| need.counts(person, roles)).count();
            count >= need.quorum as usize
        })
    }
}

/// A clause that spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The policy resource, with its revision: `refunds@4`.
    pub policy: String,
    /// The clause's `@id`.
    pub clause: String,
    /// What it did: its own outcome.
    pub outcome: Outcome,
    /// The clause's `@reason`, or words made from it.
    pub text: String,
    /// Places in the arguments that it looked at and that mattered.
    pub pointers: Vec<String>,
    /// Whether the clause could not be evaluated and so stands closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// The smallest change of labels found that changes the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// What the outcome would be.
    pub outcome: Outcome,
    /// For each place in the arguments, the source that it would have to come from.
    pub changes: Vec<(String, String)>,
}

/// A decision about one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What may happen.
    pub outcome: Outcome,
    /// The clauses that decided, the strictest first; empty for a plain allow by the base permit.
    pub reasons: Vec<Reason>,
    /// The terms, where a person must decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// Where each leaf of the arguments came from.
    pub origins: Vec<Origin>,
    /// What clauses in shadow mode would have decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Reason>,
    /// What would change the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip: Option<Flip>,
    /// Digest of the policies that were asked.
    pub policies: String,
}
