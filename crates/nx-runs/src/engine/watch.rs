//! What the guard knows of a run: the label of everything that it holds, kept up with each value; and, once a call is to be
//! traced, the run's labelled leaves with their indexes. Those are made from the record when they are first needed, and
//! from then on kept up as well.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, LazyLock},
};

use neuraxis_sdk::frames::{Effect, Flow};
use nx_guard::{
    call::Scores,
    detect::{Budget, Detectors},
    guard::{Observed, REQUEST, see},
    label::Labelled,
    origin::{Context, Limits},
    tool::{Output, Tool},
};
use nx_types::{Label, SharedLabel};

use super::record::Record;
use crate::{
    error::Error,
    machine::{Created, How, Json, Kind, RunEvent, Seen, StepCompleted},
};

/// The source of what a run carried.
const STATE: &str = "state";

/// Most values that are kept for a context that nobody has asked for yet.
const MAX_WAITING: usize = 256;
/// Most bytes of them, roughly.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Events read at once.
const PAGE: usize = 1024;
/// Bytes of a value that detectors look at in the engine.
const LOOKED_AT: usize = 64 << 10;

/// The label of what the trusted request says, and of what trusted code makes of it. It is not written down: it is what an
/// event without a label has.
pub(super) static REQUESTED: LazyLock<SharedLabel> = LazyLock::new(|| SharedLabel::new(Label::from_source(REQUEST)));
/// The label of a person's words.
static PERSON: LazyLock<SharedLabel> = LazyLock::new(|| SharedLabel::new(Label::from_source("person")));

/// What the guard knows of a run.
#[derive(Debug)]
pub(super) struct Watch {
    /// The label of whatever is made of everything that the run holds.
    joined: SharedLabel,
    /// Values that the context does not hold yet, in order.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Every event of the run up to this version is in the log.
    durable: u64,
    /// The event of this version, the run's last carry, stands for all before it.
    since: u64,
    /// The worst that detectors have said of any value.
    worst: Scores,
    context: Option<Box<Context>>,
    /// What the code declares of its functions, by open step.
    flows: BTreeMap<u64, Flow>,
    /// The labels of a result that a child run returned, until its step is completed.
    pub(super) child: Option<Labelled>,
    /// The label of a model's answer, until its step is completed.
    pub(super) answer: Option<SharedLabel>,
    /// What detectors say of the value that is being taken in, where they have looked already.
    pub(super) scores: Option<Scores>,
}

/// A value that entered the run.
#[derive(Debug)]
struct Waiting {
    version: u64,
    source: Arc<str>,
    value: Json,
    labels: Labelled,
    bytes: usize,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            joined: REQUESTED.clone(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            durable: 0,
            since: 0,
            worst: Scores::default(),
            context: None,
            flows: BTreeMap::new(),
            child: None,
            answer: None,
            scores: None,
        }
    }
}

/// What is declared of a step that has a value.
pub(super) struct Declaration<'a> {
    /// `toolset/tool`, or the name of a function of the agent's code.
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) effect: Effect,
    /// For tools.
    pub(super) tool: Option<Arc<Tool>>,
}

impl Watch {
    /// Whether everything that the run holds is as trusted and as open as its request.
    fn is_plain(&self) -> bool {
        self.joined.is_trusted() && self.joined.readers.is_none() && self.joined.purposes.is_none()
    }

    /// Takes in an event that was recorded before: its labels are known.
    pub(super) fn replay(&mut self, event: &RunEvent, version: u64) {
        self.durable = version;
        if let (Some(n), Some(flow)) = (event.step(), event.identity().and_then(|step| step.flow.as_deref())) {
            self.flows.insert(n, flow.clone());
        }
        let labels = match event {
            RunEvent::Created(body) => body.labels.as_deref(),
            RunEvent::Carried(body) => {
                self.flows.clear();
                self.since = version;
                body.labels.as_deref()
            }
            RunEvent::StepCompleted(body) => {
                self.flows.remove(&body.n);
                if let Some(seen) = &body.seen {
                    self.worst = self.worst.max(seen.scores);
                }
                body.labels.as_deref()
            }
            RunEvent::StepResolved(body) => body.labels.as_deref(),
            _ => None,
        };
        if let Some(labels) = labels {
            self.joined = self.joined.join(&labels.joined());
        }
    }

