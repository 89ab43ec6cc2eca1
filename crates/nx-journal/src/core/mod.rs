//! The log itself: synchronous and single-threaded, over any backend.

mod admin;
mod append;
mod erase;
mod random;
mod upkeep;

use std::sync::Arc;

use nx_types::{Digest, Env, Epoch, EventType, KeyId, Namespace, Origin, Seq, Subject, Timestamp};

pub(crate) use self::{
    admin::{Admin, store_blob},
    append::slot,
    upkeep::before,
};
use self::{append::StateEntry, random::Pool};
use crate::{
    Commit, Error, NewEvent, Options, Reader, Receipt,
    backend::{Backend, Page, Rows, Sealed},
    cache::Cache,
    reader::decode_header,
    seal::{self, Key, Keyring},
    tail::Tail,
    tlog::{Edge, leaf_hash, sha256},
    upcast,
};

/// The record format that this release writes.
pub(crate) const FORMAT: u64 = 1;

/// The namespace of events about the log itself.
pub(crate) const SYSTEM: &str = "system";

pub(crate) mod meta {
    //! Names of the log's own values.
    pub(crate) const FORMAT: &str = "format";
    pub(crate) const ORIGIN: &str = "origin";
    pub(crate) const LOOKUP: &str = "lookup";
    pub(crate) const NEXT_KEY: &str = "next-key";
    pub(crate) const SCRUB: &str = "scrub";
    /// Number of events, 8 bytes, and the tree's root: what verification holds the newest records against.
    pub(crate) const HEAD: &str = "head";
}

pub(crate) mod scrub {
    //! What is left to do after an erasure: values of [`super::meta::SCRUB`].
    pub(crate) const DONE: u8 = 0;
    pub(crate) const DUE: u8 = 1;
}

/// A log over a backend: one writer, groups of commits, every group durable or absent. [`crate::Journal`] runs it on a
/// thread; a simulation calls it directly.
#[derive(Debug)]
pub struct Core<B> {
    backend: B,
    env: Env,
    random: Pool,
    keys: Arc<Keyring>,
    reader: Reader,
    limits: Limits,
    origin: Origin,
    epoch: Epoch,
    tip: Tip,
    /// Number of events in the last durable [`meta::HEAD`].
    noted: u64,
    /// Versions by namespace and subject.
    subjects: Cache<String, u64>,
    /// State rows by namespace, kind and key.
    states: Cache<String, StateEntry>,
    /// Labels that are defined, by namespace and id.
    labels: Cache<String, ()>,
    /// Data keys by namespace and data subject.
    data_keys: Cache<String, (KeyId, Arc<Key>)>,
    scratch: append::Scratch,
    syncs: Syncs,
    /// When the disk last had room, and the head then.
    space_asked: Option<(Timestamp, u64)>,
    tail: Arc<Tail>,
}

/// How long the disk took lately.
#[derive(Debug, Default)]
struct Syncs {
    groups: u64,
    micros: Vec<u64>,
}

impl Syncs {
    const KEPT: usize = 256;

    fn note(&mut self, micros: u64) {
        let place = (self.groups % Self::KEPT as u64) as usize;
        match self.micros.get_mut(place) {
            Some(slot) => *slot = micros,
            None => self.micros.push(micros),
        }
        self.groups += 1;
    }

