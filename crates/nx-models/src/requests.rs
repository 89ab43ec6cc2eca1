//! Models that are asked by the log: an event `model.requested`, from a reflex or a run, is answered by one event
//! `model.decided` or `model.failed`, whatever is killed meanwhile. The answer is in one commit with the note that the request
//! was answered: where the reading position stands, and a row for each answer ahead of it.
//!
//! Requests are answered side by side, so that a slow model keeps no other's requests waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration as StdDuration,
};

use nx_journal::{Cause, Commit, Delete, Event, Filter, Journal, NewEvent, Put};
use nx_types::{BlobId, Duration, ErrorCode as _, EventType, Namespace, RunId, Seq, SharedLabel, Subject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Handle, InferRequest,
    form::{self, SampleForm},
    store,
};

/// What asks.
const REQUESTED: &str = "model.requested";
/// What says that there will be no decision.
const FAILED: &str = "model.failed";
const CURSOR: &str = "models/requested";
/// Rows of this kind, their keys places in the log, note requests that were answered ahead of the reading position.
const ROW: &str = "model_answered";
/// Bytes of what a decision carries on.
const MAX_CONTEXT: usize = 1024;
/// Requests that are answered at once.
const AT_ONCE: usize = 64;
/// How long a request waits for a full queue, or for memory, before it fails.
const PATIENCE: StdDuration = StdDuration::from_mins(1);
/// Waits between tries: the first, and the longest.
const AGAIN: (StdDuration, StdDuration) = (StdDuration::from_millis(20), StdDuration::from_secs(2));

/// The step of a run that asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The run.
    pub(crate) run: RunId,
    /// The step's ordinal.
    pub(crate) step: u64,
}

/// What the event says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    model: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    input: Option<SampleForm>,
    #[serde(default)]
    inputs: Option<BTreeMap<String, SampleForm>>,
    #[serde(default)]
    deadline_ms: Option<u64>,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    context: Option<Value>,
    #[serde(default)]
    asked: Option<Asked>,
}

/// What a decision is told beside its inputs, and tells on.
#[derive(Debug, Default)]
pub(crate) struct Told<'a> {
    /// The step of a run that waits for the answer, which is recorded whole then.
    pub(crate) asked: Option<&'a Asked>,
    /// What whoever asked would have carried on.
    pub(crate) context: Option<&'a Value>,
}

/// The data of an event that is too large for one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    #[serde(rename = "$blob")]
    blob: BlobId,
}

/// What came of a request.
#[derive(Debug)]
struct Answered {
    namespace: Namespace,
    request: Seq,
    /// None where the request was erased, or the server is stopping.
    event: Option<NewEvent>,
    /// It must be asked again at the next start.
    left: bool,
}

/// Answers the requests of a log.
#[derive(Debug)]
pub(crate) struct Requests {
    models: Handle,
    journal: Journal,
    stop: CancellationToken,
    /// Requests that were read and are not behind the reading position: whether each is answered.
    window: BTreeMap<Seq, bool>,
    /// Those of them that a row notes.
    noted: BTreeMap<Seq, Namespace>,
}

impl Requests {
    pub(crate) fn new(models: Handle, journal: Journal, stop: CancellationToken) -> Self {
        Self { models, journal, stop, window: BTreeMap::new(), noted: BTreeMap::new() }
    }

