//! Writing commits: preconditions, sealing, headers, leaves, state rows.

use std::{mem, sync::Arc};

use nx_types::{
    Causation, Digest, EventId, EventType, Header, KeyId, LabelId, Namespace, Seq, StateDigest, Subject, Timestamp,
};

use super::{Core, meta, name};
use crate::{
    Cause, Commit, Data, Delete, Error, Event, IndexEntry, NewEvent, Precondition, Put, Receipt,
    backend::{Backend, EventInsert, StateRecord},
    reader::open_record,
    seal::{self, Key, NAMESPACE_SUBJECT},
    tlog::{Tile, leaf_hash, sha256},
};

/// Buffers that live from event to event.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    header: Vec<u8>,
    sealed: Vec<u8>,
    name: String,
    pub(super) tiles: Vec<Tile>,
    /// Events of the open group, for those who follow.
    pub(super) fresh: Vec<Event>,
}

/// What the writer remembers of a state row.
#[derive(Debug, Clone)]
pub(super) struct StateEntry {
    version: u64,
    entries: Arc<[IndexEntry]>,
}

/// A commit either cannot be written as it is, or the group as a whole has failed.
pub(super) enum Refusal {
    Commit(Error),
    Group(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Group(error)
    }
}

/// The fields of an event that its header takes over.
struct Part<'a> {
    namespace: &'a Namespace,
    kind: &'a EventType,
    schema: u16,
    subject: &'a Subject,
    data_subject: Option<&'a str>,
    occurred: Option<Timestamp>,
    label: Option<LabelId>,
    causation: Causation,
    data: &'a [u8],
    source: Option<&'a NewEvent>,
}

