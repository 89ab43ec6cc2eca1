//! The guard's place in the engine: values are labelled when they enter the record, calls are traced and put before the
//! policies of their namespace, sessions of foreign programs ask and report.

use std::{cell::RefCell, sync::Arc};

use neuraxis_sdk::frames::{Effect, Outcome};
use nx_guard::{
    call::{Call, Facts, Scores},
    guard::OUTPUT,
    label::Labelled,
    origin::Context,
    policy::PolicySet,
    tool::{self, Output, Tool},
};
use nx_types::{Duration, Namespace, RunId, SharedLabel, Timestamp};

use super::{
    Engine, Output as Out, Response, Ticket, ingest,
    loading::Loaded,
    record::Record,
    request::SessionRequest,
    slot::Slot,
    timers::Timer,
    watch::{Declaration, REQUESTED, Watch, scores_of, source_of},
};
use crate::{
    error::Error,
    kinds::Declared,
    machine::{Asked, Command, Created, Gate, GuardSession, Guarded, How, Kind, Reported, RunEvent, Verdict},
};

/// How long a session may be open, where it does not say.
const SESSION: Duration = Duration::from_secs(24 * 3600);
/// Longest text that is taken from a session at once, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// The gate of one run at one moment.
pub(super) struct RunGate<'a> {
    pub(super) watch: RefCell<&'a mut Watch>,
    pub(super) head: Option<Arc<Created>>,
    pub(super) record: &'a dyn Fn() -> Record,
    pub(super) declared: Option<&'a Declared>,
    pub(super) now: Timestamp,
}

impl RunGate<'_> {
    fn set(&self) -> Result<&PolicySet, Error> {
        self.declared.map_or_else(|| Ok(Declared::shipped()), Declared::policies)
    }

    /// What is declared of the tool that is called.
    fn tool(&self, asked: &Asked<'_>, head: &Created) -> Result<Arc<Tool>, Error> {
        if asked.kind != Kind::Tool {
            let sinks = asked.flow.map(|flow| flow.sinks.as_slice()).unwrap_or_default();
            let sinks: Result<Vec<_>, String> = sinks.iter().map(|sink| tool::Pattern::parse(sink)).collect();
            let sinks = Some(sinks.map_err(|reason| Error::invalid(format!("`sinks`: {reason}")))?);
            let name = format!("step/{}", asked.name);
            return Ok(Arc::new(Tool { effect: effect_of(asked.effect), sinks, ..Tool::of(&name, Output::default()) }));
        }
        if let Some(session) = &head.session {
            let found = session.tools.iter().find(|tool| tool.name == asked.name);
            return found.cloned().ok_or_else(|| Error::invalid("the tool is not declared"));
        }
        let known = asked.name.split_once('/').and_then(|(set, tool)| self.declared?.tool(set, tool));
        Ok(known.map_or_else(
            || {
                let sinks = None;
                let effect = effect_of(asked.effect);
                Arc::new(Tool { effect, sinks, ..Tool::of(asked.name, Output::default()) })
            },
            |rules| rules.guard.clone(),
        ))
    }

    fn decide(&self, asked: &Asked<'_>, head: &Created, context: &Context, scores: Scores) -> Result<Verdict, Error> {
        let (principal, roles) = match &head.session {
            Some(session) => (session.principal.clone(), session.roles.clone()),
            None => (head.by.clone(), Default::default()),
        };
        // What an injection may have done, it did by what was read; what may leave, leaves with the arguments.
        let scores = scores.of_call(scores_of(asked.args));
        let facts =
            Facts { now: self.now, scores, approvals: asked.approvals, principal, roles, agent: head.agent.clone() };
        let (tool, traced) = match (asked.name, asked.args.as_str()) {
            (OUTPUT, Some(text)) => {
                let readers = facts.roles.iter().chain([&facts.principal]).cloned().collect();
                (Arc::new(Tool::of(OUTPUT, Output::default())), context.trace_text(text, &readers)?)
            }
            _ => {
                let tool = self.tool(asked, head)?;
                let traced = context.trace(&tool, asked.args)?;
                (tool, traced)
            }
        };
        let mut decision = self.set()?.decide(&Call { tool: &tool, traced: &traced, facts: &facts })?;
        decision.origins = traced.origins;
        let args = if traced.args == **asked.args { asked.args.clone() } else { Arc::new(traced.args) };
        Ok(Verdict {
            call: tool.name.clone(),
            decision,
            args,
            facts,
            asked: traced.asked,
            named: traced.named,
            leaks: traced.leaks,
        })
    }
}

