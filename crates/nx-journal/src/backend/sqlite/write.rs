//! Writing rows.

use std::sync::{Arc, atomic::Ordering};

use nx_types::{BlobId, Digest, Epoch, EventType, KeyId, LabelId, Namespace};
use rusqlite::{Params, params};

use super::{
    SqliteBackend,
    beside::Written,
    fail, gaps, room,
    rows::{REFERENCE_BYTES, Sql, clamp, read_reference},
    schema::{self, PAGE_BYTES},
    short::{self, Facts},
};
use crate::{
    Error, IndexEntry,
    backend::{Backend, BlobRow, Blobs, EventInsert, KeyRow, Rows, Source, StateRecord},
    cache::Cache,
};

/// Longer sealed data is cut into pieces that fill pages, so that no page is left half empty.
const INLINE_BYTES: usize = 512;

/// What the writer remembers between groups; forgotten when a group fails.
#[derive(Debug)]
pub(super) struct Names {
    /// A subject's id, and the origin that its first event names.
    subjects: Cache<String, (i64, Option<[u8; 16]>)>,
    types: Cache<EventType, i64>,
    kinds: Cache<String, i64>,
    scratch: String,
    header: Vec<u8>,
    next_piece: i64,
    /// Bytes that the last page of `pieces` can still take, as far as we know.
    page_left: usize,
}

impl Names {
    pub(super) fn read(sql: &Sql, bound: usize) -> Result<Self, Error> {
        let next_piece = next_piece(sql)?;
        Ok(Self {
            subjects: Cache::new(bound),
            types: Cache::new(bound),
            kinds: Cache::new(bound),
            scratch: String::new(),
            header: Vec::new(),
            next_piece,
            page_left: 0,
        })
    }

    fn scratch(&mut self, namespace: &Namespace, name: &str) {
        self.scratch.clear();
        self.scratch.push_str(namespace.as_str());
        self.scratch.push('\0');
        self.scratch.push_str(name);
    }
}

fn next_piece(sql: &Sql) -> Result<i64, Error> {
    let mut statement = sql.statement("SELECT coalesce(max(id), 0) + 1 FROM pieces")?;
    statement.query_row([], |row| row.get(0)).map_err(fail("read the last piece"))
}

impl SqliteBackend {
    fn execute(&self, sql: &str, params: impl Params, what: &'static str) -> Result<usize, Error> {
        self.sql.statement(sql)?.execute(params).map_err(|error| {
            let exhausted = room::is_suspect(&error) && room::is_exhausted(&self.log);
            if exhausted { Error::DiskFull } else { fail(what)(error) }
        })
    }

    /// The subject's id, and the origin that its first event names, if that is an earlier one.
    fn subject(&mut self, event: &EventInsert<'_>) -> Result<(i64, Option<[u8; 16]>), Error> {
        let (namespace, subject) = (event.namespace, event.subject);
        self.names.scratch(namespace, subject.as_str());
        if let Some(found) = self.names.subjects.get(self.names.scratch.as_str()) {
            return Ok(found);
        }
        let mut origin = short::origin_of(event.header);
        let mut id = event.seq.cast_signed();
        let sql = "INSERT INTO subjects(namespace, name, id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let names = (namespace.as_str(), subject.as_str());
        // Its version says whether the subject is new: only the first event makes its row.
        if event.version > 1 || self.execute(sql, params![names.0, names.1, id], "store a subject")? == 0 {
            let mut statement = self.sql.statement("SELECT id FROM subjects WHERE namespace = ?1 AND name = ?2")?;
            id = statement.query_row([names.0, names.1], |row| row.get(0)).map_err(fail("read a subject"))?;
        }
        if id != event.seq.cast_signed() {
            origin = self.sql.of_subject(id)?.map(|shared| shared.origin);
        }
        self.names.subjects.set(&self.names.scratch, (id, origin));
        Ok((id, origin))
    }

