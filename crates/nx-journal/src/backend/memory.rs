//! A log in memory, for simulations: it can be told to crash at any write, and its [`Disk`] survives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::{Bound, ControlFlow},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nx_types::{BlobId, Digest, Epoch, EventType, KeyId, LabelId, Namespace, Subject, Timestamp};

use super::{
    Backend, BlobRow, Blobs, Each, EachCheckpoint, EachEvent, EachTile, EventInsert, EventRow, IndexQuery, IndexRow,
    KeyRow, Page, Rows, Sealed, Source, Space, StateRecord,
};
use crate::{Error, IndexEntry};

type StateKey = (Namespace, String, String);

#[derive(Debug, Clone)]
struct StoredEvent {
    header: Arc<[u8]>,
    data: Stored,
}

#[derive(Debug, Clone)]
enum Stored {
    Data(Arc<[u8]>),
    Digest(Digest),
}

/// Every table of a log.
#[derive(Debug, Clone, Default)]
struct Tables {
    meta: BTreeMap<String, Vec<u8>>,
    epoch: u64,
    events: Vec<StoredEvent>,
    subjects: BTreeMap<(Namespace, Subject), Vec<u64>>,
    types: BTreeMap<EventType, Vec<u64>>,
    by_key: BTreeSet<(u64, u64)>,
    states: BTreeMap<StateKey, StateRecord>,
    index: BTreeSet<(Namespace, String, String, Vec<u8>, String)>,
    keys: BTreeMap<u64, KeyRow>,
    lookups: BTreeMap<[u8; 16], u64>,
    blobs: BTreeMap<BlobId, BlobRow>,
    labels: BTreeMap<(Namespace, LabelId), u64>,
    cursors: BTreeMap<String, u64>,
    tiles: BTreeMap<(u8, u64), Vec<u8>>,
    checkpoints: BTreeMap<u64, Vec<u8>>,
}

/// One write, to be applied to the working tables at once and to the durable ones with its group.
#[derive(Debug, Clone)]
enum Write {
    Meta(String, Vec<u8>),
    Event { event: StoredEvent, namespace: Namespace, subject: Subject, kind: EventType, by_key: Option<KeyId> },
    EraseEvent(u64, Digest),
    State(StateRecord),
    DeleteState(StateKey),
    Index(IndexRow),
    DeleteIndex(IndexRow),
    Key(KeyRow),
    Rewrap(KeyId, Vec<u8>),
    EraseKey(KeyId),
    Blob(BlobRow),
    DeleteBlob(BlobId),
    Label(Namespace, LabelId, u64),
    Cursor(String, u64),
    Tile(u8, u64, Vec<u8>),
    Checkpoint(u64, Vec<u8>),
}

impl Tables {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Meta(name, value) => drop(self.meta.insert(name, value)),
            Write::Event { event, namespace, subject, kind, by_key } => {
                let seq = self.events.len() as u64;
                self.events.push(event);
                self.subjects.entry((namespace, subject)).or_default().push(seq);
                self.types.entry(kind).or_default().push(seq);
                if let Some(key) = by_key {
                    self.by_key.insert((key.0, seq));
                }
            }
            Write::EraseEvent(seq, digest) => {
                if let Some(event) = self.events.get_mut(seq as usize) {
                    event.data = Stored::Digest(digest);
                }
            }
            Write::State(row) => {
                self.states.insert((row.namespace.clone(), row.kind.clone(), row.key.clone()), row);
            }
            Write::DeleteState(key) => drop(self.states.remove(&key)),
            Write::Index(row) => drop(self.index.insert(index_key(row))),
            Write::DeleteIndex(row) => drop(self.index.remove(&index_key(row))),
            Write::Key(row) => {
                self.lookups.insert(row.lookup, row.id.0);
                self.keys.insert(row.id.0, row);
            }
            Write::Rewrap(id, wrapped) => {
                if let Some(row) = self.keys.get_mut(&id.0) {
                    row.wrapped = Some(wrapped);
                }
            }
            Write::EraseKey(id) => {
                if let Some(row) = self.keys.get_mut(&id.0) {
                    self.lookups.remove(&row.lookup);
                    row.lookup = [0; 16];
                    row.wrapped = None;
                }
            }
            Write::Blob(row) => drop(self.blobs.insert(row.id, row)),
            Write::DeleteBlob(id) => drop(self.blobs.remove(&id)),
            Write::Label(namespace, id, seq) => drop(self.labels.insert((namespace, id), seq)),
            Write::Cursor(name, seq) => drop(self.cursors.insert(name, seq)),
            Write::Tile(level, index, hashes) => drop(self.tiles.insert((level, index), hashes)),
            Write::Checkpoint(size, note) => drop(self.checkpoints.insert(size, note)),
        }
    }
}

