//! A log in a folder, models over it, and small networks.

use nx_infer::{
    DType, Tensor,
    onnx::{Builder, Model, graph::Attribute},
};
use nx_journal::{Event, Journal};
use nx_models::{
    ArtifactSpec, Error, Handle, InferRequest, Inference, Manifest, Options, Record, Sample, Samples, Upload,
};
use nx_types::{Env, Metadata, Namespace, Resource, Seq};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Models over a log.
pub(crate) struct Stage {
    pub(crate) dir: TempDir,
    pub(crate) journal: Journal,
    pub(crate) models: Handle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Stage {
    pub(crate) fn start(options: Options) -> Self {
        Self::over(tempfile::tempdir().expect("a folder"), options)
    }

    /// Over what a folder holds already.
    pub(crate) fn over(dir: TempDir, options: Options) -> Self {
        let (journal, log) = Journal::open(nx_journal::Options::new(dir.path()), Env::system()).expect("the log opens");
        let (service, models) = nx_models::open(journal.clone(), options);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(async move { log.run().await.expect("the log") });
        tasks.spawn(service.run(stop.clone()));
        Self { dir, journal, models, stop, tasks }
    }

    /// Stops everything; the folder remains.
    pub(crate) async fn close(self) -> TempDir {
        let Self { dir, journal, models, stop, tasks } = self;
        stop.cancel();
        tasks.close();
        journal.close().await;
        drop((journal, models));
        tasks.wait().await;
        dir
    }

    pub(crate) fn declare(&self, artifacts: &[(&str, &ArtifactSpec)]) {
        let resource = |(name, spec): &(&str, &ArtifactSpec)| Resource {
            api_version: "neuraxis/v1".to_owned(),
            kind: "Artifact".to_owned(),
            metadata: Metadata { name: (*name).to_owned(), ..Metadata::default() },
            spec: serde_json::to_value(spec).expect("a spec"),
            status: Value::Null,
        };
        self.models.declare(&Namespace::default(), &artifacts.iter().map(resource).collect::<Vec<_>>());
    }

    /// Stores a version, lists it in the spec and declares that.
    pub(crate) async fn add(
        &self,
        name: &str,
        spec: &mut ArtifactSpec,
        model: &Model,
        manifest: Option<&str>,
    ) -> Record {
        let record = self.models.add(upload(name, model.write(), manifest)).await.expect("a good model");
        spec.add(name, record.listed(), None).expect("a version");
        self.declare(&[(name, spec)]);
        record
    }

    pub(crate) async fn ask(&self, model: &str, data: Value) -> Result<Inference, Error> {
        self.models.infer(request(model, numbers(data))).await
    }

    /// An event, and its data.
    pub(crate) fn event(&self, seq: Seq) -> (Event, Value) {
        let event = self.journal.reader().event(seq).expect("read").expect("an event");
        let data = serde_json::from_slice(event.data.bytes().expect("open")).expect("JSON");
        (event, data)
    }
}

pub(crate) fn upload(name: &str, bytes: Vec<u8>, manifest: Option<&str>) -> Upload {
    let manifest: Option<Manifest> = manifest.map(|text| serde_saphyr::from_str(text).expect("a manifest"));
    Upload {
        namespace: Namespace::default(),
        name: name.to_owned(),
        bytes: bytes.into(),
        licence: manifest.is_none().then(|| "Apache-2.0".to_owned()),
        manifest,
        source: Some("tests".to_owned()),
        from: None,
        sha256: None,
        by: "tester".to_owned(),
    }
}

pub(crate) fn numbers(data: Value) -> Samples {
    Samples::from([(String::new(), Sample::Numbers { shape: None, data })])
}

pub(crate) fn request(model: &str, samples: Samples) -> InferRequest {
    InferRequest {
        namespace: Namespace::default(),
        model: model.parse().expect("a reference"),
        samples,
        deadline: None,
        subject: None,
        cause: None,
        stream: None,
        by: "tester".to_owned(),
    }
}

/// The outputs as JSON.
pub(crate) fn outputs(inference: &Inference) -> Value {
    inference.outputs.iter().map(|(name, output)| (name.clone(), serde_json::to_value(output).expect("JSON"))).collect()
}

/// `y = factor · x`, rows of two.
pub(crate) fn times(factor: f32) -> Model {
    let mut build = Builder::new("times", 17);
    let x = build.input("x", DType::F32, &["batch".into(), 2.into()]);
    let by = build.constant("factor", &Tensor::new([1], vec![factor]).expect("a tensor"));
    let y = build.node("Mul", "y", &[&x, &by], &[]);
    build.output(&y, DType::F32, &["batch".into(), 2.into()]);
    build.finish().expect("a model")
}

/// Softmax over the first dimension: what looks like a batch is none.
pub(crate) fn over_time() -> Model {
    let mut build = Builder::new("over-time", 17);
    let x = build.input("x", DType::F32, &["time".into(), 2.into()]);
    let y = build.node("Softmax", "y", &[&x], &[("axis", Attribute::Int(0))]);
    build.output(&y, DType::F32, &["time".into(), 2.into()]);
    build.finish().expect("a model")
}

/// The sum of all that a stream has brought: what comes out as `total` goes in as `before`.
pub(crate) fn adding() -> Model {
    let mut build = Builder::new("adding", 17);
    let x = build.input("x", DType::F32, &[1.into(), 2.into()]);
    let before = build.input("before", DType::F32, &[1.into(), 2.into()]);
    let total = build.node("Add", "total", &[&x, &before], &[]);
    let twice = build.node("Add", "y", &[&total, &total], &[]);
    build.output(&twice, DType::F32, &[1.into(), 2.into()]);
    build.output(&total, DType::F32, &[1.into(), 2.into()]);
    build.finish().expect("a model")
}

pub(crate) const ADDING: &str = "
name: adding
licence: Apache-2.0
inputs: [{ name: x, dtype: f32, shape: [1, 2] }]
outputs: [{ name: y, dtype: f32, shape: [1, 2] }]
states: [{ input: before, output: total, dtype: f32, shape: [1, 2] }]
";

/// The reciprocal, infinite at zero.
pub(crate) fn reciprocal() -> Model {
    let mut build = Builder::new("reciprocal", 17);
    let x = build.input("x", DType::F32, &["batch".into(), 1.into()]);
    let y = build.node("Reciprocal", "y", &[&x], &[]);
    build.output(&y, DType::F32, &["batch".into(), 1.into()]);
    build.finish().expect("a model")
}

/// The sums of the left and of the right half of a picture of 2 × 2.
pub(crate) fn halves() -> Model {
    let mut build = Builder::new("halves", 17);
    let image = build.input("image", DType::F32, &["batch".into(), 1.into(), 2.into(), 2.into()]);
    let flat = build.node("Flatten", "flat", &[&image], &[]);
    let weights = Tensor::new([4, 2], vec![1.0_f32, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]).expect("a tensor");
    let weights = build.constant("weights", &weights);
    let scores = build.node("MatMul", "scores", &[&flat, &weights], &[]);
    build.output(&scores, DType::F32, &["batch".into(), 2.into()]);
    build.finish().expect("a model")
}

pub(crate) const HALVES: &str = "
name: halves
licence: Apache-2.0
inputs:
  - name: image
    dtype: f32
    shape: [batch, 1, 2, 2]
    before: [{ step: channels, order: grey }, { step: resize, width: 2, height: 2 }, { step: scale, by: 0.00392156862745098 }]
outputs:
  - name: scores
    dtype: f32
    shape: [batch, 2]
    labels: [left, right]
    after: [{ step: softmax }, { step: top_k, k: 2 }]
";

/// A grey picture of 2 × 2 whose right half is white, as a PNG.
pub(crate) fn right_is_white() -> Sample {
    Sample::Pixels { width: 2, height: 2, channels: 1, bytes: vec![0, 255, 0, 255].into() }
}

pub(crate) fn code(error: &Error) -> String {
    nx_types::ErrorCode::code(error).as_str().to_owned()
}

/// Numbers for `times`.
pub(crate) fn row(first: f32) -> Value {
    json!([[first, 1]])
}
