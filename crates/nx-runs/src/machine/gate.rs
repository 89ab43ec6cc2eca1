//! The gate between deciding and acting: what a call must pass before anything of it is executed. The machine asks; what
//! labels there are and what policies say is the engine's to know.

use std::collections::BTreeSet;

use neuraxis_sdk::frames::{Effect, Flow};
use nx_guard::{
    call::Facts,
    decision::{Decision, Outcome},
    origin::Leak,
};

use super::event::{Json, Kind};
use crate::Error;

/// Decides about calls.
pub trait Gate {
    /// Decides about a call; `None` if nothing need be decided about it.
    fn check(&self, asked: &Asked<'_>) -> Result<Option<Verdict>, Error>;

    /// Digest of the policies that would be asked now.
    fn policies(&self) -> String;
}

/// A call that is about to be executed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The step's ordinal.
    pub n: u64,
    /// What it is.
    pub kind: Kind,
    /// The step's name; of a tool `toolset/tool`.
    pub name: &'a str,
    /// What it does to the world.
    pub effect: Effect,
    /// Its arguments.
    pub args: &'a Json,
    /// What the agent's code declares of its own function.
    pub flow: Option<&'a Flow>,
    /// How many people have released it already.
    pub approvals: u32,
}

/// What the gate says of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The name that policies know the call by.
    pub call: String,
    /// What is decided, and why.
    pub decision: Decision,
    /// The arguments with references substituted.
    pub args: Json,
    /// What held at the moment.
    pub facts: Facts,
    /// Whether the request asks for this kind of action.
    pub asked: bool,
    /// Whether a value that a sink takes stands in the request.
    pub named: bool,
    /// Restricted values that the call would bring to somebody who may not read them.
    pub leaks: Vec<Leak>,
}

impl Verdict {
    /// Why it is not allowed, in a line: clauses and what they say.
    pub fn why(&self) -> String {
        let said: BTreeSet<String> = (self.decision.reasons.iter())
            .filter(|reason| reason.outcome == self.decision.outcome)
            .map(|reason| format!("{} ({}/{})", reason.text, reason.policy, reason.clause))
            .collect();
        let said: Vec<String> = said.into_iter().collect();
        if said.is_empty() { "no policy allows it".to_owned() } else { said.join("; ") }
    }

    /// Whether a person must release the call.
    pub fn asks(&self) -> bool {
        self.decision.outcome == Outcome::Ask
    }

    /// Whether the call may not be made.
    pub fn denies(&self) -> bool {
        self.decision.outcome == Outcome::Deny
    }
}

/// A gate that nothing has to pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn check(&self, _: &Asked<'_>) -> Result<Option<Verdict>, Error> {
        Ok(None)
    }

    fn policies(&self) -> String {
        String::new()
    }
}
