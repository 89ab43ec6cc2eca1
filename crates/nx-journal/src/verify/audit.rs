//! What an auditor asks of a log: verification, proofs, exports. Reads only; calls block.

use std::{
    ops::{ControlFlow, Range},
    path::Path,
    sync::Arc,
};

use nx_types::{Digest, Env, Seq};

use super::{Basis, report::Report, verify_rows};
use crate::{
    Error, Options, Reader, archive,
    backend::{Rows, Sealed, sqlite},
    core::meta,
    seal::{self, Keyring},
    tlog::{
        Checkpoint, Growth, Leaf, Proof, TreeSource, Verifier, leaf_hash, prove_consistency, prove_inclusion, root_at,
        sha256,
    },
};

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Signed checkpoints that were kept elsewhere: the log must start with what each of them covers.
    pub checkpoints: Vec<Vec<u8>>,
    /// Whether the content of every blob is read and hashed, too.
    pub blobs: bool,
    /// Most subjects and state rows held in memory; with more, the log is read several times. `None` is 4 million
    /// (about 400 MB).
    pub max_held: Option<usize>,
}

/// An auditor's view of a log.
#[derive(Debug, Clone)]
pub struct Audit {
    reader: Reader,
    key: Option<Verifier>,
}

impl Audit {
    /// A view of a log whose checkpoints `key` signs. Without a key no signature is checked.
    pub fn new(reader: Reader, key: Option<Verifier>) -> Self {
        Self { reader, key }
    }

    /// A view of the log in a data directory, which may be open, or too damaged to be opened. Without `key`, the public
    /// part of the directory's own checkpoint key is taken, if it is there.
    pub fn open(options: &Options, key: Option<Verifier>) -> Result<Self, Error> {
        let (source, blobs) = sqlite::view(options)?;
        let master = seal::load_master(&options.master, false, Env::system().rng())?;
        let mut lookup = None;
        source.read(&mut |rows| {
            lookup = rows.meta(meta::LOOKUP)?;
            Ok(())
        })?;
        let lookup = lookup.ok_or_else(|| Error::corrupt("the lookup key", "it is missing"))?;
        let keys = Arc::new(Keyring::open(master, &lookup, options.cache_entries)?);
        let key = match key {
            Some(key) => Some(key),
            None => super::notary::public_key(&options.dir)?,
        };
        Ok(Self { reader: Reader::new(source, blobs, keys), key })
    }

