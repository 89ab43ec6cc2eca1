//! Models, their versions, and what they answer.

use std::collections::BTreeMap;

use nx_models::{
    ArtifactView, ClassView, DecisionView, Decisions, DetectionView, Inference, InputView, OutputView, Record,
    Standing, TextView,
    kind::{Parent, Version},
};
use nx_types::{BlobId, Seq, Timestamp};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::text;

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelBody {
    /// Its name.
    name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// Which version each alias points to; a bare name means `live`.
    aliases: BTreeMap<String, u32>,
    /// Where each alias pointed before, the latest last.
    history: BTreeMap<String, Vec<u32>>,
    /// The versions, the oldest first.
    versions: Vec<VersionBody>,
}

/// A version of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionBody {
    /// Its number.
    version: u32,
    /// SHA-256 of its file.
    #[schema(value_type = text::Digest)]
    sha256: String,
    /// Bytes of its file.
    bytes: u64,
    /// Its licence, an SPDX expression.
    licence: String,
    /// Where it was pulled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// What it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    from: Option<ParentBody>,
    /// The place in the log of the event that recorded it.
    #[schema(value_type = text::Seq)]
    place: u64,
    /// How it is served now.
    serving: StandingBody,
}

/// What a version was made from.
#[derive(Debug, Serialize, ToSchema)]
struct ParentBody {
    /// The model.
    artifact: String,
    /// Its version.
    version: u32,
    /// How.
    method: String,
}

impl From<Parent> for ParentBody {
    fn from(parent: Parent) -> Self {
        let Parent { artifact, version, method } = parent;
        Self { artifact, version, method }
    }
}

/// How a version is served now.
#[derive(Debug, Serialize, ToSchema)]
struct StandingBody {
    /// Whether it is loaded; a request loads it.
    loaded: bool,
    /// The engine that it is loaded on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    engine: Option<&'static str>,
    /// Whether requests are run together.
    batches: bool,
    /// Requests that wait or run.
    waiting: usize,
    /// Requests that were answered since it was loaded.
    answered: u64,
    /// Requests that were refused for a full queue since then.
    refused: u64,
}

impl From<Standing> for StandingBody {
    fn from(standing: Standing) -> Self {
        let Standing { loaded, engine, batches, waiting, answered, refused } = standing;
        Self { loaded, engine, batches, waiting, answered, refused }
    }
}

impl From<ArtifactView> for ModelBody {
    fn from(view: ArtifactView) -> Self {
        let ArtifactView { name, spec, standings } = view;
        let versions = spec.versions.iter().cloned().zip(standings).map(|(version, standing)| {
            let Version { version, sha256, bytes, licence, source, from, place } = version;
            let from = from.map(ParentBody::from);
            VersionBody { version, sha256, bytes, licence, source, from, place, serving: standing.into() }
        });
        Self {
            name,
            description: spec.description.clone(),
            aliases: spec.aliases.clone(),
            history: spec.history.clone(),
            versions: versions.collect(),
        }
    }
}

/// Models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelsBody {
    /// Each model.
    items: Vec<ModelBody>,
}

impl From<Vec<ArtifactView>> for ModelsBody {
    fn from(views: Vec<ArtifactView>) -> Self {
        Self { items: views.into_iter().map(ModelBody::from).collect() }
    }
}

/// A model after a version was added.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PulledBody {
    /// The version; the same file with the same manifest keeps its version.
    pub(crate) version: u32,
    /// The engines that load it.
    pub(crate) engines: Vec<String>,
    /// The model as it is now.
    pub(crate) model: ModelBody,
}

/// What is stored of a version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordBody {
    /// Its number.
    version: u32,
    /// SHA-256 of its file.
    #[schema(value_type = text::Digest)]
    sha256: String,
    /// Bytes of its file.
    bytes: u64,
    /// The blob that holds its file.
    #[schema(value_type = String)]
    blob: BlobId,
    /// What it takes and gives, and what stands before and after; `docs/models.md` describes it.
    #[schema(value_type = Object)]
    manifest: Value,
    /// Where it was pulled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// What it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    from: Option<ParentBody>,
    /// The engines that loaded it when it was added.
    engines: Vec<String>,
    /// The place of the event that recorded it.
    #[schema(value_type = text::Seq)]
    place: Seq,
}

impl From<Record> for RecordBody {
    fn from(record: Record) -> Self {
        let Record { version, sha256, bytes, blob, manifest, source, from, engines, place } = record;
        let manifest = serde_json::to_value(manifest).unwrap_or_default();
        Self { version, sha256, bytes, blob, manifest, source, from: from.map(ParentBody::from), engines, place }
    }
}

/// What a model decided.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelDecisionsBody {
    /// The decisions, the newest first.
    items: Vec<ModelDecisionBody>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<text::Seq>)]
    next: Option<Seq>,
}

/// A decision of a model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelDecisionBody {
    /// Its place in the log.
    #[schema(value_type = text::Seq)]
    decision: Seq,
    /// When it was made.
    #[schema(value_type = text::Instant)]
    time: Timestamp,
    /// What it is about.
    subject: String,
    /// The version.
    version: u32,
    /// The alias by which it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alias: Option<String>,
    /// `original`, or how the version was made from another.
    variant: String,
    /// The engine.
    engine: String,
    /// The answer, where the model says one thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    label: Option<String>,
    /// How sure it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    confidence: Option<f64>,
    /// Who asked.
    by: String,
    /// Microseconds from the request to the answer.
    took_us: u64,
    /// What was given.
    inputs: Vec<ModelInputBody>,
    /// What whoever asked would have carried on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    context: Option<Value>,
}

