//! The way into the engine's task: a bounded queue for inputs, and two lists that the log's writer thread and dropped
//! connections add to without ever waiting (bounded by the commits in flight and the connections).

use std::sync::{Mutex, PoisonError};

use nx_journal::{Commit, Receipt};
use tokio::sync::{Notify, mpsc};

use crate::{
    engine::{Input, SessionId, Token},
    error::Error,
};

#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) commits: Vec<(Token, Result<Receipt, nx_journal::Error>)>,
    pub(super) hangups: Vec<SessionId>,
    /// Commits whose large data stands in blobs now, or could not be put there.
    pub(super) with_blobs: Vec<(Token, WithBlobs)>,
}

pub(super) type WithBlobs = Result<Commit, (Commit, nx_journal::Error)>;

#[derive(Debug)]
pub(super) struct Inlet {
    queue: mpsc::Sender<Input>,
    pending: Mutex<Pending>,
    pub(super) notify: Notify,
}

impl Inlet {
    pub(super) fn new(queue: mpsc::Sender<Input>) -> Self {
        Self { queue, pending: Mutex::default(), notify: Notify::new() }
    }

    pub(super) async fn send(&self, input: Input) -> Result<(), Error> {
        self.queue.send(input).await.map_err(|_closed| Error::Closed)
    }

    pub(super) fn committed(&self, token: Token, outcome: Result<Receipt, nx_journal::Error>) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).commits.push((token, outcome));
        self.notify.notify_one();
    }

    pub(super) fn hang_up(&self, session: SessionId) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).hangups.push(session);
        self.notify.notify_one();
    }

    pub(super) fn blobs_put(&self, token: Token, commit: WithBlobs) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).with_blobs.push((token, commit));
        self.notify.notify_one();
    }

    pub(super) fn take(&self) -> Pending {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
