//! Measures what a search asks for.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use nx_types::env::SeededRng;

use super::{
    Device, Fact, Metric, Part, Purpose, Reading, Recipe, Report, Samples, Search, Step, Subject,
    data::{hash_of, hash_of_bytes, shuffled},
};
use crate::{
    Data, Error, Tensor,
    compress::{self, Quantise, Ranges},
    engine::{Engine, Options, Session},
    onnx::{Model, graph, proto::NodeProto, write_tensor},
};

/// Samples whose outputs are kept, to tell how far those of a candidate lie from them.
const KEPT: usize = 32;
/// Bytes that kept outputs may take.
const KEPT_BYTES: usize = 256 << 20;
/// How often all candidates are loaded anew within a timing: where a model comes to lie in memory is chance, and moves its time.
const LOADS: usize = 3;
/// How often the original is timed beside itself.
const CONTROLS: usize = 2;
/// Rounds after each loading that are not counted.
const WARM_UP: usize = 3;

/// How far a search has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is measured now, for a person.
    pub doing: String,
    /// Runs of a model that are done.
    pub done: u64,
    /// Runs of a model in all, as far as that is known.
    pub total: u64,
    /// The time that is left, if the rest takes as long as what was measured since the start.
    pub left: Option<Duration>,
}

/// How a call of [`run`] ended.
#[derive(Debug)]
pub enum Ended {
    /// With a report and the model that is released.
    Done(Box<(Report, Model)>),
    /// It was told to stop. [`Search::state`] holds what was measured.
    Stopped,
}

/// A model, data and engines to measure with.
#[derive(Debug)]
pub struct Runner<'r> {
    original: Model,
    folded: Model,
    samples: &'r Samples,
    metric: &'r Metric,
    engines: &'r [&'r dyn Engine],
    options: Options,
    subject: Subject,
    ranges: OnceCell<Ranges>,
    /// What the original says of each sample, and the digest of its outputs.
    known: BTreeMap<usize, (Reading, u64)>,
    kept: BTreeMap<usize, Vec<Tensor>>,
    kept_bytes: usize,
    /// The candidate that was run last.
    open: Option<(Recipe, u64, Session)>,
    stop: Option<&'r AtomicBool>,
}

