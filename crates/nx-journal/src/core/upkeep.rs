//! Retention and garbage collection. What is to go is found on a reader, so that the writer is held up only for the
//! going itself; it looks again at what has changed since.

use std::{collections::BTreeSet, ops::ControlFlow};

use nx_types::{BlobId, Duration, KeyId, Subject, Timestamp};

use super::Core;
use crate::{
    ErasureReport, Error, GcReport, Reader, RetentionPolicy,
    backend::{Backend, EventRow, KeyRow, Page, Rows},
    reader::decode_header,
    seal::{Keyring, NAMESPACE_SUBJECT},
};

/// Blobs that may go.
#[derive(Debug)]
pub(crate) struct Garbage {
    /// Those with a row that no header names before `scanned`.
    unnamed: BTreeSet<BlobId>,
    /// Those without a row.
    orphans: Vec<BlobId>,
    scanned: u64,
    bytes: u64,
    known: u64,
}

impl Reader {
    /// Blobs that no header names and that were stored longer ago than `older_than`. Reads headers only.
    pub(crate) fn garbage(&self, now: Timestamp, older_than: Duration) -> Result<Garbage, Error> {
        let limit = before(now, older_than);
        let mut known = BTreeSet::new();
        let mut unnamed = BTreeSet::new();
        let scanned = self.rows(|rows| {
            rows.all_blobs(&mut |row| {
                known.insert(row.id);
                if row.stored <= limit {
                    unnamed.insert(row.id);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            keep_named(rows, 0, &mut unnamed)?;
            rows.head()
        })?;
        let (mut orphans, mut bytes) = (Vec::new(), 0);
        self.sealed_blobs().list(&mut |(id, size, stored)| {
            if unnamed.contains(&id) {
                bytes += size;
            } else if !known.contains(&id) && stored <= limit {
                orphans.push(id);
                bytes += size;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Garbage { unnamed, orphans, scanned, bytes, known: known.len() as u64 })
    }

    /// Keys of data subjects that have lived long enough.
    pub(crate) fn outlived(&self, policy: &RetentionPolicy, limit: Timestamp) -> Result<Vec<KeyId>, Error> {
        let mut keys = Vec::new();
        self.rows(|rows| {
            rows.keys(None, &mut |row| {
                let wanted = policy.namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace);
                if wanted
                    && let Some(data_subject) = self.keyring().data_subject(&row)?
                    && data_subject != NAMESPACE_SUBJECT
                    && data_subject.starts_with(&policy.prefix)
                    && newest(rows, &row, &data_subject)?.is_some_and(|time| time <= limit)
                {
                    keys.push(row.id);
                }
                Ok(if keys.len() < policy.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
        })?;
        Ok(keys)
    }
}

impl<B: Backend> Core<B> {
    /// Removes blobs that no header names and that were stored longer ago than `older_than`. Reads headers only.
    pub fn gc(&mut self, older_than: Duration) -> Result<GcReport, Error> {
        let garbage = self.reader.garbage(self.env.now(), older_than)?;
        self.collect(garbage)
    }

    /// Removes garbage, but for what has been named since it was found.
    pub(super) fn collect(&mut self, mut garbage: Garbage) -> Result<GcReport, Error> {
        keep_named(self.backend.rows(), garbage.scanned, &mut garbage.unnamed)?;
        if !garbage.unnamed.is_empty() {
            self.group(|core| garbage.unnamed.iter().try_for_each(|id| core.backend.delete_blob(id)))?;
        }
        let blobs = self.backend.blobs();
        let mut removed = garbage.unnamed.len() as u64;
        for id in &garbage.unnamed {
            blobs.delete(id)?;
        }
        for id in &garbage.orphans {
            if self.backend.rows().blob(id)?.is_none() {
                blobs.delete(id)?;
                removed += 1;
            }
        }
        Ok(GcReport { kept: garbage.known - garbage.unnamed.len() as u64, removed, bytes: garbage.bytes })
    }

    /// Erases data subjects whose newest event is older than the policy says.
    pub fn retention(&mut self, policy: &RetentionPolicy) -> Result<ErasureReport, Error> {
        let limit = before(self.env.now(), policy.older_than);
        let keys = self.reader.outlived(policy, limit)?;
        let report = self.erase_old(&keys, limit)?;
        self.scrubbed(report)
    }

    /// Erases those of the keys that no event newer than `limit` has used.
    pub(super) fn erase_old(&mut self, keys: &[KeyId], limit: Timestamp) -> Result<ErasureReport, Error> {
        let mut old = Vec::with_capacity(keys.len());
        for id in keys {
            let Some(row) = self.backend.rows().key(*id)? else { continue };
            if is_old(self.backend.rows(), &self.keys, &row, limit)? {
                old.push(row);
            }
        }
        self.erase_keys(&old, "retention", "journal")
    }
}

fn is_old(rows: &dyn Rows, keys: &Keyring, row: &KeyRow, limit: Timestamp) -> Result<bool, Error> {
    let Some(data_subject) = keys.data_subject(row)? else { return Ok(false) };
    Ok(newest(rows, row, &data_subject)?.is_some_and(|time| time <= limit))
}

/// When the newest event that a key seals was recorded.
fn newest(rows: &dyn Rows, row: &KeyRow, data_subject: &str) -> Result<Option<Timestamp>, Error> {
    let mut newest = None;
    let mut look = |event: EventRow<'_>| {
        newest = newest.max(Some(decode_header(event)?.recorded));
        Ok(ControlFlow::Break(()))
    };
    if let Ok(subject) = Subject::new(data_subject) {
        let page = Page { after: None, limit: 1, reverse: true };
        rows.subject_events(&row.namespace, &subject, page, &mut look)?;
    }
    if let Some(seq) = rows.key_events(row.id)?.last() {
        rows.events(*seq, &mut look)?;
    }
    Ok(newest)
}

/// The instant `age` before now.
pub(crate) fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub_unsigned(age.as_micros()))
}

/// Takes every blob that a header from a place on names out of the candidates.
fn keep_named(rows: &dyn Rows, from: u64, candidates: &mut BTreeSet<BlobId>) -> Result<(), Error> {
    if candidates.is_empty() {
        return Ok(());
    }
    rows.events(from, &mut |row| {
        for id in &decode_header(row)?.blobs {
            candidates.remove(id);
        }
        Ok(if candidates.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}