    fn event_type(&mut self, event: &EventInsert<'_>) -> Result<i64, Error> {
        if let Some(id) = self.names.types.get(event.kind) {
            return Ok(id);
        }
        let sql = "INSERT INTO types(name, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.execute(sql, params![event.kind.as_str(), event.seq.cast_signed()], "store an event type")?;
        let mut statement = self.sql.statement("SELECT id FROM types WHERE name = ?1")?;
        let id = statement.query_row([event.kind.as_str()], |row| row.get(0)).map_err(fail("read an event type"))?;
        self.names.types.insert(event.kind.clone(), id);
        Ok(id)
    }

    fn kind(&mut self, namespace: &Namespace, kind: &str) -> Result<i64, Error> {
        self.names.scratch(namespace, kind);
        if let Some(id) = self.names.kinds.get(self.names.scratch.as_str()) {
            return Ok(id);
        }
        let id = match self.sql.kind(namespace, kind)? {
            Some(id) => id,
            None => {
                let sql = "INSERT INTO kinds(namespace, name) VALUES (?1, ?2)";
                self.execute(sql, [namespace.as_str(), kind], "store a state kind")?;
                self.sql.connection.last_insert_rowid()
            }
        };
        self.names.kinds.set(&self.names.scratch, id);
        Ok(id)
    }

    /// Cuts data into pieces that fill the pages of `pieces` to the brim, and gives what stands in its place.
    fn store_pieces(&mut self, sealed: &[u8]) -> Result<[u8; REFERENCE_BYTES], Error> {
        // A leaf page holds 8 bytes of its own; a cell costs its pointer (2), two varints and the record's header.
        const PAGE: usize = PAGE_BYTES - 8;
        const CELL: usize = 2 + 2 + 9 + 4;
        const WORTH_IT: usize = 96;
        let first = self.names.next_piece;
        let mut rest = sealed;
        while !rest.is_empty() {
            if self.names.page_left < CELL + WORTH_IT.min(rest.len()) {
                self.names.page_left = PAGE;
            }
            let take = rest.len().min(self.names.page_left - CELL).min(PAGE - CELL - 16);
            let (piece, tail) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            let sql = "INSERT INTO pieces(id, bytes) VALUES (?1, ?2)";
            self.execute(sql, params![self.names.next_piece, piece], "store a piece")?;
            self.names.next_piece += 1;
            self.names.page_left = self.names.page_left.saturating_sub(take + CELL);
            rest = tail;
        }
        let mut reference = [0; REFERENCE_BYTES];
        reference[..8].copy_from_slice(&first.to_be_bytes());
        reference[8..].copy_from_slice(&(sealed.len() as u32).to_be_bytes());
        Ok(reference)
    }

    fn checkpoint(&self, mode: &str) -> Result<bool, Error> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let busy: i64 = self
            .sql
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(fail("write the write-ahead log back"))?;
        Ok(busy == 0)
    }
}

impl Backend for SqliteBackend {
    fn rows(&self) -> &dyn Rows {
        &self.sql
    }

    fn raise_epoch(&mut self) -> Result<Epoch, Error> {
        self.execute("BEGIN IMMEDIATE", [], "begin")?;
        let raised = self.read_epoch().and_then(|found| {
            let next = Epoch(found.0 + 1);
            self.put_meta("epoch", &next.0.to_le_bytes())?;
            self.commit().map(|()| next)
        });
        if raised.is_err() {
            self.rollback();
        }
        raised
    }

    fn begin(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.execute("BEGIN IMMEDIATE", [], "begin")?;
        let checked = match self.read_epoch() {
            Ok(found) if found == epoch => Ok(()),
            Ok(found) => Err(Error::Fenced { ours: epoch, found }),
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.rollback();
        }
        checked
    }

