//! Serving: versions that are loaded, each on threads of its own with one bounded way in. A version stays until it is idle,
//! so that an alias that is swapped takes nobody's answer away.

mod batch;
mod load;
mod queue;
mod streams;
mod work;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nx_journal::Journal;
use nx_types::Namespace;
use tokio::{
    sync::{OnceCell, Semaphore, oneshot},
    time::{Instant, timeout_at},
};

use self::load::Loaded;
pub(crate) use self::queue::Job;
pub(crate) use self::streams::Turn;
use crate::{
    Error, Options,
    answer::OutputView,
    input::Samples,
    kind::{Serving, Version},
    store,
};

/// Which version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
    pub(crate) version: u32,
}

impl Key {
    fn model(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) engine: &'static str,
    pub(crate) outputs: Vec<(String, OutputView)>,
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
    pub(crate) batch: usize,
    /// The request's turn in its stream, to be kept once the decision stands.
    pub(crate) turn: Option<Turn>,
}

/// What a version is asked.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) samples: &'a Arc<Samples>,
    pub(crate) stream: Option<&'a StreamRequest>,
    /// How long it may take.
    pub(crate) limit: Duration,
}

/// Which stream a request goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// Its name: 1 to 128 characters, the caller's.
    pub key: String,
    /// It is the stream's last one.
    pub last: bool,
}

/// How a version is served now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is loaded.
    pub loaded: bool,
    /// The engine that it is loaded on.
    pub engine: Option<&'static str>,
    /// Whether requests are run together.
    pub batches: bool,
    /// Requests that wait or run.
    pub waiting: usize,
    /// Requests that were answered since it was loaded.
    pub answered: u64,
    /// Requests that were refused for a full queue since then.
    pub refused: u64,
}

/// A version that is loaded, or about to be.
#[derive(Debug)]
struct Slot {
    serving: Serving,
    place: u64,
    loaded: OnceCell<Loaded>,
    /// One permit for each request that waits or runs.
    admitted: Arc<Semaphore>,
    /// Bytes that are set aside for it.
    memory: AtomicU64,
    /// Microseconds after the pool's start.
    used: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
}

