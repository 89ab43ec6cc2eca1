//! "Approve as rule": the narrowest clause that would have answered a question, and what else it would have let through.
//!
//! The clause holds for the same person, agent and tool, for the same values of all arguments that the question was about,
//! and for as long as nothing else of the call is in doubt.

use std::{collections::BTreeSet, fmt::Write as _};

use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Mode, Policy, PolicySet, PolicySpec,
    clause::{Clause, Does},
    context::named,
    expr::Names,
    monotone::UNTRUSTED,
    record::{Recorded, diff},
    set::hex,
    shape, value,
};
use crate::{
    Error,
    call::Call,
    decision::{Decision, Outcome, Standing},
};

/// Longest text that a clause fixes, in bytes; a longer one is held to its sources.
const MAX_FIXED_BYTES: usize = 1024;
/// Most arguments that a clause fixes.
const MAX_FIXED: usize = 64;

/// A clause that would have answered a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its `@id`.
    pub clause: String,
    /// The questions that it answers: `refunds/over-limit`.
    pub releases: Vec<String>,
    /// Its text, to be put into a policy.
    pub cedar: String,
}

impl Proposal {
    /// Which recorded calls it would have let through without asking, by their number.
    pub fn lets_through<'a>(
        &self,
        set: &PolicySet,
        recorded: impl IntoIterator<Item = &'a Recorded>,
    ) -> Result<Vec<usize>, Error> {
        let spec = PolicySpec { mode: Mode::Enforce, cedar: self.cedar.clone(), tests: Vec::new() };
        let with = set.with(Policy { name: self.clause.clone(), revision: 0, spec })?;
        let changes = diff(set, &with, recorded)?;
        Ok(changes.iter().filter(|change| change.after.outcome == Outcome::Allow).map(|change| change.index).collect())
    }
}

fn none(reason: impl Into<String>) -> Error {
    Error::NoRule { reason: reason.into() }
}

impl PolicySet {
    /// The narrowest clause that answers what `decision` asks about `call`. `reason` is why people want it.
    pub fn propose(&self, call: &Call<'_>, decision: &Decision, reason: &str) -> Result<Proposal, Error> {
        if decision.outcome != Outcome::Ask {
            return Err(none("only a question can be answered by a rule; nothing releases what is denied"));
        }
        let asks: Vec<_> = decision.reasons.iter().filter(|reason| reason.outcome == Outcome::Ask).collect();
        if let Some(failed) = asks.iter().find(|reason| reason.failed) {
            return Err(none(format!("clause `{}` could not be evaluated; mend it first", failed.clause)));
        }
        let mut clauses = Vec::new();
        for ask in asks {
            let spoke = |clause: &&Clause| {
                clause.versioned == ask.policy
                    && clause.name.clause == ask.clause
                    && matches!(clause.does, Does::Ask(_))
            };
            let clause = self.inner.clauses.iter().find(spoke);
            clauses
                .push(clause.ok_or_else(|| none(format!("`{}/{}` is not in these policies", ask.policy, ask.clause)))?);
        }
        let conditions = Conditions::of(call, &clauses)?.lines;
        let releases: Vec<String> = clauses.iter().map(|clause| clause.name.to_string()).collect();
        let body = format!(
            "permit(principal == User::{}, action == Tool::{}, resource == Agent::{})\n  when {{\n    {}\n  }};\n",
            quoted(&call.facts.principal),
            quoted(&call.tool.name),
            quoted(&call.facts.agent),
            conditions.join(" &&\n    "),
        );
        let hash = digest::digest(&digest::SHA256, format!("{releases:?}{body}").as_bytes());
        let clause = format!("approved-{:.12}", hex(&hash));
        let annotations =
            format!("@id(\"{clause}\")\n@releases({})\n@reason({})\n", quoted(&releases.join(", ")), quoted(reason));
        Ok(Proposal { clause, releases, cedar: annotations + &body })
    }
}

/// Lines of the condition.
struct Conditions<'a> {
    call: &'a Call<'a>,
    lines: Vec<String>,
}

