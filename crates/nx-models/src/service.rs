//! The component: options, the service that unloads what is idle, the handle that everybody else holds.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration as StdDuration,
};

use nx_infer::{engine::Engines, onnx::Limits};
use nx_journal::{Commit, Journal, NewEvent, Reader};
use nx_types::{Duration, Header, Label, Namespace, Resource, Seq, SharedLabel, Subject, kind::parse_spec};
use tokio_util::sync::CancellationToken;

use crate::{
    ArtifactSpec, Error, OutputView, Record, Reference, Standing, Upload, Which,
    decision::{self, Behind, Decision},
    input::Samples,
    kind::{MAX_DEADLINE, Parent, Version},
    requests::{Requests, Told},
    serve::{Asking, Key, Pool, StreamRequest, Turn},
    store,
};

/// Time between two looks for idle versions.
const SWEEP_EVERY: StdDuration = StdDuration::from_secs(5);
/// First words of subjects that other parts write about.
const RESERVED: [&str; 7] = ["artifact", "device", "key", "log", "namespace", "resource", "run"];

/// What can be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bounds on a model's file. 512 MiB by default.
    pub limits: Limits,
    /// Bytes that all loaded versions may take, as far as it can be told from their files: a version takes its file once, and
    /// twice more for each of its threads. 2 GiB by default.
    pub memory_bytes: u64,
    /// The engines, and what was measured of them. Those of the build by default.
    pub engines: Engines,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits { file_bytes: 512 << 20, ..Limits::default() },
            memory_bytes: 2 << 30,
            engines: Engines::default(),
        }
    }
}

/// Sets the models up over a log. Nothing is served before something is declared.
pub fn open(journal: Journal, options: Options) -> (Service, Handle) {
    let pool = Arc::new(Pool::new(journal.clone(), options.clone()));
    let inner = Inner { journal, options, declared: RwLock::default(), pool };
    let handle = Handle(Arc::new(inner));
    (Service { handle: handle.clone() }, handle)
}

/// Unloads what is idle, and answers the requests of the log.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
}

impl Service {
    /// Runs until it is told to stop; then nothing more is taken, and what waits is answered. What is declared should be
    /// known by then: the log's requests are answered from the first moment on.
    pub async fn run(self, stop: CancellationToken) {
        let inner = &self.handle.0;
        let requests = Requests::new(self.handle.clone(), inner.journal.clone(), stop.clone());
        let sweeping = async {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(SWEEP_EVERY) => inner.pool.sweep(),
                }
            }
        };
        tokio::join!(sweeping, requests.run());
        inner.pool.close();
    }
}

/// The artifacts of a namespace, by name.
type Artifacts = BTreeMap<String, Arc<ArtifactSpec>>;

#[derive(Debug)]
struct Inner {
    journal: Journal,
    options: Options,
    declared: RwLock<BTreeMap<Namespace, Artifacts>>,
    pool: Arc<Pool>,
}

/// The models, for everybody who adds, reads or asks them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Inner>);

/// A request for an inference.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// The namespace.
    pub namespace: Namespace,
    /// The model.
    pub model: Reference,
    /// What is given for its inputs.
    pub samples: Samples,
    /// How long it may take, 60 s at most; the artifact's own deadline when left out.
    pub deadline: Option<Duration>,
    /// What it is about, `parcel/P88`: the decision's subject, and whose data its input is. `model/NAME` when left out.
    pub subject: Option<String>,
    /// The event that it follows from: `why` goes on there, and the answer carries its label on.
    pub cause: Option<Seq>,
    /// The stream that it goes on with, of a model with states.
    pub stream: Option<StreamRequest>,
    /// Who asks.
    pub by: String,
}

/// An answer, whose decision stands in the log.
#[derive(Debug, Clone)]
pub struct Inference {
    /// The place of its decision in the log.
    pub decision: Seq,
    /// The model.
    pub model: String,
    /// The version that answered.
    pub version: u32,
    /// The alias by which it was found.
    pub alias: Option<String>,
    /// The engine.
    pub engine: &'static str,
    /// What the model says, where it says one thing.
    pub label: Option<String>,
    /// How sure it is of that.
    pub confidence: Option<f32>,
    /// Every output of the manifest.
    pub outputs: Vec<(String, OutputView)>,
    /// Microseconds in the queue.
    pub queued_us: u64,
    /// Microseconds for the steps before, the model and the steps after.
    pub ran_us: u64,
    /// How many requests were run together.
    pub batch: usize,
    /// Of a stream: which of its requests this was, from 1.
    pub step: Option<u64>,
}

/// An artifact as it is shown.
#[derive(Debug, Clone)]
pub struct ArtifactView {
    /// Its name.
    pub name: String,
    /// What is declared.
    pub spec: Arc<ArtifactSpec>,
    /// How each version is served now, in the order of the versions.
    pub standings: Vec<Standing>,
}

