//! The labels of one value: a base, and overrides for what stands under some pointers. The longest prefix that covers a
//! leaf says its label. No override says what it would inherit.

use std::collections::BTreeMap;

use nx_types::LabelId;
use serde::{Deserialize, Serialize};

use super::Labels;
use crate::Error;

/// Most overrides of one value; past this, it is one label.
const MAX_OVERRIDES: usize = 65_536;

/// The labels of one value's leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Labelled {
    base: LabelId,
    /// By the parts of the pointer, still escaped, so that a prefix sorts right before what it covers.
    overrides: BTreeMap<Vec<String>, LabelId>,
}

/// The form in the journal: `{"base": id, "at": {pointer: id}}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    base: LabelId,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    at: BTreeMap<String, LabelId>,
}

impl TryFrom<Written> for Labelled {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        let mut overrides = BTreeMap::new();
        for (pointer, label) in written.at {
            overrides.insert(parts(&pointer)?, label);
        }
        Self { base: written.base, overrides }.bounded()
    }
}

impl From<Labelled> for Written {
    fn from(labelled: Labelled) -> Self {
        let at = labelled.overrides.into_iter().map(|(path, label)| (pointer(&path), label)).collect();
        Self { base: labelled.base, at }
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
    pub fn uniform(base: LabelId) -> Self {
        Self { base, overrides: BTreeMap::new() }
    }

    /// Gives what stands at `pointer`, and everything under it, this label.
    pub fn set(&mut self, pointer: &str, label: LabelId) -> Result<(), Error> {
        let path = parts(pointer)?;
        self.overrides.retain(|known, _| !known.starts_with(&path));
        if path.is_empty() {
            self.base = label;
        } else {
            self.overrides.insert(path, label);
        }
        *self = std::mem::replace(self, Self::uniform(label)).bounded()?;
        Ok(())
    }

    /// The label of the leaf at `pointer`.
    pub fn label_at(&self, pointer: &str) -> Result<LabelId, Error> {
        Ok(self.at(&parts(pointer)?))
    }

    fn at(&self, path: &[String]) -> LabelId {
        (1..=path.len()).rev().find_map(|len| self.overrides.get(path.get(..len)?)).copied().unwrap_or(self.base)
    }

    /// The label of whatever is made of the whole.
    pub fn joined(&self, labels: &mut Labels) -> Result<LabelId, Error> {
        self.overrides.values().try_fold(self.base, |sum, label| labels.join(sum, *label))
    }

    /// The labels of the part at `pointer`.
    pub fn project(&self, pointer: &str) -> Result<Self, Error> {
        let path = parts(pointer)?;
        let under = self.overrides.range(path.clone()..).take_while(|(known, _)| known.starts_with(&path));
        let overrides = under
            .filter_map(|(known, label)| Some((known.get(path.len()..)?.to_vec(), *label)))
            .filter(|(known, _)| !known.is_empty())
            .collect();
        Ok(Self { base: self.at(&path), overrides }.normal())
    }

    /// Puts the labels of `part` at `pointer`, where the part now stands.
    pub fn embed(&mut self, pointer: &str, part: &Self) -> Result<(), Error> {
        let path = parts(pointer)?;
        if path.is_empty() {
            *self = part.clone();
            return Ok(());
        }
        self.overrides.retain(|known, _| !known.starts_with(&path));
        self.overrides.insert(path.clone(), part.base);
        for (under, label) in &part.overrides {
            self.overrides.insert(path.iter().chain(under).cloned().collect(), *label);
        }
        *self = std::mem::replace(self, Self::uniform(part.base)).bounded()?;
        Ok(())
    }

    /// The labels of a value whose every leaf is made of both values' leaves at the same place.
    pub fn join(&self, other: &Self, labels: &mut Labels) -> Result<Self, Error> {
        let base = labels.join(self.base, other.base)?;
        let mut overrides = BTreeMap::new();
        for path in self.overrides.keys().chain(other.overrides.keys()) {
            if !overrides.contains_key(path) {
                overrides.insert(path.clone(), labels.join(self.at(path), other.at(path))?);
            }
        }
        Self { base, overrides }.bounded()
    }

    /// How many overrides there are.
    pub fn overrides(&self) -> usize {
        self.overrides.len()
    }

    fn bounded(self) -> Result<Self, Error> {
        let found = self.overrides.len();
        if found > MAX_OVERRIDES {
            return Err(Error::TooLarge { what: "a value's label overrides", found, most: MAX_OVERRIDES });
        }
        Ok(self.normal())
    }

    /// Drops each override that says what it would inherit.
    fn normal(mut self) -> Self {
        if let Some(label) = self.overrides.remove(&Vec::new()) {
            self.base = label;
        }
        let mut kept = Self::uniform(self.base);
        for (path, label) in self.overrides {
            // Sorted: what covers a path comes before it.
            if kept.at(&path) != label {
                kept.overrides.insert(path, label);
            }
        }
        kept
    }
}