impl<'a> Conditions<'a> {
    fn of(call: &'a Call<'a>, clauses: &[&Clause]) -> Result<Self, Error> {
        let looks_at = |member: &str| clauses.iter().any(|clause| clause.needs.members.has_within(member));
        let whole = clauses.iter().any(|clause| clause.needs.args == Names::All);
        let everything = whole || (looks_at("leaks") && call.leaks());
        let seen = |name: &str| clauses.iter().any(|clause| clause.needs.args.has(name) || clause.needs.from.has(name));
        let origins = &call.traced.origins;
        let is_sink = |name: &str| origins.iter().any(|origin| origin.sink && named(&origin.pointer) == name);
        let Value::Object(args) = &call.traced.args else {
            return Err(none("a text that leaves the run is never the same twice; write a rule by hand"));
        };
        let fixed: Vec<(&String, &Value)> = args
            .iter()
            .filter(|(name, value)| !value.is_null() && (everything || seen(name) || is_sink(name)))
            .collect();
        if fixed.len() > MAX_FIXED {
            return Err(none(format!("the call has more than {MAX_FIXED} arguments to fix; write a rule by hand")));
        }
        let mut conditions = Self { call, lines: Vec::new() };
        for (name, value) in &fixed {
            conditions.fix(name, value)?;
        }
        let absent = |name: &&str| {
            let sink = call.tool.is_sink(&[(*name).to_owned()]);
            args.get(*name).is_none_or(Value::is_null) && (everything || seen(name) || sink)
        };
        for name in shape::names(call.tool).into_iter().filter(absent) {
            conditions.lines.push(format!("!(context.args has {})", key(name)));
        }
        let doubtful: BTreeSet<String> = origins
            .iter()
            .filter(|origin| origin.sink && !origin.standing.is_trusted())
            .map(|origin| named(&origin.pointer).into_owned())
            .collect();
        conditions.lines.push(if doubtful.is_empty() {
            "context.sinks.ambiguous.isEmpty()".to_owned()
        } else {
            let names: Vec<String> = doubtful.iter().map(|name| quoted(name)).collect();
            format!("[{}].containsAll(context.sinks.ambiguous)", names.join(", "))
        });
        if !call.leaks() {
            conditions.lines.push("!context.leaks".to_owned());
        }
        if looks_at("scores") {
            let scores = call.facts.scores;
            let told = [("injection", scores.injection), ("takeover", scores.takeover)];
            for (name, score) in told.into_iter().chain([("pii", scores.pii), ("secrets", scores.secrets)]) {
                conditions.lines.push(format!("context.scores.{name} <= {score}"));
            }
        }
        Ok(conditions)
    }

    /// Holds an argument to its value, or to its sources where the value is long or has parts.
    fn fix(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let shape = shape::argument(self.call.tool, name);
        let at = |of: &str| {
            if is_identifier(name) { format!("context.{of}.{name}") } else { format!("context.{of}[{}]", quoted(name)) }
        };
        if let Some(line) = equals(&at("args"), value, &shape) {
            self.lines.push(format!("context.args has {} && {line}", key(name)));
            return Ok(());
        }
        let mut sources = BTreeSet::new();
        for origin in self.call.traced.origins.iter().filter(|origin| named(&origin.pointer) == name) {
            let trusted = matches!(origin.standing, Standing::Reference | Standing::Request | Standing::Trusted);
            if !trusted || origin.sources.iter().any(|source| source.starts_with(UNTRUSTED) || source.ends_with('*')) {
                return Err(none(format!(
                    "`{name}` is too long to be fixed, and its sources are not trusted; write a rule by hand"
                )));
            }
            sources.extend(origin.sources.iter().map(|source| format!("Source::{}", quoted(source))));
        }
        if sources.is_empty() {
            return Err(none(format!("`{name}` is too long to be fixed, and nothing is known of its sources")));
        }
        let list: Vec<String> = sources.into_iter().collect();
        self.lines.push(format!("[{}].containsAll({})", list.join(", "), at("from")));
        Ok(())
    }
}

/// That the argument at `at` is this value. `None` for what is long or has members.
fn equals(at: &str, value: &Value, shape: &shape::Shape) -> Option<String> {
    if value.to_string().len() > MAX_FIXED_BYTES {
        return None;
    }
    match value {
        Value::Array(items) if items.is_empty() => Some(format!("{at}.isEmpty()")),
        Value::Array(items) => {
            let item_shape = if let shape::Shape::Set(item) = shape { item } else { &shape::Shape::Open };
            let items = items.iter().map(|item| literal(item, item_shape)).collect::<Option<Vec<_>>>()?;
            Some(format!("{at} == [{}]", items.join(", ")))
        }
        value => Some(format!("{at} == {}", literal(value, shape)?)),
    }
}

fn literal(value: &Value, shape: &shape::Shape) -> Option<String> {
    match value {
        Value::Bool(yes) => Some(yes.to_string()),
        Value::String(text) => Some(quoted(text)),
        Value::Number(number) => value::literal(number, shape).ok(),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
        && name != "__cedar"
}

fn key(name: &str) -> String {
    if is_identifier(name) { name.to_owned() } else { quoted(name) }
}

/// The text as Cedar writes it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a text cannot fail.
                if write!(out, "\\u{{{:x}}}", u32::from(c)).is_err() {
                    return out;
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
