//! The record of an inference: the event `model.decided`, durable before the answer is given. It holds what was decided, by
//! which version, how sure, from which input; the event's place in the log is the decision's id.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use nx_journal::{Cause, Commit, Journal, NewEvent};
use nx_types::{BlobId, EventType, Namespace, Seq, SharedLabel, Subject};
use serde::Serialize;

use crate::{
    Error, OutputView,
    input::{Sample, Samples},
    kind::{Keep, Parent},
    pictures,
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
    pub(crate) cause: Option<(Seq, Option<SharedLabel>)>,
    pub(crate) by: &'a str,
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

/// Records a decision; its place in the log when it is durable.
pub(crate) async fn record(
    journal: &Journal,
    decision: &Decision<'_>,
    samples: &Samples,
    done: &Done,
    verdict: Option<&(Option<String>, f32)>,
) -> Result<Seq, Error> {
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
                let (namespace, subject) = (decision.namespace.clone(), decision.subject.to_string());
                let blob = journal.put_blob(namespace, subject, Vec::from(content)).await?;
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
        took_us: (done.queued + done.ran).as_micros() as u64,
        batch: done.batch,
        by: decision.by,
    };
    let bad = |error: &dyn std::fmt::Display| Error::damaged("a new decision", error);
    let mut data = serde_json::to_vec(&decided).map_err(|error| bad(&error))?;
    if data.len() > MAX_BYTES {
        decided.outputs.clear();
        decided.outputs_cut = true;
        data = serde_json::to_vec(&decided).map_err(|error| bad(&error))?;
    }
    let kind = EventType::new(DECIDED).map_err(|error| bad(&error))?;
    let mut event = NewEvent::new(decision.namespace.clone(), kind, decision.subject.clone(), data);
    event.blobs = blobs;
    if let Some((cause, label)) = &decision.cause {
        event.causation = Cause::Local(*cause);
        event.label.clone_from(label);
    }
    Ok(journal.commit(Commit::of([event])).await?.last)
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
