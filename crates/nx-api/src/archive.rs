//! Folders that leave as a tar: made below the data directory, streamed to whoever asked, removed. The server writes
//! to no path that a caller names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{Error, Shared};

/// The media type.
pub(crate) const TAR: &str = "application/x-tar";
/// The folder below the data directory.
const FOLDER: &str = "tmp";
const CHUNK: usize = 64 << 10;
/// How long a request waits for the archive that is being made.
const PATIENCE: Duration = Duration::from_secs(2);
/// Chunks that wait for the reader.
const CHUNKS: usize = 16;

/// Lets `make` fill an empty folder and streams what it holds, `last` at the end: an archive without it was cut off.
pub(crate) async fn streamed(
    shared: &Shared,
    name: &str,
    last: &'static str,
    make: impl FnOnce(&Path) -> Result<(), Error> + Send + 'static,
) -> Result<Response, Error> {
    // The one before may have been read to its end and not be cleared away yet.
    let permit = timeout(PATIENCE, shared.archives.clone().acquire_owned()).await;
    let permit = permit.ok().and_then(Result::ok).ok_or(Error::ArchiveBusy)?;
    let data = shared.journal.options().dir.clone();
    let reader = shared.journal.reader();
    let folder = shared
        .blocking(move || {
            // The copy stands beside the log until it is sent; the log keeps the room that it needs to go on.
            let space = reader.space()?;
            let reserve = space.used.saturating_add(space.used / 2);
            if space.free < reserve {
                return Err(nx_journal::Error::LowDisk { free: space.free, reserve }.into());
            }
            let folder = Folder::new(&data, permit)?;
            make(&folder.path)?;
            Ok(folder)
        })
        .await?;
    let (sender, chunks) = mpsc::channel(CHUNKS);
    shared.tasks.spawn_blocking(move || {
        let mut out = io::BufWriter::with_capacity(CHUNK, Chunks { sender: sender.clone() });
        let sent = pack(&folder.path, last, &mut out).and_then(|()| io::Write::flush(&mut out));
        if let Err(error) = sent {
            // Whoever asked may have gone. If not, the broken body tells them.
            drop(sender.blocking_send(Err(error)));
        }
    });
    let headers = [
        (header::CONTENT_TYPE, TAR.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.tar\"")),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(chunks))).into_response())
}

/// A folder that is removed with this value, together with what an earlier server left there.
struct Folder {
    path: PathBuf,
    _permit: OwnedSemaphorePermit,
}

impl Folder {
    fn new(data: &Path, permit: OwnedSemaphorePermit) -> Result<Self, Error> {
        let path = data.join(FOLDER);
        let failed = |source| Error::File { path: path.display().to_string(), source };
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(failed)?;
        Ok(Self { path, _permit: permit })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an archive's folder could not be removed");
        }
    }
}

fn pack(folder: &Path, last: &str, out: impl io::Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    add(&mut tar, folder, Path::new(""), last)?;
    file(&mut tar, &folder.join(last), Path::new(last))?;
    tar.finish()
}

fn add(tar: &mut tar::Builder<impl io::Write>, folder: &Path, below: &Path, last: &str) -> io::Result<()> {
    let mut entries = fs::read_dir(folder.join(below))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            append(tar, tar::EntryType::Directory, 0o700, 0, &name, io::empty())?;
            add(tar, folder, &name, last)?;
        } else if kind.is_file() && name != Path::new(last) {
            file(tar, &entry.path(), &name)?;
        }
    }
    Ok(())
}

fn file(tar: &mut tar::Builder<impl io::Write>, path: &Path, name: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    append(tar, tar::EntryType::Regular, 0o600, size, name, file)
}

/// An entry that its owner alone may read, wherever it is unpacked.
fn append(
    tar: &mut tar::Builder<impl io::Write>,
    kind: tar::EntryType,
    mode: u32,
    size: u64,
    name: &Path,
    data: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    tar.append_data(&mut header, name, data)
}

/// Writes into the body. An error means that nobody reads any more.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.get(..CHUNK).unwrap_or(bytes);
        let sent = self.sender.blocking_send(Ok(Bytes::copy_from_slice(part)));
        sent.map_err(|_gone| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
