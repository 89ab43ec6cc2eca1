//! Runs in memory: loading, deciding, arranging what follows from where they stand, letting them go.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use nx_types::{Duration, Namespace, RunId, Seq, Subject, Timestamp, TraceParent};
use serde_json::Value;

use super::{
    Dormant, Engine, Output, Response, Ticket,
    guard::RunGate,
    loading::Loaded,
    record::Record,
    rows::{self, RunRow},
    slot::{Beats, Causes, Slot},
    timers::Timer,
    view::{RunStatus, RunSummary},
    watch::Watch,
};
use crate::{
    error::Error,
    machine::{
        self, Command, Context, Created, Datum, Decision, Emitted, Json, Obligation, Parent, Recorded, Run, RunEvent,
    },
};

impl Engine {
    /// The namespace of a run that is known to be open.
    pub(super) fn namespace_of(&self, run: RunId) -> Option<Namespace> {
        let loaded = self.runs.get(&run).map(|slot| &slot.namespace);
        let loading = || self.loading.get(&run).map(super::loading::Loading::namespace);
        loaded.or_else(loading).or_else(|| self.dormant.get(&run).map(|dormant| &dormant.namespace)).cloned()
    }

    /// Hands a command to a run that is known to be open; nothing happens to others.
    pub(super) fn command(&mut self, run: RunId, command: Command, reply: Option<(Ticket, Response)>) {
        let Some(namespace) = self.namespace_of(run) else { return };
        self.command_in(&namespace, run, command, None, reply);
    }

    /// Hands a command to a run, loading it first if need be.
    pub(super) fn command_in(
        &mut self,
        namespace: &Namespace,
        run: RunId,
        command: Command,
        cause: Option<Seq>,
        reply: Option<(Ticket, Response)>,
    ) {
        match self.load(namespace, run) {
            Ok(Loaded::Later) => {
                let (namespace, ticket) = (namespace.clone(), reply.as_ref().map(|(ticket, _)| *ticket));
                let then = move |engine: &mut Self| engine.command_in(&namespace, run, command, cause, reply);
                return self.once_loaded(run, ticket, then);
            }
            Ok(Loaded::Now) => {}
            Err(error) => return self.cannot(run, reply.map(|(ticket, _)| ticket), error),
        }
        match self.decide(run, command) {
            Ok((slot, decision)) => self.settle(slot, decision, cause, reply),
            Err(error) => self.cannot(run, reply.map(|(ticket, _)| ticket), error),
        }
    }

    fn cannot(&mut self, run: RunId, ticket: Option<Ticket>, error: Error) {
        match ticket {
            Some(ticket) => self.out.push(Output::Reply { ticket, answer: Err(error) }),
            None => tracing::warn!(%run, %error, "a run could not go on"),
        }
    }

    /// Decides on a command. The slot is out of the map then.
    pub(super) fn decide(&mut self, run: RunId, command: Command) -> Result<(Box<Slot>, Decision), Error> {
        let mut slot = self.runs.remove(&run).ok_or(Error::Closed)?;
        let Slot { run: machine, watch, namespace, limits, .. } = &mut *slot;
        let reader = &self.reader;
        let record = || Record::new(reader.clone(), namespace.clone(), run);
        let gate = RunGate {
            watch: RefCell::new(watch),
            head: machine.head().cloned(),
            record: &record,
            declared: self.declared.get(namespace).map(|declared| &**declared),
            now: self.now,
        };
        let context = Context {
            now: self.now,
            rng: self.env.rng(),
            keys: &self.keys,
            limits: limits.as_deref().unwrap_or(&self.limits.run),
            gate: &gate,
        };
        match machine.decide(command, &context) {
            Ok(decision) => Ok((slot, decision)),
            Err(error) => {
                self.runs.insert(run, slot);
                Err(error)
            }
        }
    }