impl<'r> Runner<'r> {
    /// Looks at a model. The first engine is the one that is searched for; the others are timed.
    ///
    /// # Errors
    /// `Model` when it cannot be cleaned; `Compress` without an engine or sample.
    pub fn new(
        model: &Model,
        samples: &'r Samples,
        metric: &'r Metric,
        engines: &'r [&'r dyn Engine],
        options: Options,
    ) -> Result<Self, Error> {
        let (folded, _) = compress::fold(&compress::clean(model)?.0)?;
        let quantised = Quantise::default().operators;
        let layers = folded.graph().node.iter().filter(|node| quantised.contains(&graph::operator(node)));
        let subject = Subject {
            model: hash_of(model),
            data: samples.hash().to_owned(),
            metric: serde_json::to_string(metric).unwrap_or_default(),
            binary: metric.is_binary(),
            samples: samples.len(),
            engines: engines.iter().map(|engine| format!("{} {}", engine.name(), engine.version())).collect(),
            layers: layers.filter_map(|node| node.output.first().cloned()).collect(),
        };
        Ok(Self {
            original: model.clone(),
            folded,
            samples,
            metric,
            engines,
            options,
            subject,
            ranges: OnceCell::new(),
            known: BTreeMap::new(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            open: None,
            stop: None,
        })
    }

    /// Says from which file the model was read: the report then speaks of that file, which may be written otherwise than we do.
    #[must_use]
    pub fn of_file(mut self, bytes: &[u8]) -> Self {
        self.subject.model = hash_of_bytes(bytes);
        self
    }

    /// Breaks off within a measurement too once this is set; what it had measured of it is lost then.
    pub fn stop_on(&mut self, stop: &'r AtomicBool) {
        self.stop = Some(stop);
    }

    fn stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// What a search has to know. Layers are those of the whole graph; a search looks at as many as its options allow.
    pub fn subject(&self, layers: usize) -> Subject {
        let mut subject = self.subject.clone();
        if subject.layers.len() > layers {
            subject.layers.truncate(layers);
        }
        subject
    }

    /// Whether the truths were given.
    pub(super) fn labelled(&self) -> bool {
        self.samples.labelled()
    }

    pub(super) fn metric(&self) -> &Metric {
        self.metric
    }

    pub(super) fn threads(&self) -> usize {
        self.options.threads
    }

    /// A layer of the folded model, by its output.
    pub(super) fn layer(&self, output: &str) -> Option<&NodeProto> {
        self.folded.graph().node.iter().find(|node| node.output.first().is_some_and(|name| name == output))
    }

    /// Makes a candidate's model.
    ///
    /// # Errors
    /// `Compress` when it cannot be made; of the engine when ranges cannot be seen.
    pub fn make(&self, search: &Search, recipe: &Recipe) -> Result<Model, Error> {
        let shared = recipe.make(&self.original, &self.folded, &|| self.ranges(search));
        match (shared, recipe.quantise()) {
            // what is moved behind a layer that stays needs a range of its own, which the whole had no use for
            (Err(_), Some(how)) if !how.skip.is_empty() => {
                recipe.make(&self.original, &self.folded, &|| self.calibrated(search, &how))
            }
            (made, _) => made,
        }
    }

    fn ranges(&self, search: &Search) -> Result<Ranges, Error> {
        if let Some(ranges) = self.ranges.get() {
            return Ok(ranges.clone());
        }
        let found = self.calibrated(search, &Quantise::default())?;
        Ok(self.ranges.get_or_init(|| found).clone())
    }

    fn calibrated(&self, search: &Search, how: &Quantise) -> Result<Ranges, Error> {
        let chosen = search.split().part(Part::Search).iter().take(search.options().calibration);
        let samples: Result<Vec<_>, Error> =
            chosen.map(|at| self.samples.get(*at).map(|sample| sample.inputs.clone())).collect();
        let samples = samples?;
        let calibrate = |engine: &&dyn Engine| compress::calibrate(*engine, &self.folded, &samples, how, &self.options);
        let none = Error::Compress { step: "search", reason: "there is no engine".to_owned() };
        // not every engine shows inner values of every model; ranges hardly depend on which one does
        let mut engines = self.engines.iter();
        let first = engines.next().map_or(Err(none), calibrate);
        engines.fold(first, |found, engine| found.or_else(|_| calibrate(engine)))
    }

    /// Measures what a step asks for.
    ///
    /// # Errors
    /// When the original itself cannot be run: then there is nothing to compare with.
    pub fn perform(
        &mut self,
        search: &Search,
        step: &Step,
        now: &mut dyn FnMut() -> Duration,
    ) -> Result<Option<Fact>, Error> {
        match step {
            Step::Score { recipe, part, from, to } => {
                let positions = search.split().part(*part).get(*from..*to).unwrap_or_default().to_vec();
                match self.scores(search, recipe, &positions) {
                    Ok(Scores { scores, exact, deviation, bytes }) => Ok(Some(Fact::Scored {
                        recipe: recipe.clone(),
                        part: *part,
                        from: *from,
                        scores,
                        exact,
                        deviation: (*from == 0 && *part == Part::Search).then_some(deviation),
                        bytes,
                    })),
                    Err(error) if *recipe == Recipe::Original => Err(error),
                    Err(error) => Ok(Some(failed(recipe, &error))),
                }
            }
            Step::Probe { layer, recipe } => {
                let chosen = search.split().part(Part::Search).iter().take(search.options().probe);
                let positions: Vec<usize> = chosen.copied().collect();
                // a layer that cannot be quantised by itself is none that a choice is made about
                let deviation = self.scores(search, recipe, &positions).map_or(0.0, |scores| scores.deviation);
                Ok(Some(Fact::Probed { layer: layer.clone(), deviation }))
            }
            Step::Time { engine, purpose, recipes } => self.times(search, *engine, *purpose, recipes, now).map(Some),
            Step::Done => Ok(None),
        }
    }

    fn scores(&mut self, search: &Search, recipe: &Recipe, positions: &[usize]) -> Result<Scores, Error> {
        self.learn(search, positions)?;
        let bytes = self.load(search, recipe)?;
        let (mut scores, mut exact, mut off, mut size) = (Vec::new(), true, 0.0, 0.0);
        for &at in positions {
            if self.stopped() {
                break;
            }
            let sample = self.samples.get(at)?;
            let Some((_, _, session)) = &mut self.open else { continue };
            let outputs = run_one(session, &sample.inputs)?;
            let Some((answer, digest)) = self.known.get(&at) else { continue };
            exact &= *digest == digest_of(&outputs);
            let truth = sample.truth.as_ref().unwrap_or(answer);
            scores.push(self.metric.score(truth, &self.metric.read(&outputs)?));
            if let Some(before) = self.kept.get(&at) {
                let (part_off, part_size) = distance(before, &outputs);
                (off, size) = (off + part_off, size + part_size);
            }
        }
        let deviation: f64 = if size > 0.0 { (off / size).sqrt() } else { 0.0 };
        // what is not a number is as far away as can be
        let deviation = if deviation.is_finite() { deviation } else { 1e9 };
        Ok(Scores { scores, exact, deviation, bytes })
    }

    /// Asks the original about samples that it was not asked about yet.
    fn learn(&mut self, search: &Search, positions: &[usize]) -> Result<(), Error> {
        let unknown: Vec<usize> = positions.iter().copied().filter(|at| !self.known.contains_key(at)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.load(search, &Recipe::Original)?;
        let Some((_, _, session)) = &mut self.open else { return Ok(()) };
        let compared = KEPT.max(search.options().probe);
        let first = search.split().part(Part::Search).get(..compared.min(search.split().part(Part::Search).len()));
        let stop = self.stop;
        for at in unknown {
            if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                break;
            }
            let outputs = run_one(session, &self.samples.get(at)?.inputs)?;
            self.known.insert(at, (self.metric.read(&outputs)?, digest_of(&outputs)));
            let bytes: usize = outputs.iter().map(Tensor::bytes).sum();
            if first.is_some_and(|first| first.contains(&at)) && self.kept_bytes + bytes <= KEPT_BYTES {
                self.kept_bytes += bytes;
                self.kept.insert(at, outputs);
            }
        }
        Ok(())
    }

    /// Makes a candidate the open one; its bytes.
    fn load(&mut self, search: &Search, recipe: &Recipe) -> Result<u64, Error> {
        if let Some((open, bytes, _)) = &self.open
            && open == recipe
        {
            return Ok(*bytes);
        }
        let file = self.make(search, recipe)?.write();
        let bytes = file.len() as u64;
        let engine = self
            .engines
            .first()
            .ok_or_else(|| Error::Compress { step: "search", reason: "there is no engine".to_owned() })?;
        // the one before goes first: two large models need not be in memory at once
        self.open = None;
        self.open = Some((recipe.clone(), bytes, Session::load(*engine, file, &self.options)?));
        Ok(bytes)
    }

    /// Times candidates by turns on the first samples of the search's part.
    fn times(
        &mut self,
        search: &Search,
        engine: usize,
        purpose: Purpose,
        recipes: &[Recipe],
        now: &mut dyn FnMut() -> Duration,
    ) -> Result<Fact, Error> {
        self.open = None;
        let name = self.subject.engines.get(engine).cloned().unwrap_or_default();
        let none = || Error::NoEngine { name: name.clone(), known: self.subject.engines.join(", ") };
        let engine = *self.engines.get(engine).ok_or_else(none)?;
        let written = |recipe: &Recipe| self.make(search, recipe).map(|model| Bytes::from(model.write())).ok();
        let mut files: Vec<Option<Bytes>> = recipes.iter().map(written).collect();
        let original = files.first().cloned().flatten();
        files.extend(std::iter::repeat_n(original, CONTROLS));
        let part = search.split().part(Part::Search);
        let samples: Result<Vec<_>, Error> = part.iter().take(KEPT).map(|at| self.samples.get(*at)).collect();
        let samples = samples?;
        let rng = SeededRng::new(search.options().seed);
        let rounds = search.options().rounds;
        let mut nanos: Vec<Vec<u64>> = vec![Vec::new(); files.len()];
        for load in 0..LOADS {
            let mut sessions: Vec<(usize, Session)> = Vec::new();
            for at in shuffled(files.len(), &rng) {
                let Some(slot) = files.get_mut(at) else { continue };
                let loaded = slot.clone().and_then(|file| Session::load(engine, file, &self.options).ok());
                match loaded {
                    Some(session) => sessions.push((at, session)),
                    None => *slot = None,
                }
            }
            let counted = (load + 1) * rounds / LOADS - load * rounds / LOADS;
            for round in 0..counted + WARM_UP {
                let Some(sample) = samples.get(round % samples.len().max(1)) else { break };
                // nobody always runs behind the same one, and finds the caches as that one left them
                for turn in shuffled(sessions.len(), &rng) {
                    if self.stopped() {
                        return Ok(Fact::Timed { engine: name, purpose, nanos: Vec::new(), control: Vec::new() });
                    }
                    let Some((at, session)) = sessions.get_mut(turn) else { continue };
                    if files.get(*at).is_none_or(Option::is_none) {
                        continue;
                    }
                    let start = now();
                    let result = run_one(session, &sample.inputs);
                    let time = now().saturating_sub(start);
                    match (result, files.get_mut(*at), nanos.get_mut(*at)) {
                        (Ok(_), _, Some(nanos)) if round >= WARM_UP => {
                            nanos.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                        }
                        (Err(_), Some(file), _) => *file = None,
                        _ => {}
                    }
                }
            }
        }
        // who failed once has no times
        for (file, nanos) in files.iter().zip(&mut nanos) {
            if file.is_none() {
                nanos.clear();
            }
        }
        let control = nanos.split_off(recipes.len());
        Ok(Fact::Timed { engine: name, purpose, nanos: recipes.iter().cloned().zip(nanos).collect(), control })
    }
}

