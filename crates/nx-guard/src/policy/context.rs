//! A call as Cedar sees it: principal, tool and agent as entities, and a context with what the clauses that are asked look
//! at, and no more: a call may carry a megabyte.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use serde_json::Value;

use super::{
    expr::{Names, Needs},
    shape::{self, Shape},
    value,
};
use crate::{
    Error,
    call::{Call, argument},
    decision::{Origin, Standing},
};

/// The name that an argument has where the arguments are no object: a text that leaves the run.
pub(super) const TEXT: &str = "text";

/// The types of entities, read once.
#[derive(Debug, Clone)]
pub(super) struct Types {
    user: EntityTypeName,
    role: EntityTypeName,
    agent: EntityTypeName,
    source: EntityTypeName,
    tool: EntityTypeName,
    toolset: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Self, Error> {
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|error| undecided(&error));
        Ok(Self {
            user: name("User")?,
            role: name("Role")?,
            agent: name("Agent")?,
            source: name("Source")?,
            tool: name("Tool::Action")?,
            toolset: name("Toolset::Action")?,
        })
    }
}

/// What Cedar is asked about.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) entities: Entities,
    /// Arguments that have no form in Cedar, and why. A clause that looks at one stands closed.
    pub(super) unfit: BTreeMap<String, String>,
    /// The time has no form in Cedar.
    pub(super) timeless: bool,
}

/// An error of Cedar's.
pub(super) fn undecided(error: &dyn std::fmt::Display) -> Error {
    Error::Undecided { reason: error.to_string() }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// The toolset of a tool: what stands before the first `/`.
pub(super) fn toolset(tool: &str) -> Option<&str> {
    tool.split_once('/').map(|(toolset, _)| toolset)
}

/// Puts a call to Cedar, for clauses that look at `needs`.
pub(super) fn question(call: &Call<'_>, types: &Types, needs: &[&Needs]) -> Result<Question, Error> {
    let mut builder = Builder { call, types, needs, unfit: BTreeMap::new(), timeless: false };
    let members = builder.members()?;
    let (principal, entities) = builder.entities()?;
    let context = Context::from_pairs(members).map_err(|error| undecided(&error))?;
    let action = uid(&types.tool, &call.tool.name);
    let agent = uid(&types.agent, &call.facts.agent);
    let request = Request::new(principal, action, agent, context, None).map_err(|error| undecided(&error))?;
    Ok(Question { request, entities, unfit: builder.unfit, timeless: builder.timeless })
}

struct Builder<'a> {
    call: &'a Call<'a>,
    types: &'a Types,
    needs: &'a [&'a Needs],
    unfit: BTreeMap<String, String>,
    timeless: bool,
}

type Members = Vec<(String, RestrictedExpression)>;

