//! What events do to reflexes: no waiting, no writing. Events go in, a commit and conditions come out.

use std::{collections::BTreeMap, fmt};

use nx_journal::{Cause, Commit, Event, NewEvent, Reader};
use nx_types::{Causation, EventType, Label, Namespace, Seq, SharedLabel, Subject, kind::parse_spec};
use serde_json::{Value, json};

use super::{
    compile::{Program, Rendered, bind},
    history,
    memory::Memory,
};
use crate::{
    Error,
    expression::Bindings,
    kinds::reflex::ReflexSpec,
    status::Ready,
    store::{self, event_type, to_bytes},
};

/// Longest chain of reflexes that trigger one another.
pub const MAX_CHAIN: u64 = 16;
/// Most steps back along causes in which an earlier reflex is looked for.
const MAX_HOPS: usize = 64;
/// The cursor's name in the log.
pub(super) const CURSOR: &str = "control/reflexes";
/// A commit takes no more events than this; the rest comes with the next.
const MAX_EVENTS: usize = 512;
/// A commit takes no more bytes than this.
const MAX_BYTES: usize = 1 << 20;
/// After a failure this many events must do well before a reflex counts as well again.
const WELL_AFTER: u32 = 8;

/// What a batch of events led to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Actions and failures. The reading position is added when it is written.
    pub(super) events: Vec<NewEvent>,
    bytes: usize,
    /// Conditions that changed: namespace, name, generation.
    pub(super) conditions: Vec<(Namespace, String, u64, Ready)>,
    /// Whether another set of events is wanted from now on, or the batch was cut short.
    pub(super) again: bool,
}

#[derive(Debug)]
struct Active {
    generation: u64,
    program: Program,
    memory: Memory,
    subject: Subject,
    /// How many events must still do well before the reflex counts as well; 0 is well.
    ailing: u32,
}

/// All reflexes, as they stand at a reading position.
#[derive(Debug)]
pub(super) struct Engine {
    reader: Reader,
    max_event_bytes: usize,
    reflexes: BTreeMap<(Namespace, String), Active>,
    pub(super) position: Seq,
}

/// Why a reflex did not do what it should have.
struct Failure {
    reason: &'static str,
    message: String,
}

impl Failure {
    fn expression(err: impl fmt::Display) -> Self {
        Self { reason: "ExpressionFailed", message: err.to_string() }
    }

    fn action(message: impl Into<String>) -> Self {
        Self { reason: "ActionRefused", message: message.into() }
    }
}

impl Engine {
    /// The reflexes as they stood at a reading position.
    pub(super) fn load(reader: Reader, position: Seq, max_event_bytes: usize) -> Result<(Self, Outcome), Error> {
        let mut engine = Self { reader, max_event_bytes, reflexes: BTreeMap::new(), position };
        let mut outcome = Outcome::default();
        for namespace in store::namespaces(&engine.reader)? {
            for resource in store::all(&engine.reader, &namespace, "Reflex")? {
                let name = resource.metadata.name;
                if let Some((spec, generation)) = history::spec_at(&engine.reader, &namespace, &name, position)? {
                    engine.activate(&namespace, &name, &spec, generation, &mut outcome)?;
                }
            }
        }
        Ok((engine, outcome))
    }

    /// The types of events that are wanted.
    pub(super) fn types(&self) -> Vec<String> {
        let heard = self.reflexes.values().flat_map(|reflex| &reflex.program.types).map(EventType::to_string);
        let mut types: Vec<String> = heard.chain(["resource.applied".into(), "resource.deleted".into()]).collect();
        types.sort();
        types.dedup();
        types
    }

