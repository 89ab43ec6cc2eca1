//! What the headers say that must be: each subject's next version, each state row's digest. Replayed from the log in
//! slices, so that memory stays bounded whatever the log's size.

use std::collections::{HashMap, HashSet};

use nx_types::{Digest, EventType, Header, Seq, StateDigest};

use super::report::{Place, Report};
use crate::{
    Error,
    backend::{Lookup, Rows},
    tlog::sha256,
};

/// Most subjects and rows held at once, together; with more, the log is read again for the rest.
pub(crate) const MAX_HELD: usize = 4_000_000;

/// A part of all subjects and rows: those whose hash ends in these bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    bits: u32,
    value: u32,
}

impl Slice {
    pub(crate) const ALL: Self = Self { bits: 0, value: 0 };

    fn holds(self, id: &[u8; 16]) -> bool {
        let [a, b, c, d, ..] = *id;
        u32::from_le_bytes([a, b, c, d]) & ((1 << self.bits) - 1) == self.value
    }

    /// The two halves of a slice.
    fn halves(self) -> (Self, Self) {
        let bits = self.bits + 1;
        (Self { bits, value: self.value }, Self { bits, value: self.value | 1 << self.bits })
    }
}

/// What the log says of a state row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) digest: Digest,
    pub(crate) key: u64,
    pub(crate) seq: u64,
    /// Whether the row was found.
    pub(crate) found: bool,
    /// Whether it was unsealed; then `entries` is the sum of its sealed index entries, less those in the index.
    pub(crate) opened: bool,
    pub(crate) entries: u64,
}

/// A replay of headers.
pub(crate) struct Ledger {
    slice: Slice,
    /// Slices that did not fit and are still to be replayed.
    pub(crate) left: Vec<Slice>,
    max: usize,
    /// Version and first event.
    subjects: HashMap<[u8; 16], (u64, u64)>,
    /// First event.
    kinds: HashMap<EventType, u64>,
    pub(crate) states: HashMap<[u8; 16], Expected>,
    /// Events whose record is damaged or missing: what they said is unknown.
    pub(crate) damaged: HashSet<u64>,
}

impl Ledger {
    pub(crate) fn new(slice: Slice, max: usize) -> Self {
        Self {
            slice,
            left: Vec::new(),
            max: max.max(1),
            subjects: HashMap::new(),
            kinds: HashMap::new(),
            states: HashMap::new(),
            damaged: HashSet::new(),
        }
    }

    pub(crate) fn holds(&self, slot: &[u8; 16]) -> bool {
        self.slice.holds(slot)
    }

    /// Takes a header in.
    pub(crate) fn apply(&mut self, header: &Header, report: &mut Report) -> Option<u64> {
        let first = self.version(header, report);
        for StateDigest { slot, key, digest } in &header.state {
            if self.slice.holds(slot) {
                match digest {
                    Some(digest) => {
                        let expected = Expected {
                            digest: *digest,
                            key: key.0,
                            seq: header.seq.0,
                            found: false,
                            opened: false,
                            entries: 0,
                        };
                        self.states.insert(*slot, expected);
                    }
                    None => drop(self.states.remove(slot)),
                }
            }
        }
        while self.subjects.len() + self.states.len() > self.max && self.slice.bits < 24 {
            let (keep, leave) = self.slice.halves();
            self.slice = keep;
            self.left.push(leave);
            self.subjects.retain(|id, _| keep.holds(id));
            self.states.retain(|id, _| keep.holds(id));
        }
        first
    }

    /// Compares by what the engine finds an event with its header. `first` is the first event of its subject.
    pub(crate) fn check_lookup(
        &mut self,
        rows: &dyn Rows,
        header: &Header,
        lookup: Lookup,
        first: Option<u64>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let seq = header.seq.0;
        let place = || Place::Event(header.seq);
        if lookup.version != header.version {
            report.find(place(), format!("it is found as version {}, but is {}", lookup.version, header.version));
        }
        if lookup.by_key.is_some_and(|key| key != header.key) {
            report.find(place(), "it is found by another data key than its own");
        }
        let damaged = !self.damaged.is_empty();
        if let Some(first) = first {
            // with damaged events about, the first of a subject may be among them
            if lookup.subject != first && !(damaged && header.version > 1 && first == seq) {
                report.find(
                    place(),
                    format!("it is found among the events of another subject than `{}`", header.subject),
                );
            } else if header.version == 1 && rows.subject_first(&header.namespace, &header.subject)? != Some(seq) {
                report.find(place(), format!("it is not found as the first event of `{}`", header.subject));
            }
        }
        let fresh = !self.kinds.contains_key(&header.kind);
        let first = *self.kinds.entry(header.kind.clone()).or_insert(lookup.kind);
        if lookup.kind != first || first > seq {
            report.find(place(), format!("it is found among the events of another type than `{}`", header.kind));
        } else if fresh && rows.type_first(&header.kind)? != Some(first) {
            report.find(place(), format!("it is not found as an event of type `{}`", header.kind));
        }
        Ok(())
    }

    /// Gives the first event of the header's subject, if the slice holds it.
    fn version(&mut self, header: &Header, report: &mut Report) -> Option<u64> {
        let id = half(sha256([header.namespace.as_str(), header.subject.as_str()].join("\0").as_bytes()));
        if !self.slice.holds(&id) {
            return None;
        }
        let (version, first) = self.subjects.entry(id).or_insert((0, header.seq.0));
        let expected = *version + 1;
        *version = header.version;
        // a gap that damaged events explain is theirs, not this event's
        let explained = header.version > expected && header.version - expected <= self.damaged.len() as u64;
        if header.version != expected && !explained {
            report.find(
                Place::Event(header.seq),
                format!("it is version {} of `{}`, after version {}", header.version, header.subject, expected - 1),
            );
        }
        Some(*first)
    }

    /// Tells of rows that must be there and are not.
    pub(crate) fn tell_lost(&self, erased: &HashSet<u64>, report: &mut Report) {
        let mut lost: Vec<(&[u8; 16], &Expected)> =
            self.states.iter().filter(|(_, row)| !row.found && !erased.contains(&row.key)).collect();
        lost.sort_by_key(|(slot, row)| (row.seq, **slot));
        for (slot, row) in lost {
            let slot = u128::from_be_bytes(*slot);
            report.find(Place::LostState { seq: Seq(row.seq), slot: format!("{slot:032x}") }, "it is missing");
        }
    }
}

pub(crate) fn half(digest: Digest) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(digest.0).for_each(|(to, from)| *to = from);
    half
}