    /// Verifies records, sealed data, tree, tiles, checkpoints, subjects, state rows, index entries and keys, and what
    /// was kept elsewhere. What is wrong is in the report; an error means that it could not be looked at.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Report, Error> {
        // a damaged log may not be able to tell; then former checkpoints are findings, too
        let former = archive::former_keys(&self.reader).unwrap_or_default();
        let mut outside = Vec::with_capacity(options.checkpoints.len());
        for note in &options.checkpoints {
            outside.push(self.outside(note, &former)?);
        }
        let blobs = self.reader.sealed_blobs().clone();
        let basis = Basis {
            key: self.key.as_ref(),
            former,
            keyring: Some(self.reader.keyring()),
            blobs: options.blobs.then_some(&*blobs),
            outside,
            max_held: options.max_held,
        };
        self.reader.rows(|rows| verify_rows(rows, &basis))
    }

    /// A checkpoint kept elsewhere: of this log, or of a former one that it was restored from.
    fn outside(&self, note: &[u8], former: &[Verifier]) -> Result<Checkpoint, Error> {
        let (checkpoint, signed) = Checkpoint::parse(note)?;
        let Some(key) = &self.key else { return Ok(checkpoint) };
        if checkpoint.origin == key.name() {
            signed.verify(key).map_err(|error| Error::Checkpoint { detail: error.to_string() })?;
            return Ok(checkpoint);
        }
        if let Some(key) = former.iter().find(|former| former.name() == checkpoint.origin) {
            signed.verify(key).map_err(|error| Error::Checkpoint { detail: error.to_string() })?;
            return Ok(checkpoint);
        }
        let origin = checkpoint.origin;
        Err(Error::Checkpoint { detail: format!("it is of `{origin}`, not of this log, `{}`", key.name()) })
    }

    /// The newest signed checkpoint that the log holds.
    pub fn newest_checkpoint(&self) -> Result<Option<String>, Error> {
        let note = self.reader.rows(|rows| rows.checkpoint(u64::MAX))?;
        note.map(|(size, note)| {
            String::from_utf8(note).map_err(|_err| Error::corrupt(format!("checkpoint {size}"), "it is not UTF-8"))
        })
        .transpose()
    }

    fn checkpoint(&self) -> Result<(Checkpoint, String), Error> {
        let note = self.newest_checkpoint()?.ok_or_else(|| Error::Checkpoint {
            detail: "the log has none yet; sign one with `neuraxis audit checkpoint`".to_owned(),
        })?;
        Ok((Checkpoint::parse(note.as_bytes())?.0, note))
    }

    /// The proof that an event is in the log, by the newest signed checkpoint.
    pub fn prove(&self, seq: Seq) -> Result<Proof, Error> {
        let (checkpoint, note) = self.checkpoint()?;
        self.reader.rows(|rows| {
            let tree = RowsTree::new(rows)?;
            let path = prove_inclusion(&tree, seq, checkpoint.size)?;
            Ok(Proof { seq, leaf: leaf(rows, seq)?, path, checkpoint: note })
        })
    }

    /// The proof that the log grew from an earlier signed checkpoint to its newest one without changing the past.
    pub fn prove_growth(&self, old: &str) -> Result<Growth, Error> {
        let (checkpoint, new) = self.checkpoint()?;
        let (earlier, _note) = Checkpoint::parse(old.as_bytes())?;
        self.reader.rows(|rows| {
            let tree = RowsTree::new(rows)?;
            if root_at(&tree, earlier.size)? != earlier.root {
                return Err(Error::Proof {
                    detail: format!("the log's first {} events are not those of the given checkpoint", earlier.size),
                });
            }
            let path = prove_consistency(&tree, earlier.size, checkpoint.size)?;
            Ok(Growth { path, old: old.to_owned(), new })
        })
    }

    /// Writes leaves, tiles and the newest signed checkpoint as C2SP tlog-tiles files. Gives the number of leaves.
    pub fn export(&self, dir: &Path) -> Result<u64, Error> {
        let (_checkpoint, note) = self.checkpoint()?;
        self.reader.rows(|rows| archive::export_tiles(rows, &note, dir))
    }
}

fn leaf(rows: &dyn Rows, seq: Seq) -> Result<Leaf, Error> {
    let mut found = None;
    rows.events(seq.0, &mut |row| {
        if row.seq == seq.0 {
            let sealed = match row.sealed {
                Sealed::Data(bytes) => sha256(bytes),
                Sealed::Digest(digest) => digest,
            };
            found = Some(Leaf { header: row.header.to_vec(), sealed });
        }
        Ok(ControlFlow::Break(()))
    })?;
    found.ok_or_else(|| Error::corrupt(format!("event {seq}"), "it is missing"))
}

/// The tree that a log's rows hold.
struct RowsTree<'a> {
    rows: &'a dyn Rows,
    size: u64,
}

impl<'a> RowsTree<'a> {
    fn new(rows: &'a dyn Rows) -> Result<Self, Error> {
        Ok(Self { rows, size: rows.head()? })
    }
}

impl TreeSource for RowsTree<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Error> {
        self.rows.tile(level, index)
    }

    fn leaves(&self, range: Range<u64>) -> Result<Vec<Digest>, Error> {
        let mut leaves = Vec::new();
        self.rows.events(range.start, &mut |row| {
            if row.seq >= range.end {
                return Ok(ControlFlow::Break(()));
            }
            leaves.push(match row.sealed {
                Sealed::Data(bytes) => leaf_hash(row.header, &sha256(bytes)),
                Sealed::Digest(digest) => leaf_hash(row.header, &digest),
            });
            Ok(ControlFlow::Continue(()))
        })?;
        if leaves.len() as u64 == range.end - range.start {
            Ok(leaves)
        } else {
            Err(Error::corrupt(format!("events {} to {}", range.start, range.end), "some are missing"))
        }
    }
}
