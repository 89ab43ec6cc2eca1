//! The walk over a log's records: leaves into the tree, headers into the ledger.

use std::{
    collections::{BTreeSet, HashSet},
    ops::{ControlFlow, Range},
};

use nx_types::{Causation, Digest, Header, LabelId, Namespace, Origin, Seq};

use super::{
    Basis,
    ledger::{Ledger, MAX_HELD, Slice},
    report::{Place, Report},
    state, stored_anchor,
    tree::{Anchor, Tree, Voucher},
};
use crate::{
    Error,
    backend::{EventRow, Lookup, Rows, Sealed},
    core::meta,
    seal::event_aad,
    tlog::{TILE_WIDTH, leaf_hash, sha256, tile_width},
};

/// Verifies a log's rows.
pub(crate) fn verify_rows(rows: &dyn Rows, basis: &Basis<'_>) -> Result<Report, Error> {
    let mut report = Report::default();
    let keys = state::Keys::read(rows, basis, &mut report)?;
    let anchors = anchors(rows, basis, &mut report)?;
    let tiles = |level: u8, index: u64| rows.tile(level, index);
    let max = basis.max_held.unwrap_or(MAX_HELD);
    let mut walk = Walk {
        rows,
        basis,
        keys: &keys,
        tree: Tree::new(&tiles, anchors),
        ledger: Ledger::new(Slice::ALL, max),
        block: Block::default(),
        labels: HashSet::new(),
        erasures: HashSet::new(),
        origin: None,
        recorded: None,
        next: 0,
    };
    walk.all(&mut report)?;
    let Walk { tree, mut ledger, origin, next, erasures, .. } = walk.end(&mut report)?;
    let edge = tree.finish(&mut report)?;
    report.events = next;
    report.origin = origin;
    check_origin(rows, origin, &mut report)?;
    check_tiles(rows, edge.size(), &mut report)?;
    keys.check_erasures(&erasures, &mut report);
    state::check_blobs(rows, basis, &mut report)?;
    loop {
        let left = std::mem::take(&mut ledger.left);
        state::check(rows, basis, &keys, &mut ledger, &mut report)?;
        let damaged = std::mem::take(&mut ledger.damaged);
        let Some((&slice, rest)) = left.split_last() else { break };
        ledger = replay(rows, slice, max, damaged, &mut report)?;
        ledger.left.extend(rest);
    }
    Ok(report)
}