/// What a candidate answered.
struct Scores {
    scores: Vec<f32>,
    exact: bool,
    deviation: f64,
    bytes: u64,
}

/// Measures until the verdict is there. `watch` is told of every step before it is taken, and may break off.
///
/// # Errors
/// When the original itself cannot be run.
pub fn run(
    search: &mut Search,
    runner: &mut Runner<'_>,
    device: &Device,
    now: &mut dyn FnMut() -> Duration,
    watch: &mut dyn FnMut(&Search, &Progress) -> ControlFlow<()>,
) -> Result<Ended, Error> {
    let (begin, (already, _)) = (now(), search.work());
    loop {
        let step = search.step();
        let (done, total) = search.work();
        let spent = now().saturating_sub(begin);
        let fresh = done.saturating_sub(already);
        let left = (fresh > 0).then(|| spent.mul_f64(total.saturating_sub(done) as f64 / fresh as f64));
        let progress = Progress { doing: doing(&step), done, total, left };
        if watch(search, &progress).is_break() {
            return Ok(Ended::Stopped);
        }
        let measured = runner.perform(search, &step, now)?;
        if runner.stopped() {
            return Ok(Ended::Stopped);
        }
        match measured {
            Some(fact) => search.record(fact),
            None => break,
        }
    }
    let report = Report::of(search, runner, device)?;
    let model = runner.make(search, &report.released.recipe)?;
    Ok(Ended::Done(Box::new((report, model))))
}

