//! Policies ready to be asked, and the asking.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{AuthorizationError, Authorizer};
use ring::digest;

use super::{
    Compiled, Policy, check,
    clause::{Clause, Does, Name},
    context::{Question, Types, question, undecided},
    parse,
    slices::{Part, Slice, Slices},
    words,
};
use crate::{
    Error,
    call::Call,
    decision::{Ask, Decision, Outcome, Reason},
    error::Fault,
    tool::Tools,
};

/// Policies, compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PolicySet {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) policies: Vec<Policy>,
    pub(super) clauses: Vec<Clause>,
    slices: Slices,
    types: Types,
    authorizer: Authorizer,
    digest: String,
}

/// What clauses said, by their number: `None` held, `Some` could not be evaluated, and why.
type Spoken = BTreeMap<usize, Option<String>>;

impl PolicySet {
    /// Compiles policies. Clauses about tools that are declared must fit their declarations; those about other tools are
    /// warned of, for a program may declare its tools later.
    pub fn compile(policies: &[Policy], tools: &Tools) -> Result<Compiled, Error> {
        check::bounds(policies)?;
        let (mut clauses, mut faults) = (Vec::new(), Vec::new());
        for policy in policies {
            let (read, wrong) = parse::readable((&policy.name, policy.revision), &policy.spec);
            clauses.extend(read);
            faults.extend(wrong);
        }
        let mut checks = check::Checks::new(policies, &clauses);
        checks.names();
        checks.monotone();
        checks.tools(tools);
        let check::Checks { faults: more, warnings, .. } = checks;
        faults.extend(more);
        if !faults.is_empty() {
            return Err(Error::Policy { faults });
        }
        Ok(Compiled { set: Self::unchecked(policies.to_vec(), clauses)?, warnings })
    }

