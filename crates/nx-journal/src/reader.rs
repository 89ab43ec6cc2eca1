//! Reading: everything that was acknowledged, unsealed. Calls block for as long as the disk takes.

use std::{ops::ControlFlow, sync::Arc};

use nx_types::{BlobId, EventType, Header, KeyId, Label, LabelId, Namespace, Seq, Subject};

use crate::{
    Data, Error, Event, Filter, IndexEntry, IndexRange, StateRow,
    backend::{Blobs, EventRow, IndexQuery, Page, Rows, Sealed, Source, Space, StateRecord},
    seal::{self, Keyring},
};

/// Most rows that one call returns, whatever limit it asks for.
pub const MAX_LIMIT: usize = 10_000;

/// A read-only view of the log; cheap to clone, usable from any thread. It sees everything that was acknowledged
/// before the call.
#[derive(Debug, Clone)]
pub struct Reader {
    source: Arc<dyn Source>,
    blobs: Arc<dyn Blobs>,
    keys: Arc<Keyring>,
}

impl Reader {
    pub(crate) fn new(source: Arc<dyn Source>, blobs: Arc<dyn Blobs>, keys: Arc<Keyring>) -> Self {
        Self { source, blobs, keys }
    }

    /// Calls `read` with one consistent view of the stored rows, sealed as they are.
    pub fn rows<T>(&self, read: impl FnOnce(&dyn Rows) -> Result<T, Error>) -> Result<T, Error> {
        let mut read = Some(read);
        let mut result = None;
        self.source.read(&mut |rows| {
            if let Some(read) = read.take() {
                result = Some(read(rows)?);
            }
            Ok(())
        })?;
        result.ok_or(Error::Closed)
    }

    /// Bytes used and bytes free on the disk.
    pub fn space(&self) -> Result<Space, Error> {
        self.source.space()
    }

    /// The content of blobs, sealed as they are.
    pub fn sealed_blobs(&self) -> &Arc<dyn Blobs> {
        &self.blobs
    }

    /// The next free place.
    pub fn head(&self) -> Result<Seq, Error> {
        self.rows(|rows| rows.head().map(Seq))
    }

    /// One event.
    pub fn event(&self, seq: Seq) -> Result<Option<Event>, Error> {
        self.rows(|rows| {
            let mut found = None;
            rows.events(seq.0, &mut |row| {
                if row.seq == seq.0 {
                    found = Some(self.decode(rows, row)?);
                }
                Ok(ControlFlow::Break(()))
            })?;
            Ok(found)
        })
    }

    /// Events from a place on, in order: at most `limit` that the filter wants.
    pub fn events(&self, from: Seq, limit: usize, filter: &Filter) -> Result<Vec<Event>, Error> {
        self.scan(from, limit, filter, u64::MAX).map(|(events, _)| events)
    }

    /// As [`Reader::events`], looking at `budget` events at most; with the place behind the last one looked at.
    pub fn scan(&self, from: Seq, limit: usize, filter: &Filter, budget: u64) -> Result<(Vec<Event>, Seq), Error> {
        if let (Some(namespace), Some(subject)) = (&filter.namespace, &filter.subject) {
            return self.scan_subject(from, limit, filter, namespace, subject);
        }
        self.rows(|rows| {
            let mut events = Vec::new();
            let mut next = from;
            if limit == 0 {
                return Ok((events, next));
            }
            rows.events(from.0, &mut |row| {
                if next.0 - from.0 >= budget {
                    return Ok(ControlFlow::Break(()));
                }
                next = Seq(row.seq).next();
                let header = decode_header(row)?;
                if filter.matches(&header) {
                    events.push(self.unseal(rows, header, row)?);
                }
                Ok(go_on(&events, limit))
            })?;
            Ok((events, next))
        })
    }

    /// A subject's events stand in an index: nothing else is looked at.
    fn scan_subject(
        &self,
        from: Seq,
        limit: usize,
        filter: &Filter,
        namespace: &Namespace,
        subject: &Subject,
    ) -> Result<(Vec<Event>, Seq), Error> {
        self.rows(|rows| {
            let mut events = Vec::new();
            if limit == 0 {
                return Ok((events, from));
            }
            let before = Self::versions_before(rows, namespace, subject, from)?;
            let page = Page { after: Some(&before), limit: usize::MAX, reverse: false };
            rows.subject_events(namespace, subject, page, &mut |row| {
                let header = decode_header(row)?;
                if filter.matches(&header) {
                    events.push(self.unseal(rows, header, row)?);
                }
                Ok(go_on(&events, limit))
            })?;
            let full = events.len() >= limit.min(MAX_LIMIT);
            let next =
                if full { events.last().map_or(from, |last| last.seq().next()) } else { Seq(rows.head()?).max(from) };
            Ok((events, next))
        })
    }

