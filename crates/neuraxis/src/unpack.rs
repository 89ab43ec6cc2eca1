//! Archives from the server: a tar on its way into a new folder. The folder appears when it is whole.

use std::{
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

/// Chunks that wait to be written.
const CHUNKS: usize = 16;

/// Unpacks what `download` brings into `to`, a new or empty folder, and gives the bytes written. An archive that does
/// not end with `last` was cut off, and leaves nothing.
pub(crate) async fn into<S>(
    to: &Path,
    last: &'static str,
    download: impl Future<Output = anyhow::Result<S>>,
) -> anyhow::Result<u64>
where
    S: Stream<Item = reqwest::Result<Bytes>>,
{
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        anyhow::bail!("`{}` is not empty; choose a new folder", to.display());
    }
    let mut name = to.file_name().with_context(|| format!("`{}` names no folder", to.display()))?.to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    let chunks = download.await?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let folder = partial.clone();
    let writing = tokio::task::spawn_blocking(move || unpack(&folder, last, Chunks { receiver, rest: Bytes::new() }));
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(io::Error::other);
        let broken = chunk.is_err();
        if sender.send(chunk).await.is_err() || broken {
            break;
        }
    }
    drop(sender);
    let written = writing.await?.and_then(|bytes| {
        drop(fs::remove_dir(to));
        fs::rename(&partial, to).with_context(|| format!("cannot make `{}`", to.display()))?;
        Ok(bytes)
    });
    if written.is_err() {
        drop(fs::remove_dir_all(&partial));
    }
    written
}

fn unpack(folder: &Path, last: &str, chunks: impl Read) -> anyhow::Result<u64> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear `{}`", folder.display()))?;
    }
    make(folder)?;
    let (mut bytes, mut whole) = (0, false);
    let mut archive = tar::Archive::new(chunks);
    for entry in archive.entries()? {
        let mut entry = entry.context("the archive was cut off")?;
        let name = plain(&entry.path()?)?;
        let path = folder.join(&name);
        match entry.header().entry_type() {
            tar::EntryType::Directory => make(&path)?,
            tar::EntryType::Regular => {
                let mut options = fs::OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut file = options.open(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
                bytes += io::copy(&mut entry, &mut file).context("the archive was cut off")?;
                file.sync_all()?;
            }
            other => {
                anyhow::bail!("the archive holds `{}`, which is neither file nor folder: {other:?}", name.display())
            }
        }
        whole = name == Path::new(last);
    }
    anyhow::ensure!(whole, "the archive was cut off; look at the server's log, and try again");
    fs::File::open(folder)?.sync_all()?;
    Ok(bytes)
}

/// A path that stays below its folder.
fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    anyhow::ensure!(inside, "the archive names `{}`, which is outside of its folder", path.display());
    Ok(path.to_owned())
}

fn make(folder: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

/// What has come so far.
struct Chunks {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(into.len());
        self.rest.copy_to_slice(into.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind) in entries {
            let mut header = tar::Header::new_old();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(2);
            header.set_mode(0o777);
            header.set_cksum();
            tar.append(&header, &b"hi"[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn only_whole_archives_of_plain_files_are_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("out");
        let file = tar::EntryType::Regular;
        let good = archive(&[("a", file), ("end", file)]);
        assert_eq!(unpack(&to, "end", good.as_slice()).unwrap(), 4);
        assert_eq!(fs::read(to.join("a")).unwrap(), b"hi");
        for (bad, why) in [
            (archive(&[("a", file)]), "cut off"),
            (good[..700].to_vec(), "cut off"),
            (archive(&[("../a", file), ("end", file)]), "outside"),
            (archive(&[("/a", file), ("end", file)]), "outside"),
            (archive(&[("a", tar::EntryType::Symlink), ("end", file)]), "neither"),
            (archive(&[("a", file), ("a", file), ("end", file)]), "cannot write"),
            (b"no tar".to_vec(), ""),
        ] {
            let error = format!("{:#}", unpack(&to, "end", bad.as_slice()).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
