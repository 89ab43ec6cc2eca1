//! The replay of one file: rows become events at the pace of the recording. The position is written in the same
//! commit as the events, so a restart goes on behind the last reading and repeats none.

use std::{collections::VecDeque, fs::File, io, path::Path, sync::Arc};

use nx_journal::{Commit, NewEvent, Precondition, Put};
use nx_types::{EventType, Namespace, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Stamp,
    table::{Row, Table, parse_time},
};
use crate::{
    Error, Options, hash,
    kinds::source::{FileSpec, SourceSpec},
    reflex::service::commit,
    status::{Ready, report},
    store::{Store, event_type, to_bytes},
};

/// Rows that remember how far a source has come.
const POSITION: &str = "source_position";
/// Most rows of one commit.
const BATCH: usize = 64;
/// Rows read from the file in one go.
const READ_AHEAD: usize = 256;

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    /// What is replayed: with another file the replay begins anew.
    identity: String,
    /// Rows of the file that are done with, passed over ones included.
    row: u64,
    /// How often the file has been replayed to its end.
    lap: u64,
    /// Events written.
    events: u64,
    done: bool,
}

/// A replay, as its resource says.
pub(super) struct Replay {
    pub(super) store: Store,
    pub(super) options: Arc<Options>,
    pub(super) namespace: Namespace,
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) spec: SourceSpec,
    pub(super) file: FileSpec,
    pub(super) stop: CancellationToken,
}

impl Replay {
    /// Replays to the end, or until told to stop. What goes wrong is reported as the source's condition.
    pub(super) async fn run(self) {
        loop {
            let (again, ready) = match self.play().await {
                Ok(Some(ready)) => (false, ready),
                Ok(None) | Err(Error::Stopped | Error::Journal(nx_journal::Error::Closed)) => return,
                Err(err) => {
                    let again = nx_types::ErrorCode::retryable(&err);
                    (again, Ready::no("ReplayFailed", err.to_string()))
                }
            };
            self.report(&ready).await;
            if !again {
                return;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(self.options.retry.to_std()) => {}
            }
        }
    }

    async fn report(&self, ready: &Ready) {
        let reported = report(&self.store, &self.namespace, "Source", &self.name, self.generation, ready).await;
        if let Err(err) = reported {
            tracing::warn!(error = %err, source = %self.name, "cannot store a source's status");
        }
    }