    /// What the code declared of the function of a step, in the event or in an earlier one.
    fn flow<'a>(&'a self, body: &'a StepCompleted) -> Option<&'a Flow> {
        body.step.as_ref().and_then(|step| step.flow.as_deref()).or_else(|| self.flows.get(&body.n))
    }

    /// Remembers what the first event of an open step declares.
    pub(super) fn opened(&mut self, event: &RunEvent) {
        if let (Some(n), Some(flow)) = (event.step(), event.identity().and_then(|step| step.flow.as_deref())) {
            self.flows.insert(n, flow.clone());
        }
    }

    /// The labels of a step's new value, and what the guard made of it.
    pub(super) fn judge(
        &mut self,
        body: &StepCompleted,
        of: &Declaration<'_>,
        (head, record): (&Created, &dyn Fn() -> Record),
    ) -> Result<(Labelled, Option<Seen>), Error> {
        if body.from.is_some() {
            return Ok((Labelled::uniform(self.joined.clone()), None));
        }
        let said = std::mem::take(&mut self.scores);
        let uniform = |label: &SharedLabel| Ok((Labelled::uniform(label.clone()), None));
        let output = match of.kind {
            Kind::Tool => of.tool.as_ref().map_or_else(Output::default, |tool| tool.output.clone()),
            Kind::Code => match self.flow(body) {
                Some(Flow { output: Some(output), .. }) => serde_json::from_value(output.clone())
                    .map_err(|error| Error::invalid(format!("`output`: {error}")))?,
                _ if of.effect == Effect::Code => return Ok((self.labels_of(&body.value, (head, record))?, None)),
                _ => Output::default(),
            },
            Kind::Child => {
                return Ok((self.child.take().unwrap_or_else(|| Labelled::uniform(REQUESTED.clone())), None));
            }
            // A model says what it makes of its inputs: it is as trusted as they are.
            Kind::Infer => {
                let asked = self.answer.take().unwrap_or_else(|| REQUESTED.clone());
                return uniform(&asked.join(&SharedLabel::new(Label::from_source(&*source_of(of)))));
            }
            Kind::Signal | Kind::Approval => return uniform(&PERSON),
            _ => return uniform(&REQUESTED),
        };
        self.flows.remove(&body.n);
        let scores = said.unwrap_or_else(|| scores_of(&body.value));
        self.worst = self.worst.max(scores);
        let source = source_of(of);
        let suspect = scores.injection >= nx_guard::guard::SUSPECT;
        let seen = |endorsed| Some(Seen { endorsed, scores });
        if output.extract.is_none() {
            let labels = output.labels(&source, &body.value, suspect);
            return Ok((labels, seen(None).filter(|_| scores != Scores::default())));
        }
        let context = self.context(head, record)?;
        let tool = Tool::of(&source, output);
        let observed = Observed { tool: &source, source: &source, event: None, result: Ok(&body.value), scores };
        let result = see(&tool, context, &observed);
        Ok((result.labels, seen(result.endorsed)))
    }

    /// The labels of a value that the agent's code made.
    pub(super) fn labels_of(&mut self, value: &Json, of: (&Created, &dyn Fn() -> Record)) -> Result<Labelled, Error> {
        if self.is_plain() {
            return Ok(Labelled::uniform(self.joined.clone()));
        }
        Ok(self.context(of.0, of.1)?.labels_of(value))
    }

    /// A value has entered the run, with these labels.
    pub(super) fn note(&mut self, version: u64, source: Arc<str>, value: &Json, labels: Labelled) {
        let bytes = rough_bytes(value);
        let joined = labels.joined();
        if joined != self.joined {
            self.joined = self.joined.join(&joined);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { version, source, value: value.clone(), labels, bytes });
        if self.context.is_none() {
            self.let_go();
        }
    }

    /// The run goes on from a state: that, and its input, is all that it holds now.
    pub(super) fn carried(&mut self, head: &Created, version: u64, state: &Json, labels: Labelled) {
        let input = head.labels.as_ref().map(|labels| labels.joined());
        *self = Self { durable: self.durable, since: version, worst: self.worst, ..Self::default() };
        if let Some(input) = input {
            self.joined = self.joined.join(&input);
        }
        self.note(version, STATE.into(), state, labels);
    }

    /// The worst that detectors have said of any value so far.
    pub(super) fn worst(&self) -> Scores {
        self.worst
    }

    /// Everything up to this version is in the log.
    pub(super) fn is_durable(&mut self, version: u64) {
        self.durable = self.durable.max(version);
    }