fn index_key(row: IndexRow) -> (Namespace, String, String, Vec<u8>, String) {
    (row.namespace, row.kind, row.name, row.value, row.key)
}

#[derive(Debug, Default)]
struct Shared {
    durable: Tables,
    files: BTreeMap<BlobId, Vec<u8>>,
    erasures: Vec<String>,
    writes: u64,
    crash_at: Option<u64>,
    full: bool,
    crashed: bool,
}

impl Shared {
    /// Counts a write; at the appointed one the process is thought dead.
    fn count(&mut self) -> Result<(), Error> {
        if self.crashed {
            return Err(Error::Crashed);
        }
        if self.crash_at == Some(self.writes) {
            self.crashed = true;
            return Err(Error::Crashed);
        }
        self.writes += 1;
        if self.full { Err(Error::DiskFull) } else { Ok(()) }
    }
}

/// What survives a crash. Cheap to clone; every clone is the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Shared>>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.lock();
        f.debug_struct("Disk").field("events", &shared.durable.events.len()).field("writes", &shared.writes).finish()
    }
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of writes so far: each row of a group, each blob, and two for each commit (just before it is durable, and
    /// just after, before anybody is told).
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Dies at the write with this number, counted as [`Disk::writes`] counts: it and everything not yet durable is
    /// lost, and every call fails with [`Error::Crashed`] until the disk is opened again.
    pub fn crash_at(&self, write: u64) {
        self.lock().crash_at = Some(write);
    }

    /// Whether it has died since it was opened.
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// From now on every write fails with [`Error::DiskFull`], or succeeds again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// The notes of erased keys.
    pub fn erasures(&self) -> Vec<String> {
        self.lock().erasures.clone()
    }
}

/// A log on a [`Disk`].
#[derive(Debug)]
pub struct MemoryBackend {
    disk: Disk,
    working: Tables,
    group: Vec<Write>,
    open: bool,
}

impl MemoryBackend {
    /// Opens the log of a disk, as a restarted process would.
    pub fn open(disk: &Disk) -> Self {
        let mut shared = disk.lock();
        shared.crashed = false;
        shared.crash_at = None;
        let working = shared.durable.clone();
        drop(shared);
        Self { disk: disk.clone(), working, group: Vec::new(), open: false }
    }

    fn write(&mut self, write: Write) -> Result<(), Error> {
        if !self.open {
            return Err(Error::invalid("a write outside of a group"));
        }
        self.disk.lock().count()?;
        self.working.apply(write.clone());
        self.group.push(write);
        Ok(())
    }
}

impl Backend for MemoryBackend {
    fn rows(&self) -> &dyn Rows {
        &self.working
    }

    fn raise_epoch(&mut self) -> Result<Epoch, Error> {
        let mut shared = self.disk.lock();
        shared.count()?;
        shared.durable.epoch += 1;
        self.working.epoch = shared.durable.epoch;
        Ok(Epoch(self.working.epoch))
    }

    fn begin(&mut self, epoch: Epoch) -> Result<(), Error> {
        let shared = self.disk.lock();
        if shared.crashed {
            return Err(Error::Crashed);
        }
        if shared.durable.epoch != epoch.0 {
            return Err(Error::Fenced { ours: epoch, found: Epoch(shared.durable.epoch) });
        }
        self.open = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let mut shared = self.disk.lock();
        shared.count()?;
        self.open = false;
        for write in self.group.drain(..) {
            shared.durable.apply(write);
        }
        shared.count()
    }