    /// The condition at the end; `None` if it was told to stop.
    async fn play(&self) -> Result<Option<Ready>, Error> {
        let stamp = Stamp::new(&self.name, &self.spec)?;
        let kind = self.spec.kind.clone().ok_or_else(|| Error::damaged("the source's spec", "it has no `type`"))?;
        let (mut position, mut version) = self.position().await?;
        if position.done {
            return Ok(Some(complete(&position)));
        }
        let mut rows = Rows::open(self, position.row).await?;
        self.report(&Ready::yes("Replaying", format!("from row {} of `{}`", position.row + 1, self.file.path))).await;
        let mut pace = Pace::new(&self.file);
        loop {
            let Some(first) = rows.peek().await? else {
                let over = !self.file.repeat || rows.is_empty_file();
                self.end(&mut position, &mut version, &stamp, over).await?;
                if over {
                    return Ok(Some(complete(&position)));
                }
                rows = Rows::open(self, 0).await?;
                pace = Pace::new(&self.file);
                continue;
            };
            let due = pace.due(first.time);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep_until(due) => {}
            }
            pace.begin(rows.front_time());
            let mut events = Vec::new();
            while events.len() < BATCH {
                match rows.peek().await {
                    Ok(Some(row)) if events.is_empty() || pace.due(row.time) <= Instant::now() => {}
                    // What was taken is written first; a broken row is met again.
                    _ => break,
                }
                let Some(row) = rows.take() else { break };
                pace.step();
                events.push(self.event(&stamp, &kind, row, rows.done)?);
            }
            position.row = rows.done;
            position.events += events.len() as u64;
            self.write(events, &position, &mut version).await?;
        }
    }

    fn event(&self, stamp: &Stamp, kind: &EventType, row: Row, number: u64) -> Result<NewEvent, Error> {
        let now = self.store.journal().env().now();
        let time = row.time.filter(|_| !self.file.restamp).unwrap_or(now);
        let data = Value::Object(row.data);
        let subject = stamp.subject(kind.as_str(), None, &data, time)?;
        let bytes = to_bytes(&data);
        let max = self.store.journal().options().max_event_bytes;
        if bytes.len() > max {
            let detail = format!("row {number} makes an event of {} bytes, over the bound of {max}", bytes.len());
            return Err(self.broken(detail, false));
        }
        let mut event = NewEvent::new(self.namespace.clone(), kind.clone(), subject, bytes);
        event.occurred = Some(time);
        event.label = Some(stamp.label.clone());
        Ok(event)
    }

    /// The end of the file: recorded, and where to go on from.
    async fn end(&self, position: &mut Position, version: &mut u64, stamp: &Stamp, over: bool) -> Result<(), Error> {
        let data = json!({ "source": self.name, "events": position.events, "lap": position.lap + 1 });
        let (kind, own) = (event_type("source.ended")?, stamp.own().clone());
        let event = NewEvent::new(self.namespace.clone(), kind, own, to_bytes(&data));
        *position = Position { row: 0, lap: position.lap + 1, done: over, ..position.clone() };
        self.write(vec![event], position, version).await
    }

    async fn write(&self, events: Vec<NewEvent>, position: &Position, version: &mut u64) -> Result<(), Error> {
        let (namespace, kind, key) = (self.namespace.clone(), POSITION.to_owned(), self.name.clone());
        let value = serde_json::to_value(position).map_err(|err| Error::damaged("a replay's position", err))?;
        let mut change = Commit::of(events);
        change.preconditions.push(Precondition::StateAt {
            namespace: namespace.clone(),
            kind: kind.clone(),
            key: key.clone(),
            version: *version,
        });
        let data_subject = format!("source/{}", self.name);
        change.puts.push(Put { namespace, kind, key, data_subject, bytes: to_bytes(&value), index: Vec::new() });
        commit(self.store.journal(), change, &self.stop).await?;
        *version += 1;
        Ok(())
    }

    async fn position(&self) -> Result<(Position, u64), Error> {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        let row = self.store.read(move |reader| Ok(reader.state(&namespace, POSITION, &name)?)).await?;
        let identity = self.identity();
        let fresh = Position { identity: identity.clone(), row: 0, lap: 0, events: 0, done: false };
        let Some(row) = row else { return Ok((fresh, 0)) };
        let stored: Position = serde_json::from_slice(&row.bytes)
            .map_err(|err| Error::damaged(format!("state row `{POSITION}/{}`", self.name), err))?;
        Ok((if stored.identity == identity { stored } else { fresh }, row.version))
    }

    /// Pace and naming may change on the way; what is replayed may not.
    fn identity(&self) -> String {
        let file = &self.file;
        let parts = json!([file.path, file.format(), file.time, file.start_at, file.repeat]);
        hash::sha256(parts.to_string().as_bytes(), 8)
    }

    fn broken(&self, detail: String, retryable: bool) -> Error {
        Error::Replay { file: self.file.path.clone(), detail, retryable }
    }
}

fn complete(position: &Position) -> Ready {
    Ready::yes("Complete", format!("{} events", position.events))
}

/// When rows are due.
struct Pace {
    speed: f64,
    interval: Option<std::time::Duration>,
    /// When the first row went out, and its time.
    start: Option<(Instant, Option<Timestamp>)>,
    steps: u32,
}

impl Pace {
    fn new(file: &FileSpec) -> Self {
        let interval = file.interval.map(nx_types::Duration::to_std);
        Self { speed: file.speed.unwrap_or(1.0), interval, start: None, steps: 0 }
    }

    fn due(&self, time: Option<Timestamp>) -> Instant {
        let Some((start, first)) = self.start else { return Instant::now() };
        if let Some(interval) = self.interval {
            return start + interval.saturating_mul(self.steps);
        }
        let (Some(first), Some(time)) = (first, time) else { return start };
        let seconds = time.since(first).as_micros() as f64 / 1e6 / self.speed;
        // A gap of more than a year of replay is none.
        start + std::time::Duration::from_secs_f64(seconds.clamp(0.0, 3.2e7))
    }

    fn begin(&mut self, time: Option<Timestamp>) {
        self.start.get_or_insert_with(|| (Instant::now(), time));
    }

    fn step(&mut self) {
        self.steps = self.steps.saturating_add(1);
    }
}

/// The file's rows, read ahead off the async runtime.
struct Rows {
    table: Ahead,
    ahead: VecDeque<(u64, Row)>,
    start_at: Option<Timestamp>,
    /// Rows read from the file.
    read: u64,
    /// Rows taken or passed over.
    done: u64,
    file: String,
    any: bool,
}