    /// Bounds that an agent's declaration narrows.
    pub(super) fn run_limits(&self, namespace: &Namespace, agent: &str) -> Option<Box<machine::Limits>> {
        let steps = self.declared.get(namespace)?.agent(agent)?.steps?;
        Some(Box::new(machine::Limits { steps: steps.min(self.limits.run.steps), ..self.limits.run.clone() }))
    }

    /// Looks after what a loaded run has out.
    pub(super) fn oblige(&mut self, run: RunId, obligations: Vec<Obligation>) {
        let worker = self.runs.get(&run).and_then(|slot| slot.run.worker().map(|(worker, _)| worker.to_owned()));
        let mut lost = false;
        for obligation in obligations {
            match obligation {
                Obligation::Outstanding { grant, dispatched, .. } => {
                    let worker = if dispatched { None } else { worker.clone() };
                    self.granted_before(run, grant, worker);
                }
                Obligation::Child { step, run: child } => self.child_known(run, step, child),
                Obligation::Incarnation { .. } => lost = true,
            }
        }
        if lost {
            let executing = self.executing(run);
            self.command(run, Command::Lost { reason: "the server took the run up again".to_owned(), executing }, None);
        }
    }

    /// A loaded run waits for a child: it may have ended meanwhile.
    fn child_known(&mut self, run: RunId, step: u64, child: RunId) {
        let Some(namespace) = self.namespace_of(run) else { return };
        match self.ended(&namespace, child) {
            Ok(Some((end, seq))) => {
                let Some(outcome) = machine::end_of(&end) else { return };
                self.hand_labels(run, &end);
                self.command_in(&namespace, run, Command::ChildEnded { step, run: child, outcome }, Some(seq), None);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%run, %child, %error, "cannot tell whether a child run has ended"),
        }
    }

    /// How a run ended, if it has.
    pub(super) fn ended(&self, namespace: &Namespace, run: RunId) -> Result<Option<(RunEvent, Seq)>, Error> {
        let Some(row) = self.reader.state(namespace, rows::RUN, &run.to_string())? else { return Ok(None) };
        if !rows::read_run(&row.bytes)?.summary.status.is_over() {
            return Ok(None);
        }
        let mut record = Record::new(self.reader.clone(), namespace.clone(), run);
        let version = self.reader.subject_version(namespace, &Subject::run(run))?;
        // The end is the newest event, but for lines logged behind it.
        for version in (1..=version).rev().take(64) {
            let entry = record.event(version)?;
            if machine::end_of(&entry.event).is_some() {
                return Ok(Some((entry.event, entry.header.seq)));
            }
        }
        Ok(None)
    }

    /// A child run has returned: the labels of its result go with the result.
    pub(super) fn hand_labels(&mut self, parent: RunId, end: &RunEvent) {
        if let (Some(slot), RunEvent::Completed(body)) = (self.runs.get_mut(&parent), end) {
            slot.watch.child = body.labels.as_deref().cloned();
        }
    }

    pub(super) fn fresh_slot(&self, namespace: Namespace, run: RunId, row: RunRow) -> Box<Slot> {
        Box::new(Slot {
            subject: Subject::run(run),
            record: Record::new(self.reader.clone(), namespace.clone(), run),
            limits: self.run_limits(&namespace, &row.summary.agent),
            namespace,
            run: Run::new(run),
            row,
            approvals: BTreeMap::new(),
            session: None,
            last_token: None,
            causes: Causes::default(),
            wants: BTreeMap::new(),
            unready: VecDeque::new(),
            queued: false,
            due: None,
            waits: BTreeMap::new(),
            version: None,
            trace: None,
            log: Vec::new(),
            beats: Beats::default(),
            parking: false,
            decided: None,
            watch: Watch::default(),
        })
    }

