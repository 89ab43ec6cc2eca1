//! The embedded backend: one `SQLite` database in WAL mode, every commit made durable by the disk before it returns.

mod beside;
mod gaps;
mod pool;
mod room;
mod rows;
mod schema;
mod short;
mod write;

use std::{
    fs::{self, File},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::{ErrorCode, hooks::Wal};

use self::{beside::Beside, pool::Pool, rows::Sql, write::Names};
use crate::{
    Error, Options,
    backend::{Blobs, Source},
    files::{FileBlobs, Lock, sync_dir},
};

/// The database's file name in the data directory.
pub const FILE: &str = "journal.db";

/// A log in a data directory, which it locks.
#[derive(Debug)]
pub struct SqliteBackend {
    sql: Sql,
    names: Names,
    /// Frames in the write-ahead log, as of the last commit.
    log_frames: Arc<AtomicU64>,
    /// At how many it is written back: by the options, and the next time.
    checkpoint_frames: u64,
    checkpoint_at: u64,
    beside: Beside,
    pool: Arc<Pool>,
    /// The write-ahead log.
    log: PathBuf,
    /// The database's file. It is closed after all connections: closing any descriptor of a file takes the process's
    /// locks on it away, and those of the engine with them.
    file: Arc<File>,
    blobs: Arc<FileBlobs>,
    _lock: Lock,
}

impl SqliteBackend {
    /// Opens the log of [`Options::dir`], or creates it.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let dir = options.dir.clone();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(Error::file("create the data directory", &dir))?;
        let lock = Lock::take(&dir)?;
        let path = dir.join(FILE);
        let log = dir.join(format!("{FILE}-wal"));
        let new = !path.exists();
        let mut connection = schema::open_writer(&path, options)?;
        let log_frames = Arc::new(AtomicU64::new(0));
        let noted = log_frames.clone();
        let note = move |_: &mut Wal, frames: std::ffi::c_int| {
            noted.store(u64::from(frames.unsigned_abs()), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(note)).map_err(fail("configure the database"))?;
        let sql = Sql::new(connection, options.cache_entries);
        if new {
            sync_dir(&dir)?;
        }
        let file =
            File::options().read(true).write(true).open(&path).map_err(Error::file("open the database", &path))?;
        let file = Arc::new(file);
        let names = Names::read(&sql, options.cache_entries)?;
        let beside = Beside::start(path.clone())?;
        let pool = Arc::new(Pool::new(path, options.clone(), Some(file.clone())));
        let blobs = Arc::new(FileBlobs::open(&dir)?);
        let frames = (options.checkpoint_bytes / schema::PAGE_BYTES as u64).max(1);
        Ok(Self {
            sql,
            names,
            log_frames,
            checkpoint_frames: frames,
            checkpoint_at: frames,
            beside,
            pool,
            log,
            file,
            blobs,
            _lock: lock,
        })
    }

    fn shared_blobs(&self) -> Arc<dyn Blobs> {
        self.blobs.clone()
    }

    fn shared_source(&self) -> Arc<dyn Source> {
        self.pool.clone()
    }
}

impl Drop for SqliteBackend {
    fn drop(&mut self) {
        self.beside.stop();
        self.pool.retire();
    }
}

type View = (Arc<dyn Source>, Arc<dyn Blobs>);

/// A log's rows and blobs for reading alone, beside the process that owns the data directory, if there is one.
pub(crate) fn view(options: &Options) -> Result<View, Error> {
    let path = options.dir.join(FILE);
    fs::metadata(&path).map_err(Error::file("find the log", &path))?;
    Ok((Arc::new(Pool::new(path, options.clone(), None)), Arc::new(FileBlobs::beside(&options.dir))))
}

/// An error of the engine while it did something.
fn fail(what: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |error| match classify(&error) {
        Some(known) => known,
        None => Error::Storage { what, source: Arc::new(error) },
    }
}

/// An error of the engine while it read or wrote a thing that can be named.
fn fail_at(what: &str, error: rusqlite::Error) -> Error {
    match &error {
        rusqlite::Error::SqliteFailure(code, _)
            if matches!(code.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            Error::corrupt(what, error.to_string())
        }
        rusqlite::Error::SqliteFailure(..) => fail("read")(error),
        _ => Error::corrupt(what, error.to_string()),
    }
}

fn classify(error: &rusqlite::Error) -> Option<Error> {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return None };
    match (failure.code, failure.extended_code) {
        (ErrorCode::DiskFull, _) | (_, rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Some(Error::DiskFull),
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => {
            Some(Error::corrupt("the database", error.to_string()))
        }
        _ => None,
    }
}
