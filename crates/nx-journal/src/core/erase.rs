//! Erasing: a data subject's key and everything that it sealed go; headers, and with them all proofs, stay.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use nx_types::{BlobId, Digest, EventType, KeyId, Namespace, Subject};

use super::{Core, all, json, meta, name, scrub};
use crate::{
    Commit, ErasureReport, Error, NewEvent,
    backend::{Backend, KeyRow, Sealed, StateRecord},
    reader::{decode_header, open_record},
    seal::NAMESPACE_SUBJECT,
    tlog::sha256,
};

impl<B: Backend> Core<B> {
    /// Erases data subjects in one transaction. A subject of which nothing is stored is an error, and then nothing
    /// happens. Allowed when the disk is nearly full.
    pub fn erase(&mut self, subjects: &[(Namespace, String)], reason: &str, by: &str) -> Result<ErasureReport, Error> {
        let report = self.erase_unscrubbed(subjects, reason, by)?;
        self.scrubbed(report)
    }

    /// As [`Core::erase`], but leaves free space and the write-ahead log to [`Core::finish_scrub`].
    pub(super) fn erase_unscrubbed(
        &mut self,
        subjects: &[(Namespace, String)],
        reason: &str,
        by: &str,
    ) -> Result<ErasureReport, Error> {
        let mut rows = Vec::with_capacity(subjects.len());
        for (namespace, data_subject) in subjects {
            let row = self.backend.rows().key_of(&self.keys.lookup(namespace, data_subject))?.ok_or_else(|| {
                Error::DataSubjectUnknown { namespace: namespace.clone(), data_subject: data_subject.clone() }
            })?;
            rows.push(row);
        }
        self.erase_keys(&rows, reason, by)
    }

    /// Erases keys again that a restored backup brought back, by their numbers; those already erased are passed over.
    pub fn erase_again(&mut self, keys: &[KeyId], reason: &str, by: &str) -> Result<ErasureReport, Error> {
        let mut rows = Vec::new();
        for id in keys {
            rows.extend(self.backend.rows().key(*id)?.filter(|row| row.wrapped.is_some()));
        }
        let report = self.erase_keys(&rows, reason, by)?;
        self.scrubbed(report)
    }

    pub(super) fn scrubbed(&mut self, report: ErasureReport) -> Result<ErasureReport, Error> {
        if self.finish_scrub()? {
            return Ok(report);
        }
        Err(Error::Storage {
            what: "empty the write-ahead log after an erasure, because a reader holds it; the next opening does it",
            source: Arc::new(std::io::Error::from(std::io::ErrorKind::ResourceBusy)),
        })
    }

    pub(super) fn erase_keys(&mut self, rows: &[KeyRow], reason: &str, by: &str) -> Result<ErasureReport, Error> {
        if rows.is_empty() {
            return Ok(ErasureReport::default());
        }
        let blobs = self.backend.blobs();
        for row in rows {
            let line = serde_json::json!({ "origin": self.origin, "key": row.id, "time": self.env.now() });
            blobs.note_erasure(&line.to_string())?;
        }
        let (report, files) = self.group(|core| {
            let mut report = ErasureReport::default();
            let mut files = BTreeSet::new();
            for row in rows {
                core.erase_key(row, &mut report, &mut files)?;
                core.data_keys.clear();
                let receipt = core.write(&Commit::of([erased(row, reason, by)?]))?;
                report.recorded.extend(receipt.events);
            }
            core.backend.put_meta(meta::SCRUB, &[scrub::DUE])?;
            Ok((report, files))
        })?;
        self.states.clear();
        self.tail.clear();
        for row in rows {
            self.keys.forget(row.id);
        }
        files.iter().try_for_each(|id| blobs.delete(id))?;
        Ok(report)
    }