impl Slot {
    fn new(version: &Version, serving: &Serving) -> Self {
        Self {
            serving: serving.clone(),
            place: version.place,
            loaded: OnceCell::new(),
            admitted: Arc::new(Semaphore::new(serving.queue as usize)),
            memory: AtomicU64::new(0),
            used: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn waiting(&self) -> usize {
        (self.serving.queue as usize).saturating_sub(self.admitted.available_permits())
    }
}

/// Every loaded version.
#[derive(Debug)]
pub(crate) struct Pool {
    journal: Journal,
    options: Options,
    begun: Instant,
    /// `None` once it is closed.
    slots: Mutex<Option<BTreeMap<Key, Arc<Slot>>>>,
}

impl Pool {
    pub(crate) fn new(journal: Journal, options: Options) -> Self {
        Self { journal, options, begun: Instant::now(), slots: Mutex::new(Some(BTreeMap::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<Key, Arc<Slot>>>> {
        // Whatever a panicking thread left there is a map of whole entries.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &Key, version: &Version, serving: &Serving) -> Result<Arc<Slot>, Error> {
        let mut slots = self.lock();
        let slots = slots.as_mut().ok_or(Error::Stopped)?;
        let slot = match slots.get(key) {
            Some(slot) if slot.place == version.place && slot.serving == *serving => slot.clone(),
            // Whoever holds the former one is answered by it.
            _ => {
                let slot = Arc::new(Slot::new(version, serving));
                slots.insert(key.clone(), slot.clone());
                slot
            }
        };
        slot.used.store(self.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(slot)
    }

    /// Runs a request on a version, which is loaded first where it is not.
    pub(crate) async fn run(
        &self,
        key: &Key,
        version: &Version,
        serving: &Serving,
        Asking { samples, stream, limit }: Asking<'_>,
    ) -> Result<Done, Error> {
        let queued = Instant::now();
        let deadline = queued + limit;
        let slow = || Error::TooSlow { model: key.model(), deadline_ms: limit.as_millis() as u64 };
        let slot = self.slot(key, version, serving)?;
        let Ok(permit) = slot.admitted.clone().try_acquire_owned() else {
            slot.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::QueueFull { model: key.model(), queue: serving.queue as usize });
        };
        let loaded = match timeout_at(deadline, slot.loaded.get_or_try_init(|| self.load(key, &slot))).await {
            Ok(loaded) => loaded?,
            Err(_elapsed) => return Err(slow()),
        };
        let (reply, answer) = oneshot::channel();
        let turn = stream.map(|stream| loaded.turn(stream)).transpose()?;
        let job = Job { samples: samples.clone(), queued, deadline, reply, turn, permit };
        if !loaded.queue().push(job) {
            // Its threads have ended, by a panic of an engine: the next request loads it anew.
            self.forget(key, &slot);
            return Err(Error::Stopped);
        }
        let done = match timeout_at(deadline, answer).await {
            Ok(Ok(done)) => done,
            Ok(Err(_dropped)) if Instant::now() < deadline => {
                self.forget(key, &slot);
                Err(Error::Stopped)
            }
            Ok(Err(_)) | Err(_) => Err(slow()),
        };
        slot.answered.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
        slot.used.store(self.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        done
    }

    /// Loads a version ahead of its first request.
    pub(crate) async fn warm(&self, key: &Key, version: &Version, serving: &Serving) -> Result<(), Error> {
        let slot = self.slot(key, version, serving)?;
        slot.loaded.get_or_try_init(|| self.load(key, &slot)).await.map(drop)
    }

    async fn load(&self, key: &Key, slot: &Slot) -> Result<Loaded, Error> {
        let (reader, options) = (self.journal.reader(), self.options.clone());
        let (key, serving) = (key.clone(), slot.serving.clone());
        let record = {
            let (reader, key) = (reader.clone(), key.clone());
            store::blocking(move || store::record(&reader, &key.namespace, &key.name, key.version)).await?
        };
        // The file, and for each thread the engine's form of it with what a run takes.
        let wanted = record.bytes.saturating_mul(1 + 2 * u64::from(serving.threads));
        self.reserve(&key, slot, wanted)?;
        let loaded = store::blocking(move || {
            let bytes = store::file(&reader, &key.name, &record)?;
            Loaded::new(&key, record, bytes, &serving, &options)
        })
        .await;
        if loaded.is_err() {
            slot.memory.store(0, Ordering::Relaxed);
        }
        loaded
    }

    /// Sets memory aside; versions that nobody waits for make room, the longest unused first.
    fn reserve(&self, key: &Key, slot: &Slot, wanted: u64) -> Result<(), Error> {
        let mut slots = self.lock();
        let slots = slots.as_mut().ok_or(Error::Stopped)?;
        let limit = self.options.memory_bytes;
        loop {
            let taken: u64 = slots.values().map(|slot| slot.memory.load(Ordering::Relaxed)).sum();
            let free = limit.saturating_sub(taken);
            if wanted <= free {
                slot.memory.store(wanted, Ordering::Relaxed);
                return Ok(());
            }
            let idle = slots.iter().filter(|(_, slot)| slot.loaded.initialized() && slot.waiting() == 0);
            let oldest = idle.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed)).map(|(key, _)| key.clone());
            match oldest {
                Some(oldest) => drop(slots.remove(&oldest)),
                None => return Err(Error::NoMemory { model: key.model(), wanted, free, limit }),
            }
        }
    }

    fn forget(&self, key: &Key, slot: &Arc<Slot>) {
        let mut slots = self.lock();
        if let Some(slots) = slots.as_mut()
            && slots.get(key).is_some_and(|known| Arc::ptr_eq(known, slot))
        {
            slots.remove(key);
        }
    }

    /// Unloads what has been idle for long enough.
    pub(crate) fn sweep(&self) {
        let now = self.begun.elapsed().as_micros() as u64;
        if let Some(slots) = self.lock().as_mut() {
            slots.retain(|_, slot| {
                let idle = now.saturating_sub(slot.used.load(Ordering::Relaxed));
                slot.waiting() > 0 || idle < slot.serving.idle.as_micros()
            });
        }
    }

    /// Unloads the versions of a namespace that are not there any more.
    pub(crate) fn keep(&self, namespace: &Namespace, known: impl Fn(&Key, u64) -> bool) {
        if let Some(slots) = self.lock().as_mut() {
            slots.retain(|key, slot| key.namespace != *namespace || known(key, slot.place));
        }
    }

    pub(crate) fn standing(&self, key: &Key) -> Standing {
        let slots = self.lock();
        let Some(slot) = slots.as_ref().and_then(|slots| slots.get(key)) else { return Standing::default() };
        let loaded = slot.loaded.get();
        Standing {
            loaded: loaded.is_some(),
            engine: loaded.map(Loaded::engine),
            batches: loaded.is_some_and(Loaded::batches),
            waiting: slot.waiting(),
            answered: slot.answered.load(Ordering::Relaxed),
            refused: slot.refused.load(Ordering::Relaxed),
        }
    }

    /// Takes nothing more; what waits is answered, then the threads end.
    pub(crate) fn close(&self) {
        drop(self.lock().take());
    }
}