    pub(super) fn unchecked(policies: Vec<Policy>, clauses: Vec<Clause>) -> Result<Self, Error> {
        let inner = Inner {
            slices: Slices::new(&clauses)?,
            types: Types::new()?,
            authorizer: Authorizer::new(),
            digest: digest_of(&policies),
            policies,
            clauses,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is doubtful, or wrong, about the clauses if a program declares these tools. Nothing of it opens anything: a
    /// clause that does not fit its tool cannot be evaluated and stands closed.
    pub fn check(&self, tools: &Tools) -> Vec<Fault> {
        let mut checks = check::Checks::new(&self.inner.policies, &self.inner.clauses);
        checks.tools(tools);
        let check::Checks { mut faults, warnings, .. } = checks;
        faults.extend(warnings);
        faults
    }

    /// Names the policies with their revisions and modes.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// The policies.
    pub fn policies(&self) -> &[Policy] {
        &self.inner.policies
    }

    /// How many clauses there are.
    pub fn len(&self) -> usize {
        self.inner.clauses.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inner.clauses.is_empty()
    }

    /// How many clauses are evaluated for a call.
    pub fn asked(&self, call: &Call<'_>) -> usize {
        self.inner.slices.of(call).iter().map(|slice| slice.forbids.numbers.len() + slice.permits.numbers.len()).sum()
    }

    /// The sources that the clauses name which are evaluated for a call.
    pub(super) fn sources(&self, call: &Call<'_>) -> BTreeSet<String> {
        let parts = self.inner.slices.of(call).into_iter().flat_map(|slice| [&slice.forbids, &slice.permits]);
        parts.flat_map(|part| part.needs.sources.iter().cloned()).collect()
    }

    /// Decides about a call. The origins are left for the caller to put in; an error never means yes.
    pub fn decide(&self, call: &Call<'_>) -> Result<Decision, Error> {
        let slices = self.inner.slices.of(call);
        let spoken = self.evaluate(call, &slices, |slice| &slice.forbids)?;
        let asks = |(number, failed): (&usize, &Option<String>)| {
            failed.is_none() && matches!(self.does(*number), Some(Does::Ask(_)))
        };
        let permits =
            if spoken.iter().any(asks) { self.evaluate(call, &slices, |slice| &slice.permits)? } else { Spoken::new() };
        Ok(self.sum(call, &spoken, &permits))
    }

    fn does(&self, number: usize) -> Option<&Does> {
        self.inner.clauses.get(number).map(|clause| &clause.does)
    }

    fn evaluate(&self, call: &Call<'_>, slices: &[&Slice], part: fn(&Slice) -> &Part) -> Result<Spoken, Error> {
        let parts: Vec<&Part> =
            slices.iter().map(|slice| part(slice)).filter(|part| !part.numbers.is_empty()).collect();
        let mut spoken = Spoken::new();
        if parts.is_empty() {
            return Ok(spoken);
        }
        let needs: Vec<_> = parts.iter().map(|part| &part.needs).collect();
        let question = question(call, &self.inner.types, &needs)?;
        for part in parts {
            let response = self.inner.authorizer.is_authorized(&question.request, &part.policies, &question.entities);
            for id in response.diagnostics().reason() {
                spoken.insert(number(id)?, None);
            }
            for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
                spoken.insert(number(error.policy_id())?, Some(error.inner().to_string()));
            }
            if !question.unfit.is_empty() || question.timeless {
                for number in &part.numbers {
                    let why = self.inner.clauses.get(*number).and_then(|clause| unfit(clause, &question));
                    spoken.extend(why.map(|why| (*number, Some(why))));
                }
            }
        }
        Ok(spoken)
    }

    fn sum(&self, call: &Call<'_>, spoken: &Spoken, permits: &Spoken) -> Decision {
        let clause = |number: &usize| self.inner.clauses.get(*number);
        let (mut reasons, mut shadow) = (Vec::new(), Vec::new());
        let questions: BTreeSet<&Name> = (spoken.iter())
            .filter(|(_, failed)| failed.is_none())
            .filter_map(|(number, _)| clause(number))
            .filter(|clause| matches!(clause.does, Does::Ask(_)))
            .map(|clause| &clause.name)
            .collect();
        let mut released: BTreeSet<&Name> = BTreeSet::new();
        let mut rumoured: BTreeSet<&Name> = BTreeSet::new();
        for permit in permits.iter().filter(|(_, failed)| failed.is_none()).filter_map(|(number, _)| clause(number)) {
            let Does::Release(names) = &permit.does else { continue };
            let answered: Vec<&Name> = names.iter().filter(|name| questions.contains(name)).collect();
            if answered.is_empty() {
                continue;
            }
            let reason = words::reason(permit, Outcome::Allow, None, call);
            if permit.shadow {
                shadow.push(reason);
                rumoured.extend(answered);
            } else {
                reasons.push(reason);
                released.extend(answered);
            }
        }
        let mut terms: Option<Ask> = None;
        for (number, failed) in spoken {
            let Some(clause) = clause(number) else { continue };
            let is_released = failed.is_none()
                && (released.contains(&clause.name) || (clause.shadow && rumoured.contains(&clause.name)));
            let outcome = match &clause.does {
                Does::Deny => Outcome::Deny,
                Does::Ask(_) if is_released => continue,
                Does::Ask(ask) => {
                    if !clause.shadow {
                        terms = Some(terms.map_or_else(|| ask.clone(), |terms| terms.merge(ask)));
                    }
                    Outcome::Ask
                }
                Does::Release(_) => continue,
            };
            let list = if clause.shadow { &mut shadow } else { &mut reasons };
            list.push(words::reason(clause, outcome, failed.as_deref(), call));
        }
        for list in [&mut reasons, &mut shadow] {
            list.sort_by_key(|reason: &Reason| Reverse(reason.outcome));
        }
        let outcome = reasons.iter().map(|reason| reason.outcome).max().unwrap_or(Outcome::Allow);
        Decision {
            outcome,
            reasons,
            ask: terms.filter(|_| outcome == Outcome::Ask),
            origins: Vec::new(),
            shadow,
            flip: None,
            policies: self.inner.digest.clone(),
        }
    }

    /// The same set with one policy more, which is not checked against tools.
    pub fn with(&self, policy: Policy) -> Result<Self, Error> {
        let more =
            parse::clauses((&policy.name, policy.revision), &policy.spec).map_err(|faults| Error::Policy { faults })?;
        let mut policies = self.inner.policies.clone();
        let mut clauses: Vec<Clause> =
            self.inner.clauses.iter().filter(|clause| clause.name.policy != policy.name).cloned().collect();
        policies.retain(|known| known.name != policy.name);
        policies.push(policy);
        clauses.extend(more);
        Self::unchecked(policies, clauses)
    }
}

/// Why a clause that looks at something without a form in Cedar stands closed.
fn unfit(clause: &Clause, question: &Question) -> Option<String> {
    if question.timeless && clause.needs.members.has("time") {
        return Some("the time is out of range".to_owned());
    }
    let (name, why) = question.unfit.iter().find(|(name, _)| clause.needs.args.has(name))?;
    Some(format!("argument `{name}`: {why}"))
}

fn number(id: &cedar_policy::PolicyId) -> Result<usize, Error> {
    let text: &str = id.as_ref();
    text.parse().map_err(|error| undecided(&error))
}

fn digest_of(policies: &[Policy]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    for policy in policies {
        part(&policy.name);
        part(&policy.revision.to_string());
        part(if policy.spec.mode == super::Mode::Shadow { "shadow" } else { "enforce" });
        part(&policy.spec.cedar);
    }
    hex(&context.finish())
}

pub(super) fn hex(hash: &digest::Digest) -> String {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.as_ref());
    nx_types::Digest(bytes).to_string()
}
