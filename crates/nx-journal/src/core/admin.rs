//! What the handle asks of the log besides commits: blobs, key rotation, checkpoints, figures, an examination.

use std::{ops::ControlFlow, sync::Arc};

use nx_types::{BlobId, Digest, Env, KeyId, Namespace, Timestamp};

use super::{Core, meta, scrub, upkeep::Garbage};
use crate::{
    DoctorReport, ErasureReport, Error, GcReport, MasterKeySource, Stats,
    backend::{Backend, BlobRow, Blobs},
    seal::{self, Key},
};

/// Work on the log that is not a commit, done between groups.
pub(crate) trait Admin {
    fn blob_key(&mut self, namespace: &Namespace, data_subject: &str) -> Result<BlobKey, Error>;
    fn register_blob(&mut self, id: BlobId, key: KeyId, size: u64) -> Result<(), Error>;
    fn erase(&mut self, subjects: &[(Namespace, String)], reason: &str, by: &str) -> Result<ErasureReport, Error>;
    fn erase_old(&mut self, keys: &[KeyId], limit: Timestamp) -> Result<ErasureReport, Error>;
    fn finish_scrub(&mut self) -> Result<bool, Error>;
    fn collect(&mut self, garbage: Garbage) -> Result<GcReport, Error>;
    fn rotate_master(&mut self, master: &MasterKeySource) -> Result<u64, Error>;
    fn store_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error>;
    fn tree(&self) -> (u64, Digest);
    fn stats(&self) -> Result<Stats, Error>;
}

/// A data key to seal a blob with.
#[derive(Debug)]
pub(crate) struct BlobKey(pub(crate) KeyId, Arc<Key>);

/// Seals content and stores it as a blob.
pub(crate) fn store_blob(blobs: &dyn Blobs, key: &BlobKey, env: &Env, bytes: &[u8]) -> Result<BlobId, Error> {
    let mut stored = Vec::new();
    key.1.seal(seal::nonce(env.rng()), seal::BLOB_AAD, &[bytes], &mut stored)?;
    let id = BlobId(*blake3::hash(&stored).as_bytes());
    blobs.put(&id, &stored)?;
    Ok(id)
}

impl<B: Backend> Core<B> {
    /// Seals and stores content; durable when it returns. Attach it to an event by [`crate::NewEvent::blobs`], else
    /// garbage collection removes it.
    pub fn put_blob(&mut self, namespace: &Namespace, data_subject: &str, bytes: &[u8]) -> Result<BlobId, Error> {
        let key = self.blob_key(namespace, data_subject)?;
        let id = store_blob(&*self.backend.blobs(), &key, &self.env, bytes)?;
        self.register_blob(id, key.0, bytes.len() as u64)?;
        Ok(id)
    }

    /// Wraps every data key by another master key. The caller puts the new key where the next opening finds it, before
    /// the old one is thrown away.
    pub fn rotate_master(&mut self, source: &MasterKeySource) -> Result<u64, Error> {
        let master = seal::load_master(source, true, self.env.rng())?;
        let lookup =
            self.backend.rows().meta(meta::LOOKUP)?.ok_or_else(|| Error::corrupt("the lookup key", "it is missing"))?;
        let count = self.group(|core| {
            core.backend.put_meta(meta::SCRUB, &[scrub::DUE])?;
            let lookup = core.keys.rewrap_lookup(&lookup, &master, core.env.rng())?;
            core.backend.put_meta(meta::LOOKUP, &lookup)?;
            let mut rows = Vec::new();
            core.backend.rows().keys(None, &mut |row| {
                rows.push(row);
                Ok(ControlFlow::Continue(()))
            })?;
            let mut count = 0;
            for row in &rows {
                if let Some(wrapped) = core.keys.rewrap(row, &master, core.env.rng())? {
                    core.backend.rewrap_key(row.id, &wrapped)?;
                    count += 1;
                }
            }
            Ok(count)
        })?;
        self.keys.set_master(master);
        self.finish_scrub()?;
        Ok(count)
    }

    /// Stores a signed checkpoint of a tree size.
    pub fn store_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error> {
        self.group(|core| core.backend.put_checkpoint(size, note))
    }

    /// Checks the storage engine's structures, the disk, keys and blobs.
    pub fn doctor(&self) -> Result<DoctorReport, Error> {
        self.reader.examine(self.limits.min_free_bytes)
    }

    /// Figures.
    pub fn stats(&self) -> Result<Stats, Error> {
        let space = self.reader.space()?;
        Ok(Stats {
            events: self.tip.head,
            bytes: space.used,
            free_bytes: space.free,
            sync_p50_us: self.syncs.median(),
            groups: self.syncs.groups,
            root: Some(self.tip.edge.root()),
        })
    }
}

impl<B: Backend> Admin for Core<B> {
    fn blob_key(&mut self, namespace: &Namespace, data_subject: &str) -> Result<BlobKey, Error> {
        self.check_space()?;
        let lookup = self.keys.lookup(namespace, data_subject);
        if let Some(row) = self.backend.rows().key_of(&lookup)?
            && let Some(key) = self.keys.unwrap_row(&row)?
        {
            return Ok(BlobKey(row.id, key));
        }
        let (id, key) = self.group(|core| core.data_key(namespace, data_subject))?;
        Ok(BlobKey(id, key))
    }

    fn register_blob(&mut self, id: BlobId, key: KeyId, size: u64) -> Result<(), Error> {
        let living = self.backend.rows().key(key)?.is_some_and(|row| row.wrapped.is_some());
        if !living {
            return Err(Error::BlobErased { id });
        }
        let stored = self.env.now();
        self.group(|core| core.backend.insert_blob(&BlobRow { id, key, size, stored }))
    }

    fn erase(&mut self, subjects: &[(Namespace, String)], reason: &str, by: &str) -> Result<ErasureReport, Error> {
        self.erase_unscrubbed(subjects, reason, by)
    }

    fn erase_old(&mut self, keys: &[KeyId], limit: Timestamp) -> Result<ErasureReport, Error> {
        Self::erase_old(self, keys, limit)
    }

    fn finish_scrub(&mut self) -> Result<bool, Error> {
        Self::finish_scrub(self)
    }

    fn collect(&mut self, garbage: Garbage) -> Result<GcReport, Error> {
        Self::collect(self, garbage)
    }

    fn rotate_master(&mut self, master: &MasterKeySource) -> Result<u64, Error> {
        Self::rotate_master(self, master)
    }

    fn store_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error> {
        Self::store_checkpoint(self, size, note)
    }

    fn tree(&self) -> (u64, Digest) {
        Self::tree(self)
    }

    fn stats(&self) -> Result<Stats, Error> {
        Self::stats(self)
    }
}