    fn rollback(&mut self) {
        self.open = false;
        self.group.clear();
        self.working = self.disk.lock().durable.clone();
    }

    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.write(Write::Meta(name.to_owned(), value.to_vec()))
    }

    fn insert_event(&mut self, event: &EventInsert<'_>) -> Result<(), Error> {
        if event.seq != self.working.events.len() as u64 {
            return Err(Error::corrupt(format!("event {}", event.seq), "it does not follow the last one"));
        }
        self.write(Write::Event {
            event: StoredEvent { header: event.header.into(), data: Stored::Data(event.sealed.into()) },
            namespace: event.namespace.clone(),
            subject: event.subject.clone(),
            kind: event.kind.clone(),
            by_key: event.by_key,
        })
    }

    fn erase_event(&mut self, seq: u64, digest: &Digest) -> Result<(), Error> {
        self.write(Write::EraseEvent(seq, *digest))
    }

    fn put_state(&mut self, row: &StateRecord) -> Result<(), Error> {
        self.write(Write::State(row.clone()))
    }

    fn delete_state(&mut self, namespace: &Namespace, kind: &str, key: &str) -> Result<(), Error> {
        self.write(Write::DeleteState((namespace.clone(), kind.to_owned(), key.to_owned())))
    }

    fn insert_index(&mut self, namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> Result<(), Error> {
        self.write(Write::Index(index_row(namespace, kind, key, entry)))
    }

    fn delete_index(&mut self, namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> Result<(), Error> {
        self.write(Write::DeleteIndex(index_row(namespace, kind, key, entry)))
    }

    fn insert_key(&mut self, row: &KeyRow) -> Result<(), Error> {
        self.write(Write::Key(row.clone()))
    }

    fn rewrap_key(&mut self, id: KeyId, wrapped: &[u8]) -> Result<(), Error> {
        self.write(Write::Rewrap(id, wrapped.to_vec()))
    }

    fn erase_key(&mut self, id: KeyId, _lookup: &[u8; 16]) -> Result<(), Error> {
        self.write(Write::EraseKey(id))
    }

    fn insert_blob(&mut self, row: &BlobRow) -> Result<(), Error> {
        self.write(Write::Blob(*row))
    }

    fn delete_blob(&mut self, id: &BlobId) -> Result<(), Error> {
        self.write(Write::DeleteBlob(*id))
    }

    fn put_label(&mut self, namespace: &Namespace, id: &LabelId, seq: u64) -> Result<(), Error> {
        self.write(Write::Label(namespace.clone(), *id, seq))
    }

    fn put_cursor(&mut self, name: &str, seq: u64) -> Result<(), Error> {
        self.write(Write::Cursor(name.to_owned(), seq))
    }

    fn put_tile(&mut self, level: u8, index: u64, hashes: &[u8]) -> Result<(), Error> {
        self.write(Write::Tile(level, index, hashes.to_vec()))
    }

    fn put_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error> {
        self.write(Write::Checkpoint(size, note.to_vec()))
    }

    fn scrub(&mut self) -> Result<bool, Error> {
        self.disk.lock().count().map(|()| true)
    }

    fn tidy(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::new(self.disk.clone())
    }

    fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::new(self.disk.clone())
    }
}

fn index_row(namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> IndexRow {
    IndexRow {
        namespace: namespace.clone(),
        kind: kind.to_owned(),
        name: entry.name.clone(),
        value: entry.value.clone(),
        key: key.to_owned(),
    }
}

impl Source for Disk {
    fn read(&self, read: &mut dyn FnMut(&dyn Rows) -> Result<(), Error>) -> Result<(), Error> {
        read(&self.lock().durable)
    }

    fn space(&self) -> Result<Space, Error> {
        let shared = self.lock();
        let used = shared.durable.events.iter().map(|event| event.header.len() as u64).sum();
        Ok(Space { used, free: if shared.full { 0 } else { u64::MAX } })
    }
}

impl Blobs for Disk {
    fn put(&self, id: &BlobId, bytes: &[u8]) -> Result<(), Error> {
        let mut shared = self.lock();
        shared.count()?;
        shared.files.insert(*id, bytes.to_vec());
        Ok(())
    }

    fn get(&self, id: &BlobId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.lock().files.get(id).cloned())
    }

    fn delete(&self, id: &BlobId) -> Result<(), Error> {
        let mut shared = self.lock();
        shared.count()?;
        shared.files.remove(id);
        Ok(())
    }

    fn list(&self, each: Each<'_, (BlobId, u64, Timestamp)>) -> Result<(), Error> {
        let files: Vec<(BlobId, u64)> = self.lock().files.iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect();
        walk(files.into_iter().map(|(id, size)| (id, size, Timestamp::default())), usize::MAX, each)
    }

    fn note_erasure(&self, line: &str) -> Result<(), Error> {
        let mut shared = self.lock();
        shared.count()?;
        shared.erasures.push(line.to_owned());
        Ok(())
    }
}