    /// Runs until it is told to stop or the log closes.
    pub(crate) async fn run(mut self) {
        match self.follow().await {
            Ok(()) | Err(Error::Journal(nx_journal::Error::Closed)) => {}
            Err(error) => tracing::error!(%error, "requests for models are not read any more"),
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let journal = self.journal.clone();
        let from = store::blocking(move || Ok(journal.cursor(CURSOR)?)).await?.unwrap_or(Seq(0));
        let filter = Filter { types: vec![REQUESTED.to_owned()], ..Filter::default() };
        let (mut events, begun) = (self.journal.subscribe(from, filter), self.journal.head());
        let mut asking = JoinSet::new();
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(first) = asking.join_next() => {
                    let mut answers = vec![first];
                    answers.extend(std::iter::from_fn(|| asking.try_join_next()));
                    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>().map_err(|_lost| Error::Stopped)?;
                    let position = events.position();
                    self.note(answers, position).await?;
                }
                batch = events.next(), if asking.len() < AT_ONCE => {
                    for event in batch? {
                        // What was read before a restart may have been answered before it.
                        if event.header.kind.as_str() != REQUESTED || (event.seq() < begun && self.known(&event).await?) {
                            continue;
                        }
                        self.window.insert(event.seq(), false);
                        asking.spawn(answer(self.models.clone(), event, stop.clone()));
                    }
                }
            }
        }
    }

    /// Whether a row notes that a request was answered.
    async fn known(&mut self, event: &Event) -> Result<bool, Error> {
        let (reader, namespace, seq) = (self.journal.reader(), event.header.namespace.clone(), event.seq());
        let row = store::blocking(move || Ok(reader.state(&namespace, ROW, &key(seq))?)).await?;
        if row.is_some() {
            self.window.insert(seq, true);
            self.noted.insert(seq, event.header.namespace.clone());
        }
        Ok(row.is_some())
    }

    /// Writes answers, and that they were given. What the disk refuses for now is tried again until it is written.
    async fn note(&mut self, answers: Vec<Answered>, position: Seq) -> Result<(), Error> {
        let mut commit = Commit::default();
        let mut fresh = Vec::new();
        for Answered { namespace, request, event, left } in answers {
            if left {
                continue;
            }
            self.window.insert(request, true);
            if let Some(event) = event {
                commit.events.push(event);
                fresh.push((request, namespace));
            }
        }
        while self.window.first_key_value().is_some_and(|(_, answered)| *answered) {
            self.window.pop_first();
        }
        let low = self.window.first_key_value().map_or(position, |(first, _)| *first);
        if commit.events.is_empty() {
            return Ok(());
        }
        commit.cursors.push((CURSOR.to_owned(), low));
        for (request, namespace) in fresh.into_iter().filter(|(request, _)| *request >= low) {
            commit.puts.push(Put {
                namespace: namespace.clone(),
                kind: ROW.to_owned(),
                key: key(request),
                data_subject: "model/requested".to_owned(),
                bytes: Vec::new(),
                index: Vec::new(),
            });
            self.noted.insert(request, namespace);
        }
        let behind: BTreeSet<Seq> = self.noted.range(..low).map(|(seq, _)| *seq).collect();
        for seq in behind {
            if let Some(namespace) = self.noted.remove(&seq) {
                commit.deletes.push(Delete { namespace, kind: ROW.to_owned(), key: key(seq) });
            }
        }
        let mut pause = AGAIN.0;
        loop {
            match self.journal.commit(commit.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.retryable() => {
                    tracing::warn!(%error, "answers of models cannot be written for now");
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(AGAIN.1);
                }
                Err(error @ (nx_journal::Error::TooLarge { .. } | nx_journal::Error::Invalid { .. })) => {
                    tracing::error!(%error, "the log refused answers of models");
                    self.journal.commit(refused(commit, &error)?).await?;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The same commit with failures in the place of answers, which the log refused for good.
fn refused(mut commit: Commit, error: &nx_journal::Error) -> Result<Commit, Error> {
    for event in &mut commit.events {
        let answer: Value = serde_json::from_slice(&event.data).unwrap_or_default();
        let mut data = json!({ "model": answer["model"], "code": error.code().as_str(), "message": error.to_string() });
        for field in ["asked", "by", "context"] {
            if let Some(value) = answer.get(field) {
                data[field] = value.clone();
            }
        }
        event.kind = EventType::new(FAILED).map_err(|error| Error::damaged("a failure", error))?;
        event.data = data.to_string().into_bytes();
        event.blobs.clear();
    }
    Ok(commit)
}

fn key(seq: Seq) -> String {
    format!("{:020}", seq.0)
}

/// Asks for one request.
async fn answer(models: Handle, event: Event, stop: CancellationToken) -> Answered {
    let (namespace, request) = (event.header.namespace.clone(), event.seq());
    let begun = Instant::now();
    let mut pause = AGAIN.0;
    let (event, left) = loop {
        match ask(&models, &event).await {
            Ok(event) => break (event, false),
            Err(error) if error.retryable() && begun.elapsed() < PATIENCE => {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break (None, true),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(AGAIN.1);
            }
            Err(_) if stop.is_cancelled() => break (None, true),
            Err(error) => break (failed(&models, &event, &error).await, false),
        }
    };
    Answered { namespace, request, event, left }
}

/// The decision about a request; none where it was erased.
async fn ask(models: &Handle, event: &Event) -> Result<Option<NewEvent>, Error> {
    let Some(wanted) = said(models, event).await? else { return Ok(None) };
    let wanted: Wanted = serde_json::from_value(wanted).map_err(|error| unread(&error))?;
    let samples = match (wanted.input, wanted.inputs) {
        (Some(input), None) => BTreeMap::from([(String::new(), input)]),
        (None, Some(inputs)) => inputs,
        _ => return Err(Error::invalid("request", REQUESTED, "needs one of `input` and `inputs`")),
    };
    if wanted.context.as_ref().is_some_and(|context| context.to_string().len() > MAX_CONTEXT) {
        return Err(Error::invalid("context", "", format!("has more than {MAX_CONTEXT} bytes")));
    }
    let samples = store::blocking(move || form::samples(samples)).await?;
    let request = InferRequest {
        namespace: event.header.namespace.clone(),
        model: wanted.model.parse()?,
        samples,
        deadline: wanted.deadline_ms.map(Duration::from_millis),
        subject: wanted.subject,
        cause: Some(event.seq()),
        stream: None,
        by: wanted.by.unwrap_or_else(|| event.header.subject.to_string()),
    };
    let told = Told { asked: wanted.asked.as_ref(), context: wanted.context.as_ref() };
    Ok(Some(models.decide(request, told).await?.0))
}

/// What a request says, fetched from its blob if it stands there.
async fn said(models: &Handle, event: &Event) -> Result<Option<Value>, Error> {
    let Some(data) = event.data.bytes() else { return Ok(None) };
    let data = data.to_vec();
    if !data.starts_with(b"{\"$blob\"") {
        return serde_json::from_slice(&data).map(Some).map_err(|error| unread(&error));
    }
    let Outside { blob } = serde_json::from_slice(&data).map_err(|error| unread(&error))?;
    let reader = models.reader();
    let data = store::blocking(move || Ok(reader.blob(&blob)?)).await?;
    data.map(|data| serde_json::from_slice(&data).map_err(|error| unread(&error))).transpose()
}

fn unread(error: &serde_json::Error) -> Error {
    Error::invalid("request", REQUESTED, format!("cannot be read: {error}"))
}

/// What is recorded of a request that cannot be met. The request's label stands on it too.
async fn failed(models: &Handle, event: &Event, error: &Error) -> Option<NewEvent> {
    let header = &event.header;
    let said = said(models, event).await.ok().flatten().unwrap_or_default();
    let text = |field: &str| said.get(field).and_then(Value::as_str);
    let model = text("model").unwrap_or_default();
    let subject = text("subject").and_then(|subject| crate::service::subject_of(model, Some(subject)).ok());
    let subject =
        subject.or_else(|| Subject::new(&format!("model/{model}")).ok()).or_else(|| Subject::new("model").ok())?;
    let mut data = json!({ "model": model, "code": error.code().as_str(), "message": error.to_string() });
    data["by"] = json!(text("by").map_or_else(|| header.subject.to_string(), str::to_owned));
    for field in ["asked", "context"] {
        if let Some(value) = said.get(field).filter(|value| value.to_string().len() <= MAX_CONTEXT) {
            data[field] = value.clone();
        }
    }
    tracing::warn!(%error, seq = header.seq.0, "a model that was asked by the log gave no answer");
    let kind = EventType::new(FAILED).ok()?;
    let mut failed = NewEvent::new(header.namespace.clone(), kind, subject, data.to_string().into_bytes());
    failed.causation = Cause::Local(event.seq());
    failed.trace = header.trace;
    failed.label = models.label_of(header).await.map(SharedLabel::new);
    Some(failed)
}
