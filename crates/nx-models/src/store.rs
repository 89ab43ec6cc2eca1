//! The model store: a version's file is a blob of the log, sealed under a key of its own; a state row holds its manifest;
//! the event `artifact.added` proves both. Each load checks the file's hash again.

use bytes::Bytes;
use nx_infer::{
    Manifest,
    engine::{self, Session},
    onnx::Model,
};
use nx_journal::{Cause, Commit, Journal, NewEvent, Precondition, Put, Reader};
use nx_types::{BlobId, EventType, Namespace, Seq, Subject};
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Options,
    kind::{Parent, Version, is_sha256},
    reference::check_name,
};

/// Rows of this kind, key `NAME@VERSION`, hold a [`Record`].
const ROW: &str = "model_version";
/// The event that records a version.
pub(crate) const ADDED: &str = "artifact.added";
/// Longest licence, source and method.
const MAX_TEXT: usize = 1024;
/// How often an addition that met another one is tried again.
const ATTEMPTS: usize = 4;

/// What is stored of a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub version: u32,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its file.
    pub blob: BlobId,
    /// What it takes and gives, and what stands before and after.
    pub manifest: Manifest,
    /// Where it was pulled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Parent>,
    /// The engines that loaded it when it was added.
    pub engines: Vec<String>,
    /// The place of the event that recorded it.
    #[serde(default)]
    pub place: Seq,
}

impl Record {
    /// As the artifact's spec lists it.
    pub fn listed(&self) -> Version {
        Version {
            version: self.version,
            sha256: self.sha256.clone(),
            bytes: self.bytes,
            licence: self.manifest.licence.clone(),
            source: self.source.clone(),
            from: self.from.clone(),
            place: self.place.0,
        }
    }
}

/// A model to be stored.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The namespace.
    pub namespace: Namespace,
    /// The artifact's name.
    pub name: String,
    /// The ONNX file.
    pub bytes: Bytes,
    /// Its manifest; made from the model's own inputs and outputs when left out.
    pub manifest: Option<Manifest>,
    /// Its licence, where there is no manifest that says it.
    pub licence: Option<String>,
    /// Where it is from: a file's name or a URL.
    pub source: Option<String>,
    /// What it was made from; the place is that of the parent's event.
    pub from: Option<(Parent, Seq)>,
    /// The SHA-256 that it must have.
    pub sha256: Option<String>,
    /// Who adds it.
    pub by: String,
}

