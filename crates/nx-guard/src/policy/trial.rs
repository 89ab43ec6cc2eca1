//! The tests that a policy carries.

use std::collections::{BTreeMap, BTreeSet};

use nx_types::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Policy, PolicySet,
    clause::Clause,
    monotone::UNTRUSTED,
    parse,
    spec::{Mode, PolicySpec, PolicyTest},
};
use crate::{
    Error,
    call::{Call, Facts},
    decision::{Decision, Evidence, Origin, Outcome, Standing},
    guard::{OUTPUT, REQUEST},
    origin::{Leak, Traced},
    tool::{Effect, Output, Tool, Tools, Trust},
};

/// The word for a value that stands nowhere.
const CONTEXT: &str = "context";
/// The sources of values that a quarantined extraction vouches for.
const EXTRACT: &str = "extract/";
/// Who acts in a test that does not say.
const SOMEBODY: &str = "somebody";

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestResult {
    /// The policy.
    pub policy: String,
    /// The test's name, or its number from 1.
    pub test: String,
    /// What was expected.
    pub expected: Outcome,
    /// What was decided.
    pub found: Decision,
    /// Whether they agree.
    pub passed: bool,
}

/// Runs a policy's tests against that policy alone, as if it were enforced. Tools that are not declared count as acting,
/// with every argument a sink.
pub fn run_tests(policy: &Policy, tools: &Tools) -> Result<Vec<TestResult>, Error> {
    let enforced = PolicySpec { mode: Mode::Enforce, tests: Vec::new(), ..policy.spec.clone() };
    let alone = Policy { spec: enforced, ..policy.clone() };
    // What it names of other policies cannot be there, so only the text counts here.
    let clauses =
        parse::clauses((&alone.name, alone.revision), &alone.spec).map_err(|faults| Error::Policy { faults })?;
    let sources = named_sources(&clauses);
    let set = PolicySet::unchecked(vec![alone], clauses)?;
    let mut results = Vec::with_capacity(policy.spec.tests.len());
    for (number, test) in policy.spec.tests.iter().enumerate() {
        let (tool, traced, facts) = staged(test, tools, &sources)?;
        let mut found = set.decide(&Call { tool: &tool, traced: &traced, facts: &facts })?;
        found.origins = traced.origins;
        results.push(TestResult {
            policy: policy.name.clone(),
            test: test.name.clone().unwrap_or_else(|| (number + 1).to_string()),
            expected: test.expect,
            passed: found.outcome == test.expect,
            found,
        });
    }
    Ok(results)
}

fn named_sources(clauses: &[Clause]) -> BTreeSet<String> {
    clauses.iter().flat_map(|clause| clause.needs.sources.iter().cloned()).collect()
}

/// The call that a test describes.
fn staged(test: &PolicyTest, tools: &Tools, named: &BTreeSet<String>) -> Result<(Tool, Traced, Facts), Error> {
    let tool = match tools.get(&test.call) {
        Ok(tool) => tool.clone(),
        Err(_) => undeclared(&test.call),
    };
    let tool = tool.checked()?;
    let trusts = |source: &str| match tools.get(source) {
        Ok(tool) => tool.output.trust == Trust::Trusted || !tool.output.trusted.is_empty(),
        Err(_) => source == REQUEST || source.starts_with(EXTRACT) || named.contains(source),
    };
    let mut origins = Vec::new();
    let from: BTreeMap<&str, Option<&BTreeSet<String>>> = (test.args.keys().map(|name| (name.as_str(), None)))
        .chain(test.from.iter().map(|(name, sources)| (name.as_str(), Some(sources))))
        .collect();
    let said = BTreeSet::from([REQUEST.to_owned()]);
    for (name, sources) in from {
        let sources = sources.unwrap_or(&said);
        origins.push(origin(name, sources, &tool, &trusts));
    }
    let leaks = if test.leaks { vec![a_leak(&origins)] } else { Vec::new() };
    let named = origins.iter().any(|origin| origin.sink && origin.standing == Standing::Request);
    let traced = Traced { args: Value::Object(test.args.clone()), origins, asked: test.asked, named, leaks };
    let facts = Facts {
        now: test.time.unwrap_or_else(|| Timestamp::from_micros(0)),
        scores: test.scores,
        approvals: test.approvals,
        principal: test.principal.clone().unwrap_or_else(|| SOMEBODY.to_owned()),
        roles: test.roles.clone(),
        agent: test.agent.clone().unwrap_or_else(|| SOMEBODY.to_owned()),
    };
    Ok((tool, traced, facts))
}

fn undeclared(name: &str) -> Tool {
    let (effect, sinks) = if name == OUTPUT { (Effect::Read, Some(Vec::new())) } else { (Effect::Once, None) };
    let (description, output) = (String::new(), Output::default());
    Tool { name: name.to_owned(), description, input_schema: Value::Object(Map::new()), effect, output, sinks }
}

fn origin(name: &str, sources: &BTreeSet<String>, tool: &Tool, trusts: &dyn Fn(&str) -> bool) -> Origin {
    let trusted = |source: &str| !source.starts_with(UNTRUSTED) && source != CONTEXT && trusts(source);
    let good = sources.iter().filter(|source| trusted(source)).count();
    let standing = if sources.contains(CONTEXT) {
        Standing::Context
    } else if good == sources.len() {
        if sources.iter().all(|source| source == REQUEST) { Standing::Request } else { Standing::Trusted }
    } else if good > 0 {
        Standing::Ambiguous
    } else {
        Standing::Untrusted
    };
    let marked = |source: &String| {
        if trusted(source) || source.starts_with(UNTRUSTED) { source.clone() } else { format!("{UNTRUSTED}{source}") }
    };
    Origin {
        pointer: format!("/{}", nx_types::json::escape(name)),
        standing,
        sources: sources.iter().map(marked).collect(),
        sink: tool.is_sink(&[name.to_owned()]),
        readers: None,
        evidence: Vec::new(),
    }
}

fn a_leak(origins: &[Origin]) -> Leak {
    let pointer = origins.first().map(|origin| origin.pointer.clone()).unwrap_or_default();
    let evidence =
        Evidence { source: CONTEXT.to_owned(), event: None, pointer: String::new(), how: CONTEXT.to_owned() };
    Leak { pointer, evidence, readers: BTreeSet::new() }
}
