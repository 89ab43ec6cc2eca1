//! What is checked at load beyond the grammar: names that must be there, types against the tools' declarations, and whether
//! a clause can be shown never to get laxer when labels get less trusted.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{PolicyId, PolicySet, ValidationMode, Validator};
use miette::Diagnostic;

use super::{
    MAX_ALL_CLAUSES, MAX_FAULTS, MAX_POLICIES, Policy,
    clause::{About, Clause, Does, Name},
    context::toolset,
    lex::line_column,
    parse::diagnosed,
    schema, shape,
};
use crate::{
    Error,
    error::Fault,
    guard::OUTPUT,
    tool::{Tool, Tools},
};

/// Refuses more policies than are looked at, and two of one name.
pub(super) fn bounds(policies: &[Policy]) -> Result<(), Error> {
    if policies.len() > MAX_POLICIES {
        return Err(Error::TooLarge { what: "the set of policies", found: policies.len(), most: MAX_POLICIES });
    }
    let mut seen = BTreeSet::new();
    for policy in policies {
        if !seen.insert(&policy.name) {
            let message = "two policies have this name; keep one".to_owned();
            let fault = Fault { policy: policy.name.clone(), clause: None, line: 1, column: 1, message };
            return Err(Error::Policy { faults: vec![fault] });
        }
    }
    Ok(())
}

/// What is found.
pub(super) struct Checks<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    clauses: &'a [Clause],
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(policies: &'a [Policy], clauses: &'a [Clause]) -> Self {
        let texts = policies.iter().map(|policy| (policy.name.as_str(), policy.spec.cedar.as_str())).collect();
        let mut checks = Self { texts, clauses, faults: Vec::new(), warnings: Vec::new() };
        if clauses.len() > MAX_ALL_CLAUSES
            && let Some(clause) = clauses.last()
        {
            let fault = checks.at(
                clause,
                clause.places.at,
                format!("all policies together have more than {MAX_ALL_CLAUSES} clauses"),
            );
            checks.faults.push(fault);
        }
        checks
    }

    fn at(&self, clause: &Clause, at: usize, message: String) -> Fault {
        let text = self.texts.get(clause.name.policy.as_str()).copied().unwrap_or_default();
        let (line, column) = line_column(text, at);
        Fault { policy: clause.name.policy.clone(), clause: Some(clause.name.clause.clone()), line, column, message }
    }

    /// What `@releases` names must be a question.
    pub(super) fn names(&mut self) {
        let known: BTreeMap<&Name, &Does> = self.clauses.iter().map(|clause| (&clause.name, &clause.does)).collect();
        for clause in self.clauses {
            let Does::Release(names) = &clause.does else { continue };
            for name in names {
                match known.get(name) {
                    Some(Does::Ask(_)) => {}
                    Some(_) => {
                        let message = format!(
                            "`{name}` does not ask, and nothing releases what is denied; release a clause with `@ask`"
                        );
                        self.faults.push(self.at(clause, clause.places.at, message));
                    }
                    None => {
                        let message = format!("there is no clause `{name}`, so nothing is released");
                        self.warnings.push(self.at(clause, clause.places.at, message));
                    }
                }
            }
        }
    }

    /// Warns of clauses that less trust may make laxer.
    pub(super) fn monotone(&mut self) {
        for clause in self.clauses {
            if let Some(expr) = &clause.doubt {
                let message = format!(
                    "it cannot be shown that less trusted values never make this clause laxer, because of `{expr}`; list what is \
                     trusted: `[Source::\"shop/find_order\"].containsAll(context.from.iban)`, or ask `context.sinks`"
                );
                self.warnings.push(self.at(clause, clause.places.at, message));
            }
        }
    }

    /// Checks the clauses against the declared tools that they are about.
    pub(super) fn tools(&mut self, tools: &Tools) {
        self.unknown(tools);
        let schema = match schema::of(tools, self.clauses) {
            Ok(schema) => schema,
            Err(reason) => return self.unchecked(&reason),
        };
        let mut policies = PolicySet::new();
        for (number, clause) in self.clauses.iter().enumerate() {
            let checked = applicable(clause, tools).next().is_some() || clause.about.iter().any(is_output);
            if checked && let Err(error) = policies.add(clause.policy.new_id(PolicyId::new(number.to_string()))) {
                return self.unchecked(&error.to_string());
            }
        }
        let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic, true));
        let warnings =
            result.validation_warnings().map(|warning| (warning.policy_id(), warning as &dyn Diagnostic, false));
        // One for each clause and place: an error is found anew for every tool that the clause is about.
        let mut found: BTreeMap<(usize, usize, String), (String, bool, usize)> = BTreeMap::new();
        for (id, diagnostic, is_error) in errors.chain(warnings) {
            let text: &str = id.as_ref();
            let Some((number, clause)) =
                text.parse::<usize>().ok().and_then(|number| Some((number, self.clauses.get(number)?)))
            else {
                continue;
            };
            let (at, message) = diagnosed(diagnostic, &clause.places);
            let message = message.replace(&format!("for policy `{text}`, "), "");
            let entry =
                found.entry((number, at, without_tool(&message))).or_insert_with(|| (message.clone(), is_error, 0));
            entry.2 += 1;
            if message < entry.0 {
                entry.0 = message;
            }
        }
        for ((number, at, _), (message, is_error, times)) in found {
            let Some(clause) = self.clauses.get(number) else { continue };
            let message = if times > 1 { format!("{message} (and the same for {} more)", times - 1) } else { message };
            match untyped(clause, tools) {
                Some(tool) => {
                    let what = if is_error { format!(": {message}") } else { String::new() };
                    let message = format!(
                        "the clause cannot be checked, because `{tool}` does not declare the type of what it looks at{what}"
                    );
                    self.warnings.push(self.at(clause, at, message));
                }
                None if is_error => self.faults.push(self.at(clause, at, message)),
                None => self.warnings.push(self.at(clause, at, message)),
            }
        }
        self.faults.truncate(MAX_FAULTS);
    }

    fn unknown(&mut self, tools: &Tools) {
        for clause in self.clauses {
            let names = clause.about.iter().filter_map(|about| match about {
                About::Tool(name) if tools.get(name).is_err() && !is_output(about) => Some(name),
                _ => None,
            });
            for name in names {
                let near = tools.get(name).err().map(|error| error.to_string()).unwrap_or_default();
                let message = format!("{near}; until it is declared, the clause is not checked against it");
                self.warnings.push(self.at(clause, clause.places.at, message));
            }
        }
    }

    fn unchecked(&mut self, reason: &str) {
        if let Some(clause) = self.clauses.first() {
            let message = format!("no clause is checked against the tools: {reason}");
            self.warnings.push(self.at(clause, clause.places.at, message));
        }
    }
}

