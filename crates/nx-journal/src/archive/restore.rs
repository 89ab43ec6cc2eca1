//! Restore: a backup becomes a log of its own, under a new origin.
//!
//! The old leaves stay where they are, so that every old proof stays valid; the first leaf under the new origin,
//! `log.restored`, holds the old log's last checkpoint and public key. Erasures that the old log made after the backup
//! are made again, from the notes that it kept outside of the database.

use std::{fs, path::Path};

use nx_types::{Env, EventType, KeyId, Origin, Seq};
use serde::Deserialize;

use super::{
    backup::{DATABASE, ERASURES, FORMAT, MANIFEST, Manifest},
    export::write,
};
use crate::{
    Core, Data, ErasureReport, Error, Options, Reader,
    backend::{Backend as _, sqlite::SqliteBackend},
    files::sync_dir,
    tlog::Verifier,
    verify::{Basis, Finding, outside_checkpoint, verify_rows},
};

/// Where a restore is prepared, inside of the new data directory: what stands there is no log yet.
const STAGING: &str = "restore.tmp";

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// What the backup is.
    pub manifest: Manifest,
    /// The new log.
    pub origin: Origin,
    /// The event that opens it.
    pub restored: Seq,
    /// What was erased again.
    pub erased: ErasureReport,
}

/// Makes the data directory of `options` out of a backup. The directory must not hold a log; the master key must be
/// where `options` says. `erasures` are the contents of `keys/erasures.jsonl` of the log that the backup was taken
/// from, as new as they can be had; the backup's own notes, and those in the new directory, are always applied. The backup is verified first, and a
/// damaged one is refused. Blocks.
pub fn restore(from: &Path, options: &Options, env: Env, erasures: &[Vec<u8>]) -> Result<RestoreReport, Error> {
    let manifest = read_manifest(from)?;
    let target = &options.dir;
    if target.join(DATABASE).exists() {
        return Err(Error::Archive {
            detail: format!("`{}` holds a log already; choose a new data directory", target.display()),
        });
    }
    let staging = target.join(STAGING);
    if staging.exists() {
        fs::remove_dir_all(&staging).map_err(Error::file("remove", &staging))?;
    }
    fs::create_dir_all(&staging).map_err(Error::file("create", &staging))?;
    for part in [DATABASE, "blobs", ERASURES] {
        copy(&from.join(part), &staging.join(part))?;
    }
    let kept = fs::read(target.join(ERASURES)).unwrap_or_default();
    if !kept.is_empty() {
        let mut notes = kept.clone();
        notes.extend(fs::read(staging.join(ERASURES)).unwrap_or_default());
        write(&staging, ERASURES, &notes)?;
    }
    let staged = Options { dir: staging.clone(), ..options.clone() };
    let mut core = Core::open(SqliteBackend::open(&staged)?, &staged, env)?;
    check(&core, &manifest)?;
    let previous = serde_json::json!({
        "root": manifest.root,
        "checkpoint": manifest.checkpoint,
        "key": manifest.key,
        "backup": manifest.time,
    });
    let receipt = core.restore_as_new_origin(&previous)?;
    let mut keys = Vec::new();
    let noted = fs::read(from.join(ERASURES)).unwrap_or_default();
    for lines in erasures.iter().chain([&kept, &noted]) {
        keys.extend(parse_erasures(lines, manifest.origin)?);
    }
    keys.sort_unstable();
    keys.dedup();
    let erased = core.erase_again(&keys, "erased after the backup was made", "restore")?;
    let origin = core.origin();
    drop(core);
    adopt(&staging, target)?;
    Ok(RestoreReport { manifest, origin, restored: receipt.first, erased })
}

fn read_manifest(from: &Path) -> Result<Manifest, Error> {
    let path = from.join(MANIFEST);
    let wrong = |detail: String| Error::Archive { detail: format!("`{}` is not a backup: {detail}", from.display()) };
    let text = fs::read(&path).map_err(|error| wrong(format!("{MANIFEST} cannot be read: {error}")))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if manifest.format > FORMAT {
        return Err(Error::UnknownFormat { found: u64::from(manifest.format), known: u64::from(FORMAT) });
    }
    Ok(manifest)
}