    /// Takes events in their order. Afterwards [`Engine::position`] stands behind the last one that was taken.
    pub(super) fn process(&mut self, events: &[Event]) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        for event in events {
            if event.header.subject.as_str().starts_with("resource/Reflex/") && !outcome.events.is_empty() {
                // What a reflex remembers is read from the log: what fired before must stand there first.
                outcome.again = true;
                break;
            }
            self.position = event.seq().next();
            if self.changes_reflexes(event, &mut outcome)? {
                outcome.again = true;
                break;
            }
            self.hear(event, &mut outcome)?;
            if outcome.events.len() >= MAX_EVENTS || outcome.bytes >= MAX_BYTES {
                outcome.again = true;
                break;
            }
        }
        Ok(outcome)
    }

    fn changes_reflexes(&mut self, event: &Event, outcome: &mut Outcome) -> Result<bool, Error> {
        let header = &event.header;
        let Some(name) = header.subject.as_str().strip_prefix("resource/Reflex/") else { return Ok(false) };
        let (namespace, name) = (header.namespace.clone(), name.to_owned());
        match header.kind.as_str() {
            "resource.applied" => match history::applied_spec(event) {
                Some((spec, generation)) => self.activate(&namespace, &name, &spec, generation, outcome)?,
                // Its record was erased.
                None => drop(self.reflexes.remove(&(namespace, name))),
            },
            "resource.deleted" => drop(self.reflexes.remove(&(namespace, name))),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn activate(
        &mut self,
        namespace: &Namespace,
        name: &str,
        spec: &Value,
        generation: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let compiled = parse_spec::<ReflexSpec>(spec).and_then(|spec| Program::compile(&spec));
        let key = (namespace.clone(), name.to_owned());
        let program = match compiled {
            Ok(program) => program,
            Err(errors) => {
                // Its spec was valid when it was applied, by an earlier release.
                let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let ready = Ready::no("SpecRefused", message);
                outcome.conditions.push((namespace.clone(), name.to_owned(), generation, ready));
                self.reflexes.remove(&key);
                return Ok(());
            }
        };
        let subject = subject_of(name)?;
        let memory = self.remember(namespace, &subject, &program)?;
        let ready = Ready::yes("Watching", "");
        outcome.conditions.push((namespace.clone(), name.to_owned(), generation, ready));
        self.reflexes.insert(key, Active { generation, program, memory, subject, ailing: 0 });
        Ok(())
    }

    fn remember(&self, namespace: &Namespace, subject: &Subject, program: &Program) -> Result<Memory, Error> {
        let window = program.window.as_ref().map(|window| (window.over, window.limit));
        let mut memory = Memory::new(window, program.debounce);
        if let Some((_, limit)) = window {
            for event in history::heard(&self.reader, namespace, program, limit, self.position)? {
                if let Some(data) = history::json(&event) {
                    let input = bind(&event.header, &data);
                    // What failed then was reported then.
                    drop(see(program, &mut memory, &event, &input));
                }
            }
        }
        if program.debounce.is_some() {
            for (by, time) in history::fired(&self.reader, namespace, subject)? {
                memory.fire(time, by);
            }
        }
        Ok(memory)
    }

    fn hear(&mut self, event: &Event, outcome: &mut Outcome) -> Result<(), Error> {
        let Some(data) = history::json(event) else { return Ok(()) };
        let reader = &self.reader;
        for ((namespace, name), reflex) in &mut self.reflexes {
            if *namespace != event.header.namespace || !reflex.program.hears(&event.header) {
                continue;
            }
            let asked = ask(reflex, event, &data).and_then(|wanted| match wanted {
                None => Ok(None),
                Some(wanted) => check(wanted, self.max_event_bytes).map(Some),
            });
            let failure = match asked {
                Ok(None) => None,
                Ok(Some(wanted)) => {
                    let depth = depth(reader, event)?;
                    if depth > MAX_CHAIN {
                        let message = format!("more than {MAX_CHAIN} reflexes would follow from one another");
                        Some(Failure { reason: "ChainTooLong", message })
                    } else {
                        let label = label(reader, event)?;
                        reflex.memory.fire(event.header.occurred, wanted.by.clone());
                        fire(outcome, (reflex, name), event, label, &wanted, depth)?;
                        None
                    }
                }
                Err(failure) => Some(failure),
            };
            let place = (namespace.clone(), name.clone(), reflex.generation);
            match failure {
                Some(failure) => fail(outcome, reflex, place, event, &failure)?,
                None if reflex.ailing == 1 => {
                    reflex.ailing = 0;
                    outcome.conditions.push((place.0, place.1, place.2, Ready::yes("Watching", "")));
                }
                None => reflex.ailing = reflex.ailing.saturating_sub(1),
            }
        }
        Ok(())
    }
}

/// What a reflex wants to do about an event.
struct Wanted {
    by: String,
    rendered: Rendered,
    window: Option<Value>,
}

/// Notes the event in the window; gives the figures.
fn see(
    program: &Program,
    memory: &mut Memory,
    event: &Event,
    input: &Bindings,
) -> Result<(String, Option<Value>), Failure> {
    let time = event.header.occurred;
    let by = program.by.render_text(input).map_err(Failure::expression)?;
    let Some(window) = &program.window else { return Ok((by, None)) };
    let seen = (|| {
        let counts = match window.filter.as_ref().and_then(|filter| filter.expression()) {
            Some(filter) => filter.evaluate_bool(input).map_err(Failure::expression)?,
            None => true,
        };
        let number = match window.of.as_ref().filter(|_| counts) {
            Some(of) => Some(number(&of.render(input).map_err(Failure::expression)?)?),
            None => None,
        };
        Ok((counts, number))
    })();
    let (counts, number) = match seen {
        Ok(seen) => seen,
        Err(failure) => {
            memory.see(time, &by, false, None);
            return Err(failure);
        }
    };
    memory.see(time, &by, counts, number);
    let figures = memory.window(time, &by);
    Ok((by, Some(figures)))
}

fn number(value: &Value) -> Result<f64, Failure> {
    value.as_f64().ok_or_else(|| Failure::expression(format!("`window.of` gave `{value}`, which is not a number")))
}

fn ask(reflex: &mut Active, event: &Event, data: &Value) -> Result<Option<Wanted>, Failure> {
    let mut input = bind(&event.header, data);
    let (by, window) = see(&reflex.program, &mut reflex.memory, event, &input)?;
    if let Some(window) = &window {
        input.set("window", window);
    }
    if let Some(when) = reflex.program.when.as_ref().and_then(|when| when.expression())
        && !when.evaluate_bool(&input).map_err(Failure::expression)?
    {
        return Ok(None);
    }
    if reflex.memory.rests(event.header.occurred, &by) {
        return Ok(None);
    }
    let mut rendered = reflex.program.action.render(&input).map_err(Failure::expression)?;
    if let Rendered::Run { key: key @ None, .. } = &mut rendered {
        *key = Some(format!("{}/{}", reflex.subject, event.header.id));
    }
    Ok(Some(Wanted { by, rendered, window }))
}

/// Whether the log will take the action.
fn check(wanted: Wanted, max_event_bytes: usize) -> Result<Wanted, Failure> {
    let value = match &wanted.rendered {
        Rendered::Run { key, input, .. } => {
            if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 256) {
                return Err(Failure::action("the run's key must have 1 to 256 bytes"));
            }
            input
        }
        Rendered::Emit { subject, data, .. } | Rendered::Infer { subject, request: data, .. } => {
            Subject::new(subject).map_err(|err| Failure::action(err.to_string()))?;
            data
        }
    };
    nx_types::json::check(value).map_err(|err| Failure::action(err.to_string()))?;
    // The reflex's own event repeats key and subject beside the figures.
    let bytes = value.to_string().len() + wanted.by.len() + 1024;
    if bytes > max_event_bytes {
        return Err(Failure::action(format!(
            "the event would have {bytes} bytes, over the bound of {max_event_bytes}"
        )));
    }
    Ok(wanted)
}