impl<B: Backend> Core<B> {
    /// Writes commits as one durable group. A commit whose preconditions fail, or that is invalid, is refused alone;
    /// if the group cannot be made durable, every commit gets that error and nothing has happened.
    pub fn append(&mut self, commits: &[Commit]) -> Vec<Result<Receipt, Error>> {
        if let Err(error) = self.check_space_often_enough() {
            return commits.iter().map(|_| Err(error.clone())).collect();
        }
        if let Err(error) = self.backend.begin(self.epoch) {
            return commits.iter().map(|_| Err(error.clone())).collect();
        }
        let before = self.tip.clone();
        let mut results = Vec::with_capacity(commits.len());
        let mut failed = None;
        for commit in commits {
            let checked = check_types(commit).map_err(Refusal::Commit).and_then(|()| self.write_checked(commit));
            match checked {
                Ok(receipt) => results.push(Ok(receipt)),
                Err(Refusal::Commit(error)) => results.push(Err(error)),
                Err(Refusal::Group(error)) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if failed.is_none() {
            if results.iter().all(Result::is_err) {
                self.backend.rollback();
                return results;
            }
            failed = self.flush().err();
        }
        if let Some(error) = failed {
            self.backend.rollback();
            self.forget(before);
            return commits.iter().map(|_| Err(error.clone())).collect();
        }
        results
    }

    /// Asks the disk when enough time has passed, or enough was written, for its answer to differ. (Asking before each
    /// group also makes the file system write the log's inode with each group.)
    fn check_space_often_enough(&mut self) -> Result<(), Error> {
        /// How long an answer holds.
        const HOLDS: nx_types::Duration = nx_types::Duration::from_millis(200);
        /// How many events it holds for: the reserve is far larger than what so many take.
        const EVENTS: u64 = 1024;
        let now = self.env.now();
        let fresh = self.space_asked.is_some_and(|(at, head)| {
            now >= at && now.since(at) < HOLDS && self.tip.head.saturating_sub(head) < EVENTS
        });
        if fresh {
            return Ok(());
        }
        self.space_asked = None;
        self.check_space()?;
        self.space_asked = Some((now, self.tip.head));
        Ok(())
    }

    pub(super) fn check_space(&self) -> Result<(), Error> {
        let reserve = self.limits.min_free_bytes;
        if reserve == 0 {
            return Ok(());
        }
        let free = self.reader.space()?.free;
        if free < reserve { Err(Error::LowDisk { free, reserve }) } else { Ok(()) }
    }

    /// Writes a commit that must not be refused, within an open group.
    pub(super) fn write(&mut self, commit: &Commit) -> Result<Receipt, Error> {
        self.write_checked(commit).map_err(|refusal| match refusal {
            Refusal::Commit(error) | Refusal::Group(error) => error,
        })
    }

    /// Everything that can refuse the commit is looked at before anything of it is written.
    fn write_checked(&mut self, commit: &Commit) -> Result<Receipt, Refusal> {
        self.check_form(commit).map_err(Refusal::Commit)?;
        for precondition in &commit.preconditions {
            self.check_precondition(precondition)?;
        }
        for event in &commit.events {
            for id in &event.blobs {
                if self.backend.rows().blob(id)?.is_none() {
                    return Err(Refusal::Commit(Error::BlobUnknown { id: *id }));
                }
            }
        }
        let now = self.env.now().max(self.tip.recorded);
        self.tip.recorded = now;
        let labels = self.define_labels(commit, now)?;
        let first = labels.first;
        let last = Seq((self.tip.head + commit.events.len() as u64).saturating_sub(1).max(first.0));
        let (versions, mut digests) = self.write_state(commit, last)?;
        let mut seqs: Vec<Seq> = Vec::with_capacity(commit.events.len());
        for (place, event) in commit.events.iter().enumerate() {
            let causation = match event.causation {
                Cause::None => Causation::None,
                Cause::Local(seq) => Causation::Local(seq),
                Cause::Foreign(other) => Causation::Foreign(other),
                Cause::Within(other) => seqs.get(other).map_or(Causation::None, |seq| Causation::Local(*seq)),
            };
            let state = if place + 1 == commit.events.len() { mem::take(&mut digests) } else { Vec::new() };
            let part = Part {
                namespace: &event.namespace,
                kind: &event.kind,
                schema: event.schema,
                subject: &event.subject,
                data_subject: event.data_subject.as_deref(),
                occurred: event.occurred,
                label: labels.ids.get(place).copied().flatten(),
                causation,
                data: &event.data,
                source: Some(event),
            };
            seqs.push(self.write_event(&part, state, now)?);
        }
        for (cursor, seq) in &commit.cursors {
            self.backend.put_cursor(cursor, seq.0)?;
        }
        Ok(Receipt { first, last, recorded: now, events: seqs, versions })
    }

    fn check_precondition(&mut self, precondition: &Precondition) -> Result<(), Refusal> {
        match precondition {
            Precondition::SubjectAt { namespace, subject, version } => {
                let actual = self.subject_version(namespace, subject)?;
                if actual != *version {
                    let subject = subject.clone();
                    return Err(Refusal::Commit(Error::SubjectConflict { subject, expected: *version, actual }));
                }
            }
            Precondition::StateAt { namespace, kind, key, version } => {
                let actual = self.state_entry(namespace, kind, key)?.map_or(0, |entry| entry.version);
                if actual != *version {
                    let (kind, key) = (kind.clone(), key.clone());
                    return Err(Refusal::Commit(Error::StateConflict { kind, key, expected: *version, actual }));
                }
            }
        }
        Ok(())
    }

    /// Puts a `label.defined` event before the commit's own for each label that its namespace does not know yet.
    fn define_labels(&mut self, commit: &Commit, now: Timestamp) -> Result<Labels, Error> {
        let first = Seq(self.tip.head);
        let mut ids = Vec::new();
        for (place, event) in commit.events.iter().enumerate() {
            let Some(label) = &event.label else { continue };
            let id = label.id();
            ids.resize(place, None);
            ids.push(Some(id));
            let mut key = mem::take(&mut self.scratch.name);
            key.clear();
            write_name(&mut key, &[event.namespace.as_str(), &id.to_string()]);
            let known =
                self.labels.get(key.as_str()).is_some() || self.backend.rows().label(&event.namespace, &id)?.is_some();
            if !known {
                let seq = self.write_label(&event.namespace, id, &label.canonical(), now)?;
                self.backend.put_label(&event.namespace, &id, seq.0)?;
            }
            self.labels.insert(key.clone(), ());
            self.scratch.name = key;
        }
        Ok(Labels { first, ids })
    }

    fn write_label(&mut self, namespace: &Namespace, id: LabelId, text: &str, now: Timestamp) -> Result<Seq, Error> {
        let (kind, subject) = (name(EventType::new("label.defined"))?, name(Subject::new(&format!("label/{id}")))?);
        let part = Part {
            namespace,
            kind: &kind,
            schema: 1,
            subject: &subject,
            data_subject: Some(NAMESPACE_SUBJECT),
            occurred: None,
            label: None,
            causation: Causation::None,
            data: text.as_bytes(),
            source: None,
        };
        self.write_event(&part, Vec::new(), now)
    }

    fn write_event(&mut self, part: &Part<'_>, state: Vec<StateDigest>, now: Timestamp) -> Result<Seq, Error> {
        let (key_id, key) = self.data_key(part.namespace, part.data_subject.unwrap_or(part.subject.as_str()))?;
        let version = self.subject_version(part.namespace, part.subject)? + 1;
        let seq = Seq(self.tip.head);
        let id = part.source.and_then(|event| event.id).unwrap_or_else(|| EventId::generate(now, &self.random));
        let header = Header {
            format: Header::FORMAT,
            origin: self.origin,
            seq,
            id,
            namespace: part.namespace.clone(),
            kind: part.kind.clone(),
            schema: part.schema,
            subject: part.subject.clone(),
            version,
            occurred: part.occurred.unwrap_or(now),
            recorded: now,
            label: part.label,
            causation: part.causation,
            trace: part.source.and_then(|event| event.trace),
            key: key_id,
            blobs: part.source.map(|event| event.blobs.clone()).unwrap_or_default(),
            state,
        };
        let scratch = &mut self.scratch;
        scratch.header.clear();
        scratch.header = postcard::to_extend(&header, mem::take(&mut scratch.header))
            .map_err(|error| Error::invalid(format!("the header cannot be encoded: {error}")))?;
        scratch.sealed.clear();
        key.seal(seal::nonce(&self.random), seal::event_aad(&scratch.header), &[part.data], &mut scratch.sealed)?;
        let leaf = leaf_hash(&scratch.header, &sha256(&scratch.sealed));
        self.backend.insert_event(&EventInsert {
            seq: seq.0,
            header: &scratch.header,
            sealed: &scratch.sealed,
            namespace: part.namespace,
            subject: part.subject,
            version,
            kind: part.kind,
            by_key: part.data_subject.filter(|name| *name != part.subject.as_str()).map(|_| key_id),
        })?;
        self.tip.edge.push(leaf, &mut scratch.tiles);
        self.tip.head += 1;
        if self.tail.is_followed() {
            scratch.fresh.push(Event { header, data: Data::Open(part.data.to_vec()) });
        }
        named(&mut scratch.name, &[part.namespace.as_str(), part.subject.as_str()]);
        self.subjects.set(&scratch.name, version);
        Ok(seq)
    }

    /// Writes the commit's rows, and gives their new versions and what proves them.
    fn write_state(&mut self, commit: &Commit, seq: Seq) -> Result<(Vec<u64>, Vec<StateDigest>), Error> {
        let mut versions = Vec::with_capacity(commit.puts.len());
        let mut digests = Vec::with_capacity(commit.puts.len() + commit.deletes.len());
        for put in &commit.puts {
            let (version, digest) = self.put_state(put, seq)?;
            versions.push(version);
            digests.push(digest);
        }
        for delete in &commit.deletes {
            digests.extend(self.delete_state(delete)?);
        }
        Ok((versions, digests))
    }

    fn put_state(&mut self, put: &Put, seq: Seq) -> Result<(u64, StateDigest), Error> {
        let Put { namespace, kind, key, data_subject, bytes, index } = put;
        let former = self.state_entry(namespace, kind, key)?;
        let version = former.as_ref().map_or(0, |entry| entry.version) + 1;
        let (data_key, sealer) = self.data_key(namespace, data_subject)?;
        let entries = postcard::to_allocvec(index).map_err(|error| Error::invalid(error.to_string()))?;
        let mut sealed = Vec::new();
        let aad = seal::state_aad(namespace, kind, key, version);
        sealer.seal(seal::nonce(&self.random), &aad, &[&entries, bytes], &mut sealed)?;
        let digest = StateDigest { slot: slot(namespace, kind, key), key: data_key, digest: Some(sha256(&sealed)) };
        let old: &[IndexEntry] = former.as_ref().map_or(&[], |entry| &entry.entries);
        for entry in old.iter().filter(|entry| !index.contains(entry)) {
            self.backend.delete_index(namespace, kind, key, entry)?;
        }
        for entry in index.iter().filter(|entry| !old.contains(entry)) {
            self.backend.insert_index(namespace, kind, key, entry)?;
        }
        let unchanged = former.as_ref().filter(|entry| *entry.entries == **index).map(|entry| entry.entries.clone());
        let entries = unchanged.unwrap_or_else(|| Arc::from(index.as_slice()));
        self.backend.put_state(&StateRecord {
            namespace: namespace.clone(),
            kind: kind.clone(),
            key: key.clone(),
            version,
            seq: seq.0,
            data_key,
            sealed,
        })?;
        named(&mut self.scratch.name, &[namespace.as_str(), kind, key]);
        self.states.set(&self.scratch.name, StateEntry { version, entries });
        Ok((version, digest))
    }

    fn delete_state(&mut self, delete: &Delete) -> Result<Option<StateDigest>, Error> {
        let Delete { namespace, kind, key } = delete;
        let Some(former) = self.state_entry(namespace, kind, key)? else { return Ok(None) };
        let data_key = self.backend.rows().state(namespace, kind, key)?.map_or(KeyId(0), |row| row.data_key);
        for entry in former.entries.iter() {
            self.backend.delete_index(namespace, kind, key, entry)?;
        }
        self.backend.delete_state(namespace, kind, key)?;
        named(&mut self.scratch.name, &[namespace.as_str(), kind, key]);
        self.states.remove(self.scratch.name.as_str());
        Ok(Some(StateDigest { slot: slot(namespace, kind, key), key: data_key, digest: None }))
    }

    fn subject_version(&mut self, namespace: &Namespace, subject: &Subject) -> Result<u64, Error> {
        named(&mut self.scratch.name, &[namespace.as_str(), subject.as_str()]);
        if let Some(version) = self.subjects.get(self.scratch.name.as_str()) {
            return Ok(version);
        }
        let version = self.backend.rows().subject_version(namespace, subject)?;
        self.subjects.set(&self.scratch.name, version);
        Ok(version)
    }

    fn state_entry(&mut self, namespace: &Namespace, kind: &str, key: &str) -> Result<Option<StateEntry>, Error> {
        named(&mut self.scratch.name, &[namespace.as_str(), kind, key]);
        if let Some(entry) = self.states.get(self.scratch.name.as_str()) {
            return Ok(Some(entry));
        }
        let Some(record) = self.backend.rows().state(namespace, kind, key)? else { return Ok(None) };
        let (entries, _) = open_record(&self.keys, self.backend.rows(), &record)?
            .ok_or_else(|| Error::corrupt(format!("state row `{kind}/{key}`"), "its key was erased"))?;
        let entry = StateEntry { version: record.version, entries: entries.into() };
        named(&mut self.scratch.name, &[namespace.as_str(), kind, key]);
        self.states.set(&self.scratch.name, entry.clone());
        Ok(Some(entry))
    }

    /// The data subject's key; made in the open group if it has none yet.
    pub(super) fn data_key(&mut self, namespace: &Namespace, data_subject: &str) -> Result<(KeyId, Arc<Key>), Error> {
        named(&mut self.scratch.name, &[namespace.as_str(), data_subject]);
        if let Some(found) = self.data_keys.get(self.scratch.name.as_str()) {
            return Ok(found);
        }
        let row = match self.backend.rows().key_of(&self.keys.lookup(namespace, data_subject))? {
            Some(row) => row,
            None => {
                let id = KeyId(self.tip.next_key);
                self.tip.next_key += 1;
                let row = self.keys.fresh(id, namespace, data_subject, self.env.rng())?;
                self.backend.insert_key(&row)?;
                self.backend.put_meta(meta::NEXT_KEY, &self.tip.next_key.to_le_bytes())?;
                row
            }
        };
        let key = self
            .keys
            .unwrap_row(&row)?
            .ok_or_else(|| Error::corrupt(format!("data key {}", row.id), "it was erased but is still found"))?;
        self.data_keys.set(&self.scratch.name, (row.id, key.clone()));
        Ok((row.id, key))
    }

    fn check_form(&self, commit: &Commit) -> Result<(), Error> {
        let limits = &self.limits;
        let items = commit.events.len() + commit.puts.len() + commit.deletes.len() + commit.cursors.len();
        if items > limits.commit_items {
            let rule = format!("it has {items} items, at most {} are allowed; split it", limits.commit_items);
            return Err(Error::invalid(rule));
        }
        if commit.events.is_empty() && (!commit.puts.is_empty() || !commit.deletes.is_empty()) {
            return Err(Error::invalid("state rows change only with an event that proves them; add one"));
        }
        within(commit.puts.len() + commit.deletes.len(), MAX_ROWS, || "a commit's rows, counted in rows,".to_owned())?;
        let mut total = 0;
        for (place, event) in commit.events.iter().enumerate() {
            total += event.data.len();
            within(event.data.len(), limits.event_bytes, || format!("the data of `{}`", event.kind))?;
            within(event.data_subject.as_ref().map_or(1, String::len), MAX_NAME, || "a data subject".to_owned())?;
            within(event.blobs.len(), MAX_BLOBS, || "the blob list of one event, counted in blobs,".to_owned())?;
            match event.causation {
                Cause::Within(other) if other >= place => {
                    return Err(Error::invalid("an event follows only from an earlier event of its commit"));
                }
                Cause::Local(seq) if seq.0 >= self.tip.head => {
                    return Err(Error::invalid(format!("an event cannot follow from event {seq}, which is not there")));
                }
                _ => {}
            }
        }
        for put in &commit.puts {
            total += put.bytes.len();
            check_row(&put.kind, &put.key)?;
            within(put.bytes.len(), limits.state_bytes, || format!("state row `{}/{}`", put.kind, put.key))?;
            within(put.data_subject.len(), MAX_NAME, || "a data subject".to_owned())?;
            within(put.index.len(), MAX_ENTRIES, || "the index of one row, counted in entries,".to_owned())?;
            for entry in &put.index {
                within(entry.name.len() + entry.value.len(), MAX_NAME, || format!("index entry `{}`", entry.name))?;
            }
        }
        commit.deletes.iter().try_for_each(|delete| check_row(&delete.kind, &delete.key))?;
        for (cursor, _) in &commit.cursors {
            within(cursor.len(), MAX_NAME, || "a cursor's name".to_owned())?;
        }
        within(total, limits.commit_bytes, || "the commit".to_owned())
    }
}

/// What only the log itself records: nobody else may say that a key was erased.
fn check_types(commit: &Commit) -> Result<(), Error> {
    match commit.events.iter().find(|event| crate::commit::is_reserved(&event.kind)) {
        Some(event) => Err(Error::invalid(format!("only the log itself records `{}`; use another type", event.kind))),
        None => Ok(()),
    }
}

/// Most bytes of a row key, a data subject, an index entry or a cursor's name.
const MAX_NAME: usize = 1024;
/// Most index entries of one row.
const MAX_ENTRIES: usize = 64;
/// Most state rows that one commit changes: its last header names each, and an exported header is 64 KiB at most.
const MAX_ROWS: usize = 1024;
/// Most blobs of one event.
const MAX_BLOBS: usize = 64;

fn within(bytes: usize, max: usize, what: impl FnOnce() -> String) -> Result<(), Error> {
    if bytes > max { Err(Error::TooLarge { what: what(), bytes, max }) } else { Ok(()) }
}

fn check_row(kind: &str, key: &str) -> Result<(), Error> {
    within(kind.len(), 64, || "a row's kind".to_owned())?;
    within(key.len(), MAX_NAME, || "a row's key".to_owned())?;
    if kind.is_empty() || key.is_empty() || kind.contains('\0') || key.contains('\0') {
        return Err(Error::invalid("a row's kind and key are texts that are not empty and hold no NUL"));
    }
    Ok(())
}

struct Labels {
    first: Seq,
    ids: Vec<Option<LabelId>>,
}

fn named(buffer: &mut String, parts: &[&str]) {
    buffer.clear();
    write_name(buffer, parts);
}

fn write_name(buffer: &mut String, parts: &[&str]) {
    for part in parts {
        buffer.push_str(part);
        buffer.push('\0');
    }
}

/// What stands for a row in [`StateDigest`].
pub(crate) fn slot(namespace: &Namespace, kind: &str, key: &str) -> [u8; 16] {
    let text = [namespace.as_str(), kind, key].join("\0");
    let Digest(hash) = sha256(text.as_bytes());
    let mut slot = [0; 16];
    slot.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    slot
}
