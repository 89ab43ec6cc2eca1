//! The kind Toolset: functions that a worker serves, and what the server may assume of each.

use std::collections::BTreeMap;

use neuraxis_sdk::frames::Effect;
use nx_guard::tool::{Output, Pattern};
use nx_types::{Duration, FieldError, KindDescriptor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields;

/// What is declared of a toolset. Its functions are a worker's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ToolsetSpec {
    /// What it is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// What holds for each tool that does not say otherwise.
    #[serde(default)]
    pub(super) defaults: Tool,
    /// The tools by name.
    #[serde(default)]
    pub(super) tools: BTreeMap<String, Tool>,
}

/// What is declared of a tool. What is left out is the toolset's default, and then `once` and `untrusted`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tool {
    /// What calling it does to the world: `read`, `idempotent` or `once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(super) effect: Option<Effect>,
    /// How far what it returns may be trusted: `trusted`, `untrusted`, or a mapping that says so by place, with readers and
    /// purposes: `{trust, trusted: [/*/id], untrusted: [/*/body], readers: [ann], purposes: [refund], extract: {schema}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub(super) output: Option<Output>,
    /// Arguments that nothing untrusted may choose: `[iban, /items/*/price]`. Left out: all, unless the effect is `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) sinks: Option<Vec<Pattern>>,
    /// JSON Schema of its arguments; policies are checked against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<Value>,
    /// The tool of this toolset that undoes it, called with `{args, result}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) undo: Option<String>,
    /// The tool of this toolset that tells whether a call took place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probe: Option<String>,
    /// The argument that takes the idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// How long the outside honours an idempotency key; for ever when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(super) key_window: Option<Duration>,
    /// Longest time of one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(super) timeout: Option<Duration>,
}

const TOOL_FIELDS: [&str; 9] = ["effect", "output", "sinks", "input", "undo", "probe", "key", "keyWindow", "timeout"];

/// The descriptor.
pub(super) fn descriptor() -> KindDescriptor {
    KindDescriptor {
        kind: "Toolset",
        plural: "toolsets",
        about: "functions that a worker serves: what each does to the world, what undoes it, what tells whether it took place",
        example: EXAMPLE,
        schema,
        check,
        secret: &[],
    }
}

const EXAMPLE: &str = "apiVersion: neuraxis/v1
kind: Toolset
metadata: {name: pay}
spec:
  defaults: {effect: once, output: untrusted}
  tools: {refund: {effect: idempotent, undo: cancel, sinks: [iban, cents]}, cancel: {effect: idempotent}}
";

fn schema() -> Value {
    schemars::schema_for!(ToolsetSpec).to_value()
}

fn check(spec: &Value) -> Result<Value, Vec<FieldError>> {
    let mut errors = Vec::new();
    fields::known(spec, "/spec", &["description", "defaults", "tools"], &mut errors);
    if let Some(defaults) = spec.get("defaults") {
        fields::known(defaults, "/spec/defaults", &TOOL_FIELDS, &mut errors);
    }
    if let Some(Value::Object(tools)) = spec.get("tools") {
        for (name, tool) in tools {
            fields::known(tool, &tool_pointer(name), &TOOL_FIELDS, &mut errors);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let Some(mut read) = fields::read::<ToolsetSpec>(spec, "/spec", &mut errors) else { return Err(errors) };
    for (name, tool) in &read.tools {
        for (field, other) in [("undo", &tool.undo), ("probe", &tool.probe)] {
            let Some(other) = other else { continue };
            if !read.tools.contains_key(other) {
                let names: Vec<&str> = read.tools.keys().map(String::as_str).collect();
                let nearest = fields::nearest(other, &names);
                let message = format!("no tool `{other}` is declared here; the nearest is `{nearest}`");
                errors.push(FieldError { pointer: format!("{}/{field}", tool_pointer(name)), message });
            }
        }
        if let Err(error) = guarded("", name, tool).checked() {
            errors.push(FieldError { pointer: tool_pointer(name), message: error.to_string() });
        }
        if tool.effect == Some(Effect::Code) {
            let message = "`code` is no effect of a tool; use `read`, `idempotent` or `once`".to_owned();
            errors.push(FieldError { pointer: format!("{}/effect", tool_pointer(name)), message });
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    read.defaults.effect.get_or_insert(Effect::Once);
    read.defaults.output.get_or_insert_with(Output::default);
    let defaults = read.defaults.clone();
    for tool in read.tools.values_mut() {
        fill(tool, &defaults);
    }
    Ok(serde_json::to_value(read).unwrap_or_default())
}

/// The tool as the guard sees it.
pub(super) fn guarded(toolset: &str, name: &str, tool: &Tool) -> nx_guard::tool::Tool {
    nx_guard::tool::Tool {
        name: format!("{toolset}/{name}"),
        description: String::new(),
        input_schema: tool.input.clone().unwrap_or_default(),
        effect: match tool.effect.unwrap_or(Effect::Once) {
            Effect::Code | Effect::Read => nx_guard::tool::Effect::Read,
            Effect::Idempotent => nx_guard::tool::Effect::Idempotent,
            Effect::Once => nx_guard::tool::Effect::Once,
        },
        output: tool.output.clone().unwrap_or_default(),
        sinks: tool.sinks.clone(),
    }
}

fn tool_pointer(name: &str) -> String {
    format!("/spec/tools/{}", nx_types::json::escape(name))
}

fn fill(tool: &mut Tool, defaults: &Tool) {
    tool.effect = tool.effect.or(defaults.effect);
    tool.output = tool.output.take().or_else(|| defaults.output.clone());
    tool.input = tool.input.take().or_else(|| defaults.input.clone());
    tool.sinks = tool.sinks.take().or_else(|| defaults.sinks.clone());
    tool.key = tool.key.take().or_else(|| defaults.key.clone());
    tool.key_window = tool.key_window.or(defaults.key_window);
    tool.timeout = tool.timeout.or(defaults.timeout);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let spec = check(&json!({"tools": {"find": {"effect": "read"}, "refund": {"undo": "cancel"}, "cancel": {}}}));
        let spec = spec.unwrap();
        assert_eq!(spec["tools"]["find"]["effect"], "read");
        assert_eq!(spec["tools"]["refund"]["effect"], "once");
        assert_eq!(spec["tools"]["refund"]["output"]["trust"], "untrusted");
    }

    #[test]
    fn mistakes_are_named() {
        let errors = check(&json!({"tools": {"refund": {"undo": "cancle"}, "cancel": {}}})).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "no tool `cancle` is declared here; the nearest is `cancel` at `/spec/tools/refund/undo`"
        );
        assert!(check(&json!({"tools": {"refund": {"efect": "once"}}})).is_err());
        assert!(check(&json!({"tools": {"refund": {"effect": "code"}}})).is_err());
    }
}