/// An input of a decision.
#[derive(Debug, Serialize, ToSchema)]
struct ModelInputBody {
    /// Its name; empty for the only input of a model that has one.
    name: String,
    /// `image/png`, `image/jpeg`, `pixels`, `application/json` or `application/octet-stream`.
    media: String,
    /// How many bytes.
    bytes: u64,
    /// Their SHA-256.
    #[schema(value_type = text::Digest)]
    sha256: String,
    /// Of pixels: rows, columns, channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    shape: Option<Vec<usize>>,
    /// Whether the input itself was kept, or its digest alone.
    kept: bool,
}

impl From<Decisions> for ModelDecisionsBody {
    fn from(page: Decisions) -> Self {
        let input = |input: InputView| ModelInputBody {
            kept: input.kept(),
            name: input.name,
            media: input.media,
            bytes: input.bytes,
            sha256: input.sha256,
            shape: input.shape,
        };
        let item = |view: DecisionView| {
            let DecisionView { place, time, subject, said } = view;
            ModelDecisionBody {
                decision: place,
                time,
                subject,
                version: said.version,
                alias: said.alias,
                variant: said.variant,
                engine: said.engine,
                label: said.label,
                confidence: said.confidence,
                by: said.by,
                took_us: said.took_us,
                inputs: said.inputs.into_iter().map(input).collect(),
                context: said.context,
            }
        };
        Self { items: page.items.into_iter().map(item).collect(), next: page.next }
    }
}

/// What a model answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InferenceBody {
    /// The place of its decision in the log: `neuraxis why` takes it.
    #[schema(value_type = text::Seq)]
    decision: Seq,
    /// The model.
    model: String,
    /// The version that answered.
    version: u32,
    /// The alias by which it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alias: Option<String>,
    /// The engine.
    engine: &'static str,
    /// What the model says, where it says one thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    label: Option<String>,
    /// How sure it is of that; a probability behind softmax or sigmoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    confidence: Option<f32>,
    /// Each output of the manifest, by name.
    outputs: BTreeMap<String, ModelOutputBody>,
    /// Microseconds in the queue.
    queued_us: u64,
    /// Microseconds for the steps before, the model and the steps after.
    ran_us: u64,
    /// How many requests were run together.
    batch: usize,
    /// Of a stream: which of its requests this was, from 1. A 1 where more was expected says that the stream was forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    step: Option<u64>,
}

impl From<Inference> for InferenceBody {
    fn from(inference: Inference) -> Self {
        let Inference {
            decision,
            model,
            version,
            alias,
            engine,
            label,
            confidence,
            outputs,
            queued_us,
            ran_us,
            batch,
            step,
        } = inference;
        let outputs = outputs.into_iter().map(|(name, output)| (name, output.into())).collect();
        Self { decision, model, version, alias, engine, label, confidence, outputs, queued_us, ran_us, batch, step }
    }
}

/// An output; which fields it has goes by its kind.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ModelOutputBody {
    /// `tensor`, `classes`, `detections` or `text`.
    kind: &'static str,
    /// Of a tensor: the elements' type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    dtype: Option<&'static str>,
    /// Of a tensor: the dimensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    shape: Option<Vec<usize>>,
    /// Of a tensor: the elements in row-major order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Value>>)]
    data: Option<Box<RawValue>>,
    /// The best classes of each row, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    classes: Option<Vec<Vec<ClassBody>>>,
    /// Boxes of each picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detections: Option<Vec<Vec<DetectionBody>>>,
    /// Lines of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<Vec<TextBody>>,
}

/// A class.
#[derive(Debug, Serialize, ToSchema)]
struct ClassBody {
    /// Its position among the scores.
    index: usize,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    label: Option<String>,
    /// How sure the model is.
    score: f32,
}

impl From<ClassView> for ClassBody {
    fn from(class: ClassView) -> Self {
        let ClassView { index, label, score } = class;
        Self { index, label, score }
    }
}

/// A box.
#[derive(Debug, Serialize, ToSchema)]
struct DetectionBody {
    /// Left, top, right, bottom, in pixels of the picture that was given.
    corners: [f32; 4],
    /// Its class.
    index: usize,
    /// The class's label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    label: Option<String>,
    /// How sure the model is.
    score: f32,
}

impl From<DetectionView> for DetectionBody {
    fn from(found: DetectionView) -> Self {
        let DetectionView { corners, index, label, score } = found;
        Self { corners, index, label, score }
    }
}

/// A line of text.
#[derive(Debug, Serialize, ToSchema)]
struct TextBody {
    /// The text.
    text: String,
    /// How sure the model is.
    score: f32,
}

impl From<TextView> for TextBody {
    fn from(line: TextView) -> Self {
        let TextView { text, score } = line;
        Self { text, score }
    }
}

impl From<OutputView> for ModelOutputBody {
    fn from(output: OutputView) -> Self {
        fn rows<T, U: From<T>>(rows: Vec<Vec<T>>) -> Vec<Vec<U>> {
            rows.into_iter().map(|row| row.into_iter().map(U::from).collect()).collect()
        }
        let none = Self::default();
        match output {
            OutputView::Tensor { dtype, shape, data } => {
                Self { kind: "tensor", dtype: Some(dtype), shape: Some(shape), data: Some(data), ..none }
            }
            OutputView::Classes { rows: found } => Self { kind: "classes", classes: Some(rows(found)), ..none },
            OutputView::Detections { rows: found } => {
                Self { kind: "detections", detections: Some(rows(found)), ..none }
            }
            OutputView::Text { rows: lines } => {
                Self { kind: "text", text: Some(lines.into_iter().map(TextBody::from).collect()), ..none }
            }
        }
    }
}
