//! Tables and connection settings. The format is fixed: a change is a new format with an upcaster and a golden file.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::fail;
use crate::{Error, Options};

/// Marks the file as a journal (`PRAGMA application_id`): `NXJ1`.
const APPLICATION: i32 = 0x4e58_4a31;

/// The table layout's version (`PRAGMA user_version`).
pub(super) const LAYOUT: i64 = 1;

/// How long a connection waits for another one of this process.
pub(super) const BUSY_MILLIS: u64 = 10_000;

/// Bytes of a page. Small pages keep the cost of a lone commit down.
pub(super) const PAGE_BYTES: usize = 4096;

// A subject's id and a type's id are the seq of their first event, so nothing has to be counted.
// `events.header` leaves out what a later event shares with those (see `short`).
// `events.data` is the sealed data, or 12 bytes that name its pieces in `pieces`; after erasure `digest` stands instead.
const TABLES: &str = "
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE events(
  seq INTEGER PRIMARY KEY, subject INTEGER NOT NULL, version INTEGER NOT NULL, type INTEGER NOT NULL,
  by_key INTEGER, header BLOB NOT NULL, data BLOB, digest BLOB) STRICT;
CREATE INDEX events_by_subject ON events(subject, version);
CREATE INDEX events_by_type ON events(type);
CREATE INDEX events_by_key ON events(by_key) WHERE by_key IS NOT NULL;
CREATE TABLE pieces(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE subjects(
  namespace TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(namespace, name)) STRICT, WITHOUT ROWID;
CREATE TABLE types(name TEXT PRIMARY KEY, id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kinds(
  id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, UNIQUE(namespace, name)) STRICT;
CREATE TABLE state(
  kind INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, seq INTEGER NOT NULL, data_key INTEGER NOT NULL,
  sealed BLOB NOT NULL, PRIMARY KEY(kind, key)) STRICT, WITHOUT ROWID;
CREATE INDEX state_by_key ON state(data_key);
CREATE TABLE state_index(
  kind INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, key TEXT NOT NULL,
  PRIMARY KEY(kind, name, value, key)) STRICT, WITHOUT ROWID;
CREATE TABLE keys(id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, wrapped BLOB NOT NULL, erased INTEGER NOT NULL) STRICT;
CREATE TABLE key_lookup(lookup BLOB PRIMARY KEY, id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE blobs(
  id BLOB PRIMARY KEY, data_key INTEGER NOT NULL, size INTEGER NOT NULL, stored INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_by_key ON blobs(data_key);
CREATE TABLE labels(
  namespace TEXT NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(namespace, id)) STRICT, WITHOUT ROWID;
CREATE TABLE cursors(name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tiles(
  level INTEGER NOT NULL, place INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY(level, place)) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, note BLOB NOT NULL) STRICT;
INSERT INTO meta VALUES ('epoch', x'0000000000000000');
";

/// Opens the database for writing, and creates it if it is not there.
pub(super) fn open_writer(path: &Path, options: &Options) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail("open the database"))?;
    let set = |text: &str| connection.execute_batch(text).map_err(fail("configure the database"));
    let number = |text: &str| -> Result<i64, Error> {
        connection.query_row(text, [], |row| row.get(0)).map_err(fail("read the database's version"))
    };
    let layout = number("PRAGMA user_version")?;
    if layout > LAYOUT {
        return Err(Error::UnknownFormat { found: layout.cast_unsigned(), known: LAYOUT.cast_unsigned() });
    }
    let new = layout == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    if !new && number("PRAGMA application_id")? != i64::from(APPLICATION) {
        return Err(Error::corrupt(format!("`{}`", path.display()), "it is not a journal"));
    }
    if new {
        set(&format!("PRAGMA page_size={PAGE_BYTES}"))?;
    }
    set("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY;
         PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA foreign_keys=OFF")?;
    if new {
        set(&format!(
            "BEGIN IMMEDIATE;{TABLES}PRAGMA application_id={APPLICATION};PRAGMA user_version={LAYOUT};COMMIT"
        ))?;
    }
    // A long reader makes the log grow; afterwards it is cut back.
    set(&format!("PRAGMA journal_size_limit={}", options.checkpoint_bytes.saturating_mul(2)))?;
    if let Some(max) = options.max_bytes {
        set(&format!("PRAGMA max_page_count={}", (max / PAGE_BYTES as u64).max(1)))?;
    }
    prepare(&connection, options.page_cache_bytes)?;
    Ok(connection)
}

/// Opens the database for writing the write-ahead log back, which another connection writes.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail("open the database"))?;
    connection
        .execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF")
        .map_err(fail("configure the database"))?;
    Ok(connection)
}

/// Opens the database for reading.
pub(super) fn open_reader(path: &Path, options: &Options) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail("open the database for reading"))?;
    connection
        .execute_batch("PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON")
        .map_err(fail("configure the database"))?;
    prepare(&connection, options.page_cache_bytes / 4)?;
    Ok(connection)
}

fn prepare(connection: &Connection, cache_bytes: usize) -> Result<(), Error> {
    connection.set_prepared_statement_cache_capacity(96);
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MILLIS)).map_err(fail("configure the database"))?;
    let kibibytes = (cache_bytes / 1024).max(256);
    connection.execute_batch(&format!("PRAGMA cache_size=-{kibibytes}")).map_err(fail("configure the database"))
}
