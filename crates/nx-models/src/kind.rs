//! The kind Artifact: a named model, its versions, and the aliases that say which of them is meant. A spec is changed here
//! by pure functions; whoever holds the resource store applies it.

use std::collections::{BTreeMap, BTreeSet};

use nx_types::{Duration, FieldError, KindDescriptor, kind::Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Which,
    reference::{LIVE, check_name},
};

/// Most versions of an artifact.
pub const MAX_VERSIONS: usize = 256;
/// Most aliases of an artifact.
const MAX_ALIASES: usize = 32;
/// How many earlier versions an alias remembers.
const MAX_HISTORY: usize = 32;

/// The kinds of this crate, for the registry.
pub fn kinds() -> Vec<KindDescriptor> {
    vec![KindDescriptor::of::<ArtifactSpec>(
        "Artifact",
        "artifacts",
        "a model: its versions, the aliases that point to them, how it is served",
        include_str!("artifact.yaml"),
    )]
}

/// The spec of an `Artifact`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSpec {
    /// What the model is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The versions, the oldest first. `neuraxis model pull` adds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Version>,
    /// Names that point to versions. `live` is the one that a bare model name stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, u32>,
    /// Where each alias pointed before, the latest last: what `neuraxis model rollback` goes back to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub history: BTreeMap<String, Vec<u32>>,
    /// How its versions are served.
    #[serde(default)]
    pub serving: Serving,
}

/// A version of a model. What it holds never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its number, from 1.
    pub version: u32,
    /// SHA-256 of its file, 64 hexadecimal digits.
    pub sha256: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// Where it was pulled from: a file's name or a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Parent>,
    /// The place in the log of the event that recorded it.
    pub place: u64,
}

/// What a version was made from, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// The artifact.
    pub artifact: String,
    /// Its version.
    pub version: u32,
    /// How: `static-int8`, `fine-tuned`.
    pub method: String,
}

/// How versions are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serving {
    /// The engine: `rten`, `onnxruntime`. When left out what `neuraxis model tune` found, else the first that loads the model,
    /// ONNX Runtime first where it is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Threads, each with a session of its own.
    #[schemars(range(min = 1, max = 64))]
    pub threads: u32,
    /// Most requests of a version that wait or run at once; past it they are refused with 429.
    #[schemars(range(min = 1, max = 4096))]
    pub queue: u32,
    /// Most requests that are run together, where the model's batch dimension is open.
    #[schemars(range(min = 1, max = 256))]
    pub batch: u32,
    /// How long a request waits for others to be run with, at most. Under load batches fill without waiting.
    pub wait: Duration,
    /// How long a request may take that names no deadline of its own.
    pub deadline: Duration,
    /// A version that answers nothing for so long is unloaded.
    pub idle: Duration,
    /// What a decision keeps of its input.
    pub input: Keep,
    /// Most streams of a version at once, where its model has states; past it a new one is refused with 429.
    #[schemars(range(min = 1, max = 4096))]
    pub streams: u32,
    /// A stream of which nothing is heard for so long is forgotten.
    pub stream_idle: Duration,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            engine: None,
            threads: 1,
            queue: 64,
            batch: 16,
            wait: Duration::from_millis(0),
            deadline: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            input: Keep::Content,
            streams: 64,
            stream_idle: Duration::from_secs(60),
        }
    }
}

/// What a decision keeps of its input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The input itself, sealed: in the event while it is small, else in a blob.
    #[default]
    Content,
    /// Its SHA-256 alone.
    Digest,
}

/// Longest deadline and longest wait for a batch.
pub(crate) const MAX_DEADLINE: Duration = Duration::from_secs(60);

impl Spec for ArtifactSpec {
    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut numbers = BTreeSet::new();
        for (at, version) in self.versions.iter().enumerate() {
            let place = |field: &str| format!("/spec/versions/{at}/{field}");
            if version.version == 0 || !numbers.insert(version.version) {
                errors.push(FieldError::new(place("version"), "must be 1 or more, and there once"));
            }
            if !is_sha256(&version.sha256) {
                errors.push(FieldError::new(place("sha256"), "must be 64 hexadecimal digits in lower case"));
            }
        }
        if self.versions.len() > MAX_VERSIONS {
            errors.push(FieldError::new("/spec/versions", format!("holds more than {MAX_VERSIONS} versions")));
        }
        if self.aliases.len() > MAX_ALIASES {
            errors.push(FieldError::new("/spec/aliases", format!("holds more than {MAX_ALIASES} aliases")));
        }
        for (alias, version) in &self.aliases {
            let place = format!("/spec/aliases/{}", nx_types::json::escape(alias));
            if let Err(error) = check_name("alias", alias) {
                errors.push(FieldError::new(place.clone(), error.to_string()));
            }
            if !numbers.contains(version) {
                errors.push(FieldError::new(place, format!("points to version {version}, which is not there")));
            }
        }
        for (field, value) in [("wait", self.serving.wait), ("deadline", self.serving.deadline)] {
            if value > MAX_DEADLINE {
                errors.push(FieldError::new(format!("/spec/serving/{field}"), "must be 60s at most"));
            }
        }
        if let Some(engine) = &self.serving.engine
            && !nx_infer::engine::is_engine(engine)
        {
            let known = [nx_infer::engine::names(), vec!["onnxruntime"]].concat().join(", ");
            errors.push(FieldError::new(
                "/spec/serving/engine",
                format!("there is no engine `{engine}`; there is {known}"),
            ));
        }
        errors
    }
}

pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl ArtifactSpec {
    /// The version that is meant.
    pub fn version(&self, name: &str, which: &Which) -> Result<&Version, Error> {
        let number = match which {
            Which::Version(number) => Some(number),
            Which::Alias(alias) => self.aliases.get(alias),
        };
        let found = number.and_then(|number| self.versions.iter().find(|version| version.version == *number));
        found.ok_or_else(|| Error::UnknownVersion {
            name: name.to_owned(),
            wanted: which.to_string(),
            known: self.known(),
        })
    }

    fn known(&self) -> String {
        if self.versions.is_empty() {
            return "no version yet; `neuraxis model pull` adds one".to_owned();
        }
        let versions = self.versions.iter().map(|version| version.version.to_string()).collect::<Vec<_>>().join(", ");
        let aliases = self.aliases.iter().map(|(alias, version)| format!("`{alias}` → {version}")).collect::<Vec<_>>();
        let aliases = if aliases.is_empty() { "no alias".to_owned() } else { aliases.join(", ") };
        format!("versions {versions} and {aliases}")
    }

    /// Adds a version, or finds the one that is already there; the first becomes `live`, and `alias` points to it.
    pub fn add(&mut self, name: &str, version: Version, alias: Option<&str>) -> Result<(), Error> {
        let number = version.version;
        if !self.versions.iter().any(|known| known.version == number) {
            if self.versions.len() >= MAX_VERSIONS {
                return Err(Error::Full { name: name.to_owned(), most: MAX_VERSIONS });
            }
            self.versions.push(version);
            self.versions.sort_by_key(|version| version.version);
        }
        if self.aliases.is_empty() {
            self.point(name, LIVE, number)?;
        }
        alias.map_or(Ok(()), |alias| self.point(name, alias, number))
    }

    /// Points an alias to a version; where it pointed before is remembered.
    pub fn point(&mut self, name: &str, alias: &str, version: u32) -> Result<(), Error> {
        check_name("alias", alias)?;
        self.version(name, &Which::Version(version))?;
        match self.aliases.insert(alias.to_owned(), version) {
            Some(before) if before != version => {
                let history = self.history.entry(alias.to_owned()).or_default();
                history.push(before);
                let surplus = history.len().saturating_sub(MAX_HISTORY);
                history.drain(..surplus);
            }
            _ => {}
        }
        Ok(())
    }

    /// Points an alias to where it pointed before, and gives that version. Done twice, it goes back twice.
    pub fn rollback(&mut self, name: &str, alias: &str) -> Result<u32, Error> {
        self.version(name, &Which::Alias(alias.to_owned()))?;
        let none = || Error::NoEarlier { name: name.to_owned(), alias: alias.to_owned() };
        let history = self.history.get_mut(alias).ok_or_else(none)?;
        let before = history.pop().ok_or_else(none)?;
        if history.is_empty() {
            self.history.remove(alias);
        }
        self.aliases.insert(alias.to_owned(), before);
        Ok(before)
    }

    /// Removes an alias.
    pub fn remove_alias(&mut self, name: &str, alias: &str) -> Result<(), Error> {
        self.version(name, &Which::Alias(alias.to_owned()))?;
        self.aliases.remove(alias);
        self.history.remove(alias);
        Ok(())
    }

    /// Removes a version to which no alias points.
    pub fn remove(&mut self, name: &str, version: u32) -> Result<(), Error> {
        self.version(name, &Which::Version(version))?;
        if let Some((alias, _)) = self.aliases.iter().find(|(_, target)| **target == version) {
            return Err(Error::InUse { model: format!("{name}@{version}"), alias: alias.clone() });
        }
        self.versions.retain(|known| known.version != version);
        for history in self.history.values_mut() {
            history.retain(|earlier| *earlier != version);
        }
        self.history.retain(|_, history| !history.is_empty());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
