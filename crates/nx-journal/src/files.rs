//! Files: the lock on the data directory, blobs by hash, and making names durable.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    ops::ControlFlow,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use nx_types::{BlobId, Timestamp};
use rustix::fs::FlockOperation;

use crate::{
    Error,
    backend::{Blobs, Each},
};

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::file("sync the directory", path))
}

/// Bytes free on the disk of a path, for an ordinary user.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, Error> {
    let figures = rustix::fs::statvfs(path).map_err(|error| Error::file("look at the disk of", path)(error.into()))?;
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}

/// One process owns a data directory for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that is just being forked off may hold a copy of the descriptor: closing ours would not be enough.
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "the data directory's lock cannot be released before the process ends");
        }
    }
}

impl Lock {
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("LOCK");
        let fail = |error| Error::file("open the lock file", &path)(error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(fail(error.into()));
            }
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
            return Err(Error::Locked { pid, path });
        }
        file.set_len(0).map_err(fail)?;
        file.write_all(process::id().to_string().as_bytes()).map_err(fail)?;
        Ok(Self { file })
    }
}

fn size_and_time(path: &Path) -> Result<(u64, Timestamp), Error> {
    let facts = fs::metadata(path).map_err(Error::file("look at", path))?;
    let seconds = facts.mtime().saturating_mul(1_000_000);
    Ok((facts.len(), Timestamp::from_micros(seconds.saturating_add(facts.mtime_nsec() / 1000))))
}

/// Blobs as files `blobs/ab/cd…`, named by their hash.
#[derive(Debug)]
pub(crate) struct FileBlobs {
    dir: PathBuf,
    erasures: PathBuf,
    next_temporary: AtomicU64,
}

impl FileBlobs {
    /// Opens the folder and removes what an interrupted write has left.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("blobs");
        let temporary = dir.join("tmp");
        fs::create_dir_all(&temporary).map_err(Error::file("create the blob folder", &temporary))?;
        for entry in fs::read_dir(&temporary).map_err(Error::file("list", &temporary))? {
            let path = entry.map_err(Error::file("list", &temporary))?.path();
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        Ok(Self { dir, erasures: data_dir.join("keys").join("erasures.jsonl"), next_temporary: AtomicU64::new(0) })
    }

    /// The blobs of a folder that another process may own: nothing is created or removed.
    pub(crate) fn beside(data_dir: &Path) -> Self {
        let erasures = data_dir.join("keys").join("erasures.jsonl");
        Self { dir: data_dir.join("blobs"), erasures, next_temporary: AtomicU64::new(0) }
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        let (head, tail) = name.split_at_checked(2).unwrap_or((&name, ""));
        self.dir.join(head).join(tail)
    }
}

impl Blobs for FileBlobs {
    fn put(&self, id: &BlobId, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(id);
        let name = self.next_temporary.fetch_add(1, Ordering::Relaxed).to_string();
        let temporary = self.dir.join("tmp").join(name);
        let fail = || Error::file("write the blob", &path);
        let write = || -> Result<(), io::Error> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        if let Err(error) = write() {
            // The first error is the one to tell; a left-over goes at the next opening.
            drop(fs::remove_file(&temporary));
            return Err(fail()(error));
        }
        let Some(parent) = path.parent() else { return Err(Error::invalid("a blob needs a folder")) };
        let fresh = !parent.exists();
        fs::create_dir_all(parent).map_err(fail())?;
        fs::rename(&temporary, &path).map_err(fail())?;
        sync_dir(parent)?;
        if fresh { sync_dir(&self.dir) } else { Ok(()) }
    }

    fn get(&self, id: &BlobId) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(id);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read the blob", &path)(error)),
        }
    }

    fn delete(&self, id: &BlobId) -> Result<(), Error> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => path.parent().map_or(Ok(()), sync_dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::file("remove the blob", &path)(error)),
        }
    }

    fn list(&self, each: Each<'_, (BlobId, u64, Timestamp)>) -> Result<(), Error> {
        let children = |path: &Path| -> Result<Vec<PathBuf>, Error> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(path).map_err(Error::file("list", path))? {
                paths.push(entry.map_err(Error::file("list", path))?.path());
            }
            paths.sort();
            Ok(paths)
        };
        let text = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for folder in children(&self.dir)? {
            if !folder.is_dir() || text(&folder) == "tmp" {
                continue;
            }
            for file in children(&folder)? {
                let Ok(id) = format!("{}{}", text(&folder), text(&file)).parse::<BlobId>() else { continue };
                let (size, stored) = size_and_time(&file)?;
                if let ControlFlow::Break(()) = each((id, size, stored))? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn note_erasure(&self, line: &str) -> Result<(), Error> {
        let fail = || Error::file("note the erasure", &self.erasures);
        let parent = self.erasures.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(fail())?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.erasures).map_err(fail())?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(fail())?;
        file.sync_all().map_err(fail())?;
        sync_dir(parent)
    }
}
