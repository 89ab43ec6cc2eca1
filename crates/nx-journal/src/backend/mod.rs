//! What the log asks of a storage engine: plain rows, written in groups that are durable as a whole or not there at
//! all. A second engine is one more implementation of [`Rows`], [`Backend`], [`Source`] and [`Blobs`], under the same
//! compliance suite.
//!
//! What is *not* here: sealing, hashing, and any rule about what a commit may do.

use std::{fmt, ops::ControlFlow, sync::Arc};

use nx_types::{BlobId, Digest, Epoch, EventType, KeyId, LabelId, Namespace, Subject, Timestamp};

use crate::{Error, IndexEntry};

pub mod memory;
pub mod sqlite;

/// A stored event, borrowed from the storage engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow<'a> {
    /// Its place.
    pub seq: u64,
    /// The header's canonical bytes.
    pub header: &'a [u8],
    /// The data.
    pub sealed: Sealed<'a>,
    /// By what the engine finds it; only [`Rows::events`] gives it, and only an engine that keeps it beside the header.
    pub lookup: Option<Lookup>,
}

/// What an engine keeps beside an event's header to find the event, for verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// The first event of its subject.
    pub subject: u64,
    /// Its place among its subject's events.
    pub version: u64,
    /// The first event of its type.
    pub kind: u64,
    /// See [`EventInsert::by_key`].
    pub by_key: Option<KeyId>,
}

/// The data of a stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed<'a> {
    /// Nonce, ciphertext, tag.
    Data(&'a [u8]),
    /// What remains after erasure: SHA-256 of what stood there.
    Digest(Digest),
}

/// An event to be stored.
#[derive(Debug, Clone, Copy)]
pub struct EventInsert<'a> {
    /// Its place.
    pub seq: u64,
    /// The header's canonical bytes.
    pub header: &'a [u8],
    /// Nonce, ciphertext, tag.
    pub sealed: &'a [u8],
    /// The header's namespace.
    pub namespace: &'a Namespace,
    /// The header's subject.
    pub subject: &'a Subject,
    /// The header's version.
    pub version: u64,
    /// The header's type.
    pub kind: &'a EventType,
    /// The key, if the event is to be found by it; left out where the data subject is the subject.
    pub by_key: Option<KeyId>,
}

/// A stored state row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRecord {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// How often it was written.
    pub version: u64,
    /// The event whose header proves it.
    pub seq: u64,
    /// The data key under which it is sealed.
    pub data_key: KeyId,
    /// Nonce, ciphertext, tag; inside are the index entries and the content.
    pub sealed: Vec<u8>,
}

/// A stored data key. The row stays after erasure, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its number, never used twice.
    pub id: KeyId,
    /// Its namespace.
    pub namespace: Namespace,
    /// Keyed hash of namespace and data subject, by which it is found; zero after erasure.
    pub lookup: [u8; 16],
    /// The key and the data subject's name, sealed under the master key; `None` after erasure.
    pub wrapped: Option<Vec<u8>>,
}

/// A stored blob's row; the content stands elsewhere, see [`Blobs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRow {
    /// BLAKE3 of the ciphertext.
    pub id: BlobId,
    /// The data key under which it is sealed.
    pub key: KeyId,
    /// Bytes of the content before sealing.
    pub size: u64,
    /// When it was stored.
    pub stored: Timestamp,
}

/// One entry of an index over state rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexRow {
    /// The row's namespace.
    pub namespace: Namespace,
    /// The row's kind.
    pub kind: String,
    /// The index's name.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
    /// The row's key.
    pub key: String,
}

/// A piece of a listing.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a, T: ?Sized> {
    /// Start behind this; `None` starts at the first (or last, in reverse).
    pub after: Option<&'a T>,
    /// Most rows.
    pub limit: usize,
    /// From the last to the first.
    pub reverse: bool,
}

/// An index and what part of it is wanted.
#[derive(Debug, Clone, Copy)]
pub struct IndexQuery<'a> {
    /// The rows' namespace.
    pub namespace: &'a Namespace,
    /// The rows' kind.
    pub kind: &'a str,
    /// The index's name.
    pub name: &'a str,
    /// The first value.
    pub from: &'a [u8],
    /// The first value past the end.
    pub to: Option<&'a [u8]>,
}

/// Called with one row after the other; it may stop the listing.
pub type Each<'a, T> = &'a mut dyn FnMut(T) -> Result<ControlFlow<()>, Error>;

