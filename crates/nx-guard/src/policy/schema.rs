//! The schema that clauses are checked against, from what the tools declare.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Schema;
use serde_json::{Map, Value, json};

use super::{
    clause::{About, Clause},
    context::{TEXT, toolset},
    shape,
};
use crate::{
    guard::OUTPUT,
    tool::{Tool, Tools},
};

/// The schema of all tools, and of those that clauses name besides, whose calls are not known.
pub(super) fn of(tools: &Tools, clauses: &[Clause]) -> Result<Schema, String> {
    let mut actions = Map::new();
    let mut toolsets: BTreeSet<String> = BTreeSet::new();
    for tool in tools.iter() {
        let member_of: Vec<Value> =
            (toolset(&tool.name).iter()).map(|toolset| json!({"type": "Toolset::Action", "id": toolset})).collect();
        toolsets.extend(toolset(&tool.name).map(str::to_owned));
        actions.insert(tool.name.clone(), json!({"memberOf": member_of, "appliesTo": applies(&context(tool))}));
    }
    actions.entry(OUTPUT).or_insert_with(|| json!({"appliesTo": applies(&output())}));
    for clause in clauses {
        let scope = clause.about.iter().filter_map(|about| match about {
            About::Any => None,
            About::Tool(name) => Some(("Tool::Action", name)),
            About::Toolset(name) => Some(("Toolset::Action", name)),
        });
        let named = clause.needs.entities.iter().map(|(kind, id)| (kind.as_str(), id));
        for (kind, id) in scope.chain(named) {
            match kind {
                "Tool::Action" => {
                    actions.entry(id.clone()).or_insert_with(|| json!({}));
                }
                "Toolset::Action" => {
                    toolsets.insert(id.clone());
                }
                _ => {}
            }
        }
    }
    let toolsets: Map<String, Value> = toolsets.into_iter().map(|name| (name, json!({}))).collect();
    let roles = json!({"type": "Record", "attributes": {"roles": set(&json!({"type": "String"}))}});
    let schema = json!({
        "": {
            "entityTypes": {"User": {"memberOfTypes": ["Role"], "shape": roles}, "Role": {}, "Agent": {}, "Source": {}},
            "actions": {},
        },
        "Tool": {"entityTypes": {}, "actions": actions},
        "Toolset": {"entityTypes": {}, "actions": toolsets},
    });
    Schema::from_json_value(schema).map_err(|error| error.to_string())
}

fn applies(context: &Value) -> Value {
    json!({"principalTypes": ["User"], "resourceTypes": ["Agent"], "context": context})
}

fn set(element: &Value) -> Value {
    json!({"type": "Set", "element": element})
}

fn record(members: &BTreeMap<String, Value>) -> Value {
    json!({"type": "Record", "attributes": members})
}

/// The context of a call of a tool.
fn context(tool: &Tool) -> Value {
    let args = shape::arguments(tool).unwrap_or_default();
    let args = shape::Shape::Record(args).cedar().unwrap_or_else(|| record(&BTreeMap::new()));
    members(args, shape::names(tool).into_iter())
}

/// The context of a text that leaves the run.
fn output() -> Value {
    members(record(&[(TEXT.to_owned(), json!({"type": "String"}))].into()), std::iter::once(TEXT))
}

fn members<'a>(args: Value, names: impl Iterator<Item = &'a str>) -> Value {
    let sources = set(&json!({"type": "Entity", "name": "Source"}));
    let from = names.map(|name| (name.to_owned(), sources.clone())).collect();
    let each = |names: &[&str], kind: &Value| {
        let members: BTreeMap<String, Value> = names.iter().map(|name| ((*name).to_owned(), kind.clone())).collect();
        record(&members)
    };
    let mut all: BTreeMap<String, Value> = [
        ("args".to_owned(), args),
        ("from".to_owned(), record(&from)),
        ("sinks".to_owned(), each(&["untrusted", "unclear", "ambiguous", "chosen"], &set(&json!({"type": "String"})))),
        ("scores".to_owned(), each(&["injection", "takeover", "pii", "secrets"], &json!({"type": "Long"}))),
        ("approvals".to_owned(), json!({"type": "Long"})),
        ("time".to_owned(), json!({"type": "Extension", "name": "datetime"})),
    ]
    .into();
    for flag in ["acts", "asked", "leaks", "named"] {
        all.insert(flag.to_owned(), json!({"type": "Boolean"}));
    }
    for text in ["tool", "toolset", "effect"] {
        all.insert(text.to_owned(), json!({"type": "String"}));
    }
    record(&all)
}
