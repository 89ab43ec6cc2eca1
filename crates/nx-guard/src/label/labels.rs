//! Each label once, by the digest of its canonical form.

use std::{collections::BTreeMap, sync::Arc};

use nx_types::{Label, LabelId};

use crate::Error;

/// Most labels of one interner.
const MAX_LABELS: usize = 1 << 20;

/// The labels in use.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    by_id: BTreeMap<LabelId, Arc<Label>>,
    joins: BTreeMap<(LabelId, LabelId), LabelId>,
}

impl Labels {
    /// Keeps a label and names it.
    pub fn intern(&mut self, label: Label) -> Result<LabelId, Error> {
        let id = label.id();
        if !self.by_id.contains_key(&id) {
            if self.by_id.len() >= MAX_LABELS {
                return Err(Error::TooLarge { what: "the labels in use", found: MAX_LABELS + 1, most: MAX_LABELS });
            }
            self.by_id.insert(id, Arc::new(label));
        }
        Ok(id)
    }

    /// The label of this id.
    pub fn get(&self, id: &LabelId) -> Result<&Arc<Label>, Error> {
        self.by_id.get(id).ok_or_else(|| Error::Label { reason: format!("label `{id}` is not known; load it first") })
    }

    /// The label of a value made from both. Two joined before are looked up.
    pub fn join(&mut self, a: LabelId, b: LabelId) -> Result<LabelId, Error> {
        if a == b {
            return Ok(a);
        }
        let key = if a < b { (a, b) } else { (b, a) };
        if let Some(known) = self.joins.get(&key) {
            return Ok(*known);
        }
        let joined = self.get(&a)?.join(self.get(&b)?);
        let id = self.intern(joined)?;
        if self.joins.len() >= MAX_LABELS {
            self.joins.clear();
        }
        self.joins.insert(key, id);
        Ok(id)
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
