//! Agents as data: programs of named steps, so that their code can be changed by a rule while a run is in flight.

use neuraxis_sdk::frames::{Approve, Body, Effect, StepError};
use serde_json::{Value, json};

use super::harness_worker::{Ask, Context, Flow, Halt, Script};

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A step.
    Step(Call),
    /// Branches side by side.
    Gather(Vec<Vec<Self>>),
    /// The second part runs if a step of the first fails.
    Try(Vec<Self>, Vec<Self>),
}

/// What a step is, in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A function with this effect.
    Code(Effect),
    /// A tool of the simulated shop.
    Tool,
    /// A wait.
    Sleep,
    /// The time.
    Now,
}

/// A step of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its name; also of the function that is executed.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its arguments.
    pub args: Value,
    /// Its key.
    pub key: Option<String>,
    /// Its name before.
    pub was: Option<String>,
    /// The function that undoes it.
    pub undo: Option<String>,
    /// Who approves it.
    pub approve: Option<String>,
}

impl Call {
    fn ask(&self) -> Ask {
        let body = match self.kind {
            Kind::Code(effect) => Body::Code { effect, args: self.args.clone(), probe: false, key_window_ms: None },
            Kind::Tool => Body::Tool { args: self.args.clone() },
            Kind::Sleep => Body::Sleep { ms: 60_000 },
            Kind::Now => Body::Now,
        };
        let mut ask = Ask::new(&self.name, body).attempts(20);
        ask.step.key.clone_from(&self.key);
        ask.step.was.clone_from(&self.was);
        if let Some(undo) = &self.undo {
            ask = ask.undo(undo);
        }
        if let Some(who) = &self.approve {
            ask = ask.approve(Approve {
                who: who.clone(),
                within_ms: None,
                escalate: Vec::new(),
                quorum: None,
                edit: false,
                over: Default::default(),
                message: None,
            });
        }
        ask
    }
}

/// A step that executes a function.
pub fn step(name: &str, effect: Effect, args: Value) -> Node {
    Node::Step(call(name, Kind::Code(effect), args))
}

/// A step of this kind.
pub fn call(name: &str, kind: Kind, args: Value) -> Call {
    Call { name: name.to_owned(), kind, args, key: None, was: None, undo: None, approve: None }
}

/// An agent's code.
#[derive(Debug, Clone, PartialEq)]
pub struct Program(pub Vec<Node>);

impl Script for Program {
    fn run(&self, context: &mut Context<'_>) -> Flow {
        run(&self.0, context)
    }
}

fn run(nodes: &[Node], context: &mut Context<'_>) -> Flow {
    let mut last = Value::Null;
    for node in nodes {
        last = match node {
            Node::Step(call) => context.step(call.ask())?,
            Node::Gather(branches) => {
                let branches: Vec<_> =
                    branches.iter().map(|branch| move |context: &mut Context<'_>| run(branch, context)).collect();
                let branches: Vec<&dyn Fn(&mut Context<'_>) -> Flow> =
                    branches.iter().map(|branch| branch as &dyn Fn(&mut Context<'_>) -> Flow).collect();
                Value::Array(context.gather(&branches)?)
            }
            Node::Try(body, rescue) => match run(body, context) {
                Err(Halt::Failed(error)) if !is_final(&error) => run(rescue, context)?,
                other => other?,
            },
        };
    }
    Ok(json!({ "last": last }))
}

/// Errors that no code should catch.
fn is_final(error: &StepError) -> bool {
    error.name == "Cancelled"
}

/// A step as the record will know it: scope, name, kind, arguments.
pub type Known = (String, Call);

impl Program {
    /// The steps in order, each branch in its scope. A `Try` is taken to fail at the end of its first part.
    pub fn steps(&self) -> Vec<Known> {
        let mut all = Vec::new();
        walk(&self.0, "", &mut 0, &mut all);
        all
    }

    /// How many steps of the program have the name, with or without the mark of a rename.
    pub fn count(&self, name: &str) -> u64 {
        let same = |known: &&Known| family(&known.1.name) == family(name);
        self.steps().iter().filter(same).count() as u64
    }
}

/// The mark that a rename leaves.
pub const RENAMED: &str = "_v2";

/// The name before a rename.
pub fn family(name: &str) -> &str {
    name.strip_suffix(RENAMED).unwrap_or(name)
}

fn walk(nodes: &[Node], scope: &str, gathers: &mut u32, all: &mut Vec<Known>) {
    for node in nodes {
        match node {
            Node::Step(call) => all.push((scope.to_owned(), call.clone())),
            Node::Gather(branches) => {
                *gathers += 1;
                let gather = *gathers;
                for (place, branch) in branches.iter().enumerate() {
                    let slash = if scope.is_empty() { "" } else { "/" };
                    walk(branch, &format!("{scope}{slash}g{gather}.{place}"), gathers, all);
                }
            }
            Node::Try(body, rescue) => {
                walk(body, scope, gathers, all);
                walk(rescue, scope, gathers, all);
            }
        }
    }
}

/// The three agents whose code is changed in flight: a refund, an order with parallel branches, a mailing with a
/// fallback.
pub fn agents() -> Vec<(&'static str, Program)> {
    let undone = |name: &str, effect, undo: &str| {
        Node::Step(Call {
            undo: Some(undo.to_owned()),
            ..call(name, Kind::Code(effect), json!({"order": "A17", "cents": 84}))
        })
    };
    let refund = vec![
        Node::Step(call("shop/find_order", Kind::Tool, json!({"order": "A17"}))),
        step("quote", Effect::Code, json!(["A17", 1])),
        undone("refund", Effect::Idempotent, "cancel_refund"),
        step("charge", Effect::Once, json!({"order": "A17", "cents": 5})),
        step("stock", Effect::Read, json!("A17")),
        step("notify", Effect::Once, json!({"order": "A17"})),
        step("summary", Effect::Code, json!("A17")),
    ];
    let order = vec![
        Node::Step(call("asked", Kind::Now, Value::Null)),
        step("plan", Effect::Code, json!({"parts": 2})),
        Node::Gather(vec![
            vec![step("reserve", Effect::Idempotent, json!(1)), step("label", Effect::Once, json!({"part": 1}))],
            vec![step("reserve", Effect::Idempotent, json!(2)), step("label", Effect::Once, json!({"part": 2}))],
        ]),
        Node::Step(call("cooling", Kind::Sleep, Value::Null)),
        Node::Step(Call {
            approve: Some("lead".to_owned()),
            ..call("dispatch", Kind::Code(Effect::Once), json!({"truck": 7}))
        }),
        step("close", Effect::Code, json!(null)),
    ];
    let mailing = vec![
        step("render", Effect::Code, json!("monday")),
        step("send", Effect::Once, json!({"to": "ann"})),
        step("send", Effect::Once, json!({"to": "bob"})),
        Node::Try(vec![step("ship", Effect::Once, json!("P88"))], vec![step("refuse", Effect::Once, json!("P88"))]),
        step("send", Effect::Once, json!({"to": "cai"})),
        step("archive", Effect::Idempotent, json!("monday")),
    ];
    vec![("refund", Program(refund)), ("order", Program(order)), ("mailing", Program(mailing))]
}
