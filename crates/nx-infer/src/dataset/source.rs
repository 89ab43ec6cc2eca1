//! A place where data are, and which of them are meant.

use std::{
    fs,
    io::Read as _,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{Take, Wanted, folder, idx, lines, npy, table, wrong};
use crate::Error;

/// Bytes of a file of data at most; compressed ones may unpack to as many.
const FILE_BYTES: u64 = 8 << 30;

/// A file or folder, and which of its samples: `PATH` or `PATH@FROM..TO`, counted from 0; either end may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where.
    pub path: PathBuf,
    /// Which samples.
    pub range: Range<usize>,
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self { path, range: 0..usize::MAX }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ranged = text.rsplit_once('@').and_then(|(path, range)| Some((path, range.split_once("..")?)));
        let Some((path, (from, to))) = ranged else { return Ok(PathBuf::from(text).into()) };
        let end = |text: &str, none| if text.is_empty() { Some(none) } else { text.parse::<usize>().ok() };
        match (end(from, 0), end(to, usize::MAX)) {
            (Some(from), Some(to)) if from < to => Ok(Self { path: path.into(), range: from..to }),
            _ => Err(format!("`{from}..{to}` is no range of samples; the form is PATH@7000..8000, counted from 0")),
        }
    }
}

/// How data are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Idx,
    Npy,
    Npz,
    Csv,
    Lines,
    Folder,
}

impl Source {
    /// Which samples, for a message.
    pub(super) fn of_range(&self) -> String {
        match (self.range.start, self.range.end) {
            (0, usize::MAX) => String::new(),
            (from, usize::MAX) => format!(" from {from} on"),
            (from, to) => format!(" from {from} to {to}"),
        }
    }

    /// Whether a sample at this position is meant.
    pub(super) fn has(&self, at: usize) -> bool {
        self.range.contains(&at)
    }

    pub(super) fn form(&self) -> Result<Form, Error> {
        let name = self.path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if self.path.is_dir() {
            return Ok(if idx::images_in(&self.path)?.is_empty() { Form::Folder } else { Form::Idx });
        }
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let end = plain.rsplit_once('.').map_or("", |(_, end)| end);
        match end {
            _ if plain.ends_with("-ubyte") => Ok(Form::Idx),
            "npy" => Ok(Form::Npy),
            "npz" => Ok(Form::Npz),
            "csv" => Ok(Form::Csv),
            "jsonl" | "ndjson" => Ok(Form::Lines),
            _ if !self.path.exists() => {
                let source = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(Error::Read { path: self.path.clone(), source })
            }
            _ => Err(wrong(
                &self.path,
                "is of no form that is read: idx (…-images-idx3-ubyte), .npz, .npy, .csv, .jsonl, or a folder of pictures \
                 by class",
            )),
        }
    }
}

impl Form {
    pub(super) fn read(self, source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
        match self {
            Self::Idx => idx::read(source, wanted, take),
            Self::Npy => npy::read_one(source, wanted, take),
            Self::Npz => npy::read_many(source, wanted, take),
            Self::Csv => table::read(source, wanted, take),
            Self::Lines => lines::read(source, wanted, take),
            Self::Folder => folder::read(source, wanted, take),
        }
    }
}

/// A file's bytes, unpacked where it is gzip.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .take(FILE_BYTES + 1)
            .read_to_end(&mut unpacked)
            .map_err(|error| wrong(path, format!("is no gzip that can be read: {error}")))?;
        bytes = unpacked;
    }
    if bytes.len() as u64 > FILE_BYTES {
        return Err(Error::limit(format!("bytes of `{}`", path.display()), bytes.len() as u64, FILE_BYTES));
    }
    Ok(bytes)
}

/// What is in a folder, in the order of names; hidden files are passed over.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stands_behind_the_path() {
        let check = |text: &str, path: &str, range: Range<usize>| {
            assert_eq!(text.parse::<Source>().unwrap(), Source { path: path.into(), range });
        };
        check("digits", "digits", 0..usize::MAX);
        check("digits@7000..", "digits", 7000..usize::MAX);
        check("a@b/digits@..10", "a@b/digits", 0..10);
        check("digits@3..4", "digits", 3..4);
        check("user@host", "user@host", 0..usize::MAX);
        assert!("digits@9..3".parse::<Source>().unwrap_err().contains("no range"));
        assert!("digits@a..3".parse::<Source>().is_err());
    }

    #[test]
    fn the_form_is_told_by_the_name() {
        let form = |name: &str| Source::from(PathBuf::from(name)).form();
        assert_eq!(form("t10k-images-idx3-ubyte.gz").unwrap(), Form::Idx);
        assert_eq!(form("x.NPZ").unwrap(), Form::Npz);
        assert!(matches!(form("nowhere").unwrap_err(), Error::Read { .. }));
        assert!(form("Cargo.toml").unwrap_err().to_string().contains("of no form that is read"));
    }
}
