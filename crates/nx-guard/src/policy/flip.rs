//! The smallest change of labels that would change an outcome: each argument in doubt is given each source that the clauses
//! name, one argument first, then two.

use std::collections::BTreeSet;

use super::{PolicySet, context::named, monotone::UNTRUSTED};
use crate::{
    Error,
    call::Call,
    decision::{Decision, Flip, Origin, Outcome, Standing},
    guard::REQUEST,
    origin::Traced,
};

/// Most arguments that are changed in turn.
const MAX_ARGUMENTS: usize = 8;
/// Most sources that are tried for each.
const MAX_SOURCES: usize = 8;
/// Most decisions that are made again.
const MAX_TRIALS: usize = 1000;

/// An argument, and the source that it is given.
type Given<'a> = (&'a str, &'a str);

impl PolicySet {
    /// The smallest change of labels found that makes the outcome laxer; of two as small, the one that allows. `None` for
    /// what is allowed, and where no change of one or two arguments helps.
    pub fn flip(&self, call: &Call<'_>, decision: &Decision) -> Result<Option<Flip>, Error> {
        if decision.outcome == Outcome::Allow {
            return Ok(None);
        }
        let arguments = arguments(call, decision);
        let sources = self.candidates(call);
        let single: Vec<Given<'_>> = arguments
            .iter()
            .flat_map(|name| sources.iter().map(move |source| (name.as_str(), source.as_str())))
            .collect();
        let mut trials = 0;
        let pairs = single.iter().enumerate().flat_map(|(n, first)| {
            single.iter().skip(n + 1).filter(move |second| first.0 != second.0).map(move |second| vec![*first, *second])
        });
        let rounds: [Box<dyn Iterator<Item = Vec<Given<'_>>> + '_>; 2] =
            [Box::new(single.iter().map(|change| vec![*change])), Box::new(pairs)];
        for round in rounds {
            let mut asks = None;
            for changes in round {
                trials += 1;
                if trials > MAX_TRIALS {
                    break;
                }
                let traced = changes.iter().fold(call.traced.clone(), changed);
                let outcome = self.decide(&Call { traced: &traced, ..*call })?.outcome;
                let flip = || Flip {
                    outcome,
                    changes: changes.iter().map(|(name, source)| (pointer(name), (*source).to_owned())).collect(),
                };
                if outcome == Outcome::Allow {
                    return Ok(Some(flip()));
                }
                if outcome < decision.outcome && asks.is_none() {
                    asks = Some(flip());
                }
            }
            if asks.is_some() {
                return Ok(asks);
            }
        }
        Ok(None)
    }

    /// Trusted sources that the clauses name, then the request.
    fn candidates(&self, call: &Call<'_>) -> Vec<String> {
        let named = self.sources(call);
        let trusted = named.into_iter().filter(|source| !source.starts_with(UNTRUSTED) && source != REQUEST);
        trusted.take(MAX_SOURCES - 1).chain([REQUEST.to_owned()]).collect()
    }
}

fn pointer(name: &str) -> String {
    format!("/{}", nx_types::json::escape(name))
}

/// The arguments in doubt: those that the clauses pointed at, then others that are not trusted.
fn arguments(call: &Call<'_>, decision: &Decision) -> Vec<String> {
    let pointed = decision.reasons.iter().flat_map(|reason| reason.pointers.iter().map(String::as_str));
    let doubtful =
        call.traced.origins.iter().filter(|origin| !origin.standing.is_trusted()).map(|origin| origin.pointer.as_str());
    let mut seen = BTreeSet::new();
    let names = pointed.chain(doubtful).map(|pointer| named(pointer).into_owned());
    names.filter(|name| seen.insert(name.clone())).take(MAX_ARGUMENTS).collect()
}

/// The arguments as if this one had come from that source.
fn changed(mut traced: Traced, (name, source): &Given<'_>) -> Traced {
    for origin in traced.origins.iter_mut().filter(|origin| named(&origin.pointer) == *name) {
        origin.standing = if *source == REQUEST { Standing::Request } else { Standing::Trusted };
        origin.sources = BTreeSet::from([(*source).to_owned()]);
        origin.readers = None;
        origin.evidence.clear();
    }
    traced.leaks.retain(|leak| named(&leak.pointer) != *name);
    traced.named = traced.origins.iter().any(Origin::is_named);
    traced
}
