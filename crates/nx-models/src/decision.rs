//! The record of an inference: the event `model.decided`, durable before the answer is given. It holds what was decided, by
//! which version, how sure, from which input; the event's place in the log is the decision's id.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use nx_journal::{Cause, Journal, NewEvent};
use nx_types::{BlobId, EventType, Namespace, Seq, SharedLabel, Subject, TraceParent};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Error, OutputView,
    input::{Sample, Samples},
    kind::{Keep, Parent},
    pictures,
    requests::{Asked, Told},
    serve::Done,
    store,
};

/// The event.
pub(crate) const DECIDED: &str = "model.decided";
/// Bytes of inputs that stand in the event itself, all of a request together; what is larger goes into a blob.
const INLINE_BYTES: usize = 6 << 10;
/// Bytes of an event's data at most: the log's bound, with room to spare.
const MAX_BYTES: usize = 15 << 10;

/// What is known of an inference beside its outputs.
#[derive(Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) subject: &'a Subject,
    pub(crate) model: &'a str,
    pub(crate) version: u32,
    pub(crate) alias: Option<&'a str>,
    pub(crate) sha256: &'a str,
    pub(crate) from: Option<&'a Parent>,
    /// The place of the event that recorded the version.
    pub(crate) artifact: Seq,
    pub(crate) keep: Keep,
    /// What asked for it, and the label of that.
    pub(crate) cause: Option<Behind>,
    pub(crate) by: &'a str,
    /// The stream, and which of its requests it is.
    pub(crate) stream: Option<(&'a str, u64)>,
    pub(crate) told: Told<'a>,
}

/// Which request of a stream.
#[derive(Serialize)]
struct Stream<'a> {
    key: &'a str,
    step: u64,
}

/// What a decision follows from.
#[derive(Debug, Clone)]
pub(crate) struct Behind {
    pub(crate) seq: Seq,
    pub(crate) label: Option<SharedLabel>,
    pub(crate) trace: Option<TraceParent>,
}

#[derive(Serialize)]
struct Decided<'a> {
    model: &'a str,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<&'a str>,
    /// `original`, or how the version was made from another.
    variant: &'a str,
    engine: &'a str,
    sha256: &'a str,
    artifact: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f32>,
    /// How likely this version was to be asked: nothing else was considered.
    propensity: f64,
    inputs: Vec<Input<'a>>,
    outputs: BTreeMap<&'a str, OutputView>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    outputs_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Stream<'a>>,
    /// What whoever asked would have carried on.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a Value>,
    /// Which step asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a Asked>,
    /// The whole answer to that step, or the blob that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    took_us: u64,
    batch: usize,
    by: &'a str,
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    media: &'static str,
    bytes: usize,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<Vec<usize>>,
    /// The input itself, where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// The input itself, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    blob: Option<BlobId>,
}

