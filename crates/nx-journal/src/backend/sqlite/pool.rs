//! A bounded pool of read-only connections.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, PoisonError},
};

use super::{fail, rows::Sql, schema};
use crate::{
    Error, Options,
    backend::{Rows, Source, Space},
    files::free_bytes,
};

/// Opens connections as they are needed, up to its bound, and waits for one beyond it.
#[derive(Debug)]
pub(super) struct Pool {
    path: PathBuf,
    options: Options,
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Sql>,
    open: usize,
}

impl Pool {
    pub(super) fn new(path: PathBuf, options: Options) -> Self {
        Self { path, options, state: Mutex::default(), free: Condvar::new() }
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
        schema::open_reader(&self.path, &self.options).map(Sql).inspect_err(|_err| self.give(None))
    }

    fn give(&self, connection: Option<Sql>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match connection {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.free.notify_one();
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