/// A backup must be what its manifest says, and intact.
fn check(core: &Core<SqliteBackend>, manifest: &Manifest) -> Result<(), Error> {
    let wrong = |detail: String| Error::Archive { detail: format!("the backup is damaged: {detail}") };
    if core.origin() != manifest.origin || core.tree() != (manifest.size, manifest.root) {
        return Err(wrong("its database is not the one that its manifest describes".to_owned()));
    }
    let key: Verifier = manifest.key.parse().map_err(|error| wrong(format!("{error}")))?;
    let outside = match &manifest.checkpoint {
        Some(note) => vec![outside_checkpoint(note.as_bytes(), Some(&key))?],
        None => Vec::new(),
    };
    let blobs = core.backend().blobs();
    let reader = core.reader();
    let former = former_keys(&reader)?;
    let keyring = Some(&**reader.keyring());
    let basis = Basis { key: Some(&key), former, keyring, blobs: Some(&*blobs), outside, max_held: None };
    let report = verify_rows(core.backend().rows(), &basis)?;
    match report.findings.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let Finding { place, detail } = first;
            Err(wrong(format!("{place}: {detail}, and {} more findings", rest.len() as u64 + report.more)))
        }
    }
}

#[derive(Deserialize)]
struct Erasure {
    origin: Origin,
    key: KeyId,
}

/// Reads notes of erased keys; those of other logs are passed over, since key numbers are a log's own.
pub fn parse_erasures(lines: &[u8], origin: Origin) -> Result<Vec<KeyId>, Error> {
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(lines.split(|&byte| byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let erasure: Erasure = serde_json::from_slice(line)
            .map_err(|error| Error::Import { line: number, detail: format!("not a note of an erased key: {error}") })?;
        if erasure.origin == origin {
            keys.push(erasure.key);
        }
    }
    Ok(keys)
}

/// Copies a file or a folder; one that is not there is passed over.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if from.is_dir() {
        fs::create_dir_all(to).map_err(Error::file("create", to))?;
        for entry in fs::read_dir(from).map_err(Error::file("list", from))? {
            let name = entry.map_err(Error::file("list", from))?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return sync_dir(to);
    }
    if from.exists() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        }
        fs::copy(from, to).map_err(Error::file("copy", from))?;
        fs::File::open(to).and_then(|file| file.sync_all()).map_err(Error::file("sync", to))?;
    }
    Ok(())
}

/// Moves what was prepared to where the log is opened; the database last, since it makes the directory a log.
fn adopt(staging: &Path, target: &Path) -> Result<(), Error> {
    fs::create_dir_all(target.join("keys")).map_err(Error::file("create", target))?;
    for part in [ERASURES, "blobs", "journal.db-wal", DATABASE] {
        let (from, to) = (staging.join(part), target.join(part));
        if from.exists() {
            merge(&from, &to)?;
        }
    }
    sync_dir(&target.join("keys"))?;
    sync_dir(target)?;
    fs::remove_dir_all(staging).map_err(Error::file("remove", staging))
}

/// Moves a file or a folder; into a folder that is there already, as an interrupted restore leaves it, part by part.
fn merge(from: &Path, to: &Path) -> Result<(), Error> {
    if from.is_dir() && to.is_dir() {
        for entry in fs::read_dir(from).map_err(Error::file("list", from))? {
            let name = entry.map_err(Error::file("list", from))?.file_name();
            merge(&from.join(&name), &to.join(&name))?;
        }
        return sync_dir(to);
    }
    fs::rename(from, to).map_err(Error::file("move", from))
}

/// The public keys of the logs that this one was restored from, as its `log.restored` events hold them.
pub(crate) fn former_keys(reader: &Reader) -> Result<Vec<Verifier>, Error> {
    let kind = EventType::new("log.restored").map_err(|error| Error::invalid(error.to_string()))?;
    let mut keys = Vec::new();
    for event in reader.by_type(&kind, None, 1_000, false)? {
        if let Data::Open(bytes) = &event.data
            && let Ok(data) = serde_json::from_slice::<serde_json::Value>(bytes)
            && let Some(key) = data.pointer("/previous/key").and_then(|key| key.as_str())
            && let Ok(key) = key.parse()
        {
            keys.push(key);
        }
    }
    Ok(keys)
}
