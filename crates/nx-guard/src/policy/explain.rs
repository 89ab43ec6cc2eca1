//! What decided, which values mattered and where they are in the journal, and what would change the outcome.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{ask, context::named, monotone::UNTRUSTED};
use crate::decision::{Decision, Evidence, Flip, Outcome, Reason, Standing};

/// A decision, explained. Its text is for people; its JSON has the same content.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The tool that was to be called.
    pub tool: String,
    /// What may happen.
    pub outcome: Outcome,
    /// The clauses that spoke, the strictest first, each with the values that it looked at.
    pub clauses: Vec<Spoke>,
    /// The terms, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// The smallest change of labels found that changes the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<Flip>,
    /// What clauses in shadow mode would have decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Spoke>,
    /// Digest of the policies that were asked.
    pub policies: String,
}

/// A clause that spoke.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spoke {
    /// What it said.
    #[serde(flatten)]
    pub reason: Reason,
    /// The values that mattered.
    pub values: Vec<Mattered>,
}

/// A value that mattered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mattered {
    /// The place in the arguments.
    pub pointer: String,
    /// How it stands.
    pub standing: Standing,
    /// The sources of its label.
    pub sources: BTreeSet<String>,
    /// Where it was found, with the journal's entries.
    pub evidence: Vec<Evidence>,
}

/// Explains a decision about a call of this tool.
pub fn explain(tool: &str, decision: &Decision) -> Explanation {
    let spoke = |reason: &Reason| {
        let values = (reason.pointers.iter())
            .filter_map(|pointer| decision.origins.iter().find(|origin| origin.pointer == *pointer))
            .map(|origin| Mattered {
                pointer: origin.pointer.clone(),
                standing: origin.standing,
                sources: origin.sources.clone(),
                evidence: origin.evidence.clone(),
            })
            .collect();
        Spoke { reason: reason.clone(), values }
    };
    Explanation {
        tool: tool.to_owned(),
        outcome: decision.outcome,
        clauses: decision.reasons.iter().map(spoke).collect(),
        asks: decision.ask.as_ref().map(ask::words),
        flip: decision.flip.clone(),
        shadow: decision.shadow.iter().map(spoke).collect(),
        policies: decision.policies.clone(),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allow => "ALLOW",
        Outcome::Ask => "ASK",
        Outcome::Deny => "DENY",
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Reference | Standing::Trusted => "trusted",
        Standing::Request => "asked for",
        Standing::Own => "the model's own",
        Standing::Ambiguous => "trusted, and named by something untrusted",
        Standing::Context => "stands nowhere, after something untrusted was read",
        Standing::Untrusted => "untrusted",
    }
}

/// `/iban` as `iban`, `/items/0/to` as `items/0/to`.
fn place(pointer: &str) -> String {
    pointer.strip_prefix('/').map_or_else(|| named(pointer), str::to_owned)
}

/// `mail m_88 "/body"`.
fn found(value: &Mattered) -> String {
    let Some(evidence) = value.evidence.first() else {
        let sources: Vec<&str> = value.sources.iter().map(|source| bare(source)).collect();
        return if sources.is_empty() { "nowhere".to_owned() } else { sources.join(", ") };
    };
    let source = bare(&evidence.source).replacen('/', " ", 1);
    let pointer = if evidence.pointer.is_empty() { String::new() } else { format!(" \"{}\"", evidence.pointer) };
    format!("{source}{pointer}")
}

fn bare(source: &str) -> &str {
    source.strip_prefix(UNTRUSTED).unwrap_or(source)
}

fn write_spoke(f: &mut fmt::Formatter<'_>, tool: &str, spoke: &Spoke, mark: &str) -> fmt::Result {
    let reason = &spoke.reason;
    let word = word(reason.outcome);
    if reason.failed || spoke.values.is_empty() {
        return writeln!(f, "{mark}{word} {tool}, rule {} ({}): {}", reason.clause, reason.policy, reason.text);
    }
    for value in &spoke.values {
        let (place, found, how) = (place(&value.pointer), found(value), standing(value.standing));
        let event = value.evidence.first().and_then(|evidence| evidence.event);
        let event = event.map(|event| format!("; event {event} of the run")).unwrap_or_default();
        writeln!(
            f,
            "{mark}{word} {tool}.{place} ← {found} ({how}{event}), rule {} ({})",
            reason.clause, reason.policy
        )?;
    }
    Ok(())
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clauses.is_empty() {
            writeln!(f, "{} {}: no rule speaks against it", word(self.outcome), self.tool)?;
        }
        for spoke in &self.clauses {
            write_spoke(f, &self.tool, spoke, "")?;
        }
        if let Some(asks) = &self.asks {
            writeln!(f, "released by: {asks}")?;
        }
        if let Some(flip) = &self.flip {
            let changes = flip.changes.iter().map(|(pointer, source)| format!("{} came from {source}", place(pointer)));
            let then = if flip.outcome == Outcome::Allow { "would pass if" } else { "would only ask if" };
            writeln!(f, "{then}: {}", changes.collect::<Vec<_>>().join(" and "))?;
        }
        for spoke in &self.shadow {
            write_spoke(f, &self.tool, spoke, "in shadow: ")?;
        }
        Ok(())
    }
}
