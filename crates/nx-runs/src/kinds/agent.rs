//! The kind Agent: what the server knows of an agent besides its code.

use nx_types::{Duration, FieldError, KindDescriptor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields;

/// What is declared of an agent. Its code is a worker's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AgentSpec {
    /// What it is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Bounds on each of its runs.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Which workers may execute it.
    #[serde(default)]
    pub(super) workers: Workers,
}

/// Bounds on a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limits {
    /// How long after its creation a run ends at the latest, such as `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(super) deadline: Option<Duration>,
    /// Most steps of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) steps: Option<u64>,
    /// Most runs of this agent that workers execute at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) concurrency: Option<u32>,
}

/// Which workers may execute an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Workers {
    /// Versions of the code that take new runs; empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) versions: Vec<String>,
    /// Go on with the version that a run began with, for as long as a worker offers it.
    #[serde(default)]
    pub(super) sticky: bool,
}

/// The descriptor.
pub(super) fn descriptor() -> KindDescriptor {
    KindDescriptor {
        kind: "Agent",
        plural: "agents",
        about: "bounds on an agent's runs, and which workers execute them; the code is a worker's",
        example: EXAMPLE,
        schema,
        check,
        secret: &[],
    }
}

const EXAMPLE: &str = "apiVersion: neuraxis/v1
kind: Agent
metadata: {name: refund}
spec:
  description: refunds an order
  limits: {deadline: 10m, steps: 100}
";

fn schema() -> Value {
    schemars::schema_for!(AgentSpec).to_value()
}

fn check(spec: &Value) -> Result<Value, Vec<FieldError>> {
    let empty = Value::Object(serde_json::Map::new());
    let spec = if spec.is_null() { &empty } else { spec };
    let mut errors = Vec::new();
    fields::known(spec, "/spec", &["description", "limits", "workers"], &mut errors);
    if let Some(limits) = spec.get("limits") {
        fields::known(limits, "/spec/limits", &["deadline", "steps", "concurrency"], &mut errors);
    }
    if let Some(workers) = spec.get("workers") {
        fields::known(workers, "/spec/workers", &["versions", "sticky"], &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let Some(read) = fields::read::<AgentSpec>(spec, "/spec", &mut errors) else { return Err(errors) };
    if read.limits.steps == Some(0) {
        errors.push(FieldError { pointer: "/spec/limits/steps".to_owned(), message: "must be at least 1".to_owned() });
    }
    if read.limits.concurrency == Some(0) {
        let message = "must be at least 1; leave it out for no bound".to_owned();
        errors.push(FieldError { pointer: "/spec/limits/concurrency".to_owned(), message });
    }
    if errors.is_empty() { Ok(serde_json::to_value(read).unwrap_or_default()) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_name_the_nearest() {
        let errors = check(&json!({"limit": {}})).unwrap_err();
        assert_eq!(errors[0].to_string(), "unknown field `limit`; the nearest is `limits` at `/spec/limit`");
        assert!(check(&json!({"limits": {"deadline": "10m"}})).is_ok());
        assert!(check(&json!({"limits": {"deadline": "soon"}})).is_err());
    }
}
