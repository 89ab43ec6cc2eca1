//! Events over HTTP: bounded, labelled with their source, recorded once however often they are sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Stamp,
    cloudevents::{self, Incoming},
};
use crate::{
    Error, hash,
    kinds::source::{HttpSpec, SourceSpec},
    store::{Store, to_bytes},
};
use nx_journal::{Commit, Delete, IndexEntry, IndexRange, NewEvent, Precondition, Put, Reader, index};
use nx_types::{EventType, Namespace, Seq, Timestamp};
use serde::{Deserialize, Serialize};

/// Rows that remember which events a source has taken.
const SEEN: &str = "source_seen";
/// Most sources that are kept compiled.
const MAX_PREPARED: usize = 256;
/// How often a request that met another one is tried again.
const ATTEMPTS: usize = 4;

/// A request as it came in.
#[derive(Debug, Clone, Default)]
pub struct Ingest {
    /// The headers, names in lower case: `content-type`, `ce-…`, `idempotency-key`.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An event that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ingested {
    /// Its sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its place in the log.
    pub seq: Seq,
    /// Whether it had been recorded before; then nothing was recorded now.
    pub duplicate: bool,
}

/// What stands in a row of [`SEEN`]: which of how many events of its commit it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    place: u64,
    of: u64,
    at: Timestamp,
}

struct Ready {
    event: NewEvent,
    /// The key of its row of [`SEEN`].
    key: Option<String>,
    id: Option<String>,
}

/// A source as it is used: its spec, and its subject compiled.
#[derive(Debug)]
struct Prepared {
    version: u64,
    spec: SourceSpec,
    stamp: Stamp,
}

/// The sources in use, so that their expressions are compiled once per version.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<BTreeMap<(Namespace, String), Arc<Prepared>>>);

impl Sources {
    async fn get(&self, store: &Store, namespace: &Namespace, source: &str) -> Result<Arc<Prepared>, Error> {
        let resource = store.get(namespace, "Source", source).await?;
        let version = resource.metadata.resource_version.unwrap_or_default();
        let key = (namespace.clone(), source.to_owned());
        let known = self.lock().get(&key).cloned();
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(known);
        }
        let spec = SourceSpec::deserialize(&resource.spec)
            .map_err(|err| Error::damaged(format!("resource `Source/{source}`"), err))?;
        let stamp = Stamp::new(source, &spec)?;
        let prepared = Arc::new(Prepared { version, spec, stamp });
        let mut sources = self.lock();
        if sources.len() >= MAX_PREPARED {
            sources.pop_first();
        }
        sources.insert(key, prepared.clone());
        Ok(prepared)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Namespace, String), Arc<Prepared>>> {
        // Whatever a panicking thread left there is a map of whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) async fn ingest(
    store: &Store,
    prepared: &Sources,
    max_body_bytes: usize,
    namespace: &Namespace,
    source: &str,
    request: Ingest,
) -> Result<Vec<Ingested>, Error> {
    if request.body.len() > max_body_bytes {
        let what = "the body".to_owned();
        return Err(Error::TooLarge { what, size: request.body.len(), max: max_body_bytes });
    }
    let prepared = prepared.get(store, namespace, source).await?;
    let (spec, stamp) = (&prepared.spec, &prepared.stamp);
    let Some(http) = &spec.http else { return Err(Error::NotHttp { name: source.to_owned() }) };
    let incoming = cloudevents::read(&request.headers, &request.body)?;
    if incoming.len() > http.max_events as usize {
        let what = "the number of events".to_owned();
        return Err(Error::TooLarge { what, size: incoming.len(), max: http.max_events as usize });
    }
    let now = store.journal().env().now();
    let max_event_bytes = store.journal().options().max_event_bytes;
    let ready: Vec<Ready> = incoming
        .into_iter()
        .map(|event| prepare(namespace, source, spec, http, stamp, (event, now, max_event_bytes)))
        .collect::<Result<_, _>>()?;
    record(store, namespace, source, http, now, ready).await
}

fn prepare(
    namespace: &Namespace,
    source: &str,
    spec: &SourceSpec,
    http: &HttpSpec,
    stamp: &Stamp,
    (event, now, max_event_bytes): (Incoming, Timestamp, usize),
) -> Result<Ready, Error> {
    let kind = event_type(source, spec, http, event.kind.as_deref())?;
    let time = event.time.unwrap_or(now);
    let subject = stamp.subject(kind.as_str(), event.subject.as_deref(), &event.data, time)?;
    let data = to_bytes(&event.data);
    if data.len() > max_event_bytes {
        return Err(Error::TooLarge { what: "the event's data".to_owned(), size: data.len(), max: max_event_bytes });
    }
    let key = event.id.as_ref().map(|(sender, id)| seen_key(source, sender, id));
    let mut new = NewEvent::new(namespace.clone(), kind, subject, data);
    new.occurred = Some(time);
    new.label = Some(stamp.label.clone());
    Ok(Ready { event: new, key, id: event.id.map(|(_, id)| id) })
}

fn event_type(source: &str, spec: &SourceSpec, http: &HttpSpec, given: Option<&str>) -> Result<EventType, Error> {
    let mapped = given.and_then(|given| http.types.get(given));
    mapped.or(spec.kind.as_ref()).cloned().ok_or_else(|| Error::TypeRefused {
        name: source.to_owned(),
        kind: given.unwrap_or("(none)").chars().take(64).collect(),
    })
}

