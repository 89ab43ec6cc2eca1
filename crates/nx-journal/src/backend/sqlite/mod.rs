//! The embedded backend: one `SQLite` database in WAL mode, every commit made durable by the disk before it returns.

mod pool;
mod rows;
mod schema;
mod write;

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::ErrorCode;

use self::{pool::Pool, rows::Sql, write::Names};
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
    path: PathBuf,
    dir: PathBuf,
    names: Names,
    checkpoint_bytes: u64,
    pool: Arc<Pool>,
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
        let new = !path.exists();
        let sql = Sql(schema::open_writer(&path, options)?);
        if new {
            sync_dir(&dir)?;
        }
        let names = Names::read(&sql, options.cache_entries)?;
        let pool = Arc::new(Pool::new(path.clone(), options.clone()));
        let blobs = Arc::new(FileBlobs::open(&dir)?);
        Ok(Self { sql, path, dir, names, checkpoint_bytes: options.checkpoint_bytes, pool, blobs, _lock: lock })
    }

    fn wal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    fn shared_blobs(&self) -> Arc<dyn Blobs> {
        self.blobs.clone()
    }

    fn shared_source(&self) -> Arc<dyn Source> {
        self.pool.clone()
    }
}

type View = (Arc<dyn Source>, Arc<dyn Blobs>);

/// A log's rows and blobs for reading alone, beside the process that owns the data directory, if there is one.
pub(crate) fn view(options: &Options) -> Result<View, Error> {
    let path = options.dir.join(FILE);
    fs::metadata(&path).map_err(Error::file("find the log", &path))?;
    Ok((Arc::new(Pool::new(path, options.clone())), Arc::new(FileBlobs::beside(&options.dir))))
}

fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |facts| facts.len())
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
