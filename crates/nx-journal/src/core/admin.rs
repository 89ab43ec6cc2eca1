//! What the handle asks of the log besides commits: blobs, key rotation, checkpoints, figures, an examination.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use nx_types::{BlobId, Digest, Duration, Env, KeyId, Namespace, Timestamp};

use super::{Core, meta};
use crate::{
    Check, DoctorReport, ErasureReport, Error, GcReport, MasterKeySource, RetentionPolicy, Stats,
    backend::{Backend, BlobRow, Blobs, Rows},
    reader::decode_header,
    seal::{self, Key},
};

/// Work on the log that is not a commit, done between groups.
pub(crate) trait Admin {
    fn blob_key(&mut self, namespace: &Namespace, data_subject: &str) -> Result<BlobKey, Error>;
    fn register_blob(&mut self, id: BlobId, key: KeyId, size: u64) -> Result<(), Error>;
    fn erase(&mut self, subjects: &[(Namespace, String)], reason: &str, by: &str) -> Result<ErasureReport, Error>;
    fn retention(&mut self, policy: &RetentionPolicy) -> Result<ErasureReport, Error>;
    fn gc(&mut self, older_than: Duration) -> Result<GcReport, Error>;
    fn rotate_master(&mut self, master: &MasterKeySource) -> Result<u64, Error>;
    fn store_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error>;
    fn tree(&self) -> (u64, Digest);
    fn doctor(&mut self) -> Result<DoctorReport, Error>;
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
        self.backend.scrub()?;
        Ok(count)
    }

    /// Stores a signed checkpoint of a tree size.
    pub fn store_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error> {
        self.group(|core| core.backend.put_checkpoint(size, note))
    }

    /// Removes blobs that no header names and that were stored longer ago than `older_than`. Reads headers only.
    pub fn gc(&mut self, older_than: Duration) -> Result<GcReport, Error> {
        let limit = before(self.env.now(), older_than);
        let mut candidates = BTreeSet::new();
        let mut report = GcReport::default();
        let mut known = BTreeSet::new();
        self.backend.rows().all_blobs(&mut |row| {
            known.insert(row.id);
            if row.stored <= limit {
                candidates.insert(row.id);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !candidates.is_empty() {
            keep_named(self.backend.rows(), &mut candidates)?;
        }
        let blobs = self.backend.blobs();
        let mut orphans = Vec::new();
        blobs.list(&mut |(id, size, stored)| {
            if candidates.contains(&id) {
                report.bytes += size;
            } else if !known.contains(&id) && stored <= limit {
                orphans.push(id);
                report.bytes += size;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !candidates.is_empty() {
            self.group(|core| candidates.iter().try_for_each(|id| core.backend.delete_blob(id)))?;
        }
        for id in candidates.iter().chain(&orphans) {
            blobs.delete(id)?;
        }
        report.removed = (candidates.len() + orphans.len()) as u64;
        report.kept = (known.len() - candidates.len()) as u64;
        Ok(report)
    }

    /// Checks the storage engine's structures, the disk, keys and blobs.
    pub fn doctor(&mut self) -> Result<DoctorReport, Error> {
        let mut checks = Vec::new();
        checks.push(Check {
            name: "storage",
            seen: format!("{} events, epoch {}", self.tip.head, self.epoch),
            problems: self.backend.check()?,
        });
        checks.push(self.check_disk()?);
        checks.push(self.check_keys()?);
        checks.push(self.check_blobs()?);
        Ok(DoctorReport { checks })
    }

    fn check_disk(&self) -> Result<Check, Error> {
        let space = self.backend.space()?;
        let mut problems = Vec::new();
        if space.free < self.limits.min_free_bytes {
            problems.push(Error::LowDisk { free: space.free, reserve: self.limits.min_free_bytes }.to_string());
        }
        Ok(Check { name: "disk", seen: format!("{} bytes used, {} bytes free", space.used, space.free), problems })
    }

    fn check_keys(&self) -> Result<Check, Error> {
        let (mut living, mut erased, mut problems) = (0u64, 0u64, Vec::new());
        self.backend.rows().keys(None, &mut |row| {
            match self.keys.data_subject(&row) {
                Ok(Some(_)) => living += 1,
                Ok(None) => erased += 1,
                Err(error) => problems.push(error.to_string()),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Check { name: "keys", seen: format!("{living} data keys, {erased} erased"), problems })
    }

    fn check_blobs(&self) -> Result<Check, Error> {
        let mut rows = BTreeSet::new();
        self.backend.rows().all_blobs(&mut |row| {
            rows.insert(row.id);
            Ok(ControlFlow::Continue(()))
        })?;
        let (mut bytes, mut orphans) = (0, 0u64);
        let count = rows.len();
        self.backend.blobs().list(&mut |(id, size, _)| {
            bytes += size;
            if !rows.remove(&id) {
                orphans += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let problems = rows.iter().map(|id| format!("blob {id} is missing; restore it from a backup")).collect();
        let seen = format!("{count} blobs, {bytes} bytes, {orphans} without a row (garbage collection removes them)");
        Ok(Check { name: "blobs", seen, problems })
    }

    /// Figures.
    pub fn stats(&self) -> Result<Stats, Error> {
        let space = self.backend.space()?;
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
        Self::erase(self, subjects, reason, by)
    }

    fn retention(&mut self, policy: &RetentionPolicy) -> Result<ErasureReport, Error> {
        Self::retention(self, policy)
    }

    fn gc(&mut self, older_than: Duration) -> Result<GcReport, Error> {
        Self::gc(self, older_than)
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

    fn doctor(&mut self) -> Result<DoctorReport, Error> {
        Self::doctor(self)
    }

    fn stats(&self) -> Result<Stats, Error> {
        Self::stats(self)
    }
}

/// The instant `age` before now.
pub(super) fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub_unsigned(age.as_micros()))
}

/// Takes every blob that some header names out of the candidates.
fn keep_named(rows: &dyn Rows, candidates: &mut BTreeSet<BlobId>) -> Result<(), Error> {
    rows.events(0, &mut |row| {
        for id in &decode_header(row)?.blobs {
            candidates.remove(id);
        }
        Ok(if candidates.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}