/// Ids come from outside and may name people: only their digest is a key.
fn seen_key(source: &str, sender: &str, id: &str) -> String {
    let digest = hash::sha256(format!("{}\0{sender}\0{id}", sender.len()).as_bytes(), 16);
    format!("{source}/{digest}")
}

async fn record(
    store: &Store,
    namespace: &Namespace,
    source: &str,
    http: &HttpSpec,
    now: Timestamp,
    ready: Vec<Ready>,
) -> Result<Vec<Ingested>, Error> {
    let keys: Vec<Option<String>> = ready.iter().map(|event| event.key.clone()).collect();
    for attempt in 1..=ATTEMPTS {
        let (place, name, keys, remember) = (namespace.clone(), source.to_owned(), keys.clone(), http.remember);
        let (known, expired) = store
            .read(move |reader| {
                let known = known(reader, &place, &keys)?;
                Ok((known, expired(reader, &place, &name, now, remember, 2 * keys.len())?))
            })
            .await?;
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        let mut fresh: Vec<&Ready> = Vec::new();
        for event in &ready {
            let first = event.key.as_deref().is_none_or(|key| !known.contains_key(key) && taken.insert(key));
            if first {
                fresh.push(event);
            }
        }
        if fresh.is_empty() {
            return Ok(answer(&ready, &known, &[], None));
        }
        let commit = commit(namespace, source, now, &fresh, expired)?;
        match store.journal().commit(commit).await {
            Ok(receipt) => return Ok(answer(&ready, &known, &fresh, Some(&receipt.events))),
            Err(nx_journal::Error::StateConflict { .. }) if attempt < ATTEMPTS => {}
            Err(err) => return Err(err.into()),
        }
    }
    Err(Error::Stopped)
}

fn known(reader: &Reader, namespace: &Namespace, keys: &[Option<String>]) -> Result<BTreeMap<String, Seq>, Error> {
    let mut known = BTreeMap::new();
    for key in keys.iter().flatten() {
        if let Some(row) = reader.state(namespace, SEEN, key)? {
            let seen: Seen = serde_json::from_slice(&row.bytes)
                .map_err(|err| Error::damaged(format!("state row `{SEEN}/{key}`"), err))?;
            // The row was proved by the last event of its commit.
            let behind = seen.of.saturating_sub(seen.place + 1);
            known.insert(key.clone(), Seq(row.seq.0.saturating_sub(behind)));
        }
    }
    Ok(known)
}

/// Rows that need not be remembered any longer: a few go with each request, so that they never pile up.
fn expired(
    reader: &Reader,
    namespace: &Namespace,
    source: &str,
    now: Timestamp,
    remember: nx_types::Duration,
    limit: usize,
) -> Result<Vec<String>, Error> {
    let name = index::text(source);
    let horizon = Timestamp::from_micros(now.as_micros().saturating_sub_unsigned(remember.as_micros()));
    let from = index::pair(&name, &index::time(Timestamp::from_micros(i64::MIN)));
    let range = IndexRange::Range { from, to: Some(index::pair(&name, &index::time(horizon))) };
    let rows = reader.index(namespace, SEEN, "at", &range, None, limit, false)?;
    Ok(rows.into_iter().map(|(_, row)| row.key).collect())
}

fn commit(
    namespace: &Namespace,
    source: &str,
    now: Timestamp,
    fresh: &[&Ready],
    expired: Vec<String>,
) -> Result<Commit, Error> {
    let mut commit = Commit::of(fresh.iter().map(|ready| ready.event.clone()));
    for (place, ready) in fresh.iter().enumerate() {
        let Some(key) = &ready.key else { continue };
        let (kind, row) = (SEEN.to_owned(), Seen { place: place as u64, of: fresh.len() as u64, at: now });
        commit.preconditions.push(Precondition::StateAt {
            namespace: namespace.clone(),
            kind: kind.clone(),
            key: key.clone(),
            version: 0,
        });
        let value = serde_json::to_value(&row).map_err(|err| Error::damaged("a new row", err))?;
        commit.puts.push(Put {
            namespace: namespace.clone(),
            kind,
            key: key.clone(),
            data_subject: format!("source/{source}"),
            bytes: to_bytes(&value),
            index: vec![IndexEntry {
                name: "at".to_owned(),
                value: index::pair(&index::text(source), &index::time(now)),
            }],
        });
    }
    let delete = |key| Delete { namespace: namespace.clone(), kind: SEEN.to_owned(), key };
    commit.deletes.extend(expired.into_iter().map(delete));
    Ok(commit)
}

fn answer(ready: &[Ready], known: &BTreeMap<String, Seq>, fresh: &[&Ready], places: Option<&[Seq]>) -> Vec<Ingested> {
    let mut answers = Vec::new();
    for event in ready {
        let stored = event.key.as_deref().and_then(|key| known.get(key)).copied();
        let written = fresh.iter().position(|other| match &event.key {
            Some(key) => other.key.as_ref() == Some(key),
            None => std::ptr::eq(*other, event),
        });
        let own = written.and_then(|at| fresh.get(at)).is_some_and(|other| std::ptr::eq(*other, event));
        let seq = stored.or_else(|| written.and_then(|at| places?.get(at).copied())).unwrap_or_default();
        answers.push(Ingested { id: event.id.clone(), seq, duplicate: !own });
    }
    answers
}