    fn median(&self) -> u64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// The bounds of [`Options`] that the log itself keeps.
#[derive(Debug, Clone, Copy)]
struct Limits {
    event_bytes: usize,
    state_bytes: usize,
    commit_bytes: usize,
    commit_items: usize,
    min_free_bytes: u64,
}

/// Where the log stands. A failed group goes back to the former one.
#[derive(Debug, Clone)]
struct Tip {
    head: u64,
    recorded: Timestamp,
    next_key: u64,
    edge: Edge,
}

impl<B: Backend> Core<B> {
    /// Opens a log, or creates it; fences every other writer off.
    pub fn open(mut backend: B, options: &Options, env: Env) -> Result<Self, Error> {
        let found = backend.rows().meta(meta::FORMAT)?.map(|bytes| check_format(&bytes)).transpose()?;
        let new = found.is_none();
        let master = seal::load_master(&options.master, new, env.rng())?;
        let lookup = match backend.rows().meta(meta::LOOKUP)? {
            Some(wrapped) => wrapped,
            None if new => Keyring::fresh_lookup(&master, env.rng())?,
            None => return Err(Error::corrupt("the lookup key", "it is missing")),
        };
        let keys = Arc::new(Keyring::open(master, &lookup, options.cache_entries)?);
        let epoch = backend.raise_epoch()?;
        let origin = if new { fresh_origin(&env) } else { read_origin(backend.rows())? };
        let tip = Tip::read(backend.rows())?;
        let reader = Reader::new(backend.source(), backend.blobs(), keys.clone());
        let limits = Limits {
            event_bytes: options.max_event_bytes,
            state_bytes: options.max_state_bytes,
            commit_bytes: options.max_commit_bytes,
            commit_items: options.max_commit_items,
            min_free_bytes: options.min_free_bytes,
        };
        let mut core = Self {
            backend,
            random: Pool::new(env.clone()),
            env,
            keys,
            reader,
            limits,
            origin,
            epoch,
            noted: tip.head,
            tip,
            subjects: Cache::new(options.cache_entries),
            states: Cache::new(options.cache_entries),
            labels: Cache::new(options.cache_entries),
            data_keys: Cache::new(options.cache_entries),
            scratch: append::Scratch::default(),
            syncs: Syncs::default(),
            space_asked: None,
            tail: Arc::default(),
        };
        match found {
            None => core.create(&lookup)?,
            Some(found) if found < FORMAT => core.group(|core| {
                upcast::format(&mut core.backend, found)?;
                core.backend.put_meta(meta::FORMAT, &FORMAT.to_le_bytes())
            })?,
            Some(_) => {}
        }
        core.finish_erasures()?;
        Ok(core)
    }

    fn create(&mut self, lookup: &[u8]) -> Result<(), Error> {
        let data = serde_json::json!({ "created": self.env.now(), "format": FORMAT });
        let event = self.system_event("log.opened", &data)?;
        let origin = self.origin;
        self.group(|core| {
            core.backend.put_meta(meta::FORMAT, &FORMAT.to_le_bytes())?;
            core.backend.put_meta(meta::ORIGIN, &origin.0)?;
            core.backend.put_meta(meta::LOOKUP, lookup)?;
            core.write(&Commit::of([event])).map(drop)
        })
    }

    /// Goes on under a new origin, as a restored backup must: the former log's leaves stay, and the first leaf of the
    /// new origin, `log.restored`, holds what is told of the former one (its origin and last checkpoint).
    pub fn restore_as_new_origin(&mut self, previous: &serde_json::Value) -> Result<Receipt, Error> {
        let (former, origin) = (self.origin, fresh_origin(&self.env));
        let data = serde_json::json!({
            "format": FORMAT, "previousOrigin": former, "previousHead": self.head(), "previous": previous,
        });
        let subject = format!("log/{origin}");
        let event = Self::system_event_about("log.restored", &subject, &data)?;
        self.origin = origin;
        let written = self.group(|core| {
            core.backend.put_meta(meta::ORIGIN, &origin.0)?;
            core.write(&Commit::of([event]))
        });
        if written.is_err() {
            self.origin = former;
        }
        written
    }

    fn system_event(&self, kind: &str, data: &serde_json::Value) -> Result<NewEvent, Error> {
        Self::system_event_about(kind, &format!("log/{}", self.origin), data)
    }

    fn system_event_about(kind: &str, subject: &str, data: &serde_json::Value) -> Result<NewEvent, Error> {
        let mut event = NewEvent::new(
            name(Namespace::new(SYSTEM))?,
            name(EventType::new(kind))?,
            name(Subject::new(subject))?,
            json(data)?,
        );
        event.data_subject = Some(seal::NAMESPACE_SUBJECT.to_owned());
        Ok(event)
    }

    /// The next free place.
    pub fn head(&self) -> Seq {
        Seq(self.tip.head)
    }

    /// The log's identity.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// This writer's term.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Size and root of the Merkle tree over everything durable.
    pub fn tree(&self) -> (u64, Digest) {
        (self.tip.edge.size(), self.tip.edge.root())
    }

    /// Time and randomness.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// A view for reading; it sees what [`Core::append`] has acknowledged.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The newest events, for those who follow.
    pub(crate) fn tail(&self) -> Arc<Tail> {
        self.tail.clone()
    }

