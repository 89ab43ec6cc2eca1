//! Labels: where a value came from, who may read it, what for. Joining is associative, commutative and idempotent.

use std::{collections::BTreeSet, fmt, ops::Deref, sync::Arc};

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::id::LabelId;

/// The security label of a value. The default label is the trusted one: no sources, any reader, any purpose. A source that
/// nobody vouches for stands under [`Label::UNTRUSTED`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Where it came from: `shop/find_order`, `untrusted/mail/m_88`, … Union on join.
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
    /// Most sources that a label names; past this, all widen to their class (`shop/*`, `untrusted/mail/*`).
    pub const MAX_SOURCES: usize = 64;
    /// What the names of sources begin with that nobody vouches for.
    pub const UNTRUSTED: &str = "untrusted/";

    /// A label with one source.
    pub fn from_source(source: impl Into<String>) -> Self {
        Self { sources: BTreeSet::from([source.into()]), ..Self::default() }
    }

    /// A label with one source that nobody vouches for.
    pub fn untrusted(source: &str) -> Self {
        Self::from_source(format!("{}{source}", Self::UNTRUSTED))
    }

    /// Whether somebody vouches for each of its sources.
    pub fn is_trusted(&self) -> bool {
        !self.sources.iter().any(|source| source.starts_with(Self::UNTRUSTED))
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

/// A set with more than [`Label::MAX_SOURCES`] widens as a whole, and so does one with a class in it: then the order of
/// joins does not show, and they stay associative.
fn widen(sources: BTreeSet<String>) -> BTreeSet<String> {
    let widened = sources.iter().any(|source| source.ends_with("/*"));
    if sources.len() <= Label::MAX_SOURCES && !widened {
        return sources;
    }
    sources.into_iter().map(class).collect()
}

/// `shop/find_order` is of the class `shop/*`, `untrusted/mail/m_88` of `untrusted/mail/*`.
fn class(source: String) -> String {
    let plain = source.strip_prefix(Label::UNTRUSTED).unwrap_or(&source);
    let prefix = source.len() - plain.len();
    match plain.find('/').and_then(|at| source.get(..=prefix + at)) {
        Some(stem) => format!("{stem}*"),
        None => source,
    }
}

fn meet(a: Option<&BTreeSet<String>>, b: Option<&BTreeSet<String>>) -> Option<BTreeSet<String>> {
    match (a, b) {
        (None, other) | (other, None) => other.cloned(),
        (Some(a), Some(b)) => Some(a.intersection(b).cloned().collect()),
    }
}

/// A label with its id, shared by all values that carry it.
#[derive(Clone)]
pub struct SharedLabel(Arc<(Label, LabelId)>);

impl SharedLabel {
    /// Shares a label.
    pub fn new(label: Label) -> Self {
        let id = label.id();
        Self(Arc::new((label, id)))
    }

    /// The digest of its canonical form, computed once.
    pub fn id(&self) -> LabelId {
        self.0.1
    }

    /// The label of a value made from both; one of the two itself, where it holds all of the other.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let joined = self.0.0.join(other);
        if joined == self.0.0 {
            self.clone()
        } else if joined == other.0.0 {
            other.clone()
        } else {
            Self::new(joined)
        }
    }
}

impl Default for SharedLabel {
    fn default() -> Self {
        Self::new(Label::default())
    }
}

impl From<Label> for SharedLabel {
    fn from(label: Label) -> Self {
        Self::new(label)
    }
}

impl Deref for SharedLabel {
    type Target = Label;

    fn deref(&self) -> &Label {
        &self.0.0
    }
}

impl PartialEq for SharedLabel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.1 == other.0.1
    }
}

impl Eq for SharedLabel {}

impl fmt::Debug for SharedLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
