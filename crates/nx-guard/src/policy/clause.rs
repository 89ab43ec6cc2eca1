//! One clause: what Cedar evaluates, whom and what it is about, and what its annotations say.

use std::{collections::BTreeMap, fmt};

use cedar_policy::{
    Effect, Policy,
    pst::{self, ActionConstraint, EntityOrSlot, EntityUID, PrincipalConstraint},
};
use nx_types::kind::nearest;

use super::{ask, expr::Needs, lex::Places, monotone};
use crate::decision::Ask;

/// Longest `@id`, in bytes.
const MAX_ID_BYTES: usize = 128;
/// The annotations that are known.
const ANNOTATIONS: [&str; 4] = ["id", "reason", "ask", "releases"];
/// The types of entities that clauses may name, as written.
const TYPES: [&str; 6] = ["User", "Role", "Agent", "Source", "Tool", "Toolset"];

/// A clause's full name: `refunds/over-limit`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) policy: String,
    pub(super) clause: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.policy, self.clause)
    }
}

/// Which calls a clause's scope takes in, by their tool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Any,
    Tool(String),
    Toolset(String),
}

/// Which principals it takes in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    Any,
    User(String),
    Role(String),
}

/// What a clause does when its condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Does {
    /// The call may not be made.
    Deny,
    /// A person must release it.
    Ask(Ask),
    /// These clauses need not be asked about.
    Release(Vec<Name>),
}

/// A clause.
#[derive(Debug, Clone)]
pub(super) struct Clause {
    pub(super) name: Name,
    /// The policy with its revision: `refunds@4`.
    pub(super) versioned: String,
    pub(super) shadow: bool,
    pub(super) does: Does,
    /// The clause's `@reason`.
    pub(super) reason: Option<String>,
    pub(super) about: Vec<About>,
    pub(super) whom: Whom,
    pub(super) needs: Needs,
    /// The expression for which it cannot be shown that less trust never makes it laxer.
    pub(super) doubt: Option<String>,
    pub(super) policy: Policy,
    pub(super) places: Places,
}