    /// The storage engine.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Work that may be put off, to be called between groups.
    pub fn tidy(&mut self) -> Result<(), Error> {
        self.backend.tidy()
    }

    /// Writes within one transaction; after an error nothing has happened, in memory or on disk.
    fn group<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.backend.begin(self.epoch)?;
        let before = self.tip.clone();
        let done = work(self).and_then(|value| self.flush().map(|()| value));
        if done.is_err() {
            self.backend.rollback();
            self.forget(before);
        }
        done
    }

    /// Makes the open transaction durable.
    fn flush(&mut self) -> Result<(), Error> {
        for tile in self.scratch.tiles.drain(..) {
            self.backend.put_tile(tile.level, tile.index, &tile.hashes)?;
        }
        if self.tip.edge.size() != self.noted {
            let (size, root) = self.tree();
            let mut head = [0; 40];
            head[..8].copy_from_slice(&size.to_le_bytes());
            head[8..].copy_from_slice(&root.0);
            self.backend.put_meta(meta::HEAD, &head)?;
        }
        let start = self.env.now();
        self.backend.commit()?;
        self.syncs.note(self.env.now().since(start).as_micros());
        self.noted = self.tip.edge.size();
        self.tail.publish(&mut self.scratch.fresh);
        Ok(())
    }

    /// Back to a former tip; nothing cached may come from the failed group.
    fn forget(&mut self, tip: Tip) {
        self.tip = tip;
        self.scratch.tiles.clear();
        self.scratch.fresh.clear();
        self.subjects.clear();
        self.states.clear();
        self.labels.clear();
        self.data_keys.clear();
        self.keys.forget_all();
    }
}

impl Tip {
    fn read(rows: &dyn Rows) -> Result<Self, Error> {
        let head = rows.head()?;
        let mut recorded = Timestamp::default();
        if let Some(last) = head.checked_sub(1) {
            rows.events(last, &mut |row| {
                recorded = decode_header(row)?.recorded;
                Ok(std::ops::ControlFlow::Break(()))
            })?;
        }
        let next_key = match rows.meta(meta::NEXT_KEY)? {
            Some(bytes) => read_u64(&bytes, "the next data key")?,
            None => 1,
        };
        Ok(Self { head, recorded, next_key, edge: read_edge(rows, head)? })
    }
}

fn read_edge(rows: &dyn Rows, head: u64) -> Result<Edge, Error> {
    Edge::restore(
        head,
        |level, index| rows.tile(level, index),
        |range| {
            let mut leaves = Vec::new();
            if range.is_empty() {
                return Ok(leaves);
            }
            rows.events(range.start, &mut |row| {
                let sealed = match row.sealed {
                    Sealed::Data(bytes) => sha256(bytes),
                    Sealed::Digest(digest) => digest,
                };
                leaves.push(leaf_hash(row.header, &sealed));
                let more = row.seq + 1 < range.end;
                Ok(if more { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) })
            })?;
            Ok(leaves)
        },
    )
}

fn check_format(bytes: &[u8]) -> Result<u64, Error> {
    let found = read_u64(bytes, "the format version")?;
    if found > FORMAT { Err(Error::UnknownFormat { found, known: FORMAT }) } else { Ok(found) }
}

fn read_u64(bytes: &[u8], what: &str) -> Result<u64, Error> {
    let bytes = bytes.try_into().map_err(|_err| Error::corrupt(what, "it is not 8 bytes"))?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_origin(rows: &dyn Rows) -> Result<Origin, Error> {
    let bytes = rows.meta(meta::ORIGIN)?.ok_or_else(|| Error::corrupt("the origin", "it is missing"))?;
    bytes.as_slice().try_into().map(Origin).map_err(|_err| Error::corrupt("the origin", "it is not 16 bytes"))
}

fn fresh_origin(env: &Env) -> Origin {
    let mut bytes = [0; 16];
    env.rng().fill(&mut bytes);
    Origin(bytes)
}

fn name<T>(name: Result<T, nx_types::IdError>) -> Result<T, Error> {
    name.map_err(|error| Error::invalid(error.to_string()))
}

fn json(value: &serde_json::Value) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::invalid(error.to_string()))
}

/// A whole listing.
fn all<T: ?Sized>() -> Page<'static, T> {
    Page { after: None, limit: usize::MAX, reverse: false }
}
