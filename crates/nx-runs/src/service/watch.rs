//! Following one run: its events, decoded, as they become durable.

use nx_journal::Journal;
use nx_types::{Namespace, RunId, Seq};
use serde_json::Value;
use tokio::sync::watch;

use super::{Handle, RunEventView};
use crate::{
    engine::record::{Entry, Record},
    error::Error,
};

/// Most events handed out at once.
const BATCH: usize = 256;

/// The events of a run from a place on.
#[derive(Debug)]
pub struct RunWatch {
    handle: Handle,
    journal: Journal,
    head: watch::Receiver<Seq>,
    namespace: Namespace,
    run: RunId,
    after: u64,
}

impl RunWatch {
    pub(super) fn new(journal: Journal, handle: Handle, namespace: Namespace, run: RunId, after: u64) -> Self {
        let head = journal.watch_head();
        Self { handle, journal, head, namespace, run, after }
    }

    /// The next events, at least one; waits for them. [`Error::Closed`] after the log has closed. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<RunEventView>, Error> {
        loop {
            self.head.borrow_and_update();
            let (namespace, run, after) = (self.namespace.clone(), self.run, self.after);
            let reader = self.journal.reader();
            let read = move |_: &nx_journal::Reader| {
                let mut record = Record::new(reader, namespace, run);
                record.page(after, BATCH)
            };
            let entries = self.handle.read(read).await?;
            if let Some(last) = entries.last() {
                self.after = last.header.version;
                return entries.iter().map(view).collect();
            }
            self.head.changed().await.map_err(|_closed| Error::Closed)?;
        }
    }

    /// The version of the last event handed out.
    pub fn position(&self) -> u64 {
        self.after
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
