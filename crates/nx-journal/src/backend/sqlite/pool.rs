//! A bounded pool of read-only connections.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::{fail, rows::Sql, schema};
use crate::{
    Error, Options,
    backend::{Rows, Source, Space},
    files::free_bytes,
};

/// How long closing waits for a reader at work.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens connections as they are needed, up to its bound, and waits for one beyond it.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    options: Options,
    state: Mutex<State>,
    free: Condvar,
    /// The writer's descriptor of the file, which must not be closed before the last connection.
    _file: Option<Arc<File>>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Sql>,
    open: usize,
    /// The writer is gone: connections that come back are closed.
    retired: bool,
}

impl Pool {
    pub(super) fn new(path: PathBuf, options: Options, file: Option<Arc<File>>) -> Self {
        Self { path, options, state: Mutex::default(), free: Condvar::new(), _file: file }
    }

    fn take(&self) -> Result<Sql, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(connection);
            }
            if state.open < self.options.readers.max(1) {
                state.open += 1;
                break;
            }
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        schema::open_reader(&self.path, &self.options)
            .map(|connection| Sql::new(connection, self.options.cache_entries / 4))
            .inspect_err(|_err| self.give(None))
    }

    fn give(&self, connection: Option<Sql>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = match connection {
            Some(connection) if !state.retired => {
                state.idle.push(connection);
                None
            }
            closed => {
                state.open -= 1;
                closed
            }
        };
        drop(state);
        drop(closed);
        self.free.notify_all();
    }

    /// Closes the connections, so that the writer's is the last one and takes the write-ahead log with it. A reader at
    /// work is waited for, but not for long.
    pub(super) fn retire(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.retired = true;
        state.open -= state.idle.len();
        let idle = std::mem::take(&mut state.idle);
        drop(idle);
        let waited = self.free.wait_timeout_while(state, PATIENCE, |state| state.open > 0);
        if waited.is_ok_and(|(_state, waited)| waited.timed_out()) {
            tracing::info!(
                "closed while a reader is at work; the write-ahead log stays and is read at the next opening"
            );
        }
    }
}

/// Gives the connection back, even if the reader panics.
struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Sql>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.pool.give(self.connection.take());
    }
}

impl Source for Pool {
    fn read(&self, read: &mut dyn FnMut(&dyn Rows) -> Result<(), Error>) -> Result<(), Error> {
        let mut lease = Lease { pool: self, connection: Some(self.take()?) };
        let Some(connection) = &lease.connection else { return Err(Error::Closed) };
        let step =
            |sql: &str| -> Result<(), Error> { connection.statement(sql)?.execute([]).map(drop).map_err(fail("read")) };
        // One snapshot for the whole call.
        step("BEGIN")?;
        let result = read(connection);
        if step("COMMIT").is_err() {
            lease.connection = None;
        }
        result
    }

    fn space(&self) -> Result<Space, Error> {
        let bytes = |path: &Path| fs::metadata(path).map_or(0, |facts| facts.len());
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let used = bytes(&self.path) + bytes(Path::new(&log));
        Ok(Space { used, free: free_bytes(&self.options.dir)? })
    }
}