impl Rows {
    /// Opens the file behind the rows that are done with.
    async fn open(replay: &Replay, done: u64) -> Result<Self, Error> {
        let (file, options) = (replay.file.clone(), replay.options.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let content = open(&file.path, &options)?;
            let mut table = Table::open(content, file.format(), file.time.as_deref()).map_err(|err| (err, false))?;
            for _ in 0..done {
                if table.next().map_err(|err| (err, false))?.is_none() {
                    break;
                }
            }
            Ok(table)
        })
        .await
        .map_err(|_err| Error::Stopped)?;
        let table = opened.map_err(|(detail, retryable): (String, bool)| replay.broken(detail, retryable))?;
        Ok(Self {
            table: Ahead::More(table),
            ahead: VecDeque::new(),
            start_at: replay.file.start_at.as_deref().and_then(parse_time),
            read: done,
            done,
            file: replay.file.path.clone(),
            any: done > 0,
        })
    }

    /// Whether the file held no row at all: replaying it again and again would never pause.
    fn is_empty_file(&self) -> bool {
        !self.any
    }

    async fn peek(&mut self) -> Result<Option<&Row>, Error> {
        while self.ahead.is_empty() {
            let table = match std::mem::replace(&mut self.table, Ahead::Over) {
                Ahead::More(table) => table,
                Ahead::Over => return Ok(None),
                Ahead::Broken(detail) => {
                    self.table = Ahead::Broken(detail.clone());
                    return Err(Error::Replay { file: self.file.clone(), detail, retryable: false });
                }
            };
            let (read, start_at) = (self.read, self.start_at);
            let chunk = tokio::task::spawn_blocking(move || read_ahead(table, read, start_at)).await;
            (self.ahead, self.read, self.table) = chunk.map_err(|_err| Error::Stopped)?;
            self.any |= !self.ahead.is_empty();
        }
        Ok(self.ahead.front().map(|(_, row)| row))
    }

    fn front_time(&self) -> Option<Timestamp> {
        self.ahead.front().and_then(|(_, row)| row.time)
    }

    fn take(&mut self) -> Option<Row> {
        let (number, row) = self.ahead.pop_front()?;
        self.done = number;
        Some(row)
    }
}

/// Where reading ahead came to.
enum Ahead {
    /// There is more.
    More(Table),
    /// The end of the file.
    Over,
    /// A row that cannot be read, after those that can.
    Broken(String),
}

/// Rows with their numbers, how many were read, and how it goes on.
fn read_ahead(mut table: Table, mut read: u64, start_at: Option<Timestamp>) -> (VecDeque<(u64, Row)>, u64, Ahead) {
    let mut rows = VecDeque::new();
    for _ in 0..READ_AHEAD {
        let row = match table.next() {
            Ok(Some(row)) => row,
            Ok(None) => return (rows, read, Ahead::Over),
            Err(detail) => return (rows, read, Ahead::Broken(detail)),
        };
        read += 1;
        if start_at.is_none_or(|start| row.time.is_none_or(|time| time >= start)) {
            rows.push_back((read, row));
        }
    }
    (rows, read, Ahead::More(table))
}

type Content = Box<dyn io::Read + Send>;

/// Opens what a path names: a file within the binary, or one within an allowed folder.
fn open(path: &str, options: &Options) -> Result<Content, (String, bool)> {
    if let Some(name) = path.strip_prefix("embedded:") {
        let known = options.embedded.keys().map(String::as_str);
        return match options.embedded.get(name) {
            Some(bytes) => Ok(Box::new(io::Cursor::new(*bytes))),
            None => {
                let meant =
                    nx_types::kind::nearest(name, known).map(|name| format!("; did you mean `embedded:{name}`?"));
                Err((format!("there is no embedded file `{name}`{}", meant.unwrap_or_default()), false))
            }
        };
    }
    let real = Path::new(path).canonicalize().map_err(|err| (format!("it cannot be opened: {err}"), true))?;
    let allowed = options.file_roots.iter().filter_map(|root| root.canonicalize().ok());
    if !allowed.into_iter().any(|root| real.starts_with(root)) {
        return Err((
            "it is not within a folder that this server may replay from; name one at its start".to_owned(),
            false,
        ));
    }
    let file = File::open(&real).map_err(|err| (format!("it cannot be opened: {err}"), true))?;
    if !file.metadata().map_err(|err| (format!("it cannot be read: {err}"), true))?.is_file() {
        return Err(("it is not a file".to_owned(), false));
    }
    Ok(Box::new(io::BufReader::new(file)))
}