/// Hands out at most `limit` rows.
fn walk<T>(rows: impl Iterator<Item = T>, limit: usize, each: Each<'_, T>) -> Result<(), Error> {
    for row in rows.take(limit) {
        if let ControlFlow::Break(()) = each(row)? {
            break;
        }
    }
    Ok(())
}

fn walk_events<'r>(rows: impl Iterator<Item = EventRow<'r>>, limit: usize, each: EachEvent<'_>) -> Result<(), Error> {
    for row in rows.take(limit) {
        if let ControlFlow::Break(()) = each(row)? {
            break;
        }
    }
    Ok(())
}

impl Tables {
    fn row(&self, seq: u64) -> Option<EventRow<'_>> {
        let event = self.events.get(seq as usize)?;
        let sealed = match &event.data {
            Stored::Data(bytes) => Sealed::Data(bytes),
            Stored::Digest(digest) => Sealed::Digest(*digest),
        };
        Some(EventRow { seq, header: &event.header, sealed, lookup: None })
    }

    /// The events at these places in a sorted list, from `low` to `high`.
    fn pick(&self, seqs: Option<&[u64]>, reverse: bool, limit: usize, each: EachEvent<'_>) -> Result<(), Error> {
        let rows = seqs.unwrap_or_default().iter().filter_map(|seq| self.row(*seq));
        if reverse { walk_events(rows.rev(), limit, each) } else { walk_events(rows, limit, each) }
    }
}

