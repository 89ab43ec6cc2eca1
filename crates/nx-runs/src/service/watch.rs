//! Following one run: its events, decoded, as they become durable.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nx_journal::Journal;
use nx_types::{Namespace, RunId};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Handle, RunEventView};
use crate::{
    engine::record::{Entry, Record},
    error::Error,
};

/// Most events handed out at once.
const BATCH: usize = 256;

/// Who follows which run. The driver tells of each run whose events have become durable.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    runs: Mutex<HashMap<RunId, Arc<Notify>>>,
    any: AtomicBool,
    closed: AtomicBool,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Notify>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, run: RunId) -> Arc<Notify> {
        let mut runs = self.lock();
        self.any.store(true, Ordering::Release);
        runs.entry(run).or_default().clone()
    }

    fn remove(&self, run: RunId, ours: &Arc<Notify>) {
        let mut runs = self.lock();
        // The map's and the leaving watcher's own: nobody else is left.
        if Arc::strong_count(ours) <= 2 {
            runs.remove(&run);
        }
        self.any.store(!runs.is_empty(), Ordering::Release);
    }

    /// Whether anyone follows anything.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Events of this run have become durable.
    pub(super) fn tell(&self, run: RunId) {
        if let Some(notify) = self.lock().get(&run) {
            notify.notify_waiters();
        }
    }

    /// Nothing will become durable any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        #[expect(clippy::iter_over_hash_type, reason = "every one of them is told, in whatever order")]
        for notify in self.lock().values() {
            notify.notify_waiters();
        }
    }
}

/// The events of a run from a place on.
#[derive(Debug)]
pub struct RunWatch {
    handle: Handle,
    watchers: Arc<Watchers>,
    notify: Arc<Notify>,
    journal: Journal,
    namespace: Namespace,
    run: RunId,
    /// Absent while a read goes on, or after one was abandoned.
    record: Option<Record>,
    after: u64,
}

impl RunWatch {
    pub(super) fn new(handle: Handle, watchers: Arc<Watchers>, journal: Journal, at: (Namespace, RunId, u64)) -> Self {
        let (namespace, run, after) = at;
        let notify = watchers.add(run);
        Self { handle, watchers, notify, journal, namespace, run, record: None, after }
    }

    /// The next events, at least one; waits for them. [`Error::Closed`] after the service has stopped and everything was
    /// handed out. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<RunEventView>, Error> {
        loop {
            let notify = self.notify.clone();
            let mut told = pin!(notify.notified());
            // From here on nothing is missed, even if it comes before it is awaited.
            told.as_mut().enable();
            let closed = self.watchers.closed.load(Ordering::Acquire);
            let fresh = || Record::new(self.journal.reader(), self.namespace.clone(), self.run);
            let mut record = self.record.take().unwrap_or_else(fresh);
            let after = self.after;
            let read = move |_: &nx_journal::Reader| {
                let entries = record.page(after, BATCH)?;
                Ok((record, entries))
            };
            let (record, entries) = self.handle.read(read).await?;
            self.record = Some(record);
            if let Some(last) = entries.last() {
                self.after = last.header.version;
                return entries.iter().map(view).collect();
            }
            if closed {
                return Err(Error::Closed);
            }
            told.await;
        }
    }

    /// The version of the last event handed out.
    pub fn position(&self) -> u64 {
        self.after
    }
}

impl Drop for RunWatch {
    fn drop(&mut self) {
        self.watchers.remove(self.run, &self.notify);
    }
}

/// An event as surfaces show it.
pub(crate) fn view(entry: &Entry) -> Result<RunEventView, Error> {
    let header = &entry.header;
    let data: Value =
        serde_json::from_slice(&entry.event.encode()?).map_err(|error| Error::value(error.to_string()))?;
    Ok(RunEventView {
        seq: header.seq,
        version: header.version,
        id: header.id,
        kind: header.kind.to_string(),
        time: header.recorded,
        data,
    })
}
