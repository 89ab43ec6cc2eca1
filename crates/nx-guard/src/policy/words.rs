//! Decisions in words.

use std::collections::BTreeSet;

use super::{
    clause::{Clause, Does},
    context::named,
    expr::Needs,
    monotone::UNTRUSTED,
};
use crate::{
    call::Call,
    decision::{Origin, Outcome, Reason, Standing},
};

/// Most places that one reason names.
const MAX_POINTERS: usize = 16;
/// Most places that a text names.
const MAX_NAMED: usize = 3;

/// What a clause said, and why.
pub(super) fn reason(clause: &Clause, outcome: Outcome, failed: Option<&str>, call: &Call<'_>) -> Reason {
    let pointers = pointers(&clause.needs, call);
    let text = match (&clause.reason, failed) {
        (_, Some(why)) => format!("the clause cannot be evaluated, so it stands closed: {why}"),
        (Some(reason), None) => reason.clone(),
        (None, None) => made(clause, &pointers, call),
    };
    Reason {
        policy: clause.versioned.clone(),
        clause: clause.name.clause.clone(),
        outcome,
        text,
        pointers,
        failed: failed.is_some(),
    }
}

/// The places in the arguments that a clause looked at: of those whose labels it looked at, the ones without trust first.
fn pointers(needs: &Needs, call: &Call<'_>) -> Vec<String> {
    let traced = call.traced;
    let mut found: Vec<&str> = Vec::new();
    if needs.members.has_within("sinks") {
        found.extend(
            traced
                .origins
                .iter()
                .filter(|origin| origin.sink && !origin.standing.is_trusted())
                .map(|origin| origin.pointer.as_str()),
        );
    }
    if needs.members.has("leaks") {
        found.extend(traced.leaks.iter().map(|leak| leak.pointer.as_str()));
    }
    for trusted in [false, true] {
        let of = traced
            .origins
            .iter()
            .filter(|origin| origin.standing.is_trusted() == trusted && needs.from.has(&named(&origin.pointer)));
        found.extend(of.map(|origin| origin.pointer.as_str()));
    }
    found.extend(
        traced
            .origins
            .iter()
            .filter(|origin| needs.args.has(&named(&origin.pointer)))
            .map(|origin| origin.pointer.as_str()),
    );
    let mut seen = BTreeSet::new();
    found.into_iter().filter(|pointer| seen.insert(*pointer)).take(MAX_POINTERS).map(str::to_owned).collect()
}

fn made(clause: &Clause, pointers: &[String], call: &Call<'_>) -> String {
    let about_labels = !clause.needs.from.is_none() || clause.needs.members.has_within("sinks");
    let stands: Vec<String> = (pointers.iter())
        .filter_map(|pointer| call.traced.origins.iter().find(|origin| origin.pointer == *pointer))
        .take(MAX_NAMED)
        .map(stands)
        .collect();
    if about_labels && !stands.is_empty() {
        return stands.join("; ");
    }
    match clause.does {
        Does::Deny => format!("{} forbids it", clause.name),
        Does::Ask(_) => format!("{} wants a person to release it", clause.name),
        Does::Release(_) => format!("{} releases it", clause.name),
    }
}

/// Where a value came from, in words.
fn stands(origin: &Origin) -> String {
    let name = origin.pointer.strip_prefix('/').unwrap_or("the text");
    let from = origin.evidence.first().map_or_else(|| sources(origin), |evidence| evidence.source.clone());
    match origin.standing {
        Standing::Reference | Standing::Trusted => format!("`{name}` is from {from}"),
        Standing::Request => format!("`{name}` is from the request"),
        Standing::Own => format!("`{name}` is the model's own"),
        Standing::Ambiguous => format!("`{name}` is from {from}, and something untrusted names it too"),
        Standing::Context => format!("`{name}` stands nowhere, and something untrusted was read"),
        Standing::Untrusted => format!("`{name}` is from {from}, which nobody vouches for"),
    }
}

fn sources(origin: &Origin) -> String {
    let names: Vec<&str> =
        origin.sources.iter().map(|source| source.strip_prefix(UNTRUSTED).unwrap_or(source)).take(MAX_NAMED).collect();
    if names.is_empty() { "an unknown source".to_owned() } else { names.join(", ") }
}
