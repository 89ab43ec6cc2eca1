//! What the tests share: logs on both backends, and short ways to say what a commit holds.

use std::sync::Arc;

use nx_journal::{
    Commit, Core, Delete, IndexEntry, MasterKeySource, NewEvent, Options, Put, Receipt,
    backend::{
        Backend,
        memory::{Disk, MemoryBackend},
        sqlite::SqliteBackend,
    },
};
use nx_types::{Env, EventType, Namespace, Subject, env::ManualClock};
use tempfile::TempDir;

/// A place where a log survives its being closed.
pub(crate) trait Place {
    type Backend: Backend + std::fmt::Debug + 'static;
    fn fresh() -> Self;
    fn backend(&self) -> Self::Backend;
    fn options(&self) -> Options;
    /// Raises the epoch as another writer would.
    fn raise_behind(log: &Log<Self>)
    where
        Self: Sized;
}

pub(crate) struct OnDisk(pub(crate) TempDir);

impl Place for OnDisk {
    type Backend = SqliteBackend;

    fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn backend(&self) -> SqliteBackend {
        SqliteBackend::open(&self.options()).unwrap()
    }

    fn options(&self) -> Options {
        Options { master: master(), min_free_bytes: 0, ..Options::new(self.0.path()) }
    }

    fn raise_behind(log: &Log<Self>) {
        // Another process on a shared disk that does not honour the lock file.
        let connection = rusqlite::Connection::open(log.place.0.path().join("journal.db")).unwrap();
        let next = log.core.as_ref().unwrap().epoch().0 + 1;
        connection.execute("UPDATE meta SET value = ?1 WHERE name = 'epoch'", [next.to_le_bytes().as_slice()]).unwrap();
    }
}

pub(crate) struct InMemory(pub(crate) Disk);

impl Place for InMemory {
    type Backend = MemoryBackend;

    fn fresh() -> Self {
        Self(Disk::new())
    }

    fn backend(&self) -> MemoryBackend {
        MemoryBackend::open(&self.0)
    }

    fn options(&self) -> Options {
        Options { master: master(), min_free_bytes: 0, ..Options::new("") }
    }

    fn raise_behind(log: &Log<Self>) {
        MemoryBackend::open(&log.place.0).raise_epoch().unwrap();
    }
}

pub(crate) fn master() -> MasterKeySource {
    MasterKeySource::Bytes([7; 32].into())
}

/// A log that is open, with its time.
pub(crate) struct Log<P: Place> {
    pub(crate) place: P,
    pub(crate) core: Option<Core<P::Backend>>,
    pub(crate) env: Env,
    pub(crate) clock: Arc<ManualClock>,
}

impl<P: Place> Log<P> {
    pub(crate) fn new() -> Self {
        Self::seeded(7)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        let (env, clock) = Env::seeded(seed);
        let place = P::fresh();
        let core = Core::open(place.backend(), &place.options(), env.clone()).unwrap();
        Self { place, core: Some(core), env, clock }
    }

    pub(crate) fn core(&mut self) -> &mut Core<P::Backend> {
        self.core.as_mut().unwrap()
    }

    pub(crate) fn reopen(&mut self) {
        self.core = None;
        self.core = Some(Core::open(self.place.backend(), &self.place.options(), self.env.clone()).unwrap());
    }

    pub(crate) fn commit(&mut self, commit: Commit) -> Receipt {
        self.core().append(&[commit]).remove(0).unwrap()
    }

    pub(crate) fn events(&mut self, events: impl IntoIterator<Item = NewEvent>) -> Receipt {
        self.commit(Commit::of(events))
    }
}

pub(crate) fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

pub(crate) fn kind(name: &str) -> EventType {
    EventType::new(name).unwrap()
}

pub(crate) fn event(about: &str, what: &str, data: &str) -> NewEvent {
    NewEvent::new(Namespace::default(), kind(what), subject(about), data.as_bytes().to_vec())
}

pub(crate) fn put(kind: &str, key: &str, bytes: &str, index: &[(&str, &[u8])]) -> Put {
    Put {
        namespace: Namespace::default(),
        kind: kind.to_owned(),
        key: key.to_owned(),
        data_subject: format!("{kind}/{key}"),
        bytes: bytes.as_bytes().to_vec(),
        index: index
            .iter()
            .map(|(name, value)| IndexEntry { name: (*name).to_owned(), value: value.to_vec() })
            .collect(),
    }
}

pub(crate) fn delete(kind: &str, key: &str) -> Delete {
    Delete { namespace: Namespace::default(), kind: kind.to_owned(), key: key.to_owned() }
}

/// A commit of one event and some rows.
pub(crate) fn change(puts: Vec<Put>, deletes: Vec<Delete>) -> Commit {
    Commit { events: vec![event("row/1", "row.changed", "")], puts, deletes, ..Commit::default() }
}

/// Names `$test` for each backend.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite { $( #[test] fn $test() { super::$test::<crate::support::OnDisk>(); } )* }
        mod memory { $( #[test] fn $test() { super::$test::<crate::support::InMemory>(); } )* }
    };
}
pub(crate) use on_both;