    fn commit(&mut self) -> Result<(), Error> {
        let before = self.log_frames.load(Ordering::Relaxed);
        self.execute("COMMIT", [], "commit")?;
        if self.log_frames.load(Ordering::Relaxed) < before {
            // The log was started anew.
            self.checkpoint_at = self.checkpoint_frames;
        }
        Ok(())
    }

    fn rollback(&mut self) {
        // A failed statement may have ended the transaction already.
        if !self.sql.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK", [], "roll back")
        {
            tracing::error!(%error, "the transaction cannot be rolled back");
        }
        self.names.subjects.clear();
        self.names.types.clear();
        self.names.kinds.clear();
        self.names.page_left = 0;
        self.sql.forget();
        if let Ok(next) = next_piece(&self.sql) {
            self.names.next_piece = next;
        }
    }

    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO meta(name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
        self.execute(sql, params![name, value], "store a value of the log").map(drop)
    }

    fn insert_event(&mut self, event: &EventInsert<'_>) -> Result<(), Error> {
        let (subject, origin) = self.subject(event)?;
        let kind = self.event_type(event)?;
        let reference;
        let data = if event.sealed.len() > INLINE_BYTES {
            reference = self.store_pieces(event.sealed)?;
            &reference
        } else {
            event.sealed
        };
        let seq = clamp(event.seq);
        self.names.header.clear();
        // The first events of a subject and of a type are what the others' short headers lean on.
        let short = origin.as_ref().filter(|_| seq != subject && seq != kind).is_some_and(|origin| {
            let facts = Facts {
                seq: event.seq,
                version: event.version,
                origin,
                namespace: event.namespace.as_str(),
                kind: event.kind.as_str(),
                subject: event.subject.as_str(),
            };
            short::shorten(event.header, &facts, &mut self.names.header)
        });
        let header = if short { &self.names.header } else { event.header };
        let sql = "INSERT INTO events(seq, subject, version, type, by_key, header, data)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let by_key = event.by_key.map(|key| clamp(key.0));
        let params = params![seq, subject, clamp(event.version), kind, by_key, header, data];
        self.execute(sql, params, "store an event").map(drop)
    }

    fn erase_event(&mut self, seq: u64, digest: &Digest) -> Result<(), Error> {
        let mut statement = self.sql.statement("SELECT data FROM events WHERE seq = ?1")?;
        let data: Option<Vec<u8>> =
            statement.query_row([clamp(seq)], |row| row.get(0)).map_err(fail("read an event"))?;
        if let Some((first, bytes)) =
            data.filter(|data| data.len() == REFERENCE_BYTES).as_deref().and_then(read_reference)
        {
            self.delete_pieces(first, bytes)?;
        }
        let sql = "UPDATE events SET data = NULL, digest = ?2 WHERE seq = ?1";
        self.execute(sql, params![clamp(seq), digest.0.as_slice()], "erase an event").map(drop)
    }

    fn put_state(&mut self, row: &StateRecord) -> Result<(), Error> {
        let kind = self.kind(&row.namespace, &row.kind)?;
        let sql = if row.version == 1 {
            "INSERT INTO state(kind, key, version, seq, data_key, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        } else {
            "UPDATE state SET version = ?3, seq = ?4, data_key = ?5, sealed = ?6 WHERE kind = ?1 AND key = ?2"
        };
        let (version, seq, data_key) = (clamp(row.version), clamp(row.seq), clamp(row.data_key.0));
        let params = params![kind, row.key, version, seq, data_key, row.sealed];
        if self.execute(sql, params, "store a state row")? == 1 {
            Ok(())
        } else {
            Err(Error::corrupt(format!("state row `{}/{}`", row.kind, row.key), "its former version is missing"))
        }
    }

    fn delete_state(&mut self, namespace: &Namespace, kind: &str, key: &str) -> Result<(), Error> {
        let kind = self.kind(namespace, kind)?;
        self.execute("DELETE FROM state WHERE kind = ?1 AND key = ?2", params![kind, key], "remove a state row")
            .map(drop)
    }

