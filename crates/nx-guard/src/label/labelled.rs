//! The labels of one value: a base, and overrides for what stands under some pointers. The longest prefix that covers a
//! leaf says its label. No override says what it would inherit.

use std::collections::BTreeMap;

use nx_types::{Label, SharedLabel};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Most overrides of one value; past this, it is one label.
const MAX_OVERRIDES: usize = 65_536;

/// The labels of one value's leaves. The default is the trusted label for all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Labelled {
    base: SharedLabel,
    /// By the parts of the pointer, still escaped, so that a prefix sorts right before what it covers.
    overrides: BTreeMap<Vec<String>, SharedLabel>,
}

/// The form in the journal: each label once; the first is the base, `at` names the others by their place in the list.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    labels: Vec<Label>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    at: BTreeMap<String, usize>,
}

impl TryFrom<Written> for Labelled {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        let labels: Vec<SharedLabel> = written.labels.into_iter().map(SharedLabel::new).collect();
        let missing = || Error::Label { reason: "labels of a value name a label that is not listed".to_owned() };
        let base = labels.first().cloned().ok_or_else(missing)?;
        let mut overrides = BTreeMap::new();
        for (pointer, place) in written.at {
            overrides.insert(parts(&pointer)?, labels.get(place).cloned().ok_or_else(missing)?);
        }
        Ok(Self { base, overrides }.bounded())
    }
}

impl From<Labelled> for Written {
    fn from(labelled: Labelled) -> Self {
        let mut places = BTreeMap::from([(labelled.base.id(), 0)]);
        let mut labels = vec![(*labelled.base).clone()];
        let mut at = BTreeMap::new();
        for (path, label) in labelled.overrides {
            let place = *places.entry(label.id()).or_insert_with(|| {
                labels.push((*label).clone());
                labels.len() - 1
            });
            at.insert(pointer(&path), place);
        }
        Self { labels, at }
    }
}

fn parts(pointer: &str) -> Result<Vec<String>, Error> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let rest = pointer.strip_prefix('/').ok_or_else(|| Error::Label {
        reason: format!("`{pointer}` is no JSON pointer; it must be empty or begin with `/`"),
    })?;
    Ok(rest.split('/').map(str::to_owned).collect())
}

fn pointer(path: &[String]) -> String {
    path.iter().flat_map(|part| ["/", part]).collect()
}

impl Labelled {
    /// One label for the whole value.
    pub fn uniform(base: SharedLabel) -> Self {
        Self { base, overrides: BTreeMap::new() }
    }

    /// The one label of the whole value, if it has one.
    pub fn is_uniform(&self) -> Option<&SharedLabel> {
        self.overrides.is_empty().then_some(&self.base)
    }

    /// Whether somebody vouches for all of it.
    pub fn is_trusted(&self) -> bool {
        self.base.is_trusted() && self.overrides.values().all(|label| label.is_trusted())
    }

    /// Gives what stands at `pointer`, and everything under it, this label.
    pub fn set(&mut self, pointer: &str, label: SharedLabel) -> Result<(), Error> {
        let path = parts(pointer)?;
        self.put(path, label);
        self.tidy();
        Ok(())
    }

    /// The same by the parts of the pointer, without bringing the whole into its normal form: see [`Self::tidy`].
    pub(crate) fn put(&mut self, path: Vec<String>, label: SharedLabel) {
        let under: Vec<Vec<String>> = self.under(&path).map(|(known, _)| known.clone()).collect();
        for known in under {
            self.overrides.remove(&known);
        }
        if path.is_empty() {
            self.base = label;
        } else {
            self.overrides.insert(path, label);
        }
    }

    /// Brings it into its normal form, within its bound.
    pub(crate) fn tidy(&mut self) {
        *self = std::mem::take(self).bounded();
    }

    /// The label of the leaf at `pointer`.
    pub fn label_at(&self, pointer: &str) -> Result<&SharedLabel, Error> {
        Ok(self.at(&parts(pointer)?))
    }

    fn at(&self, path: &[String]) -> &SharedLabel {
        if self.overrides.is_empty() {
            return &self.base;
        }
        (1..=path.len()).rev().find_map(|len| self.overrides.get(path.get(..len)?)).unwrap_or(&self.base)
    }

    /// The label of the leaf at the place that these unescaped parts name.
    pub(crate) fn leaf(&self, path: &[String]) -> &SharedLabel {
        if self.overrides.is_empty() {
            return &self.base;
        }
        if path.iter().any(|part| part.contains(['~', '/'])) {
            let path: Vec<String> = path.iter().map(|part| escaped(part)).collect();
            return self.at(&path);
        }
        self.at(path)
    }

    fn under(&self, path: &[String]) -> impl Iterator<Item = (&Vec<String>, &SharedLabel)> {
        let path = path.to_vec();
        self.overrides.range(path.clone()..).take_while(move |(known, _)| known.starts_with(&path))
    }

    /// The label of whatever is made of the whole.
    pub fn joined(&self) -> SharedLabel {
        self.overrides.values().fold(self.base.clone(), |sum, label| sum.join(label))
    }

    /// The labels of the part at `pointer`.
    pub fn project(&self, pointer: &str) -> Result<Self, Error> {
        let path = parts(pointer)?;
        let overrides = self
            .under(&path)
            .filter_map(|(known, label)| Some((known.get(path.len()..)?.to_vec(), label.clone())))
            .filter(|(known, _)| !known.is_empty())
            .collect();
        Ok(Self { base: self.at(&path).clone(), overrides }.normal())
    }

    /// Puts the labels of `part` at `pointer`, where the part now stands.
    pub fn embed(&mut self, pointer: &str, part: &Self) -> Result<(), Error> {
        let path = parts(pointer)?;
        self.put(path.clone(), part.base.clone());
        for (under, label) in &part.overrides {
            self.overrides.insert(path.iter().chain(under).cloned().collect(), label.clone());
        }
        self.tidy();
        Ok(())
    }

    /// The labels of a value whose every leaf is made of both values' leaves at the same place.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let base = self.base.join(&other.base);
        let mut overrides = BTreeMap::new();
        for path in self.overrides.keys().chain(other.overrides.keys()) {
            if !overrides.contains_key(path) {
                overrides.insert(path.clone(), self.at(path).join(other.at(path)));
            }
        }
        Self { base, overrides }.bounded()
    }

    /// How many overrides there are.
    pub fn overrides(&self) -> usize {
        self.overrides.len()
    }

    /// A value with too many overrides has one label, that of all of it.
    fn bounded(self) -> Self {
        let normal = self.normal();
        if normal.overrides.len() > MAX_OVERRIDES { Self::uniform(normal.joined()) } else { normal }
    }

    /// Drops each override that says what it would inherit.
    fn normal(mut self) -> Self {
        if let Some(label) = self.overrides.remove(&Vec::new()) {
            self.base = label;
        }
        let mut kept = Self::uniform(self.base);
        for (path, label) in self.overrides {
            // Sorted: what covers a path comes before it.
            if *kept.at(&path) != label {
                kept.overrides.insert(path, label);
            }
        }
        kept
    }
}

/// A part of a pointer as RFC 6901 writes it.
pub(crate) fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}