/// Replays the headers for another slice of subjects and rows.
fn replay(
    rows: &dyn Rows,
    slice: Slice,
    max: usize,
    damaged: HashSet<u64>,
    report: &mut Report,
) -> Result<Ledger, Error> {
    let mut ledger = Ledger::new(slice, max);
    ledger.damaged = damaged;
    rows.events(0, &mut |row| {
        if !ledger.damaged.contains(&row.seq)
            && let Ok(header) = Header::decode(row.header)
        {
            let first = ledger.apply(&header, report);
            if let (Some(lookup), Some(_)) = (row.lookup, first) {
                ledger.check_lookup(rows, &header, lookup, first, report)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ledger)
}

/// Everything that vouches for a root.
fn anchors(rows: &dyn Rows, basis: &Basis<'_>, report: &mut Report) -> Result<Vec<Anchor>, Error> {
    let mut anchors = Vec::new();
    rows.all_checkpoints(&mut |(size, note)| {
        match stored_anchor(size, note, basis) {
            Ok(anchor) => anchors.push(anchor),
            Err(detail) => report.find(Place::Checkpoint { size }, detail),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for checkpoint in &basis.outside {
        anchors.push(Anchor { size: checkpoint.size, root: checkpoint.root, voucher: Voucher::Outside });
    }
    if let Some(head) = rows.meta(meta::HEAD)? {
        match head.split_first_chunk::<8>().map(|(size, root)| (u64::from_le_bytes(*size), root.try_into())) {
            Some((size, Ok(root))) => anchors.push(Anchor { size, root: Digest(root), voucher: Voucher::Head }),
            _ => report.find(Place::Head, "it does not have 40 bytes"),
        }
    } else if rows.head()? > 0 {
        report.find(Place::Head, "it is missing");
    }
    Ok(anchors)
}

fn check_origin(rows: &dyn Rows, origin: Option<Origin>, report: &mut Report) -> Result<(), Error> {
    let stored = rows.meta(meta::ORIGIN)?;
    if let Some(origin) = origin
        && stored.as_deref() != Some(origin.0.as_slice())
    {
        report.find(Place::Head, format!("the log's noted origin is not that of its newest event, {origin}"));
    }
    Ok(())
}

/// Tiles that the tree does not have.
fn check_tiles(rows: &dyn Rows, size: u64, report: &mut Report) -> Result<(), Error> {
    rows.all_tiles(&mut |(level, index, _)| {
        if tile_width(size, level, index) < TILE_WIDTH {
            report.find(Place::Tile { level, index }, format!("a tree of {size} leaves has no such complete tile"));
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The headers of a tile's worth of events, until the tree has judged them.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    rows: Vec<Held>,
}

struct Held {
    seq: u64,
    header: Range<usize>,
    erased: bool,
    lookup: Option<Lookup>,
}

struct Walk<'a> {
    rows: &'a dyn Rows,
    basis: &'a Basis<'a>,
    keys: &'a state::Keys,
    tree: Tree<'a>,
    ledger: Ledger,
    block: Block,
    /// Labels looked at.
    labels: HashSet<(Namespace, LabelId)>,
    erasures: HashSet<u64>,
    origin: Option<Origin>,
    recorded: Option<nx_types::Timestamp>,
    next: u64,
}

impl Walk<'_> {
    /// Every record. One that the engine cannot read is a finding, and the walk goes on behind it.
    fn all(&mut self, report: &mut Report) -> Result<(), Error> {
        let rows = self.rows;
        let head = rows.head()?;
        loop {
            let mut failed = None;
            let read = rows.events(self.next, &mut |row| {
                Ok(match self.row(row, report) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                })
            });
            match (failed, read) {
                (Some(error), _) => return Err(error),
                (None, Ok(())) => return Ok(()),
                (None, Err(Error::Corrupt { detail, .. })) if self.next < head => {
                    report.find(Place::Event(Seq(self.next)), format!("it cannot be read: {detail}"));
                    self.missing(report)?;
                }
                (None, Err(error)) => return Err(error),
            }
        }
    }

    /// Passes over the next place.
    fn missing(&mut self, report: &mut Report) -> Result<(), Error> {
        let judged = self.tree.push(None, report)?;
        self.ledger.damaged.insert(self.next);
        self.next += 1;
        self.judged(judged, report)
    }

    fn row(&mut self, row: EventRow<'_>, report: &mut Report) -> Result<(), Error> {
        while self.next < row.seq {
            self.missing(report)?;
        }
        self.next += 1;
        let (digest, erased) = match row.sealed {
            Sealed::Data(bytes) => (sha256(bytes), false),
            Sealed::Digest(digest) => (digest, true),
        };
        report.erased += u64::from(erased);
        let start = self.block.bytes.len();
        self.block.bytes.extend_from_slice(row.header);
        let header = start..self.block.bytes.len();
        self.block.rows.push(Held { seq: row.seq, header, erased, lookup: row.lookup });
        let judged = self.tree.push(Some(leaf_hash(row.header, &digest)), report)?;
        self.judged(judged, report)
    }

    /// Looks into the headers of a block that is complete, but for those that are not what was logged.
    fn judged(&mut self, changed: Option<Vec<u64>>, report: &mut Report) -> Result<(), Error> {
        let Some(changed) = changed else { return Ok(()) };
        let mut block = std::mem::take(&mut self.block);
        self.ledger.damaged.extend(&changed);
        for held in block.rows.drain(..) {
            if changed.binary_search(&held.seq).is_err() {
                let bytes = block.bytes.get(held.header.clone()).unwrap_or_default();
                match Header::decode(bytes) {
                    Ok(header) => self.header(&held, &header, report)?,
                    Err(error) => report.find(Place::Event(Seq(held.seq)), error.to_string()),
                }
            }
        }
        block.bytes.clear();
        self.block = block;
        Ok(())
    }

    fn header(&mut self, held: &Held, header: &Header, report: &mut Report) -> Result<(), Error> {
        let (seq, erased) = (held.seq, held.erased);
        let place = || Place::Event(Seq(seq));
        if header.seq.0 != seq {
            report.find(place(), format!("its header says it is event {}", header.seq));
        }
        if self.origin != Some(header.origin) {
            if self.origin.is_some() && header.kind.as_str() != "log.restored" {
                report.find(place(), format!("its origin is {}, without a restore before it", header.origin));
            }
            self.origin = Some(header.origin);
        }
        if self.recorded.is_some_and(|before| header.recorded < before) {
            report.find(place(), "it was recorded before the event before it");
        }
        self.recorded = Some(header.recorded);
        if let Causation::Local(cause) = header.causation
            && cause.0 >= seq
        {
            report.find(place(), format!("it says it follows from event {cause}, which is not before it"));
        }
        match (erased, self.keys.is_erased(header.key)) {
            (true, false) => {
                report.find(place(), format!("its data is gone, but data key {} was not erased", header.key));
            }
            (false, true) => report.find(place(), format!("its data is there, but data key {} was erased", header.key)),
            _ => {}
        }
        if !self.keys.is_known(header.key) {
            report.find(place(), format!("data key {} is missing: its data cannot be read", header.key));
        }
        if header.kind.as_str() == "key.erased"
            && let Some(id) = header.subject.as_str().strip_prefix("key/").and_then(|id| id.parse().ok())
        {
            self.erasures.insert(id);
        }
        if let Some(label) = header.label {
            self.label(seq, &header.namespace, label, report)?;
        }
        for id in &header.blobs {
            // a blob's row goes with its key: once keys were erased, a missing row may be theirs
            if self.keys.none_erased() && self.rows.blob(id)?.is_none() {
                report.find(Place::Blob(*id), format!("event {seq} names it, and it is missing"));
            }
        }
        let first = self.ledger.apply(header, report);
        if let Some(lookup) = held.lookup {
            self.ledger.check_lookup(self.rows, header, lookup, first, report)?;
            if self.keys.found_by_key(header) == Some(lookup.by_key.is_none()) {
                report.find(place(), "it is not found by its data key as it must be: an erasure would miss it");
            }
        }
        Ok(())
    }

    fn label(&mut self, seq: u64, namespace: &Namespace, id: LabelId, report: &mut Report) -> Result<(), Error> {
        if !self.labels.insert((namespace.clone(), id)) {
            return Ok(());
        }
        let place = || Place::Label { namespace: namespace.clone(), id };
        let Some(defined) = self.rows.label(namespace, &id)? else {
            report.find(place(), format!("event {seq} bears it, and nothing says where it is defined"));
            return Ok(());
        };
        let mut right = false;
        self.rows.events(defined, &mut |row| {
            right = row.seq == defined
                && defined < seq
                && Header::decode(row.header).is_ok_and(|header| {
                    header.kind.as_str() == "label.defined" && header.subject.as_str() == format!("label/{id}")
                });
            Ok(ControlFlow::Break(()))
        })?;
        if !right && !self.ledger.damaged.contains(&defined) {
            report.find(place(), format!("event {defined} does not define it"));
        }
        Ok(())
    }

    /// The events after the last complete tile: no hash of theirs is stored one by one, so unsealing tells.
    fn end(mut self, report: &mut Report) -> Result<Self, Error> {
        let first = self.next - self.next % TILE_WIDTH as u64;
        let mut changed = BTreeSet::new();
        if let Some(keyring) = self.basis.keyring {
            let (rows, next) = (self.rows, self.next);
            rows.events(first, &mut |row| {
                if row.seq >= next {
                    return Ok(ControlFlow::Break(()));
                }
                if let Sealed::Data(sealed) = row.sealed {
                    let opened = match Header::decode(row.header) {
                        Ok(header) => match keyring.key(header.key, rows) {
                            Ok(Some(key)) => key.open(event_aad(row.header), sealed).is_some(),
                            Ok(None) => true,
                            Err(_) => false,
                        },
                        Err(_) => false,
                    };
                    if !opened {
                        changed.insert(row.seq);
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for &seq in &changed {
            report.find(Place::Event(Seq(seq)), "its record was changed: header and sealed data do not fit together");
        }
        self.judged(Some(changed.into_iter().collect()), report)?;
        Ok(self)
    }
}
