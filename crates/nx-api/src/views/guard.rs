//! Decisions of the guard, and the life of policies.

use neuraxis_sdk::frames::Effect;
use nx_guard::{
    decision::{Decision, Outcome},
    origin::Leak,
    policy::{Change, Explanation, TestResult},
};
use nx_runs::service::{DecisionView, Paged, PolicyChange, PolicyDiff, PolicyReport, RuleProposal};
use nx_types::{Digest, RunId, Seq, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::text;

/// A decision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionBody {
    /// Its name: the run and the step, `r_…/3`.
    id: String,
    /// Its place in the log.
    #[schema(value_type = text::Seq)]
    seq: Seq,
    /// When it was made.
    #[schema(value_type = text::Instant)]
    time: Timestamp,
    /// The run or session.
    #[schema(value_type = text::Run)]
    run: RunId,
    /// The step.
    step: u64,
    /// The agent.
    agent: String,
    /// The person that the agent acts for.
    principal: String,
    /// What was called: `toolset/tool`, `step/name`, `output`.
    call: String,
    /// What calling it does to the world: `code`, `read`, `idempotent`, `once`.
    #[schema(value_type = String)]
    effect: Effect,
    /// The exact arguments, references substituted.
    args: Value,
    /// Their hash.
    #[schema(value_type = text::Digest)]
    hash: Digest,
    /// `allow`, `ask` or `deny`.
    #[schema(value_type = String)]
    outcome: Outcome,
    /// The decision as it was recorded: reasons, terms, where each argument came from.
    #[schema(value_type = Object)]
    decision: Decision,
    /// Restricted values that the call would have brought to somebody who may not read them.
    #[schema(value_type = Vec<Object>)]
    leaks: Vec<Leak>,
    /// What decided, the values that mattered, what would change the outcome.
    #[schema(value_type = Object)]
    explanation: Explanation,
    /// The same in words.
    text: String,
}

impl From<DecisionView> for DecisionBody {
    fn from(view: DecisionView) -> Self {
        let DecisionView {
            id,
            seq,
            time,
            run,
            step,
            agent,
            principal,
            call,
            effect,
            args,
            hash,
            outcome,
            decision,
            leaks,
            explanation,
            text,
        } = view;
        Self {
            id,
            seq,
            time,
            run,
            step,
            agent,
            principal,
            call,
            effect,
            args,
            hash,
            outcome,
            decision,
            leaks,
            explanation,
            text,
        }
    }
}

/// A page of decisions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionsBody {
    /// The decisions, newest first.
    items: Vec<DecisionBody>,
    /// The next page's cursor; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

impl From<Paged<DecisionView>> for DecisionsBody {
    fn from(page: Paged<DecisionView>) -> Self {
        Self { items: page.items.into_iter().map(DecisionBody::from).collect(), next: page.next }
    }
}

/// What came of the policies' tests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestedBody {
    /// By policy.
    items: Vec<TestedPolicyBody>,
}

/// What came of a policy's tests.
#[derive(Debug, Serialize, ToSchema)]
struct TestedPolicyBody {
    /// The policy.
    policy: String,
    /// Its revision.
    revision: u64,
    /// Its tests: `{policy, test, expected, found, passed}`.
    #[schema(value_type = Vec<Object>)]
    tests: Vec<TestResult>,
}

impl From<Vec<PolicyReport>> for TestedBody {
    fn from(reports: Vec<PolicyReport>) -> Self {
        let body = |PolicyReport { policy, revision, tests }| TestedPolicyBody { policy, revision, tests };
        Self { items: reports.into_iter().map(body).collect() }
    }
}

/// What other policies would decide about recorded calls.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyDiffBody {
    /// Recorded calls that were decided again.
    looked_at: usize,
    /// There were more: only the newest were looked at.
    truncated: bool,
    /// Those that would be decided otherwise.
    changes: Vec<PolicyChangeBody>,
}

/// A recorded call that would be decided otherwise.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyChangeBody {
    /// The decision: `r_…/3`.
    decision: String,
    /// What changes: `{index, tool, before, after}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    change: Change,
}

impl From<PolicyDiff> for PolicyDiffBody {
    fn from(diff: PolicyDiff) -> Self {
        let PolicyDiff { looked_at, truncated, changes } = diff;
        let body = |PolicyChange { decision, change }| PolicyChangeBody { decision, change };
        Self { looked_at, truncated, changes: changes.into_iter().map(body).collect() }
    }
}

/// A rule that would have answered a question.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleBody {
    /// The clause's name.
    clause: String,
    /// The questions that it answers: `refunds/over-limit`.
    releases: Vec<String>,
    /// Its text, to be put into a policy.
    cedar: String,
    /// Recorded questions that it would have let through.
    lets_through: Vec<String>,
    /// Recorded calls that it was held against.
    looked_at: usize,
}

impl From<RuleProposal> for RuleBody {
    fn from(rule: RuleProposal) -> Self {
        let RuleProposal { proposal, lets_through, looked_at } = rule;
        let nx_guard::policy::Proposal { clause, releases, cedar } = proposal;
        Self { clause, releases, cedar, lets_through, looked_at }
    }
}
