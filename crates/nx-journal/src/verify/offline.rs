//! Verification of an exported log: nothing but its files and a public key.

use std::{fs, io, path::Path};

use nx_types::{Header, Seq};

use super::{
    ledger::{Ledger, MAX_HELD, Slice},
    report::{Place, Report},
    tree::{Anchor, Tree, Voucher},
};
use crate::{
    Error,
    tlog::{
        CHECKPOINT_PATH, Checkpoint, Edge, Leaf, MAX_ENTRIES_BYTES, MAX_NOTE_BYTES, TILE_BYTES, TILE_WIDTH, Verifier,
        entries_path, parse_entries, tile_path, tile_width,
    },
};

/// Verifies the files of an export (C2SP tlog-tiles) against its checkpoint, and that against `key` and against
/// checkpoints that were kept elsewhere.
pub fn verify_export(dir: &Path, key: &Verifier, outside: &[Checkpoint]) -> Result<Report, Error> {
    let mut report = Report::default();
    let note = read(dir, CHECKPOINT_PATH, MAX_NOTE_BYTES)?
        .ok_or_else(|| Error::Archive { detail: format!("`{}` holds no checkpoint", dir.display()) })?;
    let (checkpoint, signed) = Checkpoint::parse(&note)?;
    if let Err(error) = signed.verify(key) {
        report.find(Place::File(CHECKPOINT_PATH.to_owned()), error.to_string());
    }
    let size = checkpoint.size;
    let mut anchors = vec![Anchor { size, root: checkpoint.root, voucher: Voucher::Signed }];
    anchors.extend(outside.iter().map(|outside| Anchor {
        size: outside.size,
        root: outside.root,
        voucher: Voucher::Outside,
    }));
    let tiles = |level: u8, index: u64| read(dir, &tile_path(level, index, TILE_WIDTH), TILE_BYTES);
    let mut tree = Tree::new(&tiles, anchors);
    let mut ledger = Ledger::new(Slice::ALL, MAX_HELD);
    for first in (0..size).step_by(TILE_WIDTH) {
        let width = tile_width(size, 0, first / TILE_WIDTH as u64);
        let path = entries_path(first / TILE_WIDTH as u64, width);
        let Some(leaves) = bundle(dir, &path, width, &mut report)? else {
            report.find(Place::Events { from: Seq(first), to: Seq(size) }, "they are missing, or cannot be read");
            break;
        };
        let mut changed = Vec::new();
        for leaf in &leaves {
            if let Some(judged) = tree.push(Some(leaf.hash()), &mut report)? {
                changed = judged;
            }
        }
        for (seq, leaf) in (first..).zip(&leaves) {
            report.events += 1;
            if changed.binary_search(&seq).is_ok() {
                ledger.damaged.insert(seq);
            } else {
                header(seq, leaf, &mut ledger, &mut report);
            }
        }
    }
    let edge = tree.finish(&mut report)?;
    check_partial_tiles(dir, &edge, size, &mut report)?;
    Ok(report)
}

fn header(seq: u64, leaf: &Leaf, ledger: &mut Ledger, report: &mut Report) {
    match Header::decode(&leaf.header) {
        Ok(header) => {
            if header.seq.0 != seq {
                report.find(Place::Event(Seq(seq)), format!("its header says it is event {}", header.seq));
            }
            report.origin = Some(header.origin);
            // subjects that do not fit in memory are left out: the tree proves the headers themselves
            let _first = ledger.apply(&header, report);
            ledger.states.clear();
        }
        Err(error) => report.find(Place::Event(Seq(seq)), error.to_string()),
    }
}

fn bundle(dir: &Path, path: &str, width: usize, report: &mut Report) -> Result<Option<Vec<Leaf>>, Error> {
    let leaves = match read(dir, path, MAX_ENTRIES_BYTES)? {
        Some(bytes) => parse_entries(&bytes).map_err(|error| error.to_string()),
        None => Err("it is missing".to_owned()),
    };
    match leaves {
        Ok(leaves) if leaves.len() == width => Ok(Some(leaves)),
        Ok(leaves) => {
            report.find(Place::File(path.to_owned()), format!("it has {} entries instead of {width}", leaves.len()));
            Ok(None)
        }
        Err(detail) => {
            report.find(Place::File(path.to_owned()), detail);
            Ok(None)
        }
    }
}

/// The incomplete tiles of a tree; only a tree that was rebuilt whole tells what they hold.
fn check_partial_tiles(dir: &Path, edge: &Edge, size: u64, report: &mut Report) -> Result<(), Error> {
    if edge.size() != size {
        return Ok(());
    }
    for level in 0..8 {
        let partial = edge.partial(level);
        if !partial.is_empty() {
            report.tiles += 1;
            let index = (size >> (8 * u32::from(level))) / TILE_WIDTH as u64;
            let path = tile_path(level, index, partial.len() / 32);
            let stored = read(dir, &path, TILE_BYTES)?;
            if stored.as_deref() != Some(partial) {
                let detail = if stored.is_none() { "it is missing" } else { "it is not what the entries give" };
                report.find(Place::File(path), detail);
            }
        }
    }
    Ok(())
}

/// A file of the export; `None` if it is not there. A file over `max` bytes is cut and so cannot pass.
fn read(dir: &Path, path: &str, max: usize) -> Result<Option<Vec<u8>>, Error> {
    use io::Read as _;
    let path = dir.join(path);
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", &path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(Error::file("read", &path))?;
    Ok(Some(bytes))
}
