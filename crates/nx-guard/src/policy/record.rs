//! Decisions kept so that they can be made again: what other policies would have said of the same calls.

use serde::{Deserialize, Serialize};

use super::PolicySet;
use crate::{
    Error,
    call::{Call, Facts},
    decision::{Ask, Decision, Outcome},
    origin::Traced,
    tool::Tool,
};

/// Most bytes of a recorded call, as JSON. Arguments that are larger travel by reference.
pub const MAX_RECORDED_BYTES: usize = 2 << 20;

/// A call with all that policies saw of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The tool as it was declared, without its description.
    pub tool: Tool,
    /// The arguments, and where they came from.
    pub traced: Traced,
    /// What held at the moment.
    pub facts: Facts,
}

impl Recorded {
    /// Keeps a call.
    pub fn of(call: &Call<'_>) -> Result<Self, Error> {
        let tool = Tool { description: String::new(), ..call.tool.clone() };
        let recorded = Self { tool, traced: call.traced.clone(), facts: call.facts.clone() };
        let bytes = serde_json::to_vec(&recorded).map_err(|error| Error::Undecided { reason: error.to_string() })?;
        if bytes.len() > MAX_RECORDED_BYTES {
            return Err(Error::TooLarge {
                what: "a recorded call in bytes",
                found: bytes.len(),
                most: MAX_RECORDED_BYTES,
            });
        }
        Ok(recorded)
    }

    /// The call again.
    pub fn as_call(&self) -> Call<'_> {
        Call { tool: &self.tool, traced: &self.traced, facts: &self.facts }
    }
}

/// What was decided, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What may happen.
    pub outcome: Outcome,
    /// The clauses that said so: `refunds@4/over-limit`.
    pub clauses: Vec<String>,
    /// The terms, where a person must decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        let of_outcome = decision.reasons.iter().filter(|reason| reason.outcome == decision.outcome);
        Self {
            outcome: decision.outcome,
            clauses: of_outcome.map(|reason| format!("{}/{}", reason.policy, reason.clause)).collect(),
            ask: decision.ask.clone(),
        }
    }
}

/// A recorded call that other policies decide otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which of the recorded calls, from 0.
    pub index: usize,
    /// The tool.
    pub tool: String,
    /// What the old policies say.
    pub before: Verdict,
    /// What the new ones say.
    pub after: Verdict,
}

/// The recorded calls whose outcome, or whose terms, the new policies would change.
pub fn diff<'a>(
    old: &PolicySet,
    new: &PolicySet,
    recorded: impl IntoIterator<Item = &'a Recorded>,
) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for (index, recorded) in recorded.into_iter().enumerate() {
        let call = recorded.as_call();
        let (before, after) = (old.decide(&call)?, new.decide(&call)?);
        if before.outcome != after.outcome || before.ask != after.ask {
            let tool = recorded.tool.name.clone();
            changes.push(Change { index, tool, before: (&before).into(), after: (&after).into() });
        }
    }
    Ok(changes)
}