impl Gate for RunGate<'_> {
    fn check(&self, asked: &Asked<'_>) -> Result<Option<Verdict>, Error> {
        let Some(head) = self.head.as_deref() else { return Ok(None) };
        let mut watch = self.watch.borrow_mut();
        let scores = watch.worst();
        let context = watch.context(head, self.record)?;
        self.decide(asked, head, context, scores).map(Some)
    }

    fn policies(&self) -> String {
        self.set().map(|set| set.digest().to_owned()).unwrap_or_default()
    }
}

fn effect_of(effect: Effect) -> tool::Effect {
    match effect {
        Effect::Code | Effect::Read => tool::Effect::Read,
        Effect::Idempotent => tool::Effect::Idempotent,
        Effect::Once => tool::Effect::Once,
    }
}

/// Labels that are all the same stand in the event's header, and not there where they say nothing new.
pub(super) fn into_header(labels: &mut Option<Box<Labelled>>) -> Option<SharedLabel> {
    let held = labels.take()?;
    let label = match held.is_uniform() {
        Some(label) => label.clone(),
        None => {
            let joined = held.joined();
            *labels = Some(held);
            joined
        }
    };
    (label != *REQUESTED).then_some(label)
}

/// The labels in the header of an event that holds a value, taken out of its data where they are all the same.
pub(super) fn label_of(event: &mut RunEvent) -> Option<SharedLabel> {
    match event {
        RunEvent::Created(body) => into_header(&mut body.labels),
        RunEvent::Carried(body) => into_header(&mut body.labels),
        RunEvent::Completed(body) => into_header(&mut body.labels),
        RunEvent::StepCompleted(body) => into_header(&mut body.labels),
        RunEvent::StepResolved(body) => into_header(&mut body.labels),
        _ => None,
    }
}

/// The other way round, for an event that was read.
pub(super) fn from_header(event: &mut RunEvent, label: SharedLabel) {
    let labels = match event {
        RunEvent::Created(body) => &mut body.labels,
        RunEvent::Carried(body) => &mut body.labels,
        RunEvent::Completed(body) => &mut body.labels,
        RunEvent::StepCompleted(body) => &mut body.labels,
        RunEvent::StepResolved(body) => &mut body.labels,
        _ => return,
    };
    labels.get_or_insert_with(|| Box::new(Labelled::uniform(label)));
}

impl Engine {
    /// Labels the values of a decision's events, from version `first` on, and lets the guard take them in. An event of the
    /// agent's own gets its label in the list that comes back.
    pub(super) fn label(
        &self,
        slot: &mut Slot,
        events: &mut [RunEvent],
        first: u64,
    ) -> Result<Vec<(usize, SharedLabel)>, Error> {
        let mut emitted = Vec::new();
        for (place, event) in events.iter_mut().enumerate() {
            let version = first + place as u64;
            let Slot { run, watch, namespace, .. } = &mut *slot;
            let Some(head) = run.head().cloned() else { continue };
            let (reader, id) = (&self.reader, run.id());
            let record = || Record::new(reader.clone(), namespace.clone(), id);
            match event {
                RunEvent::StepCompleted(body) if !body.later => {
                    let Some((kind, effect, name)) = run.step(body.n) else { continue };
                    let of = Declaration { name, kind, effect, tool: self.guard_tool(namespace, &head, kind, name) };
                    let (labels, seen) = match &self.limits.constant_label {
                        Some(label) => (Labelled::uniform(label.clone()), None),
                        None => watch.judge(body, &of, (&head, &record))?,
                    };
                    watch.note(version, source_of(&of), &body.value, labels.clone());
                    body.labels = Some(Box::new(labels));
                    body.seen = seen.map(Box::new);
                }
                RunEvent::StepResolved(body) => {
                    let How::Completed { value } = &body.how else { continue };
                    let Some((kind, effect, name)) = run.step(body.n) else { continue };
                    let of = Declaration { name, kind, effect, tool: self.guard_tool(namespace, &head, kind, name) };
                    let output = of.tool.as_ref().map(|tool| tool.output.clone()).unwrap_or_default();
                    let labels = output.labels(&source_of(&of), value, false);
                    watch.note(version, source_of(&of), value, labels.clone());
                    body.labels = Some(Box::new(labels));
                }
                RunEvent::Carried(body) => {
                    let labels = watch.labels_of(&body.state, (&head, &record))?;
                    watch.carried(&head, version, &body.state, labels.clone());
                    body.labels = Some(Box::new(labels));
                }
                RunEvent::Completed(body) => {
                    body.labels = Some(Box::new(watch.labels_of(&body.result, (&head, &record))?));
                }
                RunEvent::Emitted(body) => {
                    let label = watch.labels_of(&body.data, (&head, &record))?.joined();
                    if label != *REQUESTED {
                        emitted.push((place, label));
                    }
                }
                other => watch.opened(other),
            }
        }
        Ok(emitted)
    }