/// The event that records a decision, and its blobs. It stands in the log once it is committed.
pub(crate) async fn event(
    journal: &Journal,
    decision: &Decision<'_>,
    samples: &Samples,
    done: &Done,
    verdict: Option<&(Option<String>, f32)>,
) -> Result<NewEvent, Error> {
    let mut inputs = Vec::new();
    let mut blobs = Vec::new();
    let mut room = INLINE_BYTES;
    for (name, sample) in samples {
        let (mut input, content) = described(name, sample);
        if decision.keep == Keep::Content {
            if content.len() <= room {
                room -= content.len();
                input.base64 = Some(BASE64.encode(&content));
            } else {
                let blob = journal.put_blob(decision.namespace.clone(), decision.owner(), Vec::from(content)).await?;
                input.blob = Some(blob);
                blobs.push(blob);
            }
        }
        inputs.push(input);
    }
    let mut decided = Decided {
        model: decision.model,
        version: decision.version,
        alias: decision.alias,
        variant: decision.from.map_or("original", |parent| parent.method.as_str()),
        engine: done.engine,
        sha256: decision.sha256,
        artifact: decision.artifact,
        label: verdict.and_then(|(label, _)| label.as_deref()),
        confidence: verdict.map(|(_, confidence)| *confidence),
        propensity: 1.0,
        inputs,
        outputs: done.outputs.iter().map(|(name, output)| (name.as_str(), output.summary())).collect(),
        outputs_cut: false,
        stream: decision.stream.map(|(key, step)| Stream { key, step }),
        context: decision.told.context,
        asked: decision.told.asked,
        answer: decision.told.asked.map(|_| whole(decision, done, verdict)).transpose()?,
        took_us: (done.queued + done.ran).as_micros() as u64,
        batch: done.batch,
        by: decision.by,
    };
    let bad = |error: &dyn std::fmt::Display| Error::damaged("a new decision", error);
    let mut data = serde_json::to_vec(&decided).map_err(|error| bad(&error))?;
    if data.len() > MAX_BYTES {
        decided.outputs.clear();
        decided.outputs_cut = true;
        if let Some(answer) = decided.answer.take() {
            let bytes = serde_json::to_vec(&answer).map_err(|error| bad(&error))?;
            let blob = journal.put_blob(decision.namespace.clone(), decision.owner(), bytes).await?;
            decided.answer = Some(json!({ "$blob": blob }));
            blobs.push(blob);
        }
        data = serde_json::to_vec(&decided).map_err(|error| bad(&error))?;
    }
    let kind = EventType::new(DECIDED).map_err(|error| bad(&error))?;
    let mut event = NewEvent::new(decision.namespace.clone(), kind, decision.subject.clone(), data);
    event.data_subject = Some(decision.owner());
    event.blobs = blobs;
    if let Some(behind) = &decision.cause {
        event.causation = Cause::Local(behind.seq);
        event.label.clone_from(&behind.label);
        event.trace = behind.trace;
    }
    Ok(event)
}

impl Decision<'_> {
    /// Whose data it is: the subject's; a run's own, where it asked and named none.
    fn owner(&self) -> String {
        match self.told.asked {
            Some(asked) if self.subject.as_str().starts_with("model/") => format!("run/{}", asked.run),
            _ => self.subject.to_string(),
        }
    }
}

/// The answer as it is given over HTTP, but for what only the asking can tell: the place and the times.
fn whole(decision: &Decision<'_>, done: &Done, verdict: Option<&(Option<String>, f32)>) -> Result<Value, Error> {
    #[derive(Serialize)]
    struct Whole<'a> {
        model: &'a str,
        version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        alias: Option<&'a str>,
        engine: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        label: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        confidence: Option<f32>,
        outputs: BTreeMap<&'a str, &'a OutputView>,
    }
    let whole = Whole {
        model: decision.model,
        version: decision.version,
        alias: decision.alias,
        engine: done.engine,
        label: verdict.and_then(|(label, _)| label.as_deref()),
        confidence: verdict.map(|(_, confidence)| *confidence),
        outputs: done.outputs.iter().map(|(name, output)| (name.as_str(), output)).collect(),
    };
    serde_json::to_value(whole).map_err(|error| Error::damaged("an answer", error))
}

fn described<'a>(name: &'a str, sample: &Sample) -> (Input<'a>, Bytes) {
    let (content, media, shape) = match sample {
        Sample::Body(bytes) | Sample::Picture(bytes) | Sample::Bytes(bytes) => {
            (bytes.clone(), pictures::media(bytes).unwrap_or("application/octet-stream"), None)
        }
        Sample::Pixels { width, height, channels, bytes } => {
            (bytes.clone(), "pixels", Some(vec![*height, *width, *channels]))
        }
        Sample::Numbers { shape, data } => (Bytes::from(data.to_string()), "application/json", shape.clone()),
    };
    let (bytes, sha256) = (content.len(), store::sha256(&content));
    (Input { name, media, bytes, sha256, shape, base64: None, blob: None }, content)
}