    /// Everything of one key, within an open group.
    fn erase_key(
        &mut self,
        row: &KeyRow,
        report: &mut ErasureReport,
        files: &mut BTreeSet<BlobId>,
    ) -> Result<(), Error> {
        let Some(data_subject) = self.keys.data_subject(row)? else { return Ok(()) };
        for (seq, digest) in self.sealed_events(row, &data_subject)? {
            self.backend.erase_event(seq, &digest)?;
            report.events += 1;
        }
        let mut records: Vec<StateRecord> = Vec::new();
        self.backend.rows().key_states(row.id, &mut |record| {
            records.push(record);
            Ok(ControlFlow::Continue(()))
        })?;
        for record in &records {
            let entries = open_record(&self.keys, self.backend.rows(), record)?.map(|(entries, _)| entries);
            for entry in entries.iter().flatten() {
                self.backend.delete_index(&record.namespace, &record.kind, &record.key, entry)?;
            }
            self.backend.delete_state(&record.namespace, &record.kind, &record.key)?;
        }
        let mut blobs = Vec::new();
        self.backend.rows().key_blobs(row.id, &mut |blob| {
            blobs.push(blob.id);
            Ok(ControlFlow::Continue(()))
        })?;
        for id in &blobs {
            self.backend.delete_blob(id)?;
        }
        self.backend.erase_key(row.id, &self.keys.lookup(&row.namespace, &data_subject))?;
        report.keys.push(row.id);
        report.rows += records.len() as u64;
        report.blobs += blobs.len() as u64;
        files.extend(blobs);
        Ok(())
    }

    /// Events that the key seals, with the digests that replace their data: those stored under the key, and those of
    /// the subject that the data subject is by default.
    fn sealed_events(&self, row: &KeyRow, data_subject: &str) -> Result<Vec<(u64, Digest)>, Error> {
        let mut found = Vec::new();
        let mut look = |event: crate::backend::EventRow<'_>| {
            if let Sealed::Data(sealed) = event.sealed
                && decode_header(event)?.key == row.id
            {
                found.push((event.seq, sha256(sealed)));
            }
            Ok(ControlFlow::Continue(()))
        };
        if let Ok(subject) = Subject::new(data_subject) {
            self.backend.rows().subject_events(&row.namespace, &subject, all(), &mut look)?;
        }
        for seq in self.backend.rows().key_events(row.id)? {
            self.backend.rows().events(seq, &mut |event| look(event).map(|_more| ControlFlow::Break(())))?;
        }
        found.sort_unstable_by_key(|(seq, _)| *seq);
        found.dedup_by_key(|(seq, _)| *seq);
        Ok(found)
    }

    /// Finishes what a crash may have cut off between an erasure's transaction and its last step.
    pub(super) fn finish_erasures(&mut self) -> Result<(), Error> {
        if self.backend.rows().meta(meta::SCRUB)?.is_none_or(|value| value == [scrub::DONE]) {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        self.backend.rows().all_blobs(&mut |row| {
            known.insert(row.id);
            Ok(ControlFlow::Continue(()))
        })?;
        let blobs = self.backend.blobs();
        let mut orphans = Vec::new();
        blobs.list(&mut |(id, _, _)| {
            if !known.contains(&id) {
                orphans.push(id);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        orphans.iter().try_for_each(|id| blobs.delete(id))?;
        self.finish_scrub().map(drop)
    }

    /// Takes what was erased out of free space and the write-ahead log; `false` if a reader holds the latter, and then it
    /// is to be tried again.
    pub(crate) fn finish_scrub(&mut self) -> Result<bool, Error> {
        if self.backend.rows().meta(meta::SCRUB)?.is_some_and(|value| value != [scrub::DONE]) {
            if !self.backend.scrub()? {
                return Ok(false);
            }
            self.group(|core| core.backend.put_meta(meta::SCRUB, &[scrub::DONE]))?;
        }
        Ok(true)
    }
}

/// The record of an erasure: it names the key, never whose it was.
fn erased(row: &KeyRow, reason: &str, by: &str) -> Result<NewEvent, Error> {
    let data = json(&serde_json::json!({ "by": by, "key": row.id, "reason": reason }))?;
    let mut event =
        NewEvent::new(row.namespace.clone(), name(EventType::new("key.erased"))?, Subject::key(row.id), data);
    event.data_subject = Some(NAMESPACE_SUBJECT.to_owned());
    Ok(event)
}
