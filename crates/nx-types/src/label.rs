//! Labels: where a value came from, who may read it, what for. Joining is associative, commutative and idempotent.

use std::collections::BTreeSet;

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::id::LabelId;

/// The security label of a value. The default label is the trusted one: no sources, any reader, any purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Where it came from: `mail/m_88`, `shop/find_order`, … Union on join.
    #[serde(default)]
    pub sources: BTreeSet<String>,
    /// Who may read it; `None` is anyone. Intersection on join.
    #[serde(default)]
    pub readers: Option<BTreeSet<String>>,
    /// What it may be used for; `None` is anything. Intersection on join.
    #[serde(default)]
    pub purposes: Option<BTreeSet<String>>,
}

impl Label {
    /// Most sources that a label names; past this, sources widen to their class (`mail/*`).
    pub const MAX_SOURCES: usize = 64;

    /// A label with one source.
    pub fn from_source(source: impl Into<String>) -> Self {
        Self { sources: BTreeSet::from([source.into()]), ..Self::default() }
    }

    /// The label of a value made from both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self {
            sources: widen(self.sources.union(&other.sources).cloned().collect()),
            readers: meet(self.readers.as_ref(), other.readers.as_ref()),
            purposes: meet(self.purposes.as_ref(), other.purposes.as_ref()),
        }
    }

    /// The canonical form: JSON with sorted keys and sets, no blanks (RFC 8785 for this shape).
    pub fn canonical(&self) -> String {
        let list = |set: &BTreeSet<String>| serde_json::Value::from(set.iter().cloned().collect::<Vec<_>>());
        let open = |set: Option<&BTreeSet<String>>| set.map_or(serde_json::Value::Null, list);
        // serde_json's map is sorted by key unless `preserve_order` is on; the three keys are written in order anyway.
        format!(
            r#"{{"purposes":{},"readers":{},"sources":{}}}"#,
            open(self.purposes.as_ref()),
            open(self.readers.as_ref()),
            list(&self.sources)
        )
    }

    /// SHA-256 of the canonical form.
    pub fn id(&self) -> LabelId {
        let hash = digest::digest(&digest::SHA256, self.canonical().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        LabelId(bytes)
    }
}

/// Widening depends on the set alone, and a class absorbs its members, so that joins stay associative.
fn widen(mut sources: BTreeSet<String>) -> BTreeSet<String> {
    let classes: Vec<String> = sources.iter().filter(|source| source.ends_with("/*")).cloned().collect();
    for class in &classes {
        let stem = class.strip_suffix('*').unwrap_or(class);
        sources.retain(|source| source == class || !source.starts_with(stem));
    }
    if sources.len() <= Label::MAX_SOURCES {
        return sources;
    }
    sources
        .into_iter()
        .map(|source| match source.split_once('/') {
            Some((class, _)) => format!("{class}/*"),
            None => source,
        })
        .collect()
}

fn meet(a: Option<&BTreeSet<String>>, b: Option<&BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match (a, b) {
        (None, other) | (other, None) => other.cloned(),
        (Some(a), Some(b)) => Some(a.intersection(b).cloned().collect()),
    }
}
