//! The kind Policy as declared: a mode, Cedar text, tests.

use std::collections::{BTreeMap, BTreeSet};

use nx_types::{FieldError, KindDescriptor, Timestamp, kind::Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{MAX_TESTS, parse};
use crate::{call::Scores, decision::Outcome};

/// Whether a policy decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is evaluated and reported, and decides nothing.
    Shadow,
    /// It decides.
    #[default]
    Enforce,
}

/// The spec of a Policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// `enforce` decides; `shadow` only says what it would have decided.
    #[serde(default)]
    pub mode: Mode,
    /// The clauses, in Cedar. Each has an `@id`; what no clause forbids is permitted.
    pub cedar: String,
    /// Calls and what this policy alone must say of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<PolicyTest>,
}

/// A call, and what the policy must say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTest {
    /// A name for reports; the test's number where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tool that is called: `pay/refund`; `output` for a text that leaves the run.
    pub call: String,
    /// The arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub args: Map<String, Value>,
    /// The sources of an argument. `request`, an `extract/…`, a declared tool that vouches for output, and a source that a
    /// clause names are trusted; every other one is not. `context` stands for words that stand nowhere. An argument that
    /// is left out here stands in the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub from: BTreeMap<String, BTreeSet<String>>,
    /// The person that the agent acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// That person's roles.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<String>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Whether the request asks for this kind of action.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub asked: bool,
    /// Whether the call brings a restricted value to somebody who may not read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaks: bool,
    /// What the detectors say.
    #[serde(default)]
    pub scores: Scores,
    /// How many approvals the call holds.
    #[serde(default)]
    pub approvals: u32,
    /// The time of the call; 1970 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub time: Option<Timestamp>,
    /// What the policy must say.
    pub expect: Outcome,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(asked: &bool) -> bool {
    *asked
}

impl Spec for PolicySpec {
    fn validate(&self) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = match parse::clauses(("this policy", 0), self) {
            Ok(_) => Vec::new(),
            Err(faults) => {
                faults.into_iter().map(|fault| FieldError::new("/spec/cedar", fault.place_and_message())).collect()
            }
        };
        if self.tests.len() > MAX_TESTS {
            errors.push(FieldError::new("/spec/tests", format!("has more than {MAX_TESTS}; split the policy")));
        }
        errors
    }
}

/// The kind Policy, for the registry. Whether clauses fit the declared tools, and whether the tests pass, needs the other
/// resources: that is [`super::PolicySet::compile`] and [`super::run_tests`].
pub fn descriptor() -> KindDescriptor {
    KindDescriptor::of::<PolicySpec>(
        "Policy",
        "policies",
        "Rules in Cedar for calls of tools: what is denied, and what a person must release first.",
        EXAMPLE,
    )
}

const EXAMPLE: &str = r#"apiVersion: neuraxis/v1
kind: Policy
metadata: {name: refunds}
spec:
  cedar: |
    @id("iban-from-record")
    forbid(principal, action == Tool::"pay/refund", resource)
      unless { [Source::"shop/find_order"].containsAll(context.from.iban) };
  tests: [{call: pay/refund, args: {cents: 100}, from: {iban: [mail]}, expect: deny}]
"#;