impl Handle {
    /// What is declared in a namespace from now on: the resources of kind Artifact, all of them.
    pub fn declare(&self, namespace: &Namespace, resources: &[Resource]) {
        let mut artifacts = Artifacts::new();
        for resource in resources.iter().filter(|resource| resource.kind == "Artifact") {
            match parse_spec::<ArtifactSpec>(&resource.spec) {
                Ok(spec) => drop(artifacts.insert(resource.metadata.name.clone(), Arc::new(spec))),
                Err(errors) => {
                    let name = &resource.metadata.name;
                    let detail = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                    tracing::warn!(%namespace, name, detail, "an artifact of another release cannot be served");
                }
            }
        }
        self.0.pool.keep(namespace, |key, place| {
            let spec = artifacts.get(&key.name);
            spec.is_some_and(|spec| {
                spec.versions.iter().any(|version| version.version == key.version && version.place == place)
            })
        });
        let mut declared = self.0.declared.write().unwrap_or_else(PoisonError::into_inner);
        declared.insert(namespace.clone(), artifacts);
    }

    fn artifact(&self, namespace: &Namespace, name: &str) -> Result<Arc<ArtifactSpec>, Error> {
        let declared = self.0.declared.read().unwrap_or_else(PoisonError::into_inner);
        let found = declared.get(namespace).and_then(|artifacts| artifacts.get(name)).cloned();
        found.ok_or_else(|| Error::UnknownModel {
            name: name.chars().take(64).collect(),
            namespace: namespace.to_string(),
        })
    }

    /// Every artifact of a namespace.
    pub fn list(&self, namespace: &Namespace) -> Vec<ArtifactView> {
        let artifacts = {
            let declared = self.0.declared.read().unwrap_or_else(PoisonError::into_inner);
            declared.get(namespace).cloned().unwrap_or_default()
        };
        artifacts.into_iter().map(|(name, spec)| self.view(namespace, name, spec)).collect()
    }

    /// An artifact.
    pub fn show(&self, namespace: &Namespace, name: &str) -> Result<ArtifactView, Error> {
        let spec = self.artifact(namespace, name)?;
        Ok(self.view(namespace, name.to_owned(), spec))
    }

    fn view(&self, namespace: &Namespace, name: String, spec: Arc<ArtifactSpec>) -> ArtifactView {
        let standing = |version: &Version| {
            let key = Key { namespace: namespace.clone(), name: name.clone(), version: version.version };
            self.0.pool.standing(&key)
        };
        let standings = spec.versions.iter().map(standing).collect();
        ArtifactView { name, spec, standings }
    }

    /// What is stored of a version: its manifest above all.
    pub async fn record(&self, namespace: &Namespace, model: &Reference) -> Result<Record, Error> {
        let spec = self.artifact(namespace, &model.name)?;
        let version = spec.version(&model.name, &model.which)?.version;
        let (reader, namespace, name) = (self.0.journal.reader(), namespace.clone(), model.name.clone());
        store::blocking(move || store::record(&reader, &namespace, &name, version)).await
    }

    /// A version's file.
    pub async fn file(&self, namespace: &Namespace, model: &Reference) -> Result<Vec<u8>, Error> {
        let record = self.record(namespace, model).await?;
        let (reader, name) = (self.0.journal.reader(), model.name.clone());
        store::blocking(move || store::file(&reader, &name, &record)).await
    }

    /// What a version was made from, for [`Upload::from`].
    pub fn parent(&self, namespace: &Namespace, model: &Reference, method: &str) -> Result<(Parent, Seq), Error> {
        if method.is_empty() || method.len() > 64 {
            return Err(Error::invalid("method", method, "is not 1 to 64 characters long"));
        }
        let spec = self.artifact(namespace, &model.name)?;
        let version = spec.version(&model.name, &model.which)?;
        let (artifact, method) = (model.name.clone(), method.to_owned());
        Ok((Parent { artifact, version: version.version, method }, Seq(version.place)))
    }

    /// Checks and stores a model. It is served once its artifact's spec lists it: see [`ArtifactSpec::add`].
    pub async fn add(&self, upload: Upload) -> Result<Record, Error> {
        store::add(&self.0.journal, &self.0.options, upload).await
    }

    /// The versions of which something is stored, listed by the artifact or not.
    pub async fn stored(&self, namespace: &Namespace, name: &str) -> Result<Vec<u32>, Error> {
        let (reader, namespace, name) = (self.reader(), namespace.clone(), name.to_owned());
        let rows = store::blocking(move || store::rows(&reader, &namespace, &name)).await?;
        Ok(rows.into_iter().map(|record| record.version).collect())
    }

