//! What models have answered: `model.decided` and `model.failed` that name the step of a run which asked. The position is kept,
//! and reading an event twice answers nothing twice.

use neuraxis_sdk::frames::StepError;
use nx_journal::{Event, Filter, Journal};
use nx_types::{BlobId, ErrorCode as _, RunId, Seq, SharedLabel};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Handle, ModelAnswer};
use crate::{error::Error, machine::Recorded};

const DECIDED: &str = "model.decided";
const FAILED: &str = "model.failed";
const CURSOR: &str = "runs.answered";
/// The name of a step's error whose model did not answer.
const ERROR: &str = "InferenceFailed";
/// How far the position must have moved to be stored although no answer was for a run.
const SAVE_DISTANCE: u64 = 4096;

#[derive(Debug)]
pub(super) struct Answered {
    journal: Journal,
    handle: Handle,
}

/// The step that asked.
#[derive(Debug, Deserialize)]
struct Asked {
    run: RunId,
    step: u64,
}

/// What the event says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    asked: Option<Asked>,
    #[serde(default)]
    answer: Option<Value>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl Answered {
    pub(super) fn new(journal: Journal, handle: Handle) -> Self {
        Self { journal, handle }
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            result = self.follow() => {
                if let Err(error) = result {
                    tracing::error!(%error, "answers of models are not read any more");
                }
            }
        }
    }

    async fn follow(&self) -> Result<(), Error> {
        let journal = self.journal.clone();
        let from = self.handle.read(move |_reader| Ok(journal.cursor(CURSOR)?)).await?.unwrap_or(Seq(0));
        let filter = Filter { types: vec![DECIDED.to_owned(), FAILED.to_owned()], ..Filter::default() };
        let (mut events, mut saved) = (self.journal.subscribe(from, filter), from);
        loop {
            let batch = match events.next().await {
                Ok(batch) => batch,
                Err(nx_journal::Error::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let mut handed = false;
            for event in batch {
                handed |= self.hand_over(&event).await?;
            }
            let position = events.position();
            // Most decisions are nobody's step: they are not worth a write each.
            if handed || position.0.saturating_sub(saved.0) >= SAVE_DISTANCE {
                self.journal.store_cursor(CURSOR, position).await?;
                saved = position;
            }
        }
    }

    /// Hands an answer to the step that asked; whether there is one.
    async fn hand_over(&self, event: &Event) -> Result<bool, Error> {
        let header = &event.header;
        if ![DECIDED, FAILED].contains(&header.kind.as_str()) {
            return Ok(false);
        }
        let Some(Ok(said)) = event.data.bytes().map(serde_json::from_slice::<Said>) else { return Ok(false) };
        let Some(Asked { run, step }) = said.asked else { return Ok(false) };
        let outcome = match header.kind.as_str() {
            DECIDED => self.value(said.answer, header.seq).await?,
            _ => Recorded::Error(error(
                format!("{}: {}", said.model.unwrap_or_default(), said.message.unwrap_or_default()),
                said.code,
            )),
        };
        let label = match header.label {
            Some(id) => {
                let namespace = header.namespace.clone();
                let found = self.handle.read(move |reader| Ok(reader.label(&namespace, &id)?)).await?;
                Some(SharedLabel::new(found.ok_or_else(|| Error::value(format!("label `{id}` is not in the log")))?))
            }
            None => None,
        };
        let answer = ModelAnswer { namespace: header.namespace.clone(), run, step, place: header.seq, label, outcome };
        let mut wait = tokio::time::Duration::from_millis(100);
        loop {
            match self.handle.answered(answer.clone()).await {
                Ok(()) => return Ok(true),
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) if error.retryable() => {
                    tracing::warn!(seq = header.seq.0, %error, "a model's answer has to wait");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(tokio::time::Duration::from_secs(10));
                }
                Err(error) => {
                    // The run is over, or gone.
                    tracing::debug!(seq = header.seq.0, %run, %error, "a model's answer comes too late");
                    return Ok(true);
                }
            }
        }
    }

    /// The step's value: the answer, with the decision's place.
    async fn value(&self, answer: Option<Value>, place: Seq) -> Result<Recorded, Error> {
        let Some(answer) = answer else { return Ok(lost()) };
        let blob = answer.get("$blob").and_then(Value::as_str).map(str::parse::<BlobId>);
        let answer = match blob {
            None => answer,
            Some(Err(_)) => return Ok(lost()),
            Some(Ok(blob)) => {
                let Some(bytes) = self.handle.read(move |reader| Ok(reader.blob(&blob)?)).await? else {
                    return Ok(lost());
                };
                serde_json::from_slice(&bytes).map_err(|error| Error::value(format!("an answer: {error}")))?
            }
        };
        let Value::Object(mut fields) = answer else { return Ok(lost()) };
        fields.insert("decision".to_owned(), place.0.into());
        Ok(Recorded::Value(Value::from(fields).into()))
    }
}

/// The answer was erased before the step could have it.
fn lost() -> Recorded {
    Recorded::Error(error("the answer is not in the log any more".to_owned(), None))
}

fn error(message: String, code: Option<String>) -> StepError {
    StepError {
        name: ERROR.to_owned(),
        message,
        retryable: Some(false),
        retry_after_ms: None,
        details: code.map(|code| json!({ "code": code })),
    }
}