/// Whether it is the text that leaves a run, which no one declares.
fn is_output(about: &About) -> bool {
    *about == About::Tool(OUTPUT.to_owned())
}

/// The message without the tool that it is about.
fn without_tool(message: &str) -> String {
    const MARK: &str = " for Tool::\"";
    match message.split_once(MARK) {
        Some((before, after)) => format!("{before}{}", after.split_once('"').map_or("", |(_, rest)| rest)),
        None => message.to_owned(),
    }
}

/// The declared tools that a clause can speak of.
fn applicable<'a>(clause: &'a Clause, tools: &'a Tools) -> impl Iterator<Item = &'a Tool> {
    tools.iter().filter(|tool| {
        clause.about.iter().any(|about| match about {
            About::Any => true,
            About::Tool(name) => *name == tool.name,
            About::Toolset(name) => toolset(&tool.name) == Some(name),
        })
    })
}

/// A tool that the clause is about and that does not say the type of an argument that it looks at.
fn untyped<'a>(clause: &'a Clause, tools: &'a Tools) -> Option<&'a str> {
    let open = |tool: &&Tool| {
        let needs = &clause.needs;
        match shape::arguments(tool) {
            None => !needs.args.is_none() || !needs.from.is_none(),
            Some(members) => members.iter().any(|(name, (shape, _))| shape.is_open() && needs.args.has(name)),
        }
    };
    applicable(clause, tools).find(open).map(|tool| tool.name.as_str())
}
