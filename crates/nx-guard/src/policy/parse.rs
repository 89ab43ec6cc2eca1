//! From a policy's text to its clauses, or to all that is wrong with them, each at its place.

use std::collections::BTreeSet;

use cedar_policy::{ParseErrors, Policy, PolicyId};
use miette::Diagnostic;

use super::{
    MAX_CLAUSE_BYTES, MAX_CLAUSES, MAX_FAULTS, MAX_TEXT_BYTES,
    clause::{Clause, read},
    lex::{MAX_DEPTH, Piece, Places, line_column, pieces, unwritten},
    spec::{Mode, PolicySpec},
};
use crate::error::Fault;

/// The clauses of the policy of this name and revision, or all that is wrong.
pub(super) fn clauses(versioned: (&str, u64), spec: &PolicySpec) -> Result<Vec<Clause>, Vec<Fault>> {
    match readable(versioned, spec) {
        (clauses, faults) if faults.is_empty() => Ok(clauses),
        (_, faults) => Err(faults),
    }
}

/// The clauses that can be read, and all that is wrong with the others.
pub(super) fn readable((name, revision): (&str, u64), spec: &PolicySpec) -> (Vec<Clause>, Vec<Fault>) {
    let text = spec.cedar.as_str();
    let fault = |at: usize, clause: Option<&str>, message: String| {
        let (line, column) = line_column(text, at);
        Fault { policy: name.to_owned(), clause: clause.map(str::to_owned), line, column, message }
    };
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text is longer than {MAX_TEXT_BYTES} bytes; split the policy");
        return (Vec::new(), vec![fault(0, None, message)]);
    }
    let pieces = pieces(text, MAX_CLAUSES);
    if pieces.len() > MAX_CLAUSES {
        let message = format!("there are more than {MAX_CLAUSES} clauses; split the policy");
        return (Vec::new(), vec![fault(0, None, message)]);
    }
    let (mut clauses, mut faults, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for piece in &pieces {
        if faults.len() >= MAX_FAULTS {
            break;
        }
        if let Err(message) = bounded(piece) {
            faults.push(fault(piece.places.at, None, message));
            continue;
        }
        let policy = match Policy::parse(Some(PolicyId::new("clause")), &piece.cedar) {
            Ok(policy) => policy,
            Err(errors) => {
                faults.extend(
                    parse_errors(&errors, &piece.places).into_iter().map(|(at, message)| fault(at, None, message)),
                );
                continue;
            }
        };
        let id = policy.annotation("id").filter(|id| !id.is_empty()).map(str::to_owned);
        match read(policy, (name, revision), piece.places.clone()) {
            Ok(clause) if !seen.insert(clause.name.clause.clone()) => {
                let message = "another clause has the same `@id`; give each its own".to_owned();
                faults.push(fault(piece.places.at, id.as_deref(), message));
            }
            Ok(clause) => clauses.push(Clause { shadow: spec.mode == Mode::Shadow, ..clause }),
            Err(wrong) => {
                faults.extend(wrong.into_iter().map(|message| fault(piece.places.at, id.as_deref(), message)));
            }
        }
    }
    faults.truncate(MAX_FAULTS);
    (clauses, faults)
}

fn bounded(piece: &Piece<'_>) -> Result<(), String> {
    if piece.text.len() > MAX_CLAUSE_BYTES {
        return Err(format!("the clause is longer than {MAX_CLAUSE_BYTES} bytes; split it"));
    }
    if piece.depth > MAX_DEPTH {
        return Err(format!(
            "the clause nests deeper than {MAX_DEPTH}; write long `||` chains as `[…].contains(…)`, or split the clause"
        ));
    }
    Ok(())
}

/// Cedar's errors, each with its place in the policy's text.
fn parse_errors(errors: &ParseErrors, places: &Places) -> Vec<(usize, String)> {
    errors.iter().map(|error| diagnosed(error, places)).collect()
}

/// Cedar's error with its place in the policy's text.
pub(super) fn diagnosed(error: &dyn Diagnostic, places: &Places) -> (usize, String) {
    let label = error.labels().and_then(|mut labels| labels.next());
    let at = label.as_ref().map_or(places.at, |label| places.of(label.offset()));
    let hint = label.as_ref().and_then(|label| label.label()).map(|text| format!(": {text}")).unwrap_or_default();
    let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
    (at, unwritten(&format!("{error}{hint}{help}")))
}