/// As [`Each`], for borrowed events.
pub type EachEvent<'a> = &'a mut dyn FnMut(EventRow<'_>) -> Result<ControlFlow<()>, Error>;
/// As [`Each`], for borrowed tiles: level, index, hashes.
pub type EachTile<'a> = &'a mut dyn FnMut((u8, u64, &[u8])) -> Result<ControlFlow<()>, Error>;
/// As [`Each`], for borrowed checkpoints: tree size, note.
pub type EachCheckpoint<'a> = &'a mut dyn FnMut((u64, &[u8])) -> Result<ControlFlow<()>, Error>;

/// Reading rows. Within a group the writer sees its own writes.
pub trait Rows {
    /// Number of events, which is the next free seq.
    fn head(&self) -> Result<u64, Error>;
    /// A named value of the log itself.
    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;
    /// Events from a seq on, in order.
    fn events(&self, from: u64, each: EachEvent<'_>) -> Result<(), Error>;
    /// The first event of a subject, as [`Lookup::subject`]; `None` if there is none, or the engine does not keep it.
    fn subject_first(&self, _namespace: &Namespace, _subject: &Subject) -> Result<Option<u64>, Error> {
        Ok(None)
    }
    /// The first event of a type, as [`Lookup::kind`]; `None` if there is none, or the engine does not keep it.
    fn type_first(&self, _kind: &EventType) -> Result<Option<u64>, Error> {
        Ok(None)
    }
    /// Number of a subject's events.
    fn subject_version(&self, namespace: &Namespace, subject: &Subject) -> Result<u64, Error>;
    /// A subject's events, behind a version.
    fn subject_events(
        &self,
        namespace: &Namespace,
        subject: &Subject,
        page: Page<'_, u64>,
        each: EachEvent<'_>,
    ) -> Result<(), Error>;
    /// Events of a type, behind a seq.
    fn type_events(&self, kind: &EventType, page: Page<'_, u64>, each: EachEvent<'_>) -> Result<(), Error>;
    /// Seqs of the events that were stored with [`EventInsert::by_key`].
    fn key_events(&self, key: KeyId) -> Result<Vec<u64>, Error>;
    /// A state row.
    fn state(&self, namespace: &Namespace, kind: &str, key: &str) -> Result<Option<StateRecord>, Error>;
    /// State rows of a kind by key.
    fn states(
        &self,
        namespace: &Namespace,
        kind: &str,
        page: Page<'_, str>,
        each: Each<'_, StateRecord>,
    ) -> Result<(), Error>;
    /// State rows that a data key seals.
    fn key_states(&self, key: KeyId, each: Each<'_, StateRecord>) -> Result<(), Error>;
    /// Every state row, in any order.
    fn all_states(&self, each: Each<'_, StateRecord>) -> Result<(), Error>;
    /// Entries of an index, by value and key.
    fn index(
        &self,
        query: &IndexQuery<'_>,
        page: Page<'_, (Vec<u8>, String)>,
        each: Each<'_, (Vec<u8>, String)>,
    ) -> Result<(), Error>;
    /// Every index entry, in any order.
    fn all_index(&self, each: Each<'_, IndexRow>) -> Result<(), Error>;
    /// A data key.
    fn key(&self, id: KeyId) -> Result<Option<KeyRow>, Error>;
    /// The living data key with this lookup value.
    fn key_of(&self, lookup: &[u8; 16]) -> Result<Option<KeyRow>, Error>;
    /// Every data key, by id, behind one.
    fn keys(&self, after: Option<KeyId>, each: Each<'_, KeyRow>) -> Result<(), Error>;
    /// A blob's row.
    fn blob(&self, id: &BlobId) -> Result<Option<BlobRow>, Error>;
    /// The rows of the blobs that a data key seals.
    fn key_blobs(&self, key: KeyId, each: Each<'_, BlobRow>) -> Result<(), Error>;
    /// Every blob's row, in any order.
    fn all_blobs(&self, each: Each<'_, BlobRow>) -> Result<(), Error>;
    /// The event that defines a label.
    fn label(&self, namespace: &Namespace, id: &LabelId) -> Result<Option<u64>, Error>;
    /// A stored reading position.
    fn cursor(&self, name: &str) -> Result<Option<u64>, Error>;
    /// The hashes of a complete tile.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Error>;
    /// Every complete tile, by level and index.
    fn all_tiles(&self, each: EachTile<'_>) -> Result<(), Error>;
    /// The stored checkpoint with the largest tree size up to `size`, with its size.
    fn checkpoint(&self, size: u64) -> Result<Option<(u64, Vec<u8>)>, Error>;
    /// Checks the engine's own structures; each finding is one line.
    fn check(&self) -> Result<Vec<String>, Error>;
    /// Every stored checkpoint, by tree size.
    fn all_checkpoints(&self, each: EachCheckpoint<'_>) -> Result<(), Error>;
}

/// The one writer of a log. Writes stand between [`Backend::begin`] and [`Backend::commit`] or [`Backend::rollback`].
pub trait Backend: Send {
    /// What stands in the log, the open group included.
    fn rows(&self) -> &dyn Rows;

    /// Takes the log over: the next epoch, durably. Older writers are refused from now on.
    fn raise_epoch(&mut self) -> Result<Epoch, Error>;
    /// Starts a group, and refuses it if another writer has raised the epoch.
    fn begin(&mut self, epoch: Epoch) -> Result<(), Error>;
    /// Makes the group durable; an error means that nothing of it is there.
    fn commit(&mut self) -> Result<(), Error>;
    /// Drops the group.
    fn rollback(&mut self);

    /// Sets a named value of the log itself.
    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error>;
    /// Stores an event.
    fn insert_event(&mut self, event: &EventInsert<'_>) -> Result<(), Error>;
    /// Replaces an event's data by its digest.
    fn erase_event(&mut self, seq: u64, digest: &Digest) -> Result<(), Error>;
    /// Stores a state row, instead of its former version.
    fn put_state(&mut self, row: &StateRecord) -> Result<(), Error>;
    /// Removes a state row.
    fn delete_state(&mut self, namespace: &Namespace, kind: &str, key: &str) -> Result<(), Error>;
    /// Adds an index entry.
    fn insert_index(&mut self, namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> Result<(), Error>;
    /// Removes an index entry.
    fn delete_index(&mut self, namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> Result<(), Error>;
    /// Stores a data key.
    fn insert_key(&mut self, row: &KeyRow) -> Result<(), Error>;
    /// Stores a data key's new wrapping.
    fn rewrap_key(&mut self, id: KeyId, wrapped: &[u8]) -> Result<(), Error>;
    /// Overwrites a data key, and removes its lookup value.
    fn erase_key(&mut self, id: KeyId, lookup: &[u8; 16]) -> Result<(), Error>;
    /// Stores a blob's row.
    fn insert_blob(&mut self, row: &BlobRow) -> Result<(), Error>;
    /// Removes a blob's row.
    fn delete_blob(&mut self, id: &BlobId) -> Result<(), Error>;
    /// Stores which event defines a label.
    fn put_label(&mut self, namespace: &Namespace, id: &LabelId, seq: u64) -> Result<(), Error>;
    /// Stores a reading position.
    fn put_cursor(&mut self, name: &str, seq: u64) -> Result<(), Error>;
    /// Stores a complete tile.
    fn put_tile(&mut self, level: u8, index: u64, hashes: &[u8]) -> Result<(), Error>;
    /// Stores a checkpoint.
    fn put_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error>;

    /// Makes sure that what was erased stands neither in the write-ahead log nor in free space; `false` if a reader
    /// prevents it, and then it is to be tried again.
    fn scrub(&mut self) -> Result<bool, Error>;
    /// Work that may be put off, such as writing the write-ahead log back. Called between groups.
    fn tidy(&mut self) -> Result<(), Error>;
    /// Readers of this log.
    fn source(&self) -> Arc<dyn Source>;
    /// The content of blobs.
    fn blobs(&self) -> Arc<dyn Blobs>;
}

/// How full a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the log uses, without blobs.
    pub used: u64,
    /// Bytes free.
    pub free: u64,
}

/// Hands out consistent, read-only views of what is durable.
pub trait Source: Send + Sync + fmt::Debug {
    /// Calls `read` with a view; waits for one to be free.
    fn read(&self, read: &mut dyn FnMut(&dyn Rows) -> Result<(), Error>) -> Result<(), Error>;
    /// Bytes used and bytes free on the disk.
    fn space(&self) -> Result<Space, Error>;
}

/// The content of blobs, as sealed bytes.
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Stores a blob, durable when it returns. Storing it again is no error.
    fn put(&self, id: &BlobId, bytes: &[u8]) -> Result<(), Error>;
    /// Reads a blob.
    fn get(&self, id: &BlobId) -> Result<Option<Vec<u8>>, Error>;
    /// Removes a blob; one that is not there is no error.
    fn delete(&self, id: &BlobId) -> Result<(), Error>;
    /// Every blob's id, stored size and the time it was stored.
    fn list(&self, each: Each<'_, (BlobId, u64, Timestamp)>) -> Result<(), Error>;
    /// Keeps a durable note of erased keys outside the log, so that a restored backup can erase them again.
    fn note_erasure(&self, line: &str) -> Result<(), Error>;
}