impl Builder<'_> {
    fn wants(&self, member: &str) -> bool {
        self.needs.iter().any(|needs| needs.members.has(member))
    }

    fn members(&mut self) -> Result<Members, Error> {
        let mut members = Members::new();
        let call = self.call;
        if self.needs.iter().any(|needs| !needs.args.is_none()) {
            members.push(("args".to_owned(), record(self.args())?));
        }
        if self.needs.iter().any(|needs| !needs.from.is_none()) {
            members.push(("from".to_owned(), record(self.from())?));
        }
        for (name, within) in [("sinks", self.sinks()), ("scores", self.scores())] {
            if !within.is_empty() {
                members.push((name.to_owned(), record(within)?));
            }
        }
        for (name, is) in
            [("acts", call.acts()), ("asked", call.traced.asked), ("leaks", call.leaks()), ("named", call.traced.named)]
        {
            if self.wants(name) {
                members.push((name.to_owned(), RestrictedExpression::new_bool(is)));
            }
        }
        if self.wants("approvals") {
            members.push(("approvals".to_owned(), RestrictedExpression::new_long(call.facts.approvals.into())));
        }
        let name = call.tool.name.as_str();
        for (member, text) in
            [("tool", name), ("toolset", toolset(name).unwrap_or_default()), ("effect", call.tool.effect.as_str())]
        {
            if self.wants(member) {
                members.push((member.to_owned(), RestrictedExpression::new_string(text.to_owned())));
            }
        }
        if self.wants("time") {
            match time(call) {
                Some(time) => members.push(("time".to_owned(), RestrictedExpression::new_datetime(time))),
                None => self.timeless = true,
            }
        }
        Ok(members)
    }

    fn args(&mut self) -> Members {
        let mut members = Members::new();
        let call = self.call;
        let mut add = |name: &str, value: &Value| {
            if !self.needs.iter().any(|needs| needs.args.has(name)) {
                return;
            }
            // The declared type says what a number is; of other values it says nothing.
            let shape = if value.is_string() { Shape::Open } else { shape::argument(call.tool, name) };
            match value::cedar(value, &shape) {
                Ok(Some(value)) => members.push((name.to_owned(), value)),
                Ok(None) => {}
                Err(why) => {
                    self.unfit.insert(name.to_owned(), why);
                }
            }
        };
        match &call.traced.args {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| add(name, value)),
            other => add(TEXT, other),
        }
        members
    }

    /// Names of arguments by how they stand. Each set holds what stands worse as well: else an argument that falls from
    /// ambiguous to untrusted would leave a set that a clause looks at, and the clause would let it through.
    fn sinks(&self) -> Members {
        // Without a least standing: what the request does not say, or something untrusted says as well.
        let sets = [
            ("sinks.untrusted", Some(Standing::Untrusted)),
            ("sinks.unclear", Some(Standing::Context)),
            ("sinks.ambiguous", Some(Standing::Ambiguous)),
            ("sinks.chosen", None),
        ];
        let mut members = Members::new();
        for (name, least) in sets {
            if self.wants(name) {
                let falls =
                    |origin: &Origin| least.map_or_else(|| !origin.is_named(), |least| origin.standing >= least);
                let origins = self.call.traced.origins.iter().filter(|origin| origin.sink && falls(origin));
                let names: BTreeSet<Cow<'_, str>> = origins.map(|origin| named(&origin.pointer)).collect();
                let names = names.into_iter().map(|name| RestrictedExpression::new_string(name.into_owned()));
                members.push((last(name), RestrictedExpression::new_set(names)));
            }
        }
        members
    }

    fn scores(&self) -> Members {
        let scores = self.call.facts.scores;
        [
            ("scores.injection", scores.injection),
            ("scores.takeover", scores.takeover),
            ("scores.pii", scores.pii),
            ("scores.secrets", scores.secrets),
        ]
        .into_iter()
        .filter(|(name, _)| self.wants(name))
        .map(|(name, score)| (last(name), RestrictedExpression::new_long(score.into())))
        .collect()
    }

    /// The sources of each argument that is looked at. One that is declared, or that a sink names, is there even if it is
    /// not passed.
    fn from(&self) -> Members {
        let wanted = |name: &str| self.needs.iter().any(|needs| needs.from.has(name));
        let mut from: BTreeMap<Cow<'_, str>, BTreeSet<&str>> = BTreeMap::new();
        if self.needs.iter().any(|needs| needs.from == Names::All) {
            from.extend(shape::names(self.call.tool).into_iter().map(|name| (Cow::Borrowed(name), BTreeSet::new())));
        }
        for name in self.needs.iter().flat_map(|needs| needs.from.iter()) {
            if shape::is_name(self.call.tool, name) {
                from.insert(Cow::Borrowed(name), BTreeSet::new());
            }
        }
        for origin in &self.call.traced.origins {
            let name = named(&origin.pointer);
            if wanted(&name) {
                from.entry(name).or_default().extend(origin.sources.iter().map(String::as_str));
            }
        }
        let source = |id: &str| RestrictedExpression::new_entity_uid(uid(&self.types.source, id));
        from.into_iter()
            .map(|(name, sources)| (name.into_owned(), RestrictedExpression::new_set(sources.into_iter().map(source))))
            .collect()
    }

    fn entities(&self) -> Result<(EntityUid, Entities), Error> {
        let (call, types) = (self.call, self.types);
        let principal = uid(&types.user, &call.facts.principal);
        if !self.needs.iter().any(|needs| needs.graph) {
            return Ok((principal, Entities::empty()));
        }
        let roles: HashSet<EntityUid> = call.facts.roles.iter().map(|role| uid(&types.role, role)).collect();
        let names = call.facts.roles.iter().map(|role| RestrictedExpression::new_string(role.clone()));
        let attributes = HashMap::from([("roles".to_owned(), RestrictedExpression::new_set(names))]);
        let person = Entity::new(principal.clone(), attributes, roles).map_err(|error| undecided(&error))?;
        let toolset = toolset(&call.tool.name).map(|toolset| uid(&types.toolset, toolset));
        let tool = Entity::new_no_attrs(uid(&types.tool, &call.tool.name), toolset.into_iter().collect());
        let entities = Entities::from_entities([person, tool], None).map_err(|error| undecided(&error))?;
        Ok((principal, entities))
    }
}

/// The name of the argument that a pointer lies in.
pub(super) fn named(pointer: &str) -> Cow<'_, str> {
    match pointer.split('/').nth(1) {
        None => Cow::Borrowed(TEXT),
        Some(name) if name.contains('~') => Cow::Owned(argument(pointer)),
        Some(name) => Cow::Borrowed(name),
    }
}

/// `untrusted` of `sinks.untrusted`.
fn last(name: &str) -> String {
    name.split_once('.').map_or(name, |(_, last)| last).to_owned()
}

fn record(members: Members) -> Result<RestrictedExpression, Error> {
    RestrictedExpression::new_record(members).map_err(|error| undecided(&error))
}

/// The time in Cedar's form, to the millisecond.
fn time(call: &Call<'_>) -> Option<String> {
    let text = call.facts.now.to_string();
    let millis = text.get(..23).filter(|_| text.len() == "2026-05-04T03:02:01.000000Z".len())?;
    Some(format!("{millis}Z"))
}
