//! A call as policies see it: its tool, where its arguments came from, and the facts of the moment. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use nx_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    decision::Standing,
    origin::Traced,
    tool::{Effect, Tool},
};

/// What holds at the moment of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The time of the decision.
    pub now: Timestamp,
    /// What the detectors found in the run so far, and in the arguments.
    pub scores: Scores,
    /// How many approvals the call holds already.
    pub approvals: u32,
    /// The person that the agent acts for.
    pub principal: String,
    /// That person's roles.
    pub roles: BTreeSet<String>,
    /// The agent.
    pub agent: String,
}

/// Detectors' scores, 0 to 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scores {
    /// Text that tells the model what to do.
    pub injection: u8,
    /// The part of it that turns the model against whom it works for, or that is hidden or encoded.
    #[serde(skip_serializing_if = "is_zero")]
    pub takeover: u8,
    /// Personal data.
    pub pii: u8,
    /// Keys and passwords.
    pub secrets: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_zero(score: &u8) -> bool {
    *score == 0
}

impl Scores {
    /// What was read may have done, and what leaves leaves: the scores of a call that is made after a run read something that has
    /// `self`, with arguments that have `leaving`.
    #[must_use]
    pub fn of_call(self, leaving: Self) -> Self {
        Self { injection: self.injection, takeover: self.takeover, ..leaving }
    }

    /// The scores where a part was not looked at: it counts as an injection with this score at least.
    #[must_use]
    pub fn unseen(self, score: u8) -> Self {
        Self { injection: self.injection.max(score), takeover: self.takeover.max(score), ..self }
    }

    /// The worse of both, for each detector.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            injection: self.injection.max(other.injection),
            takeover: self.takeover.max(other.takeover),
            pii: self.pii.max(other.pii),
            secrets: self.secrets.max(other.secrets),
        }
    }
}

/// One call with all that a policy may ask of it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The tool that is called.
    pub tool: &'a Tool,
    /// Where its arguments came from.
    pub traced: &'a Traced,
    /// What holds at the moment.
    pub facts: &'a Facts,
}

/// The arguments, by name, that a sink takes and that are not trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sinks {
    /// It stands in an untrusted value.
    pub untrusted: BTreeSet<String>,
    /// A trusted source vouches for it and an untrusted one names it.
    pub ambiguous: BTreeSet<String>,
    /// It stands nowhere, and the context holds something untrusted.
    pub unclear: BTreeSet<String>,
}

impl Call<'_> {
    /// The sources of each argument, by name; an argument that is not passed has none and is there all the same.
    pub fn sources(&self) -> BTreeMap<String, BTreeSet<String>> {
        let declared = self.tool.input_schema.get("properties").and_then(|properties| properties.as_object());
        let mut from: BTreeMap<String, BTreeSet<String>> =
            declared.into_iter().flat_map(|names| names.keys().map(|name| (name.clone(), BTreeSet::new()))).collect();
        for origin in &self.traced.origins {
            from.entry(argument(&origin.pointer)).or_default().extend(origin.sources.iter().cloned());
        }
        from
    }

    /// The arguments that a sink takes and that are not trusted.
    pub fn sinks(&self) -> Sinks {
        let mut sinks = Sinks::default();
        for origin in self.traced.origins.iter().filter(|origin| origin.sink) {
            let set = match origin.standing {
                Standing::Untrusted => &mut sinks.untrusted,
                Standing::Ambiguous => &mut sinks.ambiguous,
                Standing::Context => &mut sinks.unclear,
                Standing::Reference | Standing::Request | Standing::Trusted | Standing::Own => continue,
            };
            set.insert(argument(&origin.pointer));
        }
        sinks
    }

    /// Whether a restricted value would reach somebody who may not read it.
    pub fn leaks(&self) -> bool {
        !self.traced.leaks.is_empty()
    }

    /// Whether the call changes the world.
    pub fn acts(&self) -> bool {
        self.tool.effect != Effect::Read
    }
}

/// The name of the argument that a pointer lies in; the root itself has the empty name.
pub fn argument(pointer: &str) -> String {
    let first = pointer.split('/').nth(1).unwrap_or_default();
    first.replace("~1", "/").replace("~0", "~")
}
