//! Writing the write-ahead log back on a thread of its own: no group waits while megabytes go to their places.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, SyncSender, TryRecvError},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;

use super::{fail, schema};
use crate::Error;

/// The thread, and how far it is.
#[derive(Debug)]
pub(super) struct Beside {
    orders: Option<SyncSender<()>>,
    outcomes: Receiver<Result<(), Error>>,
    thread: Option<JoinHandle<()>>,
    under_way: bool,
}

/// What came of asking for it.
pub(super) enum Written {
    /// It is under way.
    NotYet,
    /// What stood in the log when it began stands in its place.
    Back,
}

impl Beside {
    /// Starts the thread, which opens the database at `path` when it first has something to do.
    pub(super) fn start(path: PathBuf) -> Result<Self, Error> {
        let (orders, taken) = mpsc::sync_channel(1);
        let (tell, outcomes) = mpsc::sync_channel(1);
        let dir = path.clone();
        let thread = thread::Builder::new()
            .name("journal-checkpoint".to_owned())
            .spawn(move || {
                let mut connection = None;
                while taken.recv().is_ok() {
                    if tell.send(write_back(&path, &mut connection)).is_err() {
                        break;
                    }
                }
            })
            .map_err(Error::file("start the checkpoint thread of", &dir))?;
        Ok(Self { orders: Some(orders), outcomes, thread: Some(thread), under_way: false })
    }

    /// Sees to it that the log is written back; never waits.
    pub(super) fn write_back(&mut self) -> Result<Written, Error> {
        if !self.under_way {
            let sent = self.orders.as_ref().is_some_and(|orders| orders.send(()).is_ok());
            self.under_way = sent;
            return if sent { Ok(Written::NotYet) } else { Err(Error::Closed) };
        }
        match self.outcomes.try_recv() {
            Err(TryRecvError::Empty) => Ok(Written::NotYet),
            Err(TryRecvError::Disconnected) => Err(Error::Closed),
            Ok(outcome) => {
                self.under_way = false;
                outcome.map(|()| Written::Back)
            }
        }
    }

    /// Waits until the thread has nothing to do. Who would empty the log needs the lock that it holds meanwhile, and that the
    /// engine does not wait for.
    pub(super) fn settle(&mut self) {
        if self.under_way
            && let Ok(Err(error)) = self.outcomes.recv()
        {
            tracing::warn!(%error, "the write-ahead log could not be written back");
        }
        self.under_way = false;
    }

    /// Ends the thread, once it is through with what it does.
    pub(super) fn stop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread has panicked");
        }
    }
}

fn write_back(path: &Path, connection: &mut Option<Connection>) -> Result<(), Error> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(schema::open_checkpointer(path)?),
    };
    open.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_row| Ok(())).map_err(fail("write the write-ahead log back"))
}