/// How many reflexes the event follows from, plus one: its place in the chain.
fn depth(reader: &Reader, event: &Event) -> Result<u64, Error> {
    let mut causation = event.header.causation;
    for _ in 0..MAX_HOPS {
        let Causation::Local(seq) = causation else { break };
        let Some(cause) = reader.event(seq)? else { break };
        if cause.header.kind.as_str() == "reflex.fired" {
            let before = history::json(&cause).and_then(|data| data.get("depth").and_then(Value::as_u64));
            return Ok(before.unwrap_or(1) + 1);
        }
        causation = cause.header.causation;
    }
    Ok(1)
}

/// What follows from a labelled event carries its label.
fn label(reader: &Reader, event: &Event) -> Result<Option<Label>, Error> {
    match &event.header.label {
        Some(id) => Ok(reader.label(&event.header.namespace, id)?),
        None => Ok(None),
    }
}

fn fire(
    outcome: &mut Outcome,
    (reflex, name): (&Active, &str),
    event: &Event,
    label: Option<Label>,
    wanted: &Wanted,
    depth: u64,
) -> Result<(), Error> {
    let Wanted { by, rendered, window } = wanted;
    let mut data = json!({
        "reflex": name,
        "generation": reflex.generation,
        "trigger": event.seq(),
        "by": by,
        "time": event.header.occurred,
        "depth": depth,
    });
    if let Some(window) = window {
        data["window"] = window.clone();
    }
    let (kind, subject, content) = match rendered {
        Rendered::Run { agent, key, input } => {
            data["run"] = json!({ "agent": agent, "key": key });
            let content = json!({ "agent": agent, "key": key, "input": input });
            (event_type("run.requested")?, reflex.subject.clone(), content)
        }
        Rendered::Emit { kind, subject, data: content } => {
            data["emit"] = json!({ "type": kind, "subject": subject });
            let subject = Subject::new(subject).map_err(|err| Error::damaged("a rendered subject", err))?;
            (kind.clone(), subject, content.clone())
        }
        Rendered::Infer { model, subject, request } => {
            data["infer"] = json!({ "model": model, "subject": subject });
            let mut content = request.clone();
            content["by"] = Value::from(reflex.subject.as_str());
            (event_type("model.requested")?, reflex.subject.clone(), content)
        }
    };
    let fired = derived(event, event_type("reflex.fired")?, reflex.subject.clone(), &data, label.clone());
    let place = outcome.events.len();
    outcome.push(NewEvent { causation: Cause::Local(event.seq()), ..fired });
    let action = derived(event, kind, subject, &content, label);
    outcome.push(NewEvent { causation: Cause::Within(place), ..action });
    Ok(())
}