/// Reads a parsed clause, or says all that is wrong with it.
pub(super) fn read(policy: Policy, (name, revision): (&str, u64), places: Places) -> Result<Clause, Vec<String>> {
    let body = match policy.to_pst() {
        Ok(pst) => pst.body().clone(),
        Err(error) => return Err(vec![error.to_string()]),
    };
    let mut wrong = Vec::new();
    let annotations: BTreeMap<&str, &str> =
        body.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    for unknown in annotations.keys().filter(|key| !ANNOTATIONS.contains(key)) {
        let near = nearest(unknown, ANNOTATIONS).unwrap_or_default();
        wrong.push(format!("unknown annotation `@{unknown}`; the nearest is `@{near}`"));
    }
    let id = annotations.get("id").copied().unwrap_or_default();
    if !is_id(id) {
        wrong.push(format!("a clause needs an `@id(\"…\")` of 1 to {MAX_ID_BYTES} letters, digits, `-`, `_` and `.`"));
    }
    let forbid = policy.effect() == Effect::Forbid;
    let does = match does(forbid, &annotations) {
        Ok(does) => does,
        Err(more) => {
            wrong.extend(more);
            Does::Deny
        }
    };
    let needs = Needs::of(body.clauses());
    for (kind, id) in &needs.entities {
        wrong.extend(known(kind, id));
    }
    let about = about(&body.action, &mut wrong);
    let whom = whom(&body.principal, &mut wrong);
    agent(&body.resource, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let doubt = monotone::check(forbid, body.clauses()).err();
    Ok(Clause {
        name: Name { policy: name.to_owned(), clause: id.to_owned() },
        versioned: format!("{name}@{revision}"),
        shadow: false,
        does,
        reason: annotations.get("reason").map(|reason| (*reason).to_owned()),
        about,
        whom,
        needs,
        doubt,
        policy,
        places,
    })
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn does(forbid: bool, annotations: &BTreeMap<&str, &str>) -> Result<Does, Vec<String>> {
    match (forbid, annotations.get("ask"), annotations.get("releases")) {
        (true, None, None) => Ok(Does::Deny),
        (true, Some(terms), None) => ask::parse(terms).map(Does::Ask).map_err(|error| vec![error]),
        (false, None, Some(names)) => releases(names).map(Does::Release),
        (true, _, Some(_)) => Err(vec!["`@releases` belongs on a `permit`; a `forbid` releases nothing".to_owned()]),
        (false, Some(_), _) => Err(vec!["`@ask` belongs on a `forbid`: the call is forbidden until a person releases it".to_owned()]),
        (false, None, None) => Err(vec![
            "a `permit` changes nothing here, for what is not forbidden is permitted; write `forbid (…) unless { … }`, or name \
             with `@releases(\"policy/clause\")` the question that it answers"
                .to_owned(),
        ]),
    }
}

fn releases(text: &str) -> Result<Vec<Name>, Vec<String>> {
    let names = text.split(',').map(str::trim).map(|name| match name.split_once('/') {
        Some((policy, clause)) if !policy.is_empty() && is_id(clause) => {
            Ok(Name { policy: policy.to_owned(), clause: clause.to_owned() })
        }
        _ => Err(vec![format!("`{name}` in `@releases` must be a policy and a clause: `refunds/over-limit`")]),
    });
    names.collect()
}

/// What is wrong with an entity that a condition names.
fn known(kind: &str, id: &str) -> Option<String> {
    let written = super::lex::unwritten(kind);
    if TYPES.contains(&written.as_str()) {
        return None;
    }
    if written == "Action" {
        return Some(format!("write `Tool::\"{id}\"`, not `Action::\"{id}\"`"));
    }
    let near = nearest(&written, TYPES).unwrap_or_default();
    Some(format!("there is no entity type `{written}`; the nearest is `{near}`"))
}

fn about(action: &ActionConstraint, wrong: &mut Vec<String>) -> Vec<About> {
    let (list, equal) = match action {
        ActionConstraint::Any => return vec![About::Any],
        ActionConstraint::Eq(uid) => (std::slice::from_ref(uid), true),
        ActionConstraint::In(list) => (list.as_slice(), false),
    };
    let mut about = Vec::new();
    for uid in list {
        let id = uid.eid.to_string();
        match (uid.ty.to_string().as_str(), equal) {
            ("Tool::Action", _) => about.push(About::Tool(id)),
            ("Toolset::Action", false) => about.push(About::Toolset(id)),
            ("Toolset::Action", true) => {
                wrong.push(format!("no tool is a toolset; write `action in Toolset::\"{id}\"`"));
            }
            (kind, _) => wrong
                .extend(known(kind, &id).or_else(|| Some(format!("an action is a Tool or a Toolset, not `{kind}`")))),
        }
    }
    about
}

fn whom(principal: &PrincipalConstraint, wrong: &mut Vec<String>) -> Whom {
    let mut user = |kind: &pst::EntityType| {
        if kind.to_string() != "User" {
            wrong.push(format!("a principal is a User, not `{kind}`; for roles write `principal in Role::\"lead\"`"));
        }
        Whom::Any
    };
    match principal {
        PrincipalConstraint::Any => Whom::Any,
        PrincipalConstraint::Is(kind) => user(kind),
        PrincipalConstraint::Eq(EntityOrSlot::Entity(uid)) => match user(&uid.ty) {
            Whom::Any => Whom::User(uid.eid.to_string()),
            other => other,
        },
        PrincipalConstraint::IsIn(kind, EntityOrSlot::Entity(uid)) => {
            user(kind);
            inside(uid, wrong)
        }
        PrincipalConstraint::In(EntityOrSlot::Entity(uid)) => inside(uid, wrong),
        // Slots stand in templates, which do not get here.
        _ => Whom::Any,
    }
}

fn inside(uid: &EntityUID, wrong: &mut Vec<String>) -> Whom {
    let id = uid.eid.to_string();
    match uid.ty.to_string().as_str() {
        "User" => Whom::User(id),
        "Role" => Whom::Role(id),
        kind => {
            wrong.push(format!("a principal is in a Role, not in `{kind}`"));
            Whom::Any
        }
    }
}

fn agent(resource: &pst::ResourceConstraint, wrong: &mut Vec<String>) {
    let kind = match resource {
        pst::ResourceConstraint::Eq(EntityOrSlot::Entity(uid))
        | pst::ResourceConstraint::In(EntityOrSlot::Entity(uid)) => &uid.ty,
        pst::ResourceConstraint::Is(kind) | pst::ResourceConstraint::IsIn(kind, _) => kind,
        _ => return,
    };
    if kind.to_string() != "Agent" {
        wrong.push(format!("a resource is an Agent, not `{kind}`; write `resource == Agent::\"triage\"`"));
    }
}