    /// What stands in the log need not be kept for a context that nobody asks for.
    fn let_go(&mut self) {
        while (self.waiting.len() > MAX_WAITING || self.waiting_bytes > MAX_WAITING_BYTES)
            && let Some(oldest) = self.waiting.pop_front_if(|oldest| oldest.version <= self.durable)
        {
            self.waiting_bytes -= oldest.bytes;
        }
    }

    /// The run's labelled leaves, all of them.
    pub(super) fn context(&mut self, head: &Created, record: &dyn Fn() -> Record) -> Result<&Context, Error> {
        let mut context = match self.context.take() {
            Some(context) => context,
            None => {
                let until = self.waiting.front().map_or(u64::MAX, |first| first.version);
                Box::new(made(head, &mut record(), self.since, until)?)
            }
        };
        self.waiting_bytes = 0;
        for Waiting { version, source, value, labels, .. } in std::mem::take(&mut self.waiting) {
            // What is too large leaves the context trusting less; the run goes on.
            if let Err(error) = context.add(&source, Some(version), &value, labels) {
                tracing::warn!(%error, source = &*source, "a value is not traced");
            }
        }
        Ok(self.context.insert(context))
    }
}

/// The name of a step's value among the sources.
pub(super) fn source_of(of: &Declaration<'_>) -> Arc<str> {
    match of.kind {
        Kind::Tool => of.name.into(),
        Kind::Infer => format!("model/{}", of.name.split('@').next().unwrap_or_default()).into(),
        _ => format!("step/{}", of.name).into(),
    }
}

/// The context of a run that has only just begun.
fn begun(head: &Created) -> Result<Context, Error> {
    let labels = head.labels.as_deref().cloned().unwrap_or_default();
    match &head.session {
        Some(session) => {
            let mut context = Context::labelled(&head.input, labels, Limits::default())?;
            if let Some(plan) = &session.plan {
                context.seal(plan.clone())?;
            }
            Ok(context)
        }
        None => Ok(Context::labelled(&head.input, labels, Limits::default())?.driven_by_code()),
    }
}

/// The context of a run as its record tells it, from its creation or last carry up to the event of this version.
fn made(head: &Created, record: &mut Record, since: u64, until: u64) -> Result<Context, Error> {
    let mut context = begun(head)?;
    let mut names: BTreeMap<u64, Arc<str>> = BTreeMap::new();
    let mut after = since.max(2) - 1;
    loop {
        let page = record.page(after, PAGE)?;
        let short = page.len() < PAGE;
        for entry in page {
            after = entry.header.version;
            if after >= until {
                return Ok(context);
            }
            let n = entry.event.step();
            if let (Some(n), Some(step)) = (n, entry.event.identity()) {
                let of = Declaration { name: &step.name, kind: step.kind, effect: step.effect, tool: None };
                names.insert(n, source_of(&of));
            }
            let (source, value, labels) = match &entry.event {
                RunEvent::StepCompleted(body) if !body.later => {
                    let source = names.remove(&body.n).unwrap_or_else(|| "step".into());
                    (source, &body.value, body.labels.as_deref())
                }
                RunEvent::StepResolved(body) => {
                    let How::Completed { value } = &body.how else { continue };
                    (names.remove(&body.n).unwrap_or_else(|| "step".into()), value, body.labels.as_deref())
                }
                RunEvent::Carried(body) => (STATE.into(), &body.state, body.labels.as_deref()),
                _ => continue,
            };
            let labels = labels.cloned().unwrap_or_else(|| Labelled::uniform(REQUESTED.clone()));
            if let Err(error) = context.add(&source, Some(after), value, labels) {
                tracing::warn!(%error, source = &*source, "a value is not traced");
            }
        }
        if short {
            return Ok(context);
        }
    }
}

/// What detectors say of a value. They look at its beginning: other runs wait meanwhile.
pub(super) fn scores_of(value: &serde_json::Value) -> Scores {
    Detectors::embedded().scan_value(value, Budget::of_bytes(LOOKED_AT)).scores
}

/// How much memory a value takes, roughly; small ones are all alike.
fn rough_bytes(value: &Json) -> usize {
    match &**value {
        serde_json::Value::String(text) => 64 + text.len(),
        serde_json::Value::Array(items) => 64 + 64 * items.len(),
        serde_json::Value::Object(fields) => 64 + 256 * fields.len(),
        _ => 64,
    }
}
