//! Changes of an agent's code, by rule: every statement is deleted, repeated, moved, renamed, given other arguments,
//! another effect, another kind; statements are inserted, run side by side or one after the other.

use neuraxis_sdk::frames::Effect;
use serde_json::{Value, json};

use super::agents::{Call, Kind, Node, Program, RENAMED, call, step};

/// A change, and what the code is then.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// What was changed, for people.
    pub what: String,
    /// The code.
    pub program: Program,
}

/// All changes of a program.
pub fn all(program: &Program) -> Vec<Mutation> {
    let mut made = Vec::new();
    let nodes = &program.0;
    for place in 0..=nodes.len() {
        for (kind, node) in inserted() {
            let mut changed = nodes.clone();
            changed.insert(place, node);
            made.push(mutation(format!("insert {kind} at {place}"), changed));
        }
    }
    for place in 0..nodes.len() {
        let mut changed = nodes.clone();
        let node = changed.remove(place);
        made.push(mutation(format!("delete {place}"), changed.clone()));
        changed.insert(place, node.clone());
        changed.insert(place, node);
        made.push(mutation(format!("repeat {place}"), changed));
        if place + 1 < nodes.len() {
            let mut changed = nodes.clone();
            changed.swap(place, place + 1);
            made.push(mutation(format!("swap {place} and {}", place + 1), changed));
            let mut changed = nodes.clone();
            let (first, second) = (changed.remove(place), changed.remove(place));
            changed.insert(place, Node::Gather(vec![vec![first], vec![second]]));
            made.push(mutation(format!("run {place} and {} side by side", place + 1), changed));
        }
        one(program, place, &mut made);
    }
    made.push(mutation("reverse".to_owned(), nodes.iter().rev().cloned().collect()));
    made.push(mutation("delete all".to_owned(), Vec::new()));
    made
}

fn mutation(what: String, nodes: Vec<Node>) -> Mutation {
    Mutation { what, program: Program(nodes) }
}

fn inserted() -> Vec<(&'static str, Node)> {
    vec![
        ("code", step("extra", Effect::Code, json!("new"))),
        ("idempotent", step("extra", Effect::Idempotent, json!("new"))),
        ("once", step("extra", Effect::Once, json!("new"))),
        ("wait", Node::Step(call("extra", Kind::Sleep, Value::Null))),
    ]
}

/// Changes of the statement at a place.
fn one(program: &Program, place: usize, made: &mut Vec<Mutation>) {
    let Some(node) = program.0.get(place) else { return };
    let mut put = |what: String, node: Vec<Node>| {
        let mut nodes = program.0.clone();
        nodes.splice(place..=place, node);
        made.push(mutation(what, nodes));
    };
    match node {
        Node::Step(found) => {
            for (what, call) in calls(found) {
                put(format!("{what} {place}"), vec![Node::Step(call)]);
            }
        }
        Node::Gather(branches) => {
            put(format!("run {place} one after the other"), branches.concat());
            put(format!("swap the branches of {place}"), vec![Node::Gather(branches.iter().rev().cloned().collect())]);
            for (branch, nodes) in branches.iter().enumerate() {
                for (at, node) in nodes.iter().enumerate() {
                    let Node::Step(found) = node else { continue };
                    for (what, call) in calls(found) {
                        let mut branches = branches.clone();
                        if let Some(node) = branches.get_mut(branch).and_then(|nodes| nodes.get_mut(at)) {
                            *node = Node::Step(call);
                        }
                        put(format!("{what} {place}.{branch}.{at}"), vec![Node::Gather(branches)]);
                    }
                }
            }
        }
        Node::Try(body, rescue) => {
            put(format!("unwrap {place}"), rescue.clone());
            put(format!("rescue {place} by nothing"), vec![Node::Try(body.clone(), Vec::new())]);
        }
    }
}

fn calls(found: &Call) -> Vec<(String, Call)> {
    let renamed = format!("{}{RENAMED}", found.name);
    let mut made = vec![
        ("change the arguments of".to_owned(), Call { args: json!({"other": found.args}), ..found.clone() }),
        ("give a key to".to_owned(), Call { key: Some("k1".to_owned()), ..found.clone() }),
    ];
    if !matches!(found.kind, Kind::Tool) {
        made.push(("rename".to_owned(), Call { name: renamed.clone(), ..found.clone() }));
        let was = Some(found.name.clone());
        made.push(("rename, declared,".to_owned(), Call { name: renamed, was, ..found.clone() }));
    }
    if !found.args.is_null() {
        made.push((
            "change the type of".to_owned(),
            Call { args: Value::from(found.args.to_string()), ..found.clone() },
        ));
    }
    if let Kind::Code(held) = found.kind {
        for effect in [Effect::Code, Effect::Read, Effect::Idempotent, Effect::Once] {
            if effect != held {
                let kind = Kind::Code(effect);
                made.push((format!("make {effect:?} of").to_lowercase(), Call { kind, ..found.clone() }));
            }
        }
        made.push(("make a wait of".to_owned(), Call { kind: Kind::Sleep, args: Value::Null, ..found.clone() }));
    }
    made
}