    /// A new run, in memory only yet, with the event that creates it.
    pub(super) fn new_run(
        &mut self,
        namespace: Namespace,
        run: RunId,
        created: Created,
        trace: Option<TraceParent>,
    ) -> Result<(Box<Slot>, Vec<RunEvent>), Error> {
        // No two alike: runs wait for workers in this order, also with the next server.
        self.last_created = self.now.max(self.last_created + Duration::from_micros(1));
        let created_at = self.last_created;
        let summary = RunSummary {
            id: run,
            namespace: namespace.clone(),
            agent: created.agent.clone(),
            status: RunStatus::Queued,
            key: created.key.clone(),
            created: created_at,
            updated: created_at,
            incarnation: 0,
            waiting_for: None,
            inbox: None,
            error: None,
            parent: created.parent.map(|parent| parent.run),
        };
        let mut slot = self.fresh_slot(
            namespace,
            run,
            RunRow { summary, wake: None, awaits_child: false, carried: None, parked: false },
        );
        slot.trace = trace;
        let event = RunEvent::Created(Box::new(created));
        slot.run.apply(&event)?;
        slot.watch.replay(&event, 1);
        Ok((slot, vec![event]))
    }

    /// When a run of this agent ends at the latest.
    pub(super) fn deadline(&self, namespace: &Namespace, agent: &str, asked: Option<Timestamp>) -> Option<Timestamp> {
        let declared = self.declared.get(namespace).and_then(|declared| declared.agent(agent)?.deadline);
        match (asked, declared.map(|deadline| self.now + deadline)) {
            (Some(asked), Some(declared)) => Some(asked.min(declared)),
            (asked, declared) => asked.or(declared),
        }
    }

    pub(super) fn new_child(
        &mut self,
        parent: &mut Slot,
        (step, run): (u64, RunId),
        agent: &str,
        input: Json,
    ) -> Result<(Box<Slot>, Vec<RunEvent>), Error> {
        let labels = self.child_labels(parent, &input)?;
        let created = Created {
            agent: agent.to_owned(),
            input,
            key: None,
            deadline: self.deadline(&parent.namespace, agent, None),
            parent: Some(Parent { run: parent.run.id(), step }),
            by: format!("run {}", parent.run.id()),
            fork: None,
            session: None,
            labels: Some(Box::new(labels)),
        };
        self.new_run(parent.namespace.clone(), run, created, parent.trace)
    }

    /// What follows from where a run stands now: its timer, its place in the queue, its connection, its parking.
    pub(super) fn arrange(&mut self, run: RunId) {
        let Some(slot) = self.runs.get_mut(&run) else { return };
        let due = slot.run.due();
        if due != slot.due {
            slot.due = due;
            self.timers.set(Timer::Run(run), due);
        }
        let attached = slot.run.worker().is_some();
        if !attached && let Some(session) = slot.session.take() {
            slot.unready.clear();
            self.detach(run, session);
        }
        let Some(slot) = self.runs.get_mut(&run) else { return };
        // Not before its last event is durable: the start follows from that.
        if slot.run.wants_worker() && !slot.queued && slot.last_token.is_none() {
            slot.queued = true;
            self.queues.push(&slot.namespace, &slot.row.summary.agent, (slot.row.summary.created, run));
        }
        let parkable = slot.session.is_some() && slot.run.parkable().is_some();
        if parkable != slot.parking {
            slot.parking = parkable;
            let at = parkable.then(|| self.now + self.limits.park_after);
            self.timers.set(Timer::Park(run), at);
        }
    }

    /// The run has only waited for long: its worker gets the room back.
    pub(super) fn park(&mut self, run: RunId) {
        let Some(slot) = self.runs.get_mut(&run) else { return };
        if slot.run.is_session() {
            return self.rest(run);
        }
        slot.parking = false;
        if slot.run.parkable().is_some() {
            self.command(run, Command::Park, None);
        }
    }

