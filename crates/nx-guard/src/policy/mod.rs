//! Policies: Cedar clauses that say of a call what is denied and what a person must release. What no clause forbids is
//! permitted; a clause that cannot be evaluated stands closed.
//!
//! Nothing here weighs a value's trust: that was done when it was traced. And nothing here lets a call through by itself:
//! it answers whoever asks.

mod ask;
mod check;
mod clause;
mod context;
mod explain;
mod expr;
mod flip;
mod lex;
mod monotone;
mod parse;
mod propose;
mod record;
mod schema;
mod set;
mod shape;
mod slices;
mod spec;
mod trial;
mod value;
mod words;

use serde::{Deserialize, Serialize};

pub use explain::{Explanation, Mattered, Spoke, explain};
pub use propose::Proposal;
pub use record::{Change, MAX_RECORDED_BYTES, Recorded, Verdict, diff};
pub use set::PolicySet;
pub use spec::{Mode, PolicySpec, PolicyTest, descriptor};
pub use trial::{TestResult, run_tests};

use crate::error::Fault;

/// Longest text of a policy, in bytes.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Longest clause, in bytes.
pub const MAX_CLAUSE_BYTES: usize = 64 << 10;
/// Most clauses of one policy.
pub const MAX_CLAUSES: usize = 1000;
/// Most clauses of all policies together.
pub const MAX_ALL_CLAUSES: usize = 20_000;
/// Most policies of one set.
pub const MAX_POLICIES: usize = 10_000;
/// Most tests of one policy.
pub const MAX_TESTS: usize = 1000;
/// Most errors that are named at once.
pub const MAX_FAULTS: usize = 64;

/// The name of the policy that ships; a policy of a user with this name stands in its place.
pub const DEFAULT: &str = "default";
/// The revision of the policy that ships. It rises with each change of its text.
pub const DEFAULT_REVISION: u64 = 3;

/// A policy with its name and revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name: `refunds`.
    pub name: String,
    /// Its revision: the one of the resource.
    pub revision: u64,
    /// What it says.
    pub spec: PolicySpec,
}

/// Policies ready to be asked, and what is doubtful about them.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The policies.
    pub set: PolicySet,
    /// What does not stop them from being used.
    pub warnings: Vec<Fault>,
}

/// The policy that ships.
pub fn default_policy() -> Policy {
    let cedar = include_str!("default.cedar").to_owned();
    Policy {
        name: DEFAULT.to_owned(),
        revision: DEFAULT_REVISION,
        spec: PolicySpec { mode: Mode::Enforce, cedar, tests: Vec::new() },
    }
}

/// These policies and the one that ships, unless one of them has its name.
pub fn with_default(mut policies: Vec<Policy>) -> Vec<Policy> {
    if !policies.iter().any(|policy| policy.name == DEFAULT) {
        policies.insert(0, default_policy());
    }
    policies
}
