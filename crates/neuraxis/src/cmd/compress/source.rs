//! The model that is compressed: a file, or a version of the server's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bytes::Bytes;
use nx_infer::{
    Manifest,
    onnx::{Limits, Model},
    search::Report,
};
use nx_types::Rng as _;
use serde_json::Value;

use super::{Context, Found};
use crate::{
    cli::PullArgs,
    client::Client,
    cmd::{models, number},
};

/// A model with what is said about it.
#[derive(Debug, Clone)]
pub(in crate::cmd) struct Original {
    /// The file, where it is one.
    path: PathBuf,
    /// Its bytes, where they came from the server.
    bytes: Option<Bytes>,
    manifest: Option<Given>,
    /// The model's name and version at the server.
    pub(in crate::cmd) artifact: Option<(String, u64)>,
    /// Where copies lie: they go with the value.
    #[expect(dead_code, reason = "it is held for its end")]
    scratch: Option<Arc<Scratch>>,
}

/// A folder that goes with the value.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let name = nx_types::env::SystemRng.next_u64();
        let path = std::env::temp_dir().join(format!("neuraxis-{name:016x}"));
        std::fs::create_dir(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[derive(Debug, Clone)]
enum Given {
    File(PathBuf),
    Json(Value),
}

/// Whether a word names a file and not a model of the server's.
pub(in crate::cmd) fn is_file(word: &str) -> bool {
    Path::new(word).is_file()
        || word.contains('/')
        || Path::new(word).extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx"))
}

/// Finds a model by what was typed.
pub(in crate::cmd) async fn of(context: &Context, word: &str, manifest: Option<&Path>) -> anyhow::Result<Original> {
    let given = manifest.map(|path| Given::File(path.to_owned()));
    if is_file(word) {
        let beside = ["yaml", "yml", "json"].map(|end| Path::new(word).with_extension(end));
        let beside = || beside.into_iter().find(|path| path.is_file()).map(Given::File);
        return Ok(Original {
            path: word.into(),
            bytes: None,
            manifest: given.or_else(beside),
            artifact: None,
            scratch: None,
        });
    }
    let (name, which) = word.split_once('@').unwrap_or((word, "live"));
    let here = [("namespace", context.client.namespace().to_owned())];
    let found = context.client.get(&Client::path(&["models", name, "versions", which]), &here).await?;
    let version = number(&found, "version");
    let path = Client::path(&["models", name, "versions", &version.to_string(), "file"]);
    let bytes = context.client.bytes(&path, &here).await?;
    let stored = found.get("manifest").cloned().map(Given::Json);
    Ok(Original {
        path: PathBuf::from(name),
        bytes: Some(bytes),
        manifest: given.or(stored),
        artifact: Some((name.to_owned(), version)),
        scratch: None,
    })
}

impl Original {
    /// How it is called.
    pub(in crate::cmd) fn title(&self) -> String {
        match &self.artifact {
            Some((name, version)) => format!("{name}@{version}"),
            None => self.path.display().to_string(),
        }
    }

    /// Its name without version and path.
    pub(in crate::cmd) fn name(&self) -> String {
        let stem = || self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        self.artifact.as_ref().map_or_else(stem, |(name, _)| name.clone())
    }

    pub(in crate::cmd) fn read(&self, limits: &Limits) -> anyhow::Result<Model> {
        match &self.bytes {
            Some(bytes) => Ok(Model::read(bytes.clone(), limits)?),
            None => Ok(Model::read_file(&self.path, limits)?),
        }
    }

    /// The bytes of one file that holds all of it.
    pub(in crate::cmd) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match &self.bytes {
            Some(bytes) => Ok(bytes.to_vec()),
            None => {
                let bytes =
                    std::fs::read(&self.path).with_context(|| format!("cannot read `{}`", self.path.display()))?;
                // with data beside it, what an engine gets is one file too
                match Model::read(bytes.clone(), &Limits::default()) {
                    Err(nx_infer::Error::External { .. }) => Ok(self.read(&Limits::default())?.write()),
                    _ => Ok(bytes),
                }
            }
        }
    }

    /// SHA-256 of its file, as `sha256:` and 64 hexadecimal digits.
    pub(in crate::cmd) fn sha256(&self) -> anyhow::Result<String> {
        Ok(nx_infer::search::sha256(&self.bytes()?))
    }

    /// The same as files that another process can read: those there are, or copies in a folder that goes with the value.
    pub(in crate::cmd) fn spill(&self) -> anyhow::Result<Self> {
        let Some(bytes) = &self.bytes else { return Ok(self.clone()) };
        let folder = Arc::new(Scratch::new()?);
        let path = folder.0.join("model.onnx");
        std::fs::write(&path, bytes)?;
        let manifest = match &self.manifest {
            Some(Given::Json(value)) => {
                let path = folder.0.join("model.json");
                std::fs::write(&path, value.to_string())?;
                Some(Given::File(path))
            }
            other => other.clone(),
        };
        Ok(Self { path, bytes: None, manifest, artifact: self.artifact.clone(), scratch: Some(folder) })
    }

    /// The files of the model and of its manifest.
    pub(in crate::cmd) fn files(&self) -> Option<(&Path, Option<&Path>)> {
        let manifest = match &self.manifest {
            Some(Given::File(path)) => Some(path.as_path()),
            _ => None,
        };
        self.bytes.is_none().then_some((&self.path, manifest))
    }

    pub(in crate::cmd) fn manifest(&self) -> anyhow::Result<Option<Manifest>> {
        match &self.manifest {
            None => Ok(None),
            Some(Given::Json(value)) => {
                Ok(Some(serde_json::from_value(value.clone()).context("the server's manifest cannot be read")?))
            }
            Some(Given::File(path)) => {
                let text = models::read(path, 1 << 20)?;
                let text = std::str::from_utf8(&text).with_context(|| format!("`{}` is no text", path.display()))?;
                let read = serde_saphyr::from_str(text);
                Ok(Some(read.with_context(|| format!("`{}` is no manifest of a model", path.display()))?))
            }
        }
    }
}

/// Adds what was released to the server's model.
pub(super) fn pull(original: &Original, folder: &Path, report: &Report) -> anyhow::Result<PullArgs> {
    let (name, version) = original.artifact.as_ref().context("a model of the server is wanted")?;
    Ok(PullArgs {
        name: name.clone(),
        from: folder.join("model.onnx").display().to_string(),
        sha256: report.released.hash.strip_prefix("sha256:").map(str::to_owned),
        manifest: None,
        licence: None,
        alias: None,
        made_from: Some(format!("{name}@{version}")),
        method: Some(report.released.name.clone()),
    })
}

/// The command that adds what was released to a server's model.
pub(super) fn next(original: &Original, folder: &Path, found: &Found) -> String {
    let file = quoted(&folder.join("model.onnx").display().to_string());
    let lineage = original.artifact.as_ref().map_or_else(String::new, |(name, version)| {
        format!(" --made-from {name}@{version} --method {}", quoted(&found.report.released.name))
    });
    let licence = if found.manifest { "" } else { " --licence SPDX" };
    format!("neuraxis model pull {} --from {file}{lineage}{licence}", quoted(&original.name()))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
