//! Clauses by tool and principal, laid out at load: a check asks the few slices that can speak of its call, so what it takes
//! does not grow with the number of policies.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Policy, PolicyId, PolicySet, pst};

use super::{
    clause::{About, Clause, Does, Whom},
    context::{toolset, undecided},
    expr::Needs,
};
use crate::{Error, call::Call};

/// Clauses of one kind, ready for Cedar. The id of each is its number in the whole set.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) policies: PolicySet,
    pub(super) numbers: Vec<usize>,
    pub(super) needs: Needs,
}

impl Part {
    fn add(&mut self, number: usize, clause: &Clause) -> Result<(), Error> {
        let policy = bare(clause).map_err(|error| undecided(&error))?.new_id(PolicyId::new(number.to_string()));
        self.policies.add(policy).map_err(|error| undecided(&error))?;
        self.numbers.push(number);
        self.needs.join(&clause.needs);
        Ok(())
    }
}

/// The clause without what its slice says already: a slice is asked only about calls of its tool, by its principals. Cedar
/// need not find that out again, nor be told who is in what.
fn bare(clause: &Clause) -> Result<Policy, pst::PstConstructionError> {
    let mut body = clause.policy.to_pst()?.body().clone();
    body.principal = pst::PrincipalConstraint::Any;
    body.action = pst::ActionConstraint::Any;
    let body = body.with_annotations(BTreeMap::new());
    match pst::StaticPolicy::try_from(body) {
        Ok(policy) => Policy::from_pst(pst::Policy::Static(policy)),
        // With a slot it is no clause: none is read that has one.
        Err(_) => Ok(clause.policy.clone()),
    }
}

/// The clauses of one tool (or toolset, or any) and one class of principals.
#[derive(Debug, Clone, Default)]
pub(super) struct Slice {
    /// What denies or asks.
    pub(super) forbids: Part,
    /// What releases questions.
    pub(super) permits: Part,
}

#[derive(Debug, Clone, Default)]
struct ByPrincipal {
    any: Slice,
    users: BTreeMap<String, Slice>,
    roles: BTreeMap<String, Slice>,
}

impl ByPrincipal {
    fn slice(&mut self, whom: &Whom) -> &mut Slice {
        match whom {
            Whom::Any => &mut self.any,
            Whom::User(name) => self.users.entry(name.clone()).or_default(),
            Whom::Role(name) => self.roles.entry(name.clone()).or_default(),
        }
    }

    fn of<'a>(&'a self, principal: &str, roles: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Slice> {
        let by_role = roles.iter().filter_map(|role| self.roles.get(role));
        std::iter::once(&self.any).chain(self.users.get(principal)).chain(by_role)
    }
}

/// All slices.
#[derive(Debug, Clone, Default)]
pub(super) struct Slices {
    any: ByPrincipal,
    tools: BTreeMap<String, ByPrincipal>,
    toolsets: BTreeMap<String, ByPrincipal>,
}

impl Slices {
    pub(super) fn new(clauses: &[Clause]) -> Result<Self, Error> {
        let mut slices = Self::default();
        for (number, clause) in clauses.iter().enumerate() {
            let about: BTreeSet<&About> = clause.about.iter().collect();
            for about in about {
                let by_principal = match about {
                    About::Any => &mut slices.any,
                    About::Tool(name) => slices.tools.entry(name.clone()).or_default(),
                    About::Toolset(name) => slices.toolsets.entry(name.clone()).or_default(),
                };
                let slice = by_principal.slice(&clause.whom);
                match clause.does {
                    Does::Deny | Does::Ask(_) => slice.forbids.add(number, clause)?,
                    Does::Release(_) => slice.permits.add(number, clause)?,
                }
            }
        }
        Ok(slices)
    }

    /// The slices that can speak of a call.
    pub(super) fn of<'a>(&'a self, call: &Call<'a>) -> Vec<&'a Slice> {
        let name = call.tool.name.as_str();
        let toolset = toolset(name).and_then(|toolset| self.toolsets.get(toolset));
        [Some(&self.any), self.tools.get(name), toolset]
            .into_iter()
            .flatten()
            .flat_map(|by_principal| by_principal.of(&call.facts.principal, &call.facts.roles))
            .filter(|slice| !slice.forbids.numbers.is_empty() || !slice.permits.numbers.is_empty())
            .collect()
    }
}