    fn guard_tool(&self, namespace: &Namespace, head: &Created, kind: Kind, name: &str) -> Option<Arc<Tool>> {
        if kind != Kind::Tool {
            return None;
        }
        match &head.session {
            Some(session) => session.tools.iter().find(|tool| tool.name == name).cloned(),
            None => {
                let (toolset, tool) = name.split_once('/')?;
                Some(self.declared.get(namespace)?.tool(toolset, tool)?.guard.clone())
            }
        }
    }

    /// The labels of an input that a run hands to its child.
    pub(super) fn child_labels(&self, slot: &mut Slot, input: &crate::machine::Json) -> Result<Labelled, Error> {
        let Slot { run, watch, namespace, .. } = slot;
        let Some(head) = run.head().cloned() else { return Ok(Labelled::uniform(REQUESTED.clone())) };
        let (reader, id) = (&self.reader, run.id());
        watch.labels_of(input, (&head, &|| Record::new(reader.clone(), namespace.clone(), id)))
    }

    /// Opens the session of a program that is not ours.
    pub(super) fn open_session(&mut self, ticket: Ticket, asked: SessionRequest) -> Result<(), Error> {
        let SessionRequest { namespace, agent, prompt, session, by, deadline } = asked;
        super::requests::bounded("the agent's name", &agent)?;
        super::requests::bounded("the principal", &session.principal)?;
        ingest::check(&prompt)?;
        self.room()?;
        check_session(&session)?;
        let created = Created {
            agent,
            input: Arc::new(prompt),
            key: None,
            deadline: Some(deadline.unwrap_or(self.now + SESSION).min(self.now + SESSION)),
            parent: None,
            by,
            fork: None,
            session: Some(Box::new(session)),
            labels: None,
        };
        self.create(ticket, namespace, created, nx_journal::Cause::None, None)
    }

    /// A session's program asks or reports. `scores` are what detectors say of what it reports.
    pub(super) fn report_to(
        &mut self,
        ticket: Ticket,
        namespace: &Namespace,
        run: RunId,
        reported: Reported,
        scores: Scores,
    ) -> Result<(), Error> {
        check_reported(&reported)?;
        if self.load(namespace, run)? == Loaded::Later {
            let namespace = namespace.clone();
            self.once_loaded(run, Some(ticket), move |engine| {
                if let Err(error) = engine.report_to(ticket, &namespace, run, reported, scores) {
                    engine.out.push(Out::Reply { ticket, answer: Err(error) });
                }
            });
            return Ok(());
        }
        if let Some(slot) = self.runs.get_mut(&run) {
            if !slot.run.is_session() {
                return Err(Error::NoSession { run });
            }
            slot.watch.scores = Some(scores);
        }
        let (slot, mut decision) = self.decide(run, Command::Report(Box::new(reported)))?;
        let mut answer = None;
        decision.actions.retain(|action| match action {
            crate::machine::Action::Guarded(guarded) => {
                answer = Some(guarded.clone());
                false
            }
            _ => true,
        });
        let response = answer.map_or(Response::Done, |guarded: Box<Guarded>| Response::Guarded(guarded));
        self.settle(slot, decision, None, Some((ticket, response)));
        self.timers.set(Timer::Park(run), Some(self.now + self.limits.park_after));
        self.retire(run);
        Ok(())
    }

    /// A session that nobody has asked anything for a while leaves the memory, not the record.
    pub(super) fn rest(&mut self, run: RunId) {
        let idle = self.runs.get(&run).is_some_and(|slot| slot.droppable() && slot.run.is_session());
        if !idle {
            return;
        }
        if let Some(slot) = self.runs.remove(&run) {
            self.dormant.insert(run, super::Dormant { namespace: slot.namespace });
        }
    }
}

fn check_session(session: &GuardSession) -> Result<(), Error> {
    let tools = session.tools.iter().map(|tool| (**tool).clone());
    let tools = tool::Tools::new(tools)?;
    for step in session.plan.iter().flatten() {
        tools.get(&step.tool)?;
    }
    Ok(())
}

fn check_reported(reported: &Reported) -> Result<(), Error> {
    match reported {
        Reported::Check { tool, args } => {
            super::requests::bounded("the tool's name", tool)?;
            ingest::check(args)
        }
        Reported::Observe { tool, args, outcome } => {
            super::requests::bounded("the tool's name", tool)?;
            ingest::check(args)?;
            match outcome {
                Outcome::Ok(value) => ingest::check(value),
                Outcome::Error(_) => Ok(()),
            }
        }
        Reported::Output { text } if text.len() > MAX_TEXT => {
            Err(Error::Limit { what: "the bytes of an output", max: MAX_TEXT as u64, fix: "send less at once" })
        }
        Reported::Output { .. } | Reported::Close => Ok(()),
    }
}
