//! Live reading: a position in the log that moves forward and never skips. What was missed is on disk.

use nx_types::Seq;
use tokio::sync::watch;

use crate::{Error, Event, Filter, Reader, tail::Follower};

/// Events looked at in one go, so that a filter which wants few of them still lets the caller breathe.
const SCAN_BUDGET: u64 = 4096;

/// Events from a place on: first those recorded, then each new one as it becomes durable. It holds nothing but its
/// position, so a slow reader costs no memory and loses nothing.
#[derive(Debug)]
pub struct Subscription {
    reader: Reader,
    head: watch::Receiver<Seq>,
    follower: Follower,
    next: Seq,
    filter: Filter,
    batch: usize,
}

impl Subscription {
    pub(crate) fn new(
        reader: Reader,
        head: watch::Receiver<Seq>,
        from: Seq,
        filter: Filter,
        (follower, batch): (Follower, usize),
    ) -> Self {
        Self { reader, head, follower, next: from, filter, batch: batch.max(1) }
    }

    /// The next events, at least one; waits for them. [`Error::Closed`] after the log has closed and everything was
    /// handed out. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<Event>, Error> {
        loop {
            let head = *self.head.borrow_and_update();
            if self.next >= head {
                self.head.changed().await.map_err(|_err| Error::Closed)?;
                continue;
            }
            if let Some((events, next)) = self.follower.tail().read(self.next.0, head.0, self.batch, &self.filter) {
                self.next = Seq(next);
                if !events.is_empty() {
                    return Ok(events);
                }
                continue;
            }
            let (reader, filter) = (self.reader.clone(), self.filter.clone());
            let (from, batch) = (self.next, self.batch);
            let read = tokio::task::spawn_blocking(move || reader.scan(from, batch, &filter, SCAN_BUDGET)).await;
            let (events, next) = read.map_err(|_err| Error::Closed)??;
            self.next = next.max(self.next);
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// The next place to be looked at: what to store as a cursor after handling everything handed out.
    pub fn position(&self) -> Seq {
        self.next
    }
}