fn fail(
    outcome: &mut Outcome,
    reflex: &mut Active,
    (namespace, name, generation): (Namespace, String, u64),
    event: &Event,
    failure: &Failure,
) -> Result<(), Error> {
    let well = reflex.ailing == 0;
    reflex.ailing = WELL_AFTER;
    if !well {
        return Ok(());
    }
    let data = json!({
        "reflex": name,
        "generation": generation,
        "trigger": event.seq(),
        "reason": failure.reason,
        "message": failure.message,
    });
    let failed = derived(event, event_type("reflex.failed")?, reflex.subject.clone(), &data, None);
    outcome.push(NewEvent { causation: Cause::Local(event.seq()), ..failed });
    let message = format!("{} (event {})", failure.message, event.seq());
    outcome.conditions.push((namespace, name, generation, Ready::no(failure.reason, message)));
    Ok(())
}

/// An event that follows from another: it is sealed with the same key and goes when that is erased.
fn derived(trigger: &Event, kind: EventType, subject: Subject, data: &Value, label: Option<Label>) -> NewEvent {
    let mut event = NewEvent::new(trigger.header.namespace.clone(), kind, subject, to_bytes(data));
    event.data_subject = Some(trigger.header.subject.to_string());
    event.label = label.map(SharedLabel::new);
    event.trace = trigger.header.trace;
    event
}

pub(super) fn subject_of(name: &str) -> Result<Subject, Error> {
    Subject::new(&format!("reflex/{name}")).map_err(|err| Error::damaged(format!("reflex `{name}`"), err))
}

impl Outcome {
    fn push(&mut self, event: NewEvent) {
        self.bytes += event.data.len();
        self.events.push(event);
    }

    /// The commit that writes the events together with the reading position.
    pub(super) fn commit(&self, position: Seq) -> Commit {
        Commit { events: self.events.clone(), cursors: vec![(CURSOR.to_owned(), position)], ..Commit::default() }
    }

    /// When the log refuses the commit for good: what the reflexes wanted is recorded as not done.
    pub(super) fn refused(&self, position: Seq, why: &str) -> Result<Commit, Error> {
        let mut events = Vec::new();
        for fired in self.events.iter().filter(|event| event.subject.as_str().starts_with("reflex/")) {
            let Cause::Local(trigger) = fired.causation else { continue };
            let data = json!({ "trigger": trigger, "reason": "LogRefused", "message": why });
            let mut event = fired.clone();
            event.kind = event_type("reflex.failed")?;
            event.data = to_bytes(&data);
            events.push(event);
        }
        Ok(Commit { events, cursors: vec![(CURSOR.to_owned(), position)], ..Commit::default() })
    }
}
