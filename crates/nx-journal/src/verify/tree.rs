//! The tree under verification: leaf hashes made from records, compared with stored tiles and with roots that somebody
//! vouches for.
//!
//! Where a record and its tile disagree, both readings are followed until the next vouched root decides which of them
//! was changed.

use std::cmp::Reverse;

use nx_types::{Digest, Seq};

use super::report::{Place, Report};
use crate::{
    Error,
    tlog::{Edge, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Tile, edge::hashes_of},
};

/// Most readings followed at once.
const MAX_READINGS: usize = 64;

/// Most disputed leaves of a tile whose every combination is tried; with more, all records or all hashes are right.
const MAX_COMBINED: usize = 3;

/// A root that somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) size: u64,
    pub(crate) root: Digest,
    pub(crate) voucher: Voucher,
}

/// Who vouches. Better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Voucher {
    /// A signed checkpoint kept elsewhere.
    Outside,
    /// A signed checkpoint of the log itself.
    Signed,
    /// The log's unsigned note of its size and root.
    Head,
}

/// One way to read what is stored.
#[derive(Debug, Clone)]
struct Reading {
    edge: Edge,
    /// Complete tiles above level 0, not yet compared.
    tiles: Vec<Tile>,
    /// For each open dispute, whether the record is right (else the tile is).
    record_right: Vec<bool>,
}

/// A leaf on which record and tile disagree.
#[derive(Debug, Clone, Copy)]
struct Dispute {
    seq: u64,
    missing: bool,
}

/// Where complete tiles are found.
pub(crate) type Tiles<'a> = &'a dyn Fn(u8, u64) -> Result<Option<Vec<u8>>, Error>;

