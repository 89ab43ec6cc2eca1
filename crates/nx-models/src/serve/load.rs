//! Loading a version: the engine, a session for each thread, the first runs, and whether requests may be run together.

use std::sync::Arc;

use bytes::Bytes;
use nx_infer::{
    DType, Data, Manifest, Tensor,
    engine::{self, Engine, Session, Stateful},
    manifest::{Before, Input},
    onnx::{Dim, Model},
    process::{self, Image, Sample},
};

use super::{
    Key, StreamRequest,
    queue::Queue,
    streams::{Streams, Turn},
    work::{Worker, run_alone, run_together},
};
use crate::{Error, Options, kind::Serving, store::Record};

/// Plans that are kept, in engines that plan for a shape: one for each size of a batch.
const PLANS: usize = 8;
/// Longest name of a stream, in bytes.
const MAX_STREAM_KEY: usize = 128;
/// Sides of the picture that the first runs get.
const SIDE: usize = 64;
/// How far answers of a batch may lie from those of single runs, as a part of the value.
const TOLERANCE: f64 = 1e-3;

/// A loaded version. Its threads end when it goes.
#[derive(Debug)]
pub(crate) struct Loaded {
    engine: &'static str,
    batches: bool,
    queue: Arc<Queue>,
    /// None where the model has no states.
    streams: Option<Arc<Streams>>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Loaded {
    /// Loads a version from its file and starts its threads. Blocks for as long as that takes.
    pub(super) fn new(
        key: &Key,
        record: Record,
        bytes: Vec<u8>,
        serving: &Serving,
        options: &Options,
    ) -> Result<Self, Error> {
        let load = engine::Options { plans: PLANS, limits: options.limits.clone(), ..engine::Options::default() };
        let model = Model::read(Bytes::from(bytes), &load.limits)?;
        let manifest = Arc::new(record.manifest);
        let wanted = match &serving.engine {
            Some(name) => vec![(options.engines.named(name)?, 1)],
            None => options.engines.for_model(&record.sha256),
        };
        let mut reasons = Vec::new();
        for (engine, threads) in wanted {
            let load = engine::Options { threads, ..load.clone() };
            match Self::on(&*engine, &model, &manifest, serving, &load) {
                Ok((sessions, batches)) => {
                    return Self::start(key, engine.name(), sessions, &manifest, serving, batches);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(Error::NoEngine { reasons: reasons.join("; ") })
    }

    /// A session for each thread, warmed up, and whether requests may be run together.
    fn on(
        engine: &dyn Engine,
        model: &Model,
        manifest: &Manifest,
        serving: &Serving,
        options: &engine::Options,
    ) -> Result<(Vec<Stateful>, bool), Error> {
        let mut sessions = Vec::new();
        let mut batches = serving.batch > 1 && manifest.states.is_empty() && is_open(manifest);
        for _ in 0..serving.threads.max(1) {
            let session = Session::load_model(engine, model, options)?;
            let mut session = Stateful::new(session, manifest.states()?)?;
            if let Some([first, second]) = tries(manifest) {
                match run_alone(&mut session, &first) {
                    Ok(outputs) => batches = batches && agrees(&mut session, &outputs, &first, &second),
                    // What an open dimension may be is the model's secret.
                    Err(error) if is_fixed(manifest) => return Err(error.into()),
                    Err(_) => batches = false,
                }
            } else {
                batches = false;
            }
            sessions.push(session);
        }
        Ok((sessions, batches))
    }

    fn start(
        key: &Key,
        engine: &'static str,
        sessions: Vec<Stateful>,
        manifest: &Arc<Manifest>,
        serving: &Serving,
        batches: bool,
    ) -> Result<Self, Error> {
        let queue = Arc::new(Queue::default());
        // From here on the threads end with it.
        let streams = || Arc::new(Streams::new(key.model(), serving.streams as usize, serving.stream_idle.to_std()));
        let streams = (!manifest.states.is_empty()).then(streams);
        let loaded = Self { engine, batches, queue: queue.clone(), streams };
        for session in sessions {
            let most = if batches { serving.batch as usize } else { 1 };
            let (manifest, queue, wait) = (manifest.clone(), queue.clone(), serving.wait.to_std());
            let worker = Worker { session, manifest, queue, most, wait };
            let name = format!("model-{}", key.model());
            std::thread::Builder::new()
                .name(name.chars().take(15).collect())
                .spawn(move || worker.run())
                .map_err(|error| Error::damaged("a model's thread", error))?;
        }
        Ok(loaded)
    }

    /// A request's turn in its stream.
    pub(super) fn turn(&self, stream: &StreamRequest) -> Result<Turn, Error> {
        if stream.key.is_empty() || stream.key.len() > MAX_STREAM_KEY {
            let reason = format!("must have 1 to {MAX_STREAM_KEY} bytes");
            return Err(Error::invalid("stream", &stream.key, reason));
        }
        let none = || Error::invalid("stream", &stream.key, "goes with models that have `states`; this one has none");
        self.streams.as_ref().ok_or_else(none)?.enter(&stream.key, stream.last)
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn engine(&self) -> &'static str {
        self.engine
    }

    pub(super) fn batches(&self) -> bool {
        self.batches
    }
}

/// Whether the first dimension of every input and output is the caller's to choose.
fn is_open(manifest: &Manifest) -> bool {
    let open = |shape: &[Dim]| matches!(shape.first(), Some(Dim::Named(_)));
    !manifest.inputs.is_empty()
        && manifest.inputs.iter().all(|input| open(&input.shape))
        && manifest.outputs.iter().all(|output| open(&output.shape))
}

/// Whether every dimension of the inputs is known but the first.
fn is_fixed(manifest: &Manifest) -> bool {
    let fixed = |shape: &[Dim]| shape.iter().skip(1).all(|dim| matches!(dim, Dim::Fixed(_)));
    manifest.inputs.iter().all(|input| fixed(&input.shape))
}

type Tensors = Vec<(String, Tensor)>;

/// Two requests of one row that differ, as far as the manifest lets them be made.
fn tries(manifest: &Manifest) -> Option<[Tensors; 2]> {
    let make = |seed: u8| -> Option<Tensors> {
        manifest.inputs.iter().map(|input| Some((input.name.clone(), sample(input, seed)?))).collect()
    };
    Some([make(1)?, make(2)?])
}

fn sample(input: &Input, seed: u8) -> Option<Tensor> {
    match input.before.as_slice() {
        [] => {
            let shape: Vec<usize> =
                input.shape.iter().map(|dim| if let Dim::Fixed(count) = dim { *count } else { 1 }).collect();
            varied(Tensor::zeros(shape, input.dtype).ok()?, seed)
        }
        [Before::Bytes(_)] => {
            let text = [b'a' + seed; 100];
            process::before(input, Sample::Bytes(&text)).ok().map(|(tensor, _)| tensor)
        }
        _ => {
            let pixels = (0..SIDE * SIDE).map(|at| ((at * usize::from(seed) * 7) % 251) as u8).collect();
            let image = Image::new(SIDE, SIDE, 1, pixels).ok()?;
            process::before(input, Sample::Image(&image)).ok().map(|(tensor, _)| tensor)
        }
    }
}

/// Numbers that differ from row to row; whole ones are 0 and 1, which every table of tokens has.
fn varied(tensor: Tensor, seed: u8) -> Option<Tensor> {
    let shape = tensor.shape().to_vec();
    let odd = |at: usize| u8::from((at + usize::from(seed)) % 2 == 1);
    let data: Data = match tensor.into_data() {
        Data::F32(values) => (0..values.len())
            .map(|at| ((at * 37 + usize::from(seed) * 101) % 97) as f32 / 97.0)
            .collect::<Vec<_>>()
            .into(),
        Data::I64(values) => (0..values.len()).map(|at| i64::from(odd(at))).collect::<Vec<_>>().into(),
        Data::I32(values) => (0..values.len()).map(|at| i32::from(odd(at))).collect::<Vec<_>>().into(),
        Data::U8(values) => (0..values.len()).map(odd).collect::<Vec<_>>().into(),
        other => other,
    };
    Tensor::new(shape, data).ok()
}

/// Whether two requests that are run together are answered as each alone. A model whose first dimension is no batch (time,
/// say) gives itself away here.
fn agrees(session: &mut Stateful, first: &[Tensor], one: &Tensors, two: &Tensors) -> bool {
    let Ok(second) = run_alone(session, two) else { return false };
    let Some(together) = run_together(session, &[one, two]) else { return false };
    let close = |(a, b): (&Tensor, &Tensor)| a.shape() == b.shape() && a.dtype() == b.dtype() && same(a, b);
    let pairs = [first, &second].into_iter().zip(&together);
    pairs.into_iter().all(|(alone, row)| alone.len() == row.len() && alone.iter().zip(row).all(close))
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => a.iter().zip(b).all(|(a, b)| {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (a - b).abs() <= TOLERANCE * a.abs().max(1.0)
        }),
        _ if a.dtype() == DType::F16 => false,
        (a, b) => a == b,
    }
}
