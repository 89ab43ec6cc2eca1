//! What a model has decided, read from the log: the newest decisions, and the input of each.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use nx_journal::{Event, Reader};
use nx_types::{BlobId, EventType, Namespace, Seq, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Handle, decision::DECIDED, store};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;
/// Events looked at for one page; a model that seldom decides among others that often do gives short pages.
const SCAN_BUDGET: usize = 20_000;
const SLICE: usize = 200;

/// A decision as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionView {
    /// Its place in the log.
    pub place: Seq,
    /// When it was made.
    pub time: Timestamp,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub said: Said,
}

/// What a decision says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Said {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u32,
    /// The alias by which it was found.
    pub alias: Option<String>,
    /// `original`, or how the version was made from another.
    pub variant: String,
    /// The engine.
    pub engine: String,
    /// The answer, where the model says one thing.
    pub label: Option<String>,
    /// How sure it is.
    pub confidence: Option<f64>,
    /// Who asked.
    pub by: String,
    /// Microseconds from the request to the answer.
    pub took_us: u64,
    /// What was given.
    pub inputs: Vec<InputView>,
    /// What whoever asked would have carried on.
    #[serde(default)]
    pub context: Option<Value>,
}

/// An input of a decision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct InputView {
    /// Its name; empty for the only input of a model that has one.
    pub name: String,
    /// `image/png`, `image/jpeg`, `pixels`, `application/json` or `application/octet-stream`.
    pub media: String,
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
    /// Of pixels: rows, columns, channels.
    pub shape: Option<Vec<usize>>,
    base64: Option<String>,
    blob: Option<BlobId>,
}

impl InputView {
    /// Whether the input itself was kept.
    pub fn kept(&self) -> bool {
        self.base64.is_some() || self.blob.is_some()
    }
}

/// Some decisions, the newest first.
#[derive(Debug, Clone)]
pub struct Decisions {
    /// The decisions.
    pub items: Vec<DecisionView>,
    /// Where to go on.
    pub next: Option<Seq>,
}

/// Which decisions are listed.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    /// Only this version's.
    pub version: Option<u32>,
    /// Only those that are less sure.
    pub below: Option<f64>,
    /// Only those before this place.
    pub before: Option<Seq>,
    /// How many; 50 when left out, 500 at most.
    pub limit: Option<usize>,
}

impl Handle {
    /// The newest decisions of a model. What was erased is passed over: it no longer says whose decision it was.
    pub async fn decisions(
        &self,
        namespace: &Namespace,
        name: &str,
        filter: DecisionFilter,
    ) -> Result<Decisions, Error> {
        self.show(namespace, name)?;
        let (reader, namespace, name) = (self.reader(), namespace.clone(), name.to_owned());
        store::blocking(move || listed(&reader, &namespace, &name, &filter)).await
    }

    /// An input of a decision, by its place among the inputs, and its media type. Nothing where only its digest was kept, or
    /// where it was erased.
    pub async fn input(
        &self,
        namespace: &Namespace,
        name: &str,
        decision: Seq,
        input: usize,
    ) -> Result<Option<(String, Vec<u8>)>, Error> {
        let (reader, namespace, name) = (self.reader(), namespace.clone(), name.to_owned());
        store::blocking(move || {
            let event = reader.event(decision)?;
            let event =
                event.filter(|event| event.header.namespace == namespace && event.header.kind.as_str() == DECIDED);
            let Some(said) = event.as_ref().and_then(said).filter(|said| said.model == name) else { return Ok(None) };
            let Some(found) = said.inputs.into_iter().nth(input) else { return Ok(None) };
            let content = match (found.base64, found.blob) {
                (Some(text), _) => BASE64.decode(text).ok(),
                (None, Some(blob)) => reader.blob(&blob)?,
                (None, None) => None,
            };
            Ok(content.map(|content| (found.media, content)))
        })
        .await
    }
}

fn said(event: &Event) -> Option<Said> {
    serde_json::from_slice(event.data.bytes()?).ok()
}

fn listed(reader: &Reader, namespace: &Namespace, name: &str, filter: &DecisionFilter) -> Result<Decisions, Error> {
    let kind = EventType::new(DECIDED).map_err(|error| Error::damaged("the type of decisions", error))?;
    let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let (mut items, mut before, mut looked) = (Vec::new(), filter.before, 0);
    loop {
        let slice = reader.by_type(&kind, before, SLICE, true)?;
        let last = slice.len() < SLICE;
        for event in slice {
            before = Some(event.seq());
            looked += 1;
            if event.header.namespace != *namespace {
                continue;
            }
            let Some(said) = said(&event).filter(|said| said.model == name) else { continue };
            let sure = filter.below.is_none_or(|below| said.confidence.is_some_and(|sure| sure < below));
            if !sure || filter.version.is_some_and(|version| version != said.version) {
                continue;
            }
            let subject = event.header.subject.to_string();
            items.push(DecisionView { place: event.seq(), time: event.header.recorded, subject, said });
            if items.len() == limit {
                return Ok(Decisions { items, next: before });
            }
        }
        if last {
            return Ok(Decisions { items, next: None });
        }
        if looked >= SCAN_BUDGET {
            return Ok(Decisions { items, next: before });
        }
    }
}
