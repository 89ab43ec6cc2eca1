//! The life of a policy besides deciding: its own tests, what it would have decided, the rule that an approval amounts to.

use std::sync::Arc;

use nx_guard::{
    Error as GuardError,
    policy::{Change, PolicySet, Proposal, TestResult, diff, run_tests},
};
use nx_journal::Reader;
use nx_types::{Namespace, Timestamp};
use serde::Serialize;

use super::{DecisionFilter, Page, decisions};
use crate::{error::Error, kinds::Declared};

/// Recorded calls that are decided again at most.
const MAX_RECORDED: usize = 10_000;
/// Calls that a page holds.
const PAGE: usize = 500;

/// What came of a policy's tests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyReport {
    /// The policy.
    pub policy: String,
    /// Its revision.
    pub revision: u64,
    /// Its tests.
    pub tests: Vec<TestResult>,
}

/// What other policies would decide about recorded calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyDiff {
    /// Recorded calls that were decided again.
    pub looked_at: usize,
    /// There were more: only the newest were looked at.
    pub truncated: bool,
    /// Those whose outcome or terms would change.
    pub changes: Vec<PolicyChange>,
}

/// A recorded call that would be decided otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyChange {
    /// The decision: `r_…/3`.
    pub decision: String,
    /// What changes.
    #[serde(flatten)]
    pub change: Change,
}

/// A rule that would have answered a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleProposal {
    /// The clause, to be put into a policy.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// Recorded questions that it would have let through.
    pub lets_through: Vec<String>,
    /// Recorded calls that it was held against.
    pub looked_at: usize,
}

impl Declared {
    /// Runs the tests of every policy that is declared.
    pub fn test_policies(&self) -> Result<Vec<PolicyReport>, Error> {
        let set = self.policies()?;
        let tools = self.guard_tools();
        let report = |policy: &nx_guard::policy::Policy| -> Result<PolicyReport, GuardError> {
            let tests = run_tests(policy, &tools)?;
            Ok(PolicyReport { policy: policy.name.clone(), revision: policy.revision, tests })
        };
        Ok(set.policies().iter().map(report).collect::<Result<_, GuardError>>()?)
    }
}

/// Recorded calls, newest first, with their names.
fn recorded(
    reader: &Reader,
    namespace: &Namespace,
    since: Option<Timestamp>,
) -> Result<(Vec<String>, Vec<nx_guard::policy::Recorded>, bool), Error> {
    let filter = DecisionFilter { since, ..DecisionFilter::default() };
    let (mut names, mut calls, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let page = Page { cursor, limit: Some(PAGE) };
        let found = decisions::recorded(reader, namespace, &filter, &page)?;
        for (name, call) in found.items {
            names.push(name);
            calls.push(call);
        }
        cursor = found.next;
        if cursor.is_none() || calls.len() >= MAX_RECORDED {
            return Ok((names, calls, cursor.is_some()));
        }
    }
}

pub(crate) fn diff_of(
    reader: &Reader,
    namespace: &Namespace,
    (old, new): (&PolicySet, &PolicySet),
    since: Option<Timestamp>,
) -> Result<PolicyDiff, Error> {
    let (names, calls, truncated) = recorded(reader, namespace, since)?;
    let changes = diff(old, new, &calls)?;
    let named =
        |change: Change| PolicyChange { decision: names.get(change.index).cloned().unwrap_or_default(), change };
    Ok(PolicyDiff { looked_at: calls.len(), truncated, changes: changes.into_iter().map(named).collect() })
}

pub(crate) fn propose(
    reader: &Reader,
    namespace: &Namespace,
    (declared, target): (&Arc<Declared>, &str),
    (reason, since): (&str, Option<Timestamp>),
) -> Result<RuleProposal, Error> {
    let (asked, decision) = decisions::asked(reader, namespace, target)?;
    let set = declared.policies()?;
    let proposal = set.propose(&asked.as_call(), &decision, reason)?;
    let (names, calls, _) = recorded(reader, namespace, since)?;
    let through = proposal.lets_through(set, &calls)?;
    let lets_through = through.into_iter().filter_map(|index| names.get(index).cloned()).collect();
    Ok(RuleProposal { proposal, lets_through, looked_at: calls.len() })
}
