//! Reading rows from a connection.

use std::{cell::RefCell, ops::ControlFlow, sync::Arc};

use nx_types::{BlobId, Digest, EventType, Header, KeyId, LabelId, Namespace, Subject, Timestamp};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, Row, params, types::ValueRef};

use super::{
    fail, fail_at,
    short::{self, OfSubject, SHORT},
};
use crate::{
    Error,
    backend::{
        BlobRow, Each, EachCheckpoint, EachEvent, EachTile, EventRow, IndexQuery, IndexRow, KeyRow, Lookup, Page, Rows,
        Sealed, StateRecord,
    },
    cache::Cache,
};

/// A connection that reads rows.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) connection: Connection,
    shared: RefCell<Shared>,
}

/// What short headers leave out, by the first event of a subject and of a type.
#[derive(Debug)]
struct Shared {
    subjects: Cache<i64, OfSubject>,
    types: Cache<i64, Arc<[u8]>>,
}

/// Bytes in `events.data` that name pieces: first id, number of bytes.
pub(super) const REFERENCE_BYTES: usize = 12;

pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Sql {
    /// Reads from a connection, and remembers so many subjects and types.
    pub(super) fn new(connection: Connection, bound: usize) -> Self {
        let shared = Shared { subjects: Cache::new(bound), types: Cache::new(bound) };
        Self { connection, shared: RefCell::new(shared) }
    }

    /// Forgets what it remembers, because a group that it has read was dropped.
    pub(super) fn forget(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.subjects.clear();
        shared.types.clear();
    }

    pub(super) fn statement(&self, sql: &str) -> Result<CachedStatement<'_>, Error> {
        self.connection.prepare_cached(sql).map_err(fail("prepare a statement"))
    }

    /// One value, if there is a row.
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        what: impl FnOnce() -> String,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.statement(sql)?;
        statement.query_row(params, read).optional().map_err(|error| fail_at(&what(), error))
    }

    /// Every row, one after the other.
    fn each<T>(
        &self,
        sql: &str,
        params: impl Params,
        what: &str,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
        each: Each<'_, T>,
    ) -> Result<(), Error> {
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query(params).map_err(|error| fail_at(what, error))?;
        while let Some(row) = rows.next().map_err(|error| fail_at(what, error))? {
            let value = read(row).map_err(|error| fail_at(what, error))?;
            if let ControlFlow::Break(()) = each(value)? {
                break;
            }
        }
        Ok(())
    }

    /// The header of the first event of a subject or a type; `None` if it is not there in full.
    fn first_header(&self, seq: i64) -> Result<Option<Header>, Error> {
        let sql = "SELECT header FROM events WHERE seq = ?1";
        match self.one(sql, [seq], || format!("event {seq}"), |row| row.get::<_, Vec<u8>>(0)) {
            Ok(header) => Ok(header.and_then(|header| Header::decode(&header).ok())),
            // Verification goes on, and finds what is damaged where it stands.
            Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the events of a subject share, by its first event.
    pub(super) fn of_subject(&self, first: i64) -> Result<Option<OfSubject>, Error> {
        if let Some(found) = self.shared.borrow_mut().subjects.get(&first) {
            return Ok(Some(found));
        }
        let Some(found) = self.first_header(first)?.as_ref().map(OfSubject::of) else { return Ok(None) };
        self.shared.borrow_mut().subjects.insert(first, found.clone());
        Ok(Some(found))
    }

    fn of_type(&self, first: i64) -> Result<Option<Arc<[u8]>>, Error> {
        if let Some(found) = self.shared.borrow_mut().types.get(&first) {
            return Ok(Some(found));
        }
        let Some(found) = self.first_header(first)?.as_ref().map(short::of_type) else { return Ok(None) };
        self.shared.borrow_mut().types.insert(first, found.clone());
        Ok(Some(found))
    }

    /// Writes the header in full that a row's short header stands for; `false` if it stands for none.
    fn restore(&self, row: &Row<'_>, header: &[u8], out: &mut Vec<u8>) -> Result<bool, Error> {
        let numbers = (number(row, 0), row.get(4), number(row, 5), row.get(6));
        let (Ok(seq), Ok(subject), Ok(version), Ok(kind)) = numbers else { return Ok(false) };
        let Some(subject) = self.of_subject(subject)? else { return Ok(false) };
        let Some(kind) = self.of_type(kind)? else { return Ok(false) };
        Ok(short::restore(header, (seq, version), &subject, &kind, out))
    }

    /// Events of a query whose columns are seq, header, data, digest, subject, version, type, and perhaps `by_key`.
    fn each_event(&self, sql: &str, params: impl Params, from: u64, each: EachEvent<'_>) -> Result<(), Error> {
        let mut last = None;
        let place = |last: Option<u64>| match last {
            Some(seq) => format!("what follows event {seq}"),
            None => format!("what follows from event {from} on"),
        };
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query(params).map_err(|error| fail_at(&place(None), error))?;
        let (mut joined, mut full) = (Vec::new(), Vec::new());
        let looked_up = rows.as_ref().is_some_and(|statement| statement.column_count() > 7);
        while let Some(row) = rows.next().map_err(|error| fail_at(&place(last), error))? {
            let seq = row.get::<_, i64>(0).map_err(|error| fail_at(&place(last), error))?.cast_unsigned();
            let damaged = |error| fail_at(&format!("event {seq}"), error);
            let header = row.get_ref(1).map_err(damaged)?;
            let mut header = header.as_blob().map_err(|error| damaged(error.into()))?;
            // Where what it shares is damaged, it is handed on as it is: no reader takes it for a header.
            if header.first() == Some(&SHORT) && self.restore(row, header, &mut full)? {
                header = &full;
            }
            let digest = row.get_ref(3).map_err(damaged)?;
            let sealed = if let ValueRef::Blob(digest) = digest {
                let digest = digest.try_into().map_err(|_err| {
                    Error::corrupt(format!("event {seq}"), "the digest of its erased data has the wrong length")
                })?;
                Sealed::Digest(Digest(digest))
            } else {
                let data = row.get_ref(2).map_err(damaged)?;
                let data = data.as_blob().map_err(|error| damaged(error.into()))?;
                if data.len() == REFERENCE_BYTES {
                    self.join(seq, data, &mut joined)?;
                    Sealed::Data(&joined)
                } else {
                    Sealed::Data(data)
                }
            };
            let lookup = if looked_up { Some(lookup(row).map_err(damaged)?) } else { None };
            if let ControlFlow::Break(()) = each(EventRow { seq, header, sealed, lookup })? {
                break;
            }
            last = Some(seq);
        }
        Ok(())
    }

    /// Reads the pieces of an event's data.
    fn join(&self, seq: u64, reference: &[u8], joined: &mut Vec<u8>) -> Result<(), Error> {
        let what = || format!("event {seq}");
        let (first, bytes) =
            read_reference(reference).ok_or_else(|| Error::corrupt(what(), "its data names no pieces"))?;
        joined.clear();
        let mut statement = self.statement("SELECT bytes FROM pieces WHERE id >= ?1 ORDER BY id")?;
        let mut rows = statement.query([first]).map_err(|error| fail_at(&what(), error))?;
        while joined.len() < bytes {
            let row = rows.next().map_err(|error| fail_at(&what(), error))?;
            let row = row.ok_or_else(|| Error::corrupt(what(), "a piece of its data is missing"))?;
            let piece = row.get_ref(0).map_err(|error| fail_at(&what(), error))?;
            joined.extend_from_slice(piece.as_blob().map_err(|error| fail_at(&what(), error.into()))?);
        }
        if joined.len() == bytes { Ok(()) } else { Err(Error::corrupt(what(), "a piece of its data is too long")) }
    }

    pub(super) fn kind(&self, namespace: &Namespace, kind: &str) -> Result<Option<i64>, Error> {
        self.one(
            "SELECT id FROM kinds WHERE namespace = ?1 AND name = ?2",
            params![namespace.as_str(), kind],
            || format!("state kind `{kind}`"),
            |row| row.get(0),
        )
    }
}

/// First id and number of bytes.
pub(super) fn read_reference(reference: &[u8]) -> Option<(i64, usize)> {
    let (first, bytes) = reference.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*first), u32::from_be_bytes(bytes.try_into().ok()?) as usize))
}