    /// How many of a subject's events stand before a place: a binary search over its versions.
    fn versions_before(rows: &dyn Rows, namespace: &Namespace, subject: &Subject, from: Seq) -> Result<u64, Error> {
        let (mut low, mut high) = (0, if from.0 == 0 { 0 } else { rows.subject_version(namespace, subject)? });
        while low < high {
            let middle = low + (high - low) / 2;
            let mut seq = u64::MAX;
            let page = Page { after: Some(&middle), limit: 1, reverse: false };
            rows.subject_events(namespace, subject, page, &mut |row| {
                seq = row.seq;
                Ok(ControlFlow::Break(()))
            })?;
            if seq < from.0 { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// A subject's events by version. With `reverse` from the newest to the oldest, before `after_version`.
    pub fn by_subject(
        &self,
        namespace: &Namespace,
        subject: &Subject,
        after_version: Option<u64>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Event>, Error> {
        let page = Page { after: after_version.as_ref(), limit: limit.min(MAX_LIMIT), reverse };
        self.collect(|rows, each| rows.subject_events(namespace, subject, page, each))
    }

    /// Number of a subject's events: the version of its newest.
    pub fn subject_version(&self, namespace: &Namespace, subject: &Subject) -> Result<u64, Error> {
        self.rows(|rows| rows.subject_version(namespace, subject))
    }

    /// Events of exactly this type by place. With `reverse` from the newest to the oldest, before `after`.
    pub fn by_type(
        &self,
        kind: &EventType,
        after: Option<Seq>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Event>, Error> {
        let after = after.map(|seq| seq.0);
        let page = Page { after: after.as_ref(), limit: limit.min(MAX_LIMIT), reverse };
        self.collect(|rows, each| rows.type_events(kind, page, each))
    }

    fn collect(
        &self,
        list: impl FnOnce(&dyn Rows, &mut dyn FnMut(EventRow<'_>) -> Result<ControlFlow<()>, Error>) -> Result<(), Error>,
    ) -> Result<Vec<Event>, Error> {
        self.rows(|rows| {
            let mut events = Vec::new();
            list(rows, &mut |row| {
                events.push(self.decode(rows, row)?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(events)
        })
    }

    /// A state row.
    pub fn state(&self, namespace: &Namespace, kind: &str, key: &str) -> Result<Option<StateRow>, Error> {
        self.rows(|rows| match rows.state(namespace, kind, key)? {
            Some(record) => self.open_state(rows, record),
            None => Ok(None),
        })
    }

    /// State rows of a kind in order of their keys, behind `after_key`.
    pub fn state_scan(
        &self,
        namespace: &Namespace,
        kind: &str,
        after_key: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StateRow>, Error> {
        let page = Page { after: after_key, limit: limit.min(MAX_LIMIT), reverse: false };
        self.rows(|rows| {
            let mut found = Vec::new();
            rows.states(namespace, kind, page, &mut |record| {
                found.extend(self.open_state(rows, record)?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(found)
        })
    }

    /// State rows by an index, in order of value and key, behind the entry `after`; with `reverse` in falling order,
    /// before it.
    #[expect(clippy::too_many_arguments, reason = "an index query has that many parts")]
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over the entry at which the last page ended")]
    pub fn index(
        &self,
        namespace: &Namespace,
        kind: &str,
        name: &str,
        range: &IndexRange,
        after: Option<(Vec<u8>, String)>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Vec<u8>, StateRow)>, Error> {
        let (from, to) = range.bounds();
        let query = IndexQuery { namespace, kind, name, from: &from, to: to.as_deref() };
        let page = Page { after: after.as_ref(), limit: limit.min(MAX_LIMIT), reverse };
        self.rows(|rows| {
            let mut entries = Vec::new();
            rows.index(&query, page, &mut |entry| {
                entries.push(entry);
                Ok(ControlFlow::Continue(()))
            })?;
            let mut found = Vec::with_capacity(entries.len());
            for (value, key) in entries {
                let record = rows.state(namespace, kind, &key)?.ok_or_else(|| {
                    Error::corrupt(format!("index `{name}` of `{kind}`"), format!("row `{key}` is missing"))
                })?;
                if let Some(row) = self.open_state(rows, record)? {
                    found.push((value, row));
                }
            }
            Ok(found)
        })
    }

    /// A blob's content; `None` if no such blob is known, [`Error::BlobErased`] if its key is gone.
    pub fn blob(&self, id: &BlobId) -> Result<Option<Vec<u8>>, Error> {
        let key = self.rows(|rows| match rows.blob(id)? {
            Some(row) => self.keys.key(row.key, rows)?.ok_or(Error::BlobErased { id: *id }).map(Some),
            None => Ok(None),
        })?;
        let Some(key) = key else { return Ok(None) };
        let stored = self.blobs.get(id)?.ok_or_else(|| Error::corrupt(format!("blob {id}"), "its file is missing"))?;
        Keyring::open_blob(id, &key, &stored).map(Some)
    }

    /// Whether a blob is known.
    pub fn has_blob(&self, id: &BlobId) -> Result<bool, Error> {
        self.rows(|rows| Ok(rows.blob(id)?.is_some()))
    }

    /// A label by its id; `None` if the namespace never defined it or it was erased.
    pub fn label(&self, namespace: &Namespace, id: &LabelId) -> Result<Option<Label>, Error> {
        let Some(seq) = self.rows(|rows| rows.label(namespace, id))? else { return Ok(None) };
        let Some(event) = self.event(Seq(seq))? else {
            return Err(Error::corrupt(format!("label {id}"), format!("its event {seq} is missing")));
        };
        let Data::Open(bytes) = event.data else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::corrupt(format!("label {id} in event {seq}"), error.to_string()))
    }

    /// A stored reading position.
    pub fn cursor(&self, name: &str) -> Result<Option<Seq>, Error> {
        self.rows(|rows| Ok(rows.cursor(name)?.map(Seq)))
    }

    /// The living data key of a data subject.
    pub fn data_key(&self, namespace: &Namespace, data_subject: &str) -> Result<Option<KeyId>, Error> {
        let lookup = self.keys.lookup(namespace, data_subject);
        self.rows(|rows| Ok(rows.key_of(&lookup)?.map(|row| row.id)))
    }

    fn decode(&self, rows: &dyn Rows, row: EventRow<'_>) -> Result<Event, Error> {
        self.unseal(rows, decode_header(row)?, row)
    }

    fn unseal(&self, rows: &dyn Rows, header: Header, row: EventRow<'_>) -> Result<Event, Error> {
        let Sealed::Data(sealed) = row.sealed else { return Ok(Event { header, data: Data::Erased }) };
        let Some(key) = self.keys.key(header.key, rows)? else { return Ok(Event { header, data: Data::Erased }) };
        let data = key
            .open(seal::event_aad(row.header), sealed)
            .ok_or_else(|| Error::corrupt(format!("event {}", header.seq), "its data cannot be unsealed"))?;
        Ok(Event { header, data: Data::Open(data) })
    }

    fn open_state(&self, rows: &dyn Rows, record: StateRecord) -> Result<Option<StateRow>, Error> {
        let Some((_, bytes)) = open_record(&self.keys, rows, &record)? else { return Ok(None) };
        Ok(Some(StateRow { key: record.key, version: record.version, seq: Seq(record.seq), bytes }))
    }

    pub(crate) fn keyring(&self) -> &Arc<Keyring> {
        &self.keys
    }
}

fn go_on(events: &[Event], limit: usize) -> ControlFlow<()> {
    if events.len() >= limit.min(MAX_LIMIT) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// A stored event's header, checked to be the one of its place.
pub(crate) fn decode_header(row: EventRow<'_>) -> Result<Header, Error> {
    let header =
        Header::decode(row.header).map_err(|error| Error::corrupt(format!("event {}", row.seq), error.to_string()))?;
    if header.seq.0 == row.seq {
        Ok(header)
    } else {
        Err(Error::corrupt(format!("event {}", row.seq), format!("its header says it is event {}", header.seq)))
    }
}

/// Index entries and content.
pub(crate) type OpenRecord = (Vec<IndexEntry>, Vec<u8>);

/// A state row's index entries and content; `None` if its key was erased.
pub(crate) fn open_record(keys: &Keyring, rows: &dyn Rows, record: &StateRecord) -> Result<Option<OpenRecord>, Error> {
    let Some(key) = keys.key(record.data_key, rows)? else { return Ok(None) };
    let damaged = || Error::corrupt(format!("state row `{}/{}`", record.kind, record.key), "it cannot be unsealed");
    let aad = seal::state_aad(&record.namespace, &record.kind, &record.key, record.version);
    let plain = key.open(&aad, &record.sealed).ok_or_else(damaged)?;
    let (entries, bytes) = postcard::take_from_bytes(&plain).map_err(|_err| damaged())?;
    Ok(Some((entries, bytes.to_vec())))
}