fn doing(step: &Step) -> String {
    match step {
        Step::Score { recipe, part: Part::Search, from, .. } => format!("{} from sample {from}", recipe.name()),
        Step::Score { recipe, part: Part::HeldOut, from, .. } => {
            format!("{} on held-out data from sample {from}", recipe.name())
        }
        Step::Probe { layer, .. } => format!("layer `{layer}` in int8"),
        Step::Time { recipes, purpose: Purpose::Race, .. } => format!("times of {} candidates", recipes.len()),
        Step::Time { recipes, purpose: Purpose::Confirm, .. } => format!("times of {} candidates anew", recipes.len()),
        Step::Done => "done".to_owned(),
    }
}

fn failed(recipe: &Recipe, error: &Error) -> Fact {
    Fact::Failed { recipe: recipe.clone(), reason: error.to_string() }
}

fn run_one(session: &mut Session, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Error> {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&inputs)
}

/// A digest of all bits, within one process.
fn digest_of(outputs: &[Tensor]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for output in outputs {
        write_tensor("", output).hash(&mut hasher);
    }
    hasher.finish()
}

/// The sum of squared differences, and of squares.
fn distance(before: &[Tensor], after: &[Tensor]) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for (before, after) in before.iter().zip(after) {
        if let (Data::F32(before), Data::F32(after)) = (before.data(), after.data()) {
            for (a, b) in before.iter().zip(after) {
                sums.0 += (f64::from(*a) - f64::from(*b)).powi(2);
                sums.1 += f64::from(*a).powi(2);
            }
        }
    }
    sums
}