fn namespace(row: &Row<'_>, column: usize) -> rusqlite::Result<Namespace> {
    parse(row, column, Namespace::new)
}

fn parse<T>(row: &Row<'_>, column: usize, parse: fn(&str) -> Result<T, nx_types::IdError>) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    parse(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into()))
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn bytes32(row: &Row<'_>, column: usize) -> rusqlite::Result<[u8; 32]> {
    row.get(column)
}

const STATE: &str = "kinds.namespace, kinds.name, state.key, state.version, state.seq, state.data_key, state.sealed";

fn state_record(row: &Row<'_>) -> rusqlite::Result<StateRecord> {
    Ok(StateRecord {
        namespace: namespace(row, 0)?,
        kind: row.get(1)?,
        key: row.get(2)?,
        version: number(row, 3)?,
        seq: number(row, 4)?,
        data_key: KeyId(number(row, 5)?),
        sealed: row.get(6)?,
    })
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let erased: bool = row.get(2)?;
    Ok(KeyRow {
        id: KeyId(number(row, 0)?),
        namespace: namespace(row, 1)?,
        lookup: row.get::<_, Option<[u8; 16]>>(4)?.unwrap_or_default(),
        wrapped: if erased { None } else { Some(row.get(3)?) },
    })
}

fn lookup(row: &Row<'_>) -> rusqlite::Result<Lookup> {
    Ok(Lookup {
        subject: number(row, 4)?,
        version: number(row, 5)?,
        kind: number(row, 6)?,
        by_key: row.get::<_, Option<i64>>(7)?.map(|key| KeyId(key.cast_unsigned())),
    })
}

const KEY: &str = "SELECT keys.id, keys.namespace, keys.erased, keys.wrapped, key_lookup.lookup";

fn blob_row(row: &Row<'_>) -> rusqlite::Result<BlobRow> {
    Ok(BlobRow {
        id: BlobId(bytes32(row, 0)?),
        key: KeyId(number(row, 1)?),
        size: number(row, 2)?,
        stored: Timestamp::from_micros(row.get(3)?),
    })
}

impl Rows for Sql {
    fn head(&self) -> Result<u64, Error> {
        let last = self.one(
            "SELECT max(seq) FROM events",
            [],
            || "the last event".to_owned(),
            |row| row.get::<_, Option<i64>>(0),
        )?;
        Ok(last.flatten().map_or(0, |seq| seq.cast_unsigned() + 1))
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.one("SELECT value FROM meta WHERE name = ?1", [name], || format!("the log's `{name}`"), |row| row.get(0))
    }

    fn events(&self, from: u64, each: EachEvent<'_>) -> Result<(), Error> {
        let sql = "SELECT seq, header, data, digest, subject, version, type, by_key FROM events
                   WHERE seq >= ?1 ORDER BY seq";
        self.each_event(sql, [from.cast_signed()], from, each)
    }

    fn subject_first(&self, namespace: &Namespace, subject: &Subject) -> Result<Option<u64>, Error> {
        self.one(
            "SELECT id FROM subjects WHERE namespace = ?1 AND name = ?2",
            [namespace.as_str(), subject.as_str()],
            || format!("subject `{subject}`"),
            |row| number(row, 0),
        )
    }

    fn type_first(&self, kind: &EventType) -> Result<Option<u64>, Error> {
        self.one(
            "SELECT id FROM types WHERE name = ?1",
            [kind.as_str()],
            || format!("event type `{kind}`"),
            |row| number(row, 0),
        )
    }

    fn subject_version(&self, namespace: &Namespace, subject: &Subject) -> Result<u64, Error> {
        let found = self.one(
            "SELECT max(version) FROM events
             WHERE subject = (SELECT id FROM subjects WHERE namespace = ?1 AND name = ?2)",
            [namespace.as_str(), subject.as_str()],
            || format!("subject `{subject}`"),
            |row| row.get::<_, Option<i64>>(0),
        )?;
        Ok(found.flatten().map_or(0, i64::cast_unsigned))
    }

    fn subject_events(
        &self,
        namespace: &Namespace,
        subject: &Subject,
        page: Page<'_, u64>,
        each: EachEvent<'_>,
    ) -> Result<(), Error> {
        let sql = if page.reverse {
            "SELECT seq, header, data, digest, subject, version, type FROM events
             WHERE subject = (SELECT id FROM subjects WHERE namespace = ?1 AND name = ?2) AND version < ?3
             ORDER BY version DESC LIMIT ?4"
        } else {
            "SELECT seq, header, data, digest, subject, version, type FROM events
             WHERE subject = (SELECT id FROM subjects WHERE namespace = ?1 AND name = ?2) AND version > ?3
             ORDER BY version LIMIT ?4"
        };
        let after = page.after.map_or(if page.reverse { i64::MAX } else { 0 }, |version| clamp(*version));
        let params = params![namespace.as_str(), subject.as_str(), after, limit(page.limit)];
        self.each_event(sql, params, 0, each)
    }

    fn type_events(&self, kind: &EventType, page: Page<'_, u64>, each: EachEvent<'_>) -> Result<(), Error> {
        let sql = if page.reverse {
            "SELECT seq, header, data, digest, subject, version, type FROM events
             WHERE type = (SELECT id FROM types WHERE name = ?1) AND seq < ?2 ORDER BY seq DESC LIMIT ?3"
        } else {
            "SELECT seq, header, data, digest, subject, version, type FROM events
             WHERE type = (SELECT id FROM types WHERE name = ?1) AND seq > ?2 ORDER BY seq LIMIT ?3"
        };
        let after = page.after.map_or(if page.reverse { i64::MAX } else { -1 }, |seq| clamp(*seq));
        self.each_event(sql, params![kind.as_str(), after, limit(page.limit)], 0, each)
    }

    fn key_events(&self, key: KeyId) -> Result<Vec<u64>, Error> {
        let mut seqs = Vec::new();
        let sql = "SELECT seq FROM events WHERE by_key = ?1 ORDER BY seq";
        self.each(sql, [clamp(key.0)], "the index of data keys", |row| number(row, 0), &mut |seq| {
            seqs.push(seq);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(seqs)
    }

    fn state(&self, namespace: &Namespace, kind: &str, key: &str) -> Result<Option<StateRecord>, Error> {
        let Some(id) = self.kind(namespace, kind)? else { return Ok(None) };
        self.one(
            "SELECT version, seq, data_key, sealed FROM state WHERE kind = ?1 AND key = ?2",
            params![id, key],
            || format!("state row `{kind}/{key}`"),
            |row| {
                Ok(StateRecord {
                    namespace: namespace.clone(),
                    kind: kind.to_owned(),
                    key: key.to_owned(),
                    version: number(row, 0)?,
                    seq: number(row, 1)?,
                    data_key: KeyId(number(row, 2)?),
                    sealed: row.get(3)?,
                })
            },
        )
    }

    fn states(
        &self,
        namespace: &Namespace,
        kind: &str,
        page: Page<'_, str>,
        each: Each<'_, StateRecord>,
    ) -> Result<(), Error> {
        let Some(id) = self.kind(namespace, kind)? else { return Ok(()) };
        let from = "FROM state JOIN kinds ON kinds.id = state.kind WHERE state.kind = ?1";
        let sql = match (page.after, page.reverse) {
            (Some(_), false) => format!("SELECT {STATE} {from} AND key > ?2 ORDER BY key LIMIT ?3"),
            (Some(_), true) => format!("SELECT {STATE} {from} AND key < ?2 ORDER BY key DESC LIMIT ?3"),
            (None, false) => format!("SELECT {STATE} {from} AND ?2 IS NULL ORDER BY key LIMIT ?3"),
            (None, true) => format!("SELECT {STATE} {from} AND ?2 IS NULL ORDER BY key DESC LIMIT ?3"),
        };
        let what = format!("state rows of kind `{kind}`");
        self.each(&sql, params![id, page.after, limit(page.limit)], &what, state_record, each)
    }

    fn key_states(&self, key: KeyId, each: Each<'_, StateRecord>) -> Result<(), Error> {
        let sql = format!("SELECT {STATE} FROM state JOIN kinds ON kinds.id = state.kind WHERE data_key = ?1");
        self.each(&sql, [clamp(key.0)], &format!("state rows of data key {key}"), state_record, each)
    }

    fn all_states(&self, each: Each<'_, StateRecord>) -> Result<(), Error> {
        let sql = format!("SELECT {STATE} FROM state JOIN kinds ON kinds.id = state.kind");
        self.each(&sql, [], "state rows", state_record, each)
    }

    fn index(
        &self,
        query: &IndexQuery<'_>,
        page: Page<'_, (Vec<u8>, String)>,
        each: Each<'_, (Vec<u8>, String)>,
    ) -> Result<(), Error> {
        let Some(id) = self.kind(query.namespace, query.kind)? else { return Ok(()) };
        let mut sql = "SELECT value, key FROM state_index WHERE kind = ?1 AND name = ?2 AND value >= ?3".to_owned();
        // Each parameter stands in the statement, so that one list of them serves all forms.
        sql.push_str(if query.to.is_some() { " AND value < ?4" } else { " AND ?4 IS NULL" });
        sql.push_str(match (page.after, page.reverse) {
            (None, _) => " AND ?5 IS NULL AND ?6 IS NULL",
            (Some(_), false) => " AND (value, key) > (?5, ?6)",
            (Some(_), true) => " AND (value, key) < (?5, ?6)",
        });
        sql.push_str(if page.reverse {
            " ORDER BY value DESC, key DESC LIMIT ?7"
        } else {
            " ORDER BY value, key LIMIT ?7"
        });
        let (value, key) = page.after.map_or((None, None), |(value, key)| (Some(value), Some(key)));
        self.each(
            &sql,
            params![id, query.name, query.from, query.to, value, key, limit(page.limit)],
            &format!("index `{}` of `{}`", query.name, query.kind),
            |row| Ok((row.get(0)?, row.get(1)?)),
            each,
        )
    }

    fn all_index(&self, each: Each<'_, IndexRow>) -> Result<(), Error> {
        let sql = "SELECT kinds.namespace, kinds.name, i.name, i.value, i.key FROM state_index i
                   JOIN kinds ON kinds.id = i.kind";
        self.each(
            sql,
            [],
            "index entries",
            |row| {
                Ok(IndexRow {
                    namespace: namespace(row, 0)?,
                    kind: row.get(1)?,
                    name: row.get(2)?,
                    value: row.get(3)?,
                    key: row.get(4)?,
                })
            },
            each,
        )
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRow>, Error> {
        // The lookup value is wanted only where all keys are listed.
        let sql = "SELECT id, namespace, erased, wrapped, NULL FROM keys WHERE id = ?1";
        self.one(sql, [clamp(id.0)], || format!("data key {id}"), key_row)
    }

    fn key_of(&self, lookup: &[u8; 16]) -> Result<Option<KeyRow>, Error> {
        let sql = format!("{KEY} FROM key_lookup JOIN keys ON keys.id = key_lookup.id WHERE key_lookup.lookup = ?1");
        self.one(&sql, [lookup.as_slice()], || "the lookup of data keys".to_owned(), key_row)
    }

    fn keys(&self, after: Option<KeyId>, each: Each<'_, KeyRow>) -> Result<(), Error> {
        let sql = "SELECT id, namespace, erased, wrapped, NULL FROM keys WHERE id > ?1 ORDER BY id";
        self.each(sql, [after.map_or(-1, |id| clamp(id.0))], "data keys", key_row, each)
    }

    fn blob(&self, id: &BlobId) -> Result<Option<BlobRow>, Error> {
        let sql = "SELECT id, data_key, size, stored FROM blobs WHERE id = ?1";
        self.one(sql, [id.0.as_slice()], || format!("blob {id}"), blob_row)
    }

    fn key_blobs(&self, key: KeyId, each: Each<'_, BlobRow>) -> Result<(), Error> {
        let sql = "SELECT id, data_key, size, stored FROM blobs WHERE data_key = ?1";
        self.each(sql, [clamp(key.0)], &format!("blobs of data key {key}"), blob_row, each)
    }

    fn all_blobs(&self, each: Each<'_, BlobRow>) -> Result<(), Error> {
        self.each("SELECT id, data_key, size, stored FROM blobs", [], "blobs", blob_row, each)
    }

    fn label(&self, namespace: &Namespace, id: &LabelId) -> Result<Option<u64>, Error> {
        self.one(
            "SELECT seq FROM labels WHERE namespace = ?1 AND id = ?2",
            params![namespace.as_str(), id.0.as_slice()],
            || format!("label {id}"),
            |row| number(row, 0),
        )
    }

    fn cursor(&self, name: &str) -> Result<Option<u64>, Error> {
        let sql = "SELECT seq FROM cursors WHERE name = ?1";
        self.one(sql, [name], || format!("cursor `{name}`"), |row| number(row, 0))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Error> {
        self.one(
            "SELECT hashes FROM tiles WHERE level = ?1 AND place = ?2",
            params![level, clamp(index)],
            || format!("tile {level}/{index}"),
            |row| row.get(0),
        )
    }

    fn all_tiles(&self, each: EachTile<'_>) -> Result<(), Error> {
        let mut statement = self.statement("SELECT level, place, hashes FROM tiles ORDER BY level, place")?;
        let damaged = |error| fail_at("tiles", error);
        let mut rows = statement.query([]).map_err(damaged)?;
        while let Some(row) = rows.next().map_err(damaged)? {
            let (level, place) = (row.get(0).map_err(damaged)?, number(row, 1).map_err(damaged)?);
            let hashes = row.get_ref(2).map_err(damaged)?;
            let hashes = hashes.as_blob().map_err(|error| damaged(error.into()))?;
            if let ControlFlow::Break(()) = each((level, place, hashes))? {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self, size: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
        self.one(
            "SELECT size, note FROM checkpoints WHERE size <= ?1 ORDER BY size DESC LIMIT 1",
            [clamp(size)],
            || format!("the checkpoint up to {size}"),
            |row| Ok((number(row, 0)?, row.get(1)?)),
        )
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        let mut statement =
            self.connection.prepare("PRAGMA integrity_check(100)").map_err(fail("check the database"))?;
        let lines = statement
            .query_map([], |row| row.get::<_, String>(0))
            .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>);
        match lines {
            Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
            Err(error) => Ok(vec![error.to_string()]),
        }
    }

    fn all_checkpoints(&self, each: EachCheckpoint<'_>) -> Result<(), Error> {
        let mut statement = self.statement("SELECT size, note FROM checkpoints ORDER BY size")?;
        let damaged = |error| fail_at("checkpoints", error);
        let mut rows = statement.query([]).map_err(damaged)?;
        while let Some(row) = rows.next().map_err(damaged)? {
            let size = number(row, 0).map_err(damaged)?;
            let note = row.get_ref(1).map_err(damaged)?;
            let note = note.as_blob().map_err(|error| damaged(error.into()))?;
            if let ControlFlow::Break(()) = each((size, note))? {
                break;
            }
        }
        Ok(())
    }
}

/// Numbers beyond what the engine can hold lie beyond everything stored.
pub(super) fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
