//! Online backup: a consistent copy of the database and of the blobs that it names, while the log goes on.
//!
//! Data keys stand in the copy wrapped by the master key, which is not copied: keep it elsewhere, or the backup cannot
//! be read. The checkpoint key is not copied either: a restored log signs under a new origin with a new key.

use std::{fs, ops::ControlFlow, path::Path};

use nx_types::{Digest, Origin, Timestamp};
use serde::{Deserialize, Serialize};

use super::export::write;
use crate::{
    Error, Journal, Options,
    backend::{Backend as _, Rows, sqlite::SqliteBackend},
    core::meta,
    files::sync_dir,
    tlog::{Checkpoint, Verifier},
};

/// The file that says what a backup is. It is written last: a folder without it is not a backup.
pub const MANIFEST: &str = "backup.json";
/// The version of the backup's form.
pub(super) const FORMAT: u32 = 1;
/// The database's file name.
pub(super) const DATABASE: &str = "journal.db";
/// The notes of erased keys, to be applied again after a restore.
pub(super) const ERASURES: &str = "keys/erasures.jsonl";

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the backup's form.
    pub format: u32,
    /// The log.
    pub origin: Origin,
    /// Number of events.
    pub size: u64,
    /// The tree's root over them.
    pub root: Digest,
    /// When it was made.
    pub time: Timestamp,
    /// The newest signed checkpoint.
    pub checkpoint: Option<String>,
    /// The public key that signs for the log, as `name+id+base64`.
    pub key: String,
    /// Number of blobs.
    pub blobs: u64,
}

/// What a backup copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// What it is.
    pub manifest: Manifest,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Bytes of the blobs.
    pub blob_bytes: u64,
}

/// Copies an open log into an empty or new folder. Writers go on; the copy is of one instant. `key` is the log's
/// public checkpoint key. Blocks.
pub fn backup(journal: &Journal, to: &Path, key: &Verifier) -> Result<BackupReport, Error> {
    let options = journal.options();
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::Archive { detail: format!("`{}` is not empty; choose a new folder", to.display()) });
    }
    fs::create_dir_all(to).map_err(Error::file("create", to))?;
    let database = to.join(DATABASE);
    copy_database(&options.dir.join(DATABASE), &database)?;
    let database_bytes = fs::metadata(&database).map_err(Error::file("look at", &database))?.len();
    let copy = SqliteBackend::open(&Options { dir: to.to_owned(), max_bytes: None, ..options.clone() })?;
    let (mut blobs, mut blob_bytes) = (0, 0);
    let reader = journal.reader();
    let from = reader.sealed_blobs();
    let target = copy.blobs();
    copy.rows().all_blobs(&mut |row| {
        // a blob that was erased since the copy was made is rightly absent: the restore erases its key, too
        if let Some(bytes) = from.get(&row.id)? {
            target.put(&row.id, &bytes)?;
            blobs += 1;
            blob_bytes += bytes.len() as u64;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let erasures = options.dir.join(ERASURES);
    if erasures.exists() {
        let lines = fs::read(&erasures).map_err(Error::file("read", &erasures))?;
        write(to, ERASURES, &lines)?;
    }
    let (origin, size, root) = identity(copy.rows())?;
    let newest = copy.rows().checkpoint(u64::MAX)?;
    let checkpoint = newest.map(|(_, note)| String::from_utf8_lossy(&note).into_owned());
    if let Some(note) = &checkpoint {
        Checkpoint::parse(note.as_bytes())?;
    }
    let (time, key) = (journal.env().now(), key.to_string());
    let manifest = Manifest { format: FORMAT, origin, size, root, time, checkpoint, key, blobs };
    drop((copy, target));
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| Error::Archive { detail: error.to_string() })?;
    write(to, MANIFEST, &text)?;
    for file in [MANIFEST, ERASURES].map(|name| to.join(name)) {
        if file.exists() {
            fs::File::open(&file).and_then(|open| open.sync_all()).map_err(Error::file("sync", &file))?;
        }
    }
    sync_dir(&to.join("blobs"))?;
    sync_dir(to)?;
    Ok(BackupReport { manifest, database_bytes, blob_bytes })
}

/// What log a database holds, and how much of it.
fn identity(rows: &dyn Rows) -> Result<(Origin, u64, Digest), Error> {
    let origin = rows.meta(meta::ORIGIN)?.and_then(|bytes| bytes.try_into().ok());
    let head = rows.meta(meta::HEAD)?;
    let head = head.as_deref().and_then(|bytes| bytes.split_first_chunk::<8>());
    match (origin, head.map(|(size, root)| (size, root.try_into()))) {
        (Some(origin), Some((size, Ok(root)))) => Ok((Origin(origin), u64::from_le_bytes(*size), Digest(root))),
        _ => Err(Error::corrupt("the log's head", "it is missing or malformed")),
    }
}

/// Copies every page as of one instant; the engine keeps writers going meanwhile.
fn copy_database(from: &Path, to: &Path) -> Result<(), Error> {
    let fail =
        |error: rusqlite::Error| Error::Storage { what: "copy the database", source: std::sync::Arc::new(error) };
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = rusqlite::Connection::open_with_flags(from, flags).map_err(fail)?;
    let mut target = rusqlite::Connection::open(to).map_err(fail)?;
    let copy = rusqlite::backup::Backup::new(&source, &mut target).map_err(fail)?;
    match copy.step(-1).map_err(fail)? {
        rusqlite::backup::StepResult::Done => Ok(()),
        _ => Err(Error::Archive { detail: "the database is busy; try again".to_owned() }),
    }
}
