//! The recorded events of one run, decoded: in pages, one by one, or read ahead for a replay. Data that stands in a
//! blob is fetched.

use std::collections::{HashMap, VecDeque};

use nx_journal::{Event, Reader};
use nx_types::{BlobId, Header, LabelId, Namespace, RunId, SharedLabel, Subject};
use serde::Deserialize;

use crate::{error::Error, machine::RunEvent, value::Store};

/// Events read at once while a replay walks the record.
const WINDOW: usize = 128;
/// Labels that are kept.
const LABELS: usize = 1024;
/// Bytes of decoded data that a replay's window may hold, roughly.
const WINDOW_BYTES: usize = 4 << 20;

/// A decoded event.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub event: RunEvent,
}

/// What stands in the place of data that is too large for an event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    #[serde(rename = "$blob")]
    blob: BlobId,
}

/// The data of an event that stands in a blob.
pub fn outside(blob: BlobId) -> Vec<u8> {
    format!("{{\"$blob\":\"{blob}\"}}").into_bytes()
}

/// The record of a run.
#[derive(Debug)]
pub struct Record {
    reader: Reader,
    namespace: Namespace,
    subject: Subject,
    run: RunId,
    window: VecDeque<(u64, RunEvent)>,
    values: Store,
    labels: HashMap<LabelId, SharedLabel>,
}

impl Record {
    /// The record of a run, from the log behind `reader`.
    pub fn new(reader: Reader, namespace: Namespace, run: RunId) -> Self {
        Self {
            reader,
            namespace,
            subject: Subject::run(run),
            run,
            window: VecDeque::new(),
            values: Store::new(),
            labels: HashMap::new(),
        }
    }

    /// Events behind `after`, at most `limit`.
    pub fn page(&mut self, after: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let events = self.reader.by_subject(&self.namespace, &self.subject, Some(after), limit, false)?;
        events.into_iter().map(|event| self.decode(event)).collect()
    }

    /// One event.
    pub fn event(&mut self, version: u64) -> Result<Entry, Error> {
        let page = self.page(version.saturating_sub(1), 1)?;
        page.into_iter().find(|entry| entry.header.version == version).ok_or_else(|| self.missing(version))
    }

    /// One event of a replay, which asks for most of them in order.
    pub fn replayed(&mut self, version: u64) -> Result<RunEvent, Error> {
        while let Some((front, _)) = self.window.front() {
            match front.cmp(&version) {
                std::cmp::Ordering::Less => drop(self.window.pop_front()),
                std::cmp::Ordering::Equal => break,
                // Asked for again, or out of order: parallel branches do that.
                std::cmp::Ordering::Greater => return self.event(version).map(|entry| entry.event),
            }
        }
        if self.window.is_empty() {
            self.fill(version)?;
        }
        match self.window.pop_front() {
            Some((found, event)) if found == version => Ok(event),
            _ => Err(self.missing(version)),
        }
    }

    fn fill(&mut self, version: u64) -> Result<(), Error> {
        let events =
            self.reader.by_subject(&self.namespace, &self.subject, Some(version.saturating_sub(1)), WINDOW, false)?;
        let mut bytes = 0;
        for event in events {
            bytes += event.data.bytes().map_or(0, <[u8]>::len);
            if bytes > WINDOW_BYTES && !self.window.is_empty() {
                return Ok(());
            }
            let entry = self.decode(event)?;
            self.window.push_back((entry.header.version, entry.event));
        }
        Ok(())
    }

    fn decode(&mut self, event: Event) -> Result<Entry, Error> {
        let version = event.header.version;
        let (kind, data) = stored(&self.reader, self.run, &event)?;
        let (reader, namespace, subject, run) = (&self.reader, &self.namespace, &self.subject, self.run);
        let mut fetch = |version: u64| {
            let events = reader.by_subject(namespace, subject, Some(version.saturating_sub(1)), 1, false)?;
            let found = events.iter().find(|event| event.header.version == version);
            stored(reader, run, found.ok_or_else(|| missing(run, version))?)
        };
        let decoded = self.values.decode(version, &kind, &data, &mut fetch);
        let event_of = |error: Error| Error::Record { run, version, detail: error.to_string() };
        let mut decoded = decoded.map_err(event_of)?;
        if let Some(id) = event.header.label {
            let label = self.label(id)?;
            super::guard::from_header(&mut decoded, label);
        }
        Ok(Entry { header: event.header, event: decoded })
    }

    fn label(&mut self, id: LabelId) -> Result<SharedLabel, Error> {
        if let Some(label) = self.labels.get(&id) {
            return Ok(label.clone());
        }
        let found = self.reader.label(&self.namespace, &id)?;
        let label = SharedLabel::new(found.ok_or_else(|| Error::value(format!("label `{id}` is not in the log")))?);
        if self.labels.len() >= LABELS {
            self.labels.clear();
        }
        self.labels.insert(id, label.clone());
        Ok(label)
    }

    /// The data of the event that will have this version.
    pub fn encode(&mut self, version: u64, event: &RunEvent) -> Result<Vec<u8>, Error> {
        self.values.encode(version, event)
    }

    fn missing(&self, version: u64) -> Error {
        missing(self.run, version)
    }
}

fn missing(run: RunId, version: u64) -> Error {
    Error::Record { run, version, detail: "it is missing".to_owned() }
}

/// An event's type and data as stored, fetched from its blob if it stands there.
fn stored(reader: &Reader, run: RunId, event: &Event) -> Result<(String, Vec<u8>), Error> {
    let kind = event.header.kind.to_string();
    let Some(data) = event.data.bytes() else { return Err(Error::Erased { run }) };
    let outside = if data.starts_with(b"{\"$blob\"") { serde_json::from_slice::<Outside>(data).ok() } else { None };
    let data = match outside {
        Some(outside) => reader.blob(&outside.blob)?.ok_or_else(|| missing(run, event.header.version))?,
        None => data.to_vec(),
    };
    Ok((kind, data))
}