impl Rows for Tables {
    fn head(&self) -> Result<u64, Error> {
        Ok(self.events.len() as u64)
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.meta.get(name).cloned())
    }

    fn events(&self, from: u64, each: EachEvent<'_>) -> Result<(), Error> {
        walk_events((from..self.events.len() as u64).filter_map(|seq| self.row(seq)), usize::MAX, each)
    }

    fn subject_version(&self, namespace: &Namespace, subject: &Subject) -> Result<u64, Error> {
        Ok(self.subjects.get(&(namespace.clone(), subject.clone())).map_or(0, |seqs| seqs.len() as u64))
    }

    fn subject_events(
        &self,
        namespace: &Namespace,
        subject: &Subject,
        page: Page<'_, u64>,
        each: EachEvent<'_>,
    ) -> Result<(), Error> {
        let Some(seqs) = self.subjects.get(&(namespace.clone(), subject.clone())) else { return Ok(()) };
        let len = seqs.len() as u64;
        let wanted = match (page.after, page.reverse) {
            (None, _) => seqs.as_slice(),
            (Some(after), false) => seqs.get((*after).min(len) as usize..).unwrap_or_default(),
            (Some(after), true) => seqs.get(..after.saturating_sub(1).min(len) as usize).unwrap_or_default(),
        };
        self.pick(Some(wanted), page.reverse, page.limit, each)
    }

    fn type_events(&self, kind: &EventType, page: Page<'_, u64>, each: EachEvent<'_>) -> Result<(), Error> {
        let Some(seqs) = self.types.get(kind) else { return Ok(()) };
        let wanted = match (page.after, page.reverse) {
            (None, _) => seqs.as_slice(),
            (Some(after), false) => seqs.get(seqs.partition_point(|seq| seq <= after)..).unwrap_or_default(),
            (Some(after), true) => seqs.get(..seqs.partition_point(|seq| seq < after)).unwrap_or_default(),
        };
        self.pick(Some(wanted), page.reverse, page.limit, each)
    }

    fn key_events(&self, key: KeyId) -> Result<Vec<u64>, Error> {
        Ok(self.by_key.range((key.0, 0)..=(key.0, u64::MAX)).map(|(_, seq)| *seq).collect())
    }

    fn state(&self, namespace: &Namespace, kind: &str, key: &str) -> Result<Option<StateRecord>, Error> {
        Ok(self.states.get(&(namespace.clone(), kind.to_owned(), key.to_owned())).cloned())
    }

    fn states(
        &self,
        namespace: &Namespace,
        kind: &str,
        page: Page<'_, str>,
        each: Each<'_, StateRecord>,
    ) -> Result<(), Error> {
        let here = |key: &str| (namespace.clone(), kind.to_owned(), key.to_owned());
        let of_kind = |row: &&StateRecord| row.namespace == *namespace && row.kind == kind;
        if page.reverse {
            let end = (namespace.clone(), format!("{kind}\0"), String::new());
            let end = page.after.map_or(end, here);
            let rows = self.states.range(..end).rev().map(|(_, row)| row).take_while(of_kind);
            walk(rows.cloned(), page.limit, each)
        } else {
            let start = page.after.map_or_else(|| Bound::Included(here("")), |key| Bound::Excluded(here(key)));
            let rows = self.states.range((start, Bound::Unbounded)).map(|(_, row)| row).take_while(of_kind);
            walk(rows.cloned(), page.limit, each)
        }
    }

    fn key_states(&self, key: KeyId, each: Each<'_, StateRecord>) -> Result<(), Error> {
        walk(self.states.values().filter(|row| row.data_key == key).cloned(), usize::MAX, each)
    }

    fn all_states(&self, each: Each<'_, StateRecord>) -> Result<(), Error> {
        walk(self.states.values().cloned(), usize::MAX, each)
    }

    fn index(
        &self,
        query: &IndexQuery<'_>,
        page: Page<'_, (Vec<u8>, String)>,
        each: Each<'_, (Vec<u8>, String)>,
    ) -> Result<(), Error> {
        let place = |value: &[u8], key: &str| {
            (query.namespace.clone(), query.kind.to_owned(), query.name.to_owned(), value.to_vec(), key.to_owned())
        };
        let first = place(query.from, "");
        let rows = self.index.range(first..).take_while(|(namespace, kind, name, value, _)| {
            namespace == query.namespace
                && kind == query.kind
                && name == query.name
                && query.to.is_none_or(|to| value.as_slice() < to)
        });
        let after = page.after.map(|(value, key)| place(value, key));
        let mut rows: Vec<_> = rows
            .filter(|row| match &after {
                None => true,
                Some(after) if page.reverse => *row < after,
                Some(after) => *row > after,
            })
            .collect();
        if page.reverse {
            rows.reverse();
        }
        walk(rows.into_iter().map(|(_, _, _, value, key)| (value.clone(), key.clone())), page.limit, each)
    }

    fn all_index(&self, each: Each<'_, IndexRow>) -> Result<(), Error> {
        let rows = self.index.iter().cloned();
        let rows = rows.map(|(namespace, kind, name, value, key)| IndexRow { namespace, kind, name, value, key });
        walk(rows, usize::MAX, each)
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRow>, Error> {
        Ok(self.keys.get(&id.0).cloned())
    }

    fn key_of(&self, lookup: &[u8; 16]) -> Result<Option<KeyRow>, Error> {
        Ok(self.lookups.get(lookup).and_then(|id| self.keys.get(id)).cloned())
    }

    fn keys(&self, after: Option<KeyId>, each: Each<'_, KeyRow>) -> Result<(), Error> {
        let from = after.map_or(0, |id| id.0 + 1);
        walk(self.keys.range(from..).map(|(_, row)| row.clone()), usize::MAX, each)
    }

    fn blob(&self, id: &BlobId) -> Result<Option<BlobRow>, Error> {
        Ok(self.blobs.get(id).copied())
    }

    fn key_blobs(&self, key: KeyId, each: Each<'_, BlobRow>) -> Result<(), Error> {
        walk(self.blobs.values().filter(|row| row.key == key).copied(), usize::MAX, each)
    }

    fn all_blobs(&self, each: Each<'_, BlobRow>) -> Result<(), Error> {
        walk(self.blobs.values().copied(), usize::MAX, each)
    }

    fn label(&self, namespace: &Namespace, id: &LabelId) -> Result<Option<u64>, Error> {
        Ok(self.labels.get(&(namespace.clone(), *id)).copied())
    }

    fn cursor(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.cursors.get(name).copied())
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.tiles.get(&(level, index)).cloned())
    }

    fn all_tiles(&self, each: EachTile<'_>) -> Result<(), Error> {
        for ((level, index), hashes) in &self.tiles {
            if let ControlFlow::Break(()) = each((*level, *index, hashes))? {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self, size: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
        Ok(self.checkpoints.range(..=size).next_back().map(|(size, note)| (*size, note.clone())))
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn all_checkpoints(&self, each: EachCheckpoint<'_>) -> Result<(), Error> {
        for (size, note) in &self.checkpoints {
            if let ControlFlow::Break(()) = each((*size, note))? {
                break;
            }
        }
        Ok(())
    }
}