/// A tree being rebuilt from records.
pub(crate) struct Tree<'a> {
    stored: Tiles<'a>,
    anchors: Vec<Anchor>,
    next_anchor: usize,
    readings: Vec<Reading>,
    disputes: Vec<Dispute>,
    block: Vec<Option<Digest>>,
    /// Everything before this has been vouched for.
    settled: u64,
    /// A signed root did not come out: the records are not those that were signed.
    rewritten: bool,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(stored: Tiles<'a>, mut anchors: Vec<Anchor>) -> Self {
        anchors.sort_by_key(|anchor| (anchor.size, anchor.voucher));
        let reading = Reading { edge: Edge::new(), tiles: Vec::new(), record_right: Vec::new() };
        Self {
            stored,
            anchors,
            next_anchor: 0,
            readings: vec![reading],
            disputes: Vec::new(),
            block: Vec::with_capacity(TILE_WIDTH),
            settled: 0,
            rewritten: false,
        }
    }

    fn size(&self) -> u64 {
        self.readings.first().map_or(0, |reading| reading.edge.size())
    }

    /// Adds the next record's leaf hash; `None` if the record is missing. Returns whether a tile's worth is complete,
    /// with the places in it where the record is not what the tile says.
    pub(crate) fn push(&mut self, leaf: Option<Digest>, report: &mut Report) -> Result<Option<Vec<u64>>, Error> {
        self.block.push(leaf);
        if self.block.len() < TILE_WIDTH {
            return Ok(None);
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(TILE_WIDTH));
        let first = self.size();
        let index = first >> TILE_HEIGHT;
        report.tiles += 1;
        let tile = match (self.stored)(0, index)? {
            Some(tile) if tile.len() == TILE_BYTES => Some(hashes_of(&tile)),
            Some(_) => {
                report.find(Place::Tile { level: 0, index }, "it does not have 256 hashes");
                None
            }
            None => {
                report.find(Place::Tile { level: 0, index }, "it is missing");
                None
            }
        };
        self.settle(&block, tile.as_deref(), report)?;
        let Some(tile) = tile else { return Ok(Some(missing(&block, first))) };
        let differ = block.iter().zip(&tile).enumerate().filter(|(_, (record, hash))| record.as_ref() != Some(*hash));
        Ok(Some(differ.map(|(at, _)| first + at as u64).collect()))
    }

    /// Takes a block of leaves into every reading, with the readings that its disputes add.
    fn settle(&mut self, block: &[Option<Digest>], tile: Option<&[Digest]>, report: &mut Report) -> Result<(), Error> {
        let first = self.size();
        let mut open: Vec<usize> = Vec::new();
        for (at, record) in block.iter().enumerate() {
            if tile.map_or_else(|| record.is_none(), |tile| tile.get(at) != record.as_ref()) {
                open.push(at);
            }
        }
        let base = self.disputes.len();
        self.disputes
            .extend(open.iter().map(|&at| Dispute { seq: first + at as u64, missing: block.get(at) == Some(&None) }));
        if tile.is_some() && !open.is_empty() {
            self.branch(base);
        } else {
            // nothing to choose from: what the records say, or nothing
            let disputes = self.disputes.len();
            self.readings.iter_mut().for_each(|reading| reading.record_right.resize(disputes, true));
        }
        let mut dispute = base;
        for (at, record) in block.iter().enumerate() {
            let hash = tile.and_then(|tile| tile.get(at));
            let disputed = open.binary_search(&at).is_ok();
            for reading in &mut self.readings {
                let record_right = !disputed || reading.record_right.get(dispute).copied().unwrap_or(true);
                let (one, other) = if record_right { (record.as_ref(), hash) } else { (hash, record.as_ref()) };
                let leaf = one.or(other).copied().unwrap_or(Digest([0; 32]));
                reading.edge.push(leaf, &mut reading.tiles);
            }
            dispute += usize::from(disputed);
            if self.anchors.get(self.next_anchor).is_some_and(|anchor| anchor.size == self.size()) {
                self.judge(report);
            }
        }
        for reading in &mut self.readings {
            reading.tiles.retain(|tile| tile.level > 0);
        }
        self.compare_tiles(report)
    }

    /// Multiplies the readings by the ways in which the newest disputes can be decided.
    fn branch(&mut self, base: usize) {
        let count = self.disputes.len() - base;
        let fresh = self.disputes.get(base..).unwrap_or_default();
        let can = |choice: &[bool]| !fresh.iter().zip(choice).any(|(dispute, &record)| dispute.missing && record);
        let mut choices: Vec<Vec<bool>> = if count <= MAX_COMBINED {
            (0..1u32 << count).map(|bits| (0..count).map(|at| bits >> at & 1 == 1).collect()).collect()
        } else {
            vec![fresh.iter().map(|dispute| !dispute.missing).collect(), vec![false; count]]
        };
        choices.retain(|choice| can(choice));
        choices.dedup();
        let mut readings = Vec::with_capacity(self.readings.len() * choices.len());
        for reading in &self.readings {
            for choice in &choices {
                let mut reading = reading.clone();
                reading.record_right.extend(choice);
                readings.push(reading);
            }
        }
        readings.truncate(MAX_READINGS);
        self.readings = readings;
    }

    /// Lets the roots that are vouched for at this size decide between the readings.
    fn judge(&mut self, report: &mut Report) {
        let size = self.size();
        let mut decided = false;
        while let Some(anchor) = self.anchors.get(self.next_anchor).filter(|anchor| anchor.size == size).cloned() {
            self.next_anchor += 1;
            let fits: Vec<bool> = self.readings.iter().map(|reading| reading.edge.root() == anchor.root).collect();
            if fits.contains(&true) {
                let mut fits = fits.into_iter();
                self.readings.retain(|_| fits.next().unwrap_or(false));
                report.checkpoints += u64::from(anchor.voucher != Voucher::Head);
                decided = true;
            } else {
                self.refute(&anchor, decided, report);
            }
        }
        if decided {
            self.settled = size;
            if self.readings.len() == 1 {
                self.tell(report);
            }
        }
    }

    fn refute(&mut self, anchor: &Anchor, decided: bool, report: &mut Report) {
        let size = anchor.size;
        match anchor.voucher {
            Voucher::Head if decided => {
                report.find(Place::Head, "its root is not the one that a signed checkpoint of the same size gives");
            }
            Voucher::Head if self.rewritten => {}
            Voucher::Head => report.find(
                Place::Events { from: Seq(self.settled), to: Seq(size) },
                "the records do not give the root that the log has noted: one of them or the note was changed",
            ),
            Voucher::Signed if self.rewritten => {}
            Voucher::Signed => {
                self.rewritten = true;
                report.find(
                    Place::Events { from: Seq(self.settled), to: Seq(size) },
                    format!("the records do not give the root of the signed checkpoint of size {size}: rewritten"),
                );
            }
            Voucher::Outside => {
                self.rewritten = true;
                report.find(
                    Place::Checkpoint { size },
                    format!(
                        "the first {size} events are not those of the given checkpoint: an event from {} on was rewritten",
                        self.settled
                    ),
                );
            }
        }
    }

    /// Tells which side was wrong in each dispute, by the reading that is left.
    fn tell(&mut self, report: &mut Report) {
        let Some(reading) = self.readings.first_mut() else { return };
        for (dispute, record_right) in self.disputes.drain(..).zip(reading.record_right.drain(..)) {
            if dispute.missing {
                report.find(Place::Event(Seq(dispute.seq)), "it is missing");
            } else if record_right {
                let index = dispute.seq >> TILE_HEIGHT;
                let at = dispute.seq % TILE_WIDTH as u64;
                report.find(
                    Place::Tile { level: 0, index },
                    format!("its hash {at} is not the one of event {}, whose record is right", dispute.seq),
                );
            } else {
                report.find(Place::Event(Seq(dispute.seq)), "its record was changed: its hash is not the logged one");
            }
        }
    }

    fn compare_tiles(&mut self, report: &mut Report) -> Result<(), Error> {
        let [reading] = self.readings.as_mut_slice() else { return Ok(()) };
        for tile in std::mem::take(&mut reading.tiles) {
            report.tiles += 1;
            let place = Place::Tile { level: tile.level, index: tile.index };
            match (self.stored)(tile.level, tile.index)? {
                Some(stored) if stored == tile.hashes => {}
                Some(stored) => {
                    let differ = hashes_of(&stored).iter().zip(hashes_of(&tile.hashes)).position(|(a, b)| *a != b);
                    let detail = match differ {
                        Some(at) => format!("its hash {at} is not the one that the level below gives"),
                        None => "it does not have 256 hashes".to_owned(),
                    };
                    report.find(place, detail);
                }
                None => report.find(place, "it is missing"),
            }
        }
        Ok(())
    }

    /// Ends the tree after the last record. Gives its edge.
    pub(crate) fn finish(mut self, report: &mut Report) -> Result<Edge, Error> {
        let tail = std::mem::take(&mut self.block);
        self.settle(&tail, None, report)?;
        let size = self.size();
        let past: Vec<Anchor> = self.anchors.drain(self.next_anchor..).collect();
        if let Some(anchor) = past.iter().max_by_key(|anchor| (anchor.size, Reverse(anchor.voucher))) {
            let by = match anchor.voucher {
                Voucher::Outside => "the given checkpoint",
                Voucher::Signed => "a signed checkpoint",
                Voucher::Head => "the log's head",
            };
            report.find(
                Place::Events { from: Seq(size), to: Seq(anchor.size) },
                format!("they are missing: the log was truncated; {by} covers {} events", anchor.size),
            );
        }
        if self.readings.len() > 1 {
            // records are what people read: without a vouched root they get the benefit of the doubt
            self.readings.truncate(1);
            for dispute in &self.disputes {
                report.find(
                    Place::Event(Seq(dispute.seq)),
                    format!(
                        "its record or tile 0/{} was changed; no checkpoint tells which",
                        dispute.seq >> TILE_HEIGHT
                    ),
                );
            }
            self.disputes.clear();
        }
        self.tell(report);
        self.compare_tiles(report)?;
        let edge = self.readings.swap_remove(0).edge;
        report.root = Some(edge.root());
        Ok(edge)
    }
}

fn missing(block: &[Option<Digest>], first: u64) -> Vec<u64> {
    block.iter().enumerate().filter(|(_, leaf)| leaf.is_none()).map(|(at, _)| first + at as u64).collect()
}