    fn insert_index(&mut self, namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> Result<(), Error> {
        let kind = self.kind(namespace, kind)?;
        let sql = "INSERT OR IGNORE INTO state_index(kind, name, value, key) VALUES (?1, ?2, ?3, ?4)";
        self.execute(sql, params![kind, entry.name, entry.value, key], "store an index entry").map(drop)
    }

    fn delete_index(&mut self, namespace: &Namespace, kind: &str, key: &str, entry: &IndexEntry) -> Result<(), Error> {
        let kind = self.kind(namespace, kind)?;
        let sql = "DELETE FROM state_index WHERE kind = ?1 AND name = ?2 AND value = ?3 AND key = ?4";
        self.execute(sql, params![kind, entry.name, entry.value, key], "remove an index entry").map(drop)
    }

    fn insert_key(&mut self, row: &KeyRow) -> Result<(), Error> {
        let wrapped = row.wrapped.as_deref().unwrap_or_default();
        let sql = "INSERT INTO keys(id, namespace, wrapped, erased) VALUES (?1, ?2, ?3, ?4)";
        let params = params![clamp(row.id.0), row.namespace.as_str(), wrapped, row.wrapped.is_none()];
        self.execute(sql, params, "store a data key")?;
        if row.wrapped.is_none() {
            return Ok(());
        }
        let sql = "INSERT INTO key_lookup(lookup, id) VALUES (?1, ?2)";
        self.execute(sql, params![row.lookup.as_slice(), clamp(row.id.0)], "store a data key").map(drop)
    }

    fn rewrap_key(&mut self, id: KeyId, wrapped: &[u8]) -> Result<(), Error> {
        let sql = "UPDATE keys SET wrapped = ?2 WHERE id = ?1";
        self.execute(sql, params![clamp(id.0), wrapped], "store a data key").map(drop)
    }

    fn erase_key(&mut self, id: KeyId, lookup: &[u8; 16]) -> Result<(), Error> {
        self.execute("DELETE FROM key_lookup WHERE lookup = ?1", [lookup.as_slice()], "erase a data key")?;
        // As many zeros: the engine overwrites a cell of equal length in place, so no copy is left behind.
        let sql = "UPDATE keys SET wrapped = zeroblob(length(wrapped)), erased = 1 WHERE id = ?1";
        self.execute(sql, [clamp(id.0)], "erase a data key").map(drop)
    }

    fn insert_blob(&mut self, row: &BlobRow) -> Result<(), Error> {
        let sql = "INSERT OR IGNORE INTO blobs(id, data_key, size, stored) VALUES (?1, ?2, ?3, ?4)";
        let (key, size) = (clamp(row.key.0), clamp(row.size));
        self.execute(sql, params![row.id.0.as_slice(), key, size, row.stored.as_micros()], "store a blob's row")
            .map(drop)
    }

    fn delete_blob(&mut self, id: &BlobId) -> Result<(), Error> {
        self.execute("DELETE FROM blobs WHERE id = ?1", [id.0.as_slice()], "remove a blob's row").map(drop)
    }

    fn put_label(&mut self, namespace: &Namespace, id: &LabelId, seq: u64) -> Result<(), Error> {
        let sql = "INSERT INTO labels(namespace, id, seq) VALUES (?1, ?2, ?3)";
        self.execute(sql, params![namespace.as_str(), id.0.as_slice(), clamp(seq)], "store a label").map(drop)
    }

    fn put_cursor(&mut self, name: &str, seq: u64) -> Result<(), Error> {
        let sql = "INSERT INTO cursors(name, seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seq = ?2";
        self.execute(sql, params![name, clamp(seq)], "store a cursor").map(drop)
    }

    fn put_tile(&mut self, level: u8, index: u64, hashes: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO tiles(level, place, hashes) VALUES (?1, ?2, ?3)";
        self.execute(sql, params![level, clamp(index), hashes], "store a tile").map(drop)
    }

    fn put_checkpoint(&mut self, size: u64, note: &[u8]) -> Result<(), Error> {
        let sql = "INSERT INTO checkpoints(size, note) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET note = ?2";
        self.execute(sql, params![clamp(size), note], "store a checkpoint").map(drop)
    }

    fn scrub(&mut self) -> Result<bool, Error> {
        self.beside.settle();
        let patience = |millis| {
            let wait = std::time::Duration::from_millis(millis);
            self.sql.connection.busy_timeout(wait).map_err(fail("configure the database"))
        };
        // A reader may hold the log for long; the writer has other work meanwhile.
        patience(50)?;
        let emptied = self.checkpoint("TRUNCATE");
        patience(schema::BUSY_MILLIS)?;
        let emptied = emptied?;
        if emptied {
            self.log_frames.store(0, Ordering::Relaxed);
            self.checkpoint_at = self.checkpoint_frames;
            self.overwrite_gaps()?;
        }
        Ok(emptied)
    }

    fn tidy(&mut self) -> Result<(), Error> {
        let frames = self.log_frames.load(Ordering::Relaxed);
        if frames < self.checkpoint_at {
            return Ok(());
        }
        let written = self.beside.write_back();
        if let Ok(Written::NotYet) = written {
            return Ok(());
        }
        // What came meanwhile is little; with it in its place as well, the log begins anew with the next group. Where a
        // reader keeps it from that, it is not tried again with every group.
        self.checkpoint_at = frames + self.checkpoint_frames / 4;
        if let Err(error) = written {
            tracing::warn!(%error, "the write-ahead log could not be written back beside the writer, which does it now");
        }
        self.checkpoint("PASSIVE")?;
        Ok(())
    }

    fn source(&self) -> Arc<dyn Source> {
        self.shared_source()
    }

    fn blobs(&self) -> Arc<dyn Blobs> {
        self.shared_blobs()
    }
}

impl SqliteBackend {
    fn read_epoch(&self) -> Result<Epoch, Error> {
        let bytes = self.sql.meta("epoch")?.ok_or_else(|| Error::corrupt("the epoch", "it is missing"))?;
        let bytes = bytes.as_slice().try_into().map_err(|_err| Error::corrupt("the epoch", "it is not 8 bytes"))?;
        Ok(Epoch(u64::from_le_bytes(bytes)))
    }