    /// Lets go of a run that is over, or needs nothing but time.
    pub(super) fn retire(&mut self, run: RunId) {
        let Some(slot) = self.runs.get(&run) else { return };
        if !slot.droppable() || slot.session.is_some() {
            return;
        }
        let over = slot.row.summary.status.is_over();
        let parked = slot.row.parked && matches!(slot.row.summary.status, RunStatus::Waiting);
        if !over && !parked {
            return;
        }
        let Some(slot) = self.runs.remove(&run) else { return };
        if over {
            self.forget_timers(run);
            self.forget_grants(run);
            self.lines_dropped.remove(&run);
        } else {
            let dormant = Dormant { namespace: slot.namespace };
            self.dormant.insert(run, dormant);
        }
    }

    pub(super) fn forget_timers(&mut self, run: RunId) {
        for timer in [Timer::Run(run), Timer::Park(run), Timer::Resume(run), Timer::Log(run)] {
            self.timers.set(timer, None);
        }
    }

    /// The log refused a commit of this run a while ago: take the run up again.
    pub(super) fn resume(&mut self, run: RunId) {
        let Some(dormant) = self.dormant.get(&run).cloned() else { return };
        match self.load(&dormant.namespace, run) {
            Ok(_) => self.retire(run),
            // It was to be created by the commit that was refused.
            Err(Error::RunUnknown { .. }) => {}
            Err(error) => {
                tracing::warn!(%run, %error, "a run cannot be read");
                let wait = self.next_wait(run);
                self.timers.set(Timer::Resume(run), Some(self.now + wait));
            }
        }
    }

    /// How long to wait before a run is taken up again; longer each time until a commit of it is durable.
    pub(super) fn next_wait(&mut self, run: RunId) -> nx_types::Duration {
        let wait = self.refused.get(&run).copied().unwrap_or(self.limits.refused_wait);
        self.refused.insert(run, wait.saturating_mul(2).min(nx_types::Duration::from_secs(30)));
        wait
    }

    /// Writes the lines that a run's worker logged.
    pub(super) fn flush_log(&mut self, run: RunId) {
        let Some(mut slot) = self.runs.remove(&run) else { return };
        let lines = std::mem::take(&mut slot.log);
        let count = lines.len() as u64;
        let dropped = self.lines_dropped.remove(&run).unwrap_or_default();
        let data = match dropped {
            0 => serde_json::json!({ "lines": lines }),
            _ => serde_json::json!({ "lines": lines, "dropped": dropped }),
        };
        let event =
            RunEvent::Emitted(Emitted { id: None, kind: "run.logged".to_owned(), data: Arc::<Value>::new(data) });
        if slot.run.apply(&event).is_ok() {
            self.settle(slot, Decision { events: vec![event], actions: Vec::new() }, None, None);
            let token = self.runs.get(&run).and_then(|slot| slot.last_token);
            if let Some(pending) = self.pending.back_mut().filter(|pending| Some(pending.token) == token) {
                pending.lines = count + dropped;
            }
        } else {
            self.runs.insert(run, slot);
            self.drop_lines(run, count + dropped);
        }
    }
}

pub(super) fn unknown(namespace: &Namespace, run: RunId) -> Error {
    Error::RunUnknown { id: run.to_string(), namespace: namespace.to_string() }
}

/// A value that a decision speaks of; `events` are the decision's own, from version `first` on.
pub(super) fn datum(slot: &mut Slot, datum: &Datum, events: &[RunEvent], first: u64) -> Result<Json, Error> {
    let version = match datum {
        Datum::Inline(value) => return Ok(value.clone()),
        Datum::ArgsAt(version) | Datum::ValueAt(version) => *version,
    };
    let own = version.checked_sub(first).and_then(|place| events.get(place as usize));
    let event = match own {
        Some(event) => event.clone(),
        None => slot.record.event(version)?.event,
    };
    let found = match datum {
        Datum::ValueAt(_) => match event.outcome() {
            Some(Recorded::Value(value)) => Some(value),
            _ => None,
        },
        _ => event.identity().map(|step| step.args.clone()),
    };
    found.ok_or_else(|| Error::Record { run: slot.run.id(), version, detail: "it holds no value".to_owned() })
}
