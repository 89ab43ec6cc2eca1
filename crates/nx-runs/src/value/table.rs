//! What the run has stored, by digest: bounded, the least recently used goes first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::measure::Hash;
use crate::machine::ARGS;

/// Most values that are remembered.
const ENTRIES: usize = 8192;
/// Most texts that a longer one is compared with.
const TEXTS: usize = 32;
/// Most object shapes that are remembered.
const SHAPES: usize = 64;

/// Where a value stands: an event, and a pointer in its short form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: u64,
    pub(super) pointer: Box<str>,
}

impl Place {
    /// As it is stored.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.version, self.pointer)
    }
}

/// Short forms of the pointers at which most values stand.
const SHORT: [(&str, &str); 2] = [("v", "/value"), ("a", ARGS)];

/// The short form of a pointer.
pub(super) fn short(pointer: &str) -> String {
    for (letter, long) in SHORT {
        if let Some(rest) = pointer.strip_prefix(long) {
            return format!("{letter}{rest}");
        }
    }
    pointer.to_owned()
}

/// The pointer that a short form stands for.
pub(super) fn long(pointer: &str) -> String {
    for (letter, long) in SHORT {
        if let Some(rest) = pointer.strip_prefix(letter) {
            return format!("{long}{rest}");
        }
    }
    pointer.to_owned()
}

/// The pieces that an array consists of, the last one first.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) place: Place,
    pub(super) before: Option<Arc<Self>>,
    count: usize,
}

impl Pieces {
    pub(super) fn new(place: Place, before: Option<Arc<Self>>) -> Arc<Self> {
        let count = before.as_ref().map_or(0, |before| before.count) + 1;
        Arc::new(Self { place, before, count })
    }

    /// How many bytes their list takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.count * (16 + self.place.pointer.len())
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // A long chain must not be dropped by recursion.
        let mut before = self.before.take();
        while let Some(pieces) = before.and_then(|pieces| Arc::try_unwrap(pieces).ok()) {
            let mut pieces = pieces;
            before = pieces.before.take();
        }
    }
}

/// A value that was stored.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// How many extensions lie between it and a value in full.
    pub(super) depth: u64,
    /// Items, for arrays.
    pub(super) items: Option<usize>,
    pub(super) pieces: Option<Arc<Pieces>>,
    stamp: u64,
}

/// An object that was stored: its place, and digests of its fields in order.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) place: Place,
    pub(super) depth: u64,
    pub(super) fields: Vec<Hash>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Hash, Entry>,
    /// Digests in order of use; an older mention of one that was used again is void.
    uses: VecDeque<(u64, Hash)>,
    stamp: u64,
    /// How many arrays of each length are known.
    lengths: HashMap<usize, usize>,
    texts: VecDeque<usize>,
    sorted_texts: Vec<usize>,
    shapes: BTreeMap<Hash, Shape>,
    shape_order: VecDeque<Hash>,
}

impl Table {
    /// Finds a value and marks it as used.
    pub(super) fn find(&mut self, hash: &Hash) -> Option<Entry> {
        self.stamp += 1;
        let stamp = self.stamp;
        let entry = self.entries.get_mut(hash)?;
        entry.stamp = stamp;
        let found = entry.clone();
        self.uses.push_back((stamp, *hash));
        self.trim();
        Some(found)
    }

    pub(super) fn insert(&mut self, hash: Hash, place: Place, depth: u64, array: Option<(usize, Option<Arc<Pieces>>)>) {
        if self.entries.contains_key(&hash) {
            return;
        }
        self.stamp += 1;
        let (items, pieces) = array.map_or((None, None), |(items, pieces)| (Some(items), pieces));
        if let Some(items) = items {
            *self.lengths.entry(items).or_default() += 1;
        }
        self.uses.push_back((self.stamp, hash));
        self.entries.insert(hash, Entry { place, depth, items, pieces, stamp: self.stamp });
        self.trim();
    }

    /// Inserts a text, which has pieces but no items.
    pub(super) fn insert_text_at(&mut self, hash: Hash, place: Place, depth: u64, pieces: Option<Arc<Pieces>>) {
        self.insert(hash, place, depth, None);
        if let Some(entry) = self.entries.get_mut(&hash)
            && entry.pieces.is_none()
        {
            entry.pieces = pieces;
        }
    }

    fn trim(&mut self) {
        while self.entries.len() > ENTRIES || self.uses.len() > 4 * ENTRIES {
            let Some((stamp, hash)) = self.uses.pop_front() else { return };
            let Some(entry) = self.entries.get(&hash) else { continue };
            if entry.stamp != stamp {
                continue;
            }
            if self.entries.len() <= ENTRIES {
                // Only the list of uses is too long: this one is still in use.
                self.uses.push_back((stamp, hash));
                continue;
            }
            if let Some(items) = entry.items
                && let Some(count) = self.lengths.get_mut(&items)
            {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&items);
                }
            }
            self.entries.remove(&hash);
        }
    }

    pub(super) fn knows_array_of(&self, items: usize) -> bool {
        self.lengths.contains_key(&items)
    }

    /// Lengths of the texts stored last, the shortest first, each once.
    pub(super) fn text_lengths(&self) -> impl Iterator<Item = usize> {
        self.sorted_texts.iter().copied()
    }

    pub(super) fn insert_text(&mut self, length: usize) {
        if self.sorted_texts.contains(&length) {
            return;
        }
        self.texts.push_back(length);
        if self.texts.len() > TEXTS {
            self.texts.pop_front();
        }
        self.sorted_texts = self.texts.iter().copied().collect();
        self.sorted_texts.sort_unstable();
    }

    pub(super) fn shape(&self, hash: &Hash) -> Option<&Shape> {
        self.shapes.get(hash)
    }

    pub(super) fn insert_shape(&mut self, hash: Hash, shape: Shape) {
        if self.shapes.insert(hash, shape).is_none() {
            self.shape_order.push_back(hash);
            if self.shape_order.len() > SHAPES
                && let Some(oldest) = self.shape_order.pop_front()
            {
                self.shapes.remove(&oldest);
            }
        }
    }
}