    fn delete_pieces(&self, first: i64, bytes: usize) -> Result<(), Error> {
        let (mut id, mut left) = (first, bytes);
        while left > 0 {
            let mut statement = self.sql.statement("DELETE FROM pieces WHERE id = ?1 RETURNING length(bytes)")?;
            let gone: i64 = statement.query_row([id], |row| row.get(0)).map_err(fail("remove a piece"))?;
            left = left.saturating_sub(gone.cast_unsigned() as usize);
            id += 1;
        }
        Ok(())
    }

    /// Overwrites what is left in the pages of tables that hold keys, and names in clear.
    fn overwrite_gaps(&self) -> Result<(), Error> {
        let sql =
            "SELECT rootpage FROM sqlite_schema WHERE tbl_name IN ('state', 'state_index', 'keys') AND rootpage > 0";
        let roots = {
            let mut statement = self.sql.statement(sql)?;
            let roots = statement.query_map([], |row| row.get::<_, i64>(0).map(i64::cast_unsigned));
            roots.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>).map_err(fail("read the tables' places"))?
        };
        // Pages held in memory would bring their gaps back when they are written the next time.
        self.sql.connection.execute_batch("PRAGMA shrink_memory").map_err(fail("let go of pages"))?;
        let pages = gaps::overwrite(&self.file, &roots)?;
        tracing::debug!(pages, "gaps of pages were overwritten");
        Ok(())
    }
}
