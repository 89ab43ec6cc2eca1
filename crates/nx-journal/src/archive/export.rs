//! A log's leaves and tree as files (C2SP tlog-tiles), for verifiers that have nothing else: no data, no keys.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    backend::{Rows, Sealed},
    tlog::{
        CHECKPOINT_PATH, Checkpoint, Edge, TILE_WIDTH, entries_path, leaf_hash, push_entry, sha256, tile_path,
        tile_width,
    },
};

/// Writes the leaves and tiles of the tree that a signed checkpoint covers, and the checkpoint last. Gives the number
/// of leaves. An earlier export into the same folder is completed.
pub(crate) fn export_tiles(rows: &dyn Rows, note: &str, dir: &Path) -> Result<u64, Error> {
    let (checkpoint, _note) = Checkpoint::parse(note.as_bytes())?;
    let size = checkpoint.size;
    let (mut edge, mut tiles, mut bundle) = (Edge::new(), Vec::new(), Vec::new());
    rows.events(0, &mut |row| {
        if edge.size() == size || row.seq != edge.size() {
            return Ok(ControlFlow::Break(()));
        }
        let sealed = match row.sealed {
            Sealed::Data(bytes) => sha256(bytes),
            Sealed::Digest(digest) => digest,
        };
        push_entry(&mut bundle, row.header, &sealed)?;
        edge.push(leaf_hash(row.header, &sealed), &mut tiles);
        if edge.size().is_multiple_of(TILE_WIDTH as u64) {
            write(dir, &entries_path(row.seq / TILE_WIDTH as u64, TILE_WIDTH), &bundle)?;
            bundle.clear();
        }
        for tile in tiles.drain(..) {
            write(dir, &tile_path(tile.level, tile.index, TILE_WIDTH), &tile.hashes)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if edge.size() != size || edge.root() != checkpoint.root {
        return Err(Error::corrupt(
            "the log",
            format!("its first {size} events do not give the root of its checkpoint; run `neuraxis audit verify`"),
        ));
    }
    if !bundle.is_empty() {
        let index = size / TILE_WIDTH as u64;
        write(dir, &entries_path(index, tile_width(size, 0, index)), &bundle)?;
    }
    for level in 0..8 {
        let partial = edge.partial(level);
        if !partial.is_empty() {
            let index = (size >> (8 * u32::from(level))) / TILE_WIDTH as u64;
            write(dir, &tile_path(level, index, partial.len() / 32), partial)?;
        }
    }
    write(dir, CHECKPOINT_PATH, note.as_bytes())?;
    Ok(size)
}

/// Writes a file in whole or not at all.
pub(super) fn write(dir: &Path, path: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(path);
    let fail = || Error::file("write", &path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(fail())?;
    }
    let mut temporary = path.clone().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    fs::write(&temporary, bytes).map_err(fail())?;
    fs::rename(&temporary, &path).map_err(fail())
}