    /// Removes a version's file, row and key; headers and proofs stay. Its artifact's spec lists it no more by now.
    pub async fn erase(&self, namespace: &Namespace, name: &str, version: u32, by: &str) -> Result<(), Error> {
        let subject = store::data_subject(name, version);
        let reason = format!("version {version} of model {name} was deleted");
        match self.0.journal.erase(namespace.clone(), subject, reason, by.to_owned()).await {
            // A version that was declared by hand, or deleted before, has nothing.
            Ok(_) | Err(nx_journal::Error::DataSubjectUnknown { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Loads a version ahead of its first request.
    pub async fn warm(&self, namespace: &Namespace, model: &Reference) -> Result<(), Error> {
        let spec = self.artifact(namespace, &model.name)?;
        let version = spec.version(&model.name, &model.which)?;
        let key = Key { namespace: namespace.clone(), name: model.name.clone(), version: version.version };
        self.0.pool.warm(&key, version, &spec.serving).await
    }

    /// Asks a model, and records what it decides before it answers.
    pub async fn infer(&self, request: InferRequest) -> Result<Inference, Error> {
        let (event, mut inference, turn) = self.decide(request, Told::default()).await?;
        inference.decision = self.0.journal.commit(Commit::of([event])).await?.last;
        // The stream moves on with an answer that stands.
        if let Some(turn) = turn {
            turn.keep();
        }
        Ok(inference)
    }

    /// Asks a model; the event that is to record its decision, and the answer, whose place is not known before.
    pub(crate) async fn decide(
        &self,
        request: InferRequest,
        told: Told<'_>,
    ) -> Result<(NewEvent, Inference, Option<Turn>), Error> {
        let InferRequest { namespace, model, samples, deadline, subject, cause, stream, by } = request;
        let spec = self.artifact(&namespace, &model.name)?;
        let version = spec.version(&model.name, &model.which)?;
        let subject = subject_of(&model.name, subject.as_deref())?;
        let cause = self.cause(&namespace, cause).await?;
        let key = Key { namespace: namespace.clone(), name: model.name.clone(), version: version.version };
        let limit = deadline.unwrap_or(spec.serving.deadline).min(MAX_DEADLINE).to_std();
        let samples = Arc::new(samples);
        let asking = Asking { samples: &samples, stream: stream.as_ref(), limit };
        let mut done = self.0.pool.run(&key, version, &spec.serving, asking).await?;
        let turn = done.turn.take();
        let verdict = done.outputs.iter().find_map(|(_, output)| output.verdict());
        let alias = match &model.which {
            Which::Alias(alias) => Some(alias.clone()),
            Which::Version(_) => None,
        };
        let decision = Decision {
            namespace: &namespace,
            subject: &subject,
            model: &model.name,
            version: version.version,
            alias: alias.as_deref(),
            sha256: &version.sha256,
            from: version.from.as_ref(),
            artifact: Seq(version.place),
            keep: spec.serving.input,
            cause,
            by: &by,
            stream: turn.as_ref().map(|turn| (turn.key(), turn.step())),
            told,
        };
        let event = decision::event(&self.0.journal, &decision, &samples, &done, verdict.as_ref()).await?;
        let (label, confidence) = verdict.map_or((None, None), |(label, confidence)| (label, Some(confidence)));
        let inference = Inference {
            decision: Seq(0),
            version: version.version,
            model: model.name,
            alias,
            engine: done.engine,
            label,
            confidence,
            outputs: done.outputs,
            queued_us: done.queued.as_micros() as u64,
            ran_us: done.ran.as_micros() as u64,
            batch: done.batch,
            step: turn.as_ref().map(Turn::step),
        };
        Ok((event, inference, turn))
    }

    /// The event that a request follows from, and its label.
    async fn cause(&self, namespace: &Namespace, cause: Option<Seq>) -> Result<Option<Behind>, Error> {
        let Some(seq) = cause else { return Ok(None) };
        let (reader, namespace) = (self.reader(), namespace.clone());
        store::blocking(move || {
            let event = reader.event(seq)?.filter(|event| event.header.namespace == namespace);
            let missing = || Error::invalid("cause", &seq.0.to_string(), "is no event of this namespace");
            let header = event.ok_or_else(missing)?.header;
            let label = label(&reader, &header)?.map(SharedLabel::new);
            Ok(Some(Behind { seq, label, trace: header.trace }))
        })
        .await
    }

    /// The label of an event. One that cannot be read is not taken for a trusted one.
    pub(crate) async fn label_of(&self, header: &Header) -> Option<Label> {
        let (reader, header) = (self.reader(), header.clone());
        let read = store::blocking(move || label(&reader, &header)).await;
        read.unwrap_or_else(|_unread| Some(Label::untrusted("model/requested")))
    }

    pub(crate) fn reader(&self) -> Reader {
        self.0.journal.reader()
    }
}

fn label(reader: &Reader, header: &Header) -> Result<Option<Label>, Error> {
    match header.label {
        Some(id) => Ok(reader.label(&header.namespace, &id)?),
        None => Ok(None),
    }
}

pub(crate) fn subject_of(name: &str, given: Option<&str>) -> Result<Subject, Error> {
    let Some(text) = given else {
        return Subject::new(&format!("model/{name}"))
            .map_err(|error| Error::invalid("model", name, error.to_string()));
    };
    let head = text.split('/').next().unwrap_or_default();
    if RESERVED.contains(&head) {
        return Err(Error::invalid(
            "subject",
            text,
            format!("is written about by Neuraxis itself: `{head}/` is reserved"),
        ));
    }
    Subject::new(text).map_err(|error| Error::invalid("subject", text, error.to_string()))
}