/// A model that was found good.
struct Checked {
    sha256: String,
    manifest: Manifest,
    engines: Vec<String>,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

/// Checks and stores a model. One that is stored already is found again.
pub(crate) async fn add(journal: &Journal, options: &Options, upload: Upload) -> Result<Record, Error> {
    check_name("model", &upload.name)?;
    for (what, text) in [("licence", &upload.licence), ("source", &upload.source)] {
        if let Some(text) = text.as_ref().filter(|text| text.len() > MAX_TEXT) {
            return Err(Error::invalid(what, text, format!("is longer than {MAX_TEXT} bytes")));
        }
    }
    let (options, copy) = (options.clone(), upload.clone());
    let checked = blocking(move || check(&copy, &options)).await?;
    for _ in 0..ATTEMPTS {
        let (reader, namespace, name) = (journal.reader(), upload.namespace.clone(), upload.name.clone());
        let known = blocking(move || rows(&reader, &namespace, &name)).await?;
        let same = |record: &&Record| record.sha256 == checked.sha256 && record.manifest == checked.manifest;
        if let Some(record) = known.iter().find(same) {
            return Ok(record.clone());
        }
        let version = known.iter().map(|record| record.version).max().unwrap_or_default() + 1;
        let subject = data_subject(&upload.name, version);
        let blob = journal.put_blob(upload.namespace.clone(), subject, Vec::from(upload.bytes.clone())).await?;
        let mut record = Record {
            version,
            sha256: checked.sha256.clone(),
            bytes: upload.bytes.len() as u64,
            blob,
            manifest: checked.manifest.clone(),
            source: upload.source.clone(),
            from: upload.from.as_ref().map(|(parent, _)| parent.clone()),
            engines: checked.engines.clone(),
            place: Seq(0),
        };
        match journal.commit(commit(&upload, &record)?).await {
            Ok(receipt) => {
                record.place = receipt.last;
                return Ok(record);
            }
            // Somebody else took the number; the blob that nothing names is swept later.
            Err(nx_journal::Error::StateConflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Changed { name: upload.name })
}

/// Runs what blocks away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_lost| Error::Stopped)?
}

/// Whose data a version's file is: its key goes with it.
pub(crate) fn data_subject(name: &str, version: u32) -> String {
    format!("artifact/{name}@{version}")
}

fn row_key(name: &str, version: u32) -> String {
    format!("{name}@{version}")
}

fn commit(upload: &Upload, record: &Record) -> Result<Commit, Error> {
    #[derive(Serialize)]
    struct Added<'a> {
        artifact: &'a str,
        version: u32,
        sha256: &'a str,
        bytes: u64,
        licence: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<&'a Parent>,
        engines: &'a [String],
        by: &'a str,
    }
    let added = Added {
        artifact: &upload.name,
        version: record.version,
        sha256: &record.sha256,
        bytes: record.bytes,
        licence: &record.manifest.licence,
        source: record.source.as_deref(),
        from: record.from.as_ref(),
        engines: &record.engines,
        by: &upload.by,
    };
    let bad = |error: &dyn std::fmt::Display| Error::damaged("a new version's record", error);
    let kind = EventType::new(ADDED).map_err(|error| bad(&error))?;
    let subject = Subject::new(&format!("artifact/{}", upload.name)).map_err(|error| bad(&error))?;
    let data = serde_json::to_vec(&added).map_err(|error| bad(&error))?;
    let mut event = NewEvent::new(upload.namespace.clone(), kind, subject, data);
    event.data_subject = Some(data_subject(&upload.name, record.version));
    event.blobs = vec![record.blob];
    event.causation = upload.from.as_ref().map_or(Cause::None, |(_, place)| Cause::Local(*place));
    let key = row_key(&upload.name, record.version);
    let mut commit = Commit::of([event]);
    commit.preconditions.push(Precondition::StateAt {
        namespace: upload.namespace.clone(),
        kind: ROW.to_owned(),
        key: key.clone(),
        version: 0,
    });
    commit.puts.push(Put {
        namespace: upload.namespace.clone(),
        kind: ROW.to_owned(),
        key,
        data_subject: data_subject(&upload.name, record.version),
        bytes: serde_json::to_vec(record).map_err(|error| bad(&error))?,
        index: Vec::new(),
    });
    Ok(commit)
}

/// Every stored version of a model, in no order.
pub(crate) fn rows(reader: &Reader, namespace: &Namespace, name: &str) -> Result<Vec<Record>, Error> {
    let prefix = format!("{name}@");
    let mut found = Vec::new();
    let mut after = prefix.clone();
    loop {
        let page = reader.state_scan(namespace, ROW, Some(&after), 100)?;
        for row in &page {
            if !row.key.starts_with(&prefix) {
                return Ok(found);
            }
            found.push(read(row)?);
        }
        match page.last() {
            Some(last) if page.len() == 100 => after.clone_from(&last.key),
            _ => return Ok(found),
        }
    }
}

fn read(row: &nx_journal::StateRow) -> Result<Record, Error> {
    let mut record: Record = serde_json::from_slice(&row.bytes)
        .map_err(|error| Error::damaged(format!("state row `{ROW}/{}`", row.key), error))?;
    record.place = row.seq;
    Ok(record)
}

/// The record of a version that an artifact lists.
pub(crate) fn record(reader: &Reader, namespace: &Namespace, name: &str, version: u32) -> Result<Record, Error> {
    let row = reader.state(namespace, ROW, &row_key(name, version))?;
    let missing =
        || Error::damaged(format!("version {version} of model `{name}`"), "its file was never stored, or was erased");
    read(&row.ok_or_else(missing)?)
}

/// A version's file, checked against its hash.
pub(crate) fn file(reader: &Reader, name: &str, record: &Record) -> Result<Vec<u8>, Error> {
    let what = || format!("the file of `{name}@{}`", record.version);
    let bytes = reader.blob(&record.blob)?.ok_or_else(|| Error::damaged(what(), "it is not there"))?;
    let found = sha256(&bytes);
    if found != record.sha256 {
        return Err(Error::damaged(what(), format!("its sha256 is {found}, it was added with {}", record.sha256)));
    }
    Ok(bytes)
}

/// Everything that is found out before a byte is stored.
fn check(upload: &Upload, options: &Options) -> Result<Checked, Error> {
    let limits = &options.limits;
    if upload.bytes.len() as u64 > limits.file_bytes {
        return Err(Error::TooLarge { what: "the model", bytes: upload.bytes.len() as u64, max: limits.file_bytes });
    }
    let actual = sha256(&upload.bytes);
    if let Some(expected) = &upload.sha256 {
        let expected = expected.trim().trim_start_matches("sha256:").to_lowercase();
        if !is_sha256(&expected) {
            return Err(Error::invalid("sha256", &expected, "is not 64 hexadecimal digits"));
        }
        if expected != actual {
            return Err(Error::Checksum { expected, actual });
        }
    }
    let model = Model::read(upload.bytes.clone(), limits)?;
    let mut manifest = match &upload.manifest {
        Some(manifest) => manifest.clone(),
        None => Manifest::of(&upload.name, &model)?,
    };
    manifest.name.clone_from(&upload.name);
    if let Some(licence) = &upload.licence {
        manifest.licence.clone_from(licence);
    }
    if manifest.licence.is_empty() {
        return Err(Error::invalid("licence", "", "is not known; give an SPDX expression, such as `Apache-2.0`"));
    }
    let hash = format!("sha256:{actual}");
    if let Some(wanted) = manifest.hash.as_ref().filter(|wanted| **wanted != hash) {
        return Err(Error::Checksum { expected: wanted.trim_start_matches("sha256:").to_owned(), actual });
    }
    manifest.hash = Some(hash);
    manifest.check()?;
    manifest.check_model(&model)?;
    manifest.states()?;
    let engines = engines(&model, options)?;
    Ok(Checked { sha256: actual, manifest, engines })
}

/// The engines that load the model; an error with what each of them said when none does.
fn engines(model: &Model, options: &Options) -> Result<Vec<String>, Error> {
    let load = engine::Options { limits: options.limits.clone(), ..engine::Options::default() };
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for engine in options.engines.all() {
        match Session::load_model(&*engine, model, &load) {
            Ok(_) => found.push(engine.name().to_owned()),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if found.is_empty() {
        return Err(Error::NoEngine { reasons: reasons.join("; ") });
    }
    Ok(found)
}
