//! The folder that a search works in: what it measured, so that it goes on after a break, and in the end the model, the report
//! and what is to be signed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Report, State, data::hash_of_bytes};
use crate::Error;

/// What was measured.
const MEASURED: &str = "measured.json";
/// What is released.
const MODEL: &str = "model.onnx";
/// Its manifest.
const MANIFEST: &str = "model.yaml";
/// The report in its canonical form.
const REPORT: &str = "report.json";
/// The report for people: the table.
const TABLE: &str = "report.md";
/// The candidates as a drawing.
const PLOT: &str = "report.svg";

/// A folder of a search.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// What a signature of a released folder speaks of: digests of its files, as `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Of `report.json`.
    pub report: String,
    /// Of `model.onnx`.
    pub model: String,
    /// Of `model.yaml`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

impl Statement {
    /// The text that is signed, a line each.
    pub fn text(&self) -> String {
        let manifest = self.manifest.as_ref().map_or_else(String::new, |hash| format!("{MANIFEST} {hash}\n"));
        format!("neuraxis/compression/v1\n{REPORT} {}\n{MODEL} {}\n{manifest}", self.report, self.model)
    }
}

impl Folder {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// `Data` when it holds files that no search began with: they would be written over.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = Self { path: path.to_owned() };
        let failed = |source| Error::Write { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let empty = fs::read_dir(path).map_err(failed)?.next().is_none();
        if !empty && !folder.file(MEASURED).is_file() {
            let reason = "the folder holds files that are no search's; choose a new one".to_owned();
            return Err(Error::Data { path: path.to_owned(), reason });
        }
        folder.store(&folder.state()?.unwrap_or_default())?;
        Ok(folder)
    }

    /// A file of the folder.
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the model is, or will be.
    pub fn model(&self) -> PathBuf {
        self.file(MODEL)
    }

    /// Where its manifest is, or will be.
    pub fn manifest(&self) -> PathBuf {
        self.file(MANIFEST)
    }

    /// Where the report is, or will be.
    pub fn report(&self) -> PathBuf {
        self.file(REPORT)
    }

    /// What was measured so far.
    ///
    /// # Errors
    /// `Read`; `Data` when it is not what a search writes.
    pub fn state(&self) -> Result<Option<State>, Error> {
        let path = self.file(MEASURED);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                let reason = format!("what was measured cannot be read: {error}; delete it and begin anew");
                Error::Data { path, reason }
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Keeps what was measured, the old until the new is whole.
    ///
    /// # Errors
    /// `Write`.
    pub fn store(&self, state: &State) -> Result<(), Error> {
        let bytes = serde_json::to_vec(state).unwrap_or_default();
        self.write(MEASURED, &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| Error::Write { path, source })
    }

    /// Writes down what a search found. `model` is the file that is released, `manifest` its manifest as YAML.
    ///
    /// # Errors
    /// `Write`; `Compress` when the report cannot be written.
    pub fn finish(&self, report: &Report, model: &[u8], manifest: Option<&str>) -> Result<Statement, Error> {
        let canonical = report.canonical()?;
        self.write(MODEL, model)?;
        self.write(TABLE, report.markdown().as_bytes())?;
        self.write(PLOT, report.plot().as_bytes())?;
        match manifest {
            Some(manifest) => self.write(MANIFEST, manifest.as_bytes())?,
            // of an earlier search in the same folder
            None => drop(fs::remove_file(self.manifest())),
        }
        self.write(REPORT, &canonical)?;
        Ok(Statement {
            report: hash_of_bytes(&canonical),
            model: hash_of_bytes(model),
            manifest: manifest.map(|manifest| hash_of_bytes(manifest.as_bytes())),
        })
    }

    /// Reads what a folder holds and holds it against itself: the report in its canonical form, and the model that it speaks of.
    /// Whether somebody signed it is the caller's to check.
    ///
    /// # Errors
    /// `Read`; `Data` with the file that is not what the report says.
    pub fn check(path: &Path) -> Result<(Report, Statement), Error> {
        let folder = Self { path: path.to_owned() };
        let read = |path: PathBuf| fs::read(&path).map_err(|source| Error::Read { path, source });
        let wrong = |path: PathBuf, reason: String| Err(Error::Data { path, reason });
        let bytes = read(folder.report())?;
        let report: Report = match serde_json::from_slice(&bytes) {
            Ok(report) => report,
            Err(error) => return wrong(folder.report(), format!("it is no report of a compression: {error}")),
        };
        if report.canonical()? != bytes {
            return wrong(folder.report(), "the report is not in its canonical form; it was changed".to_owned());
        }
        let model = hash_of_bytes(&read(folder.model())?);
        if model != report.released.hash {
            let reason = format!("it is {model}, and the report speaks of {}", report.released.hash);
            return wrong(folder.model(), reason);
        }
        let manifest = folder.manifest().is_file().then(|| read(folder.manifest())).transpose()?;
        let manifest = manifest.map(|bytes| hash_of_bytes(&bytes));
        Ok((report, Statement { report: hash_of_bytes(&bytes), model, manifest }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("out");
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.state().unwrap(), Some(State::default()));
        let state = State { key: "k".to_owned(), facts: Vec::new() };
        folder.store(&state).unwrap();
        assert_eq!(Folder::open(&path).unwrap().state().unwrap(), Some(state));
        fs::write(root.path().join("model.onnx"), "mine").unwrap();
        assert!(Folder::open(root.path()).unwrap_err().to_string().contains("no search's"));
        fs::write(path.join(MEASURED), "{").unwrap();
        assert!(Folder::open(&path).unwrap_err().to_string().contains("begin anew"));
    }

    #[test]
    fn what_is_signed_is_text() {
        let mut statement = Statement { report: "sha256:1".to_owned(), model: "sha256:2".to_owned(), manifest: None };
        assert_eq!(statement.text(), "neuraxis/compression/v1\nreport.json sha256:1\nmodel.onnx sha256:2\n");
        statement.manifest = Some("sha256:3".to_owned());
        assert!(statement.text().ends_with("model.yaml sha256:3\n"));
    }
}
