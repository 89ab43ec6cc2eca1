//! From a decision to a commit, and back: what was applied when it was handed out takes effect outside when it is
//! durable, or is forgotten when the log refused it.

use std::sync::LazyLock;

use neuraxis_sdk::frames::{Grant, Outcome};
use nx_journal::{Cause, Commit, NewEvent, Precondition, Put, Receipt};
use nx_types::{ApprovalId, EventType, Namespace, RunId, Seq, SharedLabel, Subject};

use super::{
    Engine, Output, Response, SessionId, Ticket, Token, fold, guard, rows,
    runs::datum,
    slot::{Causes, Slot},
    watch::REQUESTED,
};
use crate::{
    error::Error,
    machine::{Action, Decision, Json, RunEvent, SCHEMA},
};

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) token: Token,
    /// Its runs, and for each event of theirs what later ones may follow from.
    pub(super) runs: Vec<(RunId, Vec<Mark>)>,
    pub(super) actions: Vec<Due>,
    pub(super) replies: Vec<(Ticket, Response)>,
    pub(super) claimed: Option<(Namespace, String)>,
    /// The report that led to it: should the log refuse, it is not lost.
    pub(super) report: Option<Report>,
    /// Someone outside asked for it and is told, should the log refuse: the run itself goes on without.
    pub(super) asked: bool,
    /// Logged lines in it.
    pub(super) lines: u64,
}

/// What came of an execution.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) run: RunId,
    pub(super) grant: Grant,
    pub(super) outcome: Outcome,
}

/// An action, and the connection that the run's incarnation was with when it was decided.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) run: RunId,
    pub(super) session: Option<SessionId>,
    pub(super) action: Action,
}

/// What an event is about, for [`Causes`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Started,
    Step(u64),
    StepOver(u64),
    Approval { id: ApprovalId, step: Option<u64>, over: bool },
    Other,
}

impl Mark {
    pub(super) fn of(event: &RunEvent) -> Self {
        match event {
            RunEvent::Started(_) => Self::Started,
            RunEvent::StepCompleted(body) => Self::StepOver(body.n),
            RunEvent::StepFailed(body) => Self::StepOver(body.n),
            RunEvent::ApprovalDecided(body) => Self::Approval { id: body.id, step: Some(body.n), over: true },
            RunEvent::ApprovalRequested(body) => Self::Approval { id: body.id, step: None, over: false },
            RunEvent::ApprovalExpired(body) | RunEvent::ApprovalWithdrawn(body) => {
                Self::Approval { id: body.id, step: None, over: true }
            }
            RunEvent::ApprovalEscalated(body) => Self::Approval { id: body.id, step: None, over: false },
            RunEvent::ApprovalVoted(body) => Self::Approval { id: body.id, step: None, over: false },
            other => other.step().map_or(Self::Other, Self::Step),
        }
    }
}

impl Causes {
    /// An event stands at this place now.
    pub(super) fn note(&mut self, mark: Mark, seq: Seq) {
        self.last = Some(seq);
        match mark {
            Mark::Started => self.started = Some(seq),
            Mark::Step(n) => drop(self.steps.insert(n, seq)),
            Mark::StepOver(n) => drop(self.steps.remove(&n)),
            Mark::Approval { id, step, over } => {
                if over {
                    self.approvals.remove(&id);
                } else {
                    self.approvals.insert(id, seq);
                }
                if let Some(n) = step {
                    self.steps.insert(n, seq);
                }
            }
            Mark::Other => {}
        }
    }

    /// What an event follows from: its approval, its step, the incarnation for a step's first event, else the event
    /// before it: a decision of the guard follows from what the run had seen and done until then.
    pub(super) fn of(&self, event: &RunEvent) -> Cause {
        let approval = event.approval().and_then(|id| self.approvals.get(&id));
        let step = || event.step().and_then(|n| self.steps.get(&n));
        let first = || event.identity().and(self.started.as_ref());
        approval.or_else(step).or_else(first).or(self.last.as_ref()).map_or(Cause::None, |seq| Cause::Local(*seq))
    }
}

macro_rules! static_types {
    ($($name:literal),+ $(,)?) => {
        static TYPES: LazyLock<Vec<(&'static str, EventType)>> = LazyLock::new(|| {
            [$($name),+].iter().filter_map(|name| Some((*name, EventType::new(name).ok()?))).collect()
        });
    };
}

static_types!(
    "step.completed",
    "step.started",
    "step.waiting",
    "step.attempt_failed",
    "step.failed",
    "run.created",
    "run.started",
    "run.completed",
    "run.interrupted",
    "approval.requested",
    "approval.decided",
);

fn event_type(kind: &str) -> Result<EventType, Error> {
    let known = TYPES.iter().find(|(name, _)| *name == kind);
    known.map_or_else(|| EventType::new(kind).map_err(Error::from), |(_, kind)| Ok(kind.clone()))
}

impl Engine {
    /// Hands out what a decision leads to. The slot is out of the map meanwhile.
    pub(super) fn settle(
        &mut self,
        mut slot: Box<Slot>,
        decision: Decision,
        cause: Option<Seq>,
        reply: Option<(Ticket, Response)>,
    ) {
        let Decision { mut events, actions } = decision;
        let id = slot.id();
        if events.is_empty() {
            self.settle_bare(slot, actions, reply);
            return;
        }
        let session = slot.session;
        let asked = reply.is_some();
        let due = |actions: Vec<Action>| actions.into_iter().map(|action| Due { run: id, session, action }).collect();
        let token = self.token();
        match self.prepare(&mut slot, &mut events, cause, &actions) {
            Ok((commit, runs)) => {
                slot.last_token = Some(token);
                let runs = self.adopt(slot, runs);
                self.out.push(Output::Commit { token, commit });
                self.pending.push_back(Pending {
                    token,
                    runs,
                    actions: due(actions),
                    replies: reply.into_iter().collect(),
                    claimed: None,
                    report: self.report.take(),
                    asked,
                    lines: 0,
                });
            }
            Err(error) => {
                // The state machine has taken in what cannot be written: start over from the record.
                tracing::error!(run = %id, %error, "a decision cannot be written");
                if let Some((ticket, _)) = reply {
                    self.out.push(Output::Reply { ticket, answer: Err(error.clone()) });
                }
                if let Some(report) = self.report.take() {
                    self.keep_report(report, &error);
                }
                self.refuse_actions(due(actions), &error);
                if !asked && error.is_for_good() {
                    self.stuck(id, session, &error);
                }
                self.take_back(slot);
            }
        }
        self.arrange(id);
    }

    /// A decision without events: its actions come after what is on its way.
    fn settle_bare(&mut self, slot: Box<Slot>, actions: Vec<Action>, reply: Option<(Ticket, Response)>) {
        let id = slot.id();
        let behind = slot.last_token;
        let session = slot.session;
        let due = actions.into_iter().map(|action| Due { run: id, session, action });
        self.runs.insert(id, slot);
        let behind = behind.and_then(|token| self.pending.iter_mut().rev().find(|pending| pending.token == token));
        if let Some(pending) = behind {
            pending.actions.extend(due);
            pending.replies.extend(reply);
        } else {
            for due in due {
                self.act(due);
            }
            if let Some((ticket, response)) = reply {
                self.out.push(Output::Reply { ticket, answer: Ok(response) });
            }
        }
        self.arrange(id);
        self.retire(id);
    }

    pub(super) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Puts the slot back, and those of new children beside it.
    fn adopt(&mut self, slot: Box<Slot>, prepared: Vec<Prepared>) -> Vec<(RunId, Vec<Mark>)> {
        let token = slot.last_token;
        let mut runs = Vec::with_capacity(prepared.len());
        for Prepared { run, marks, child } in prepared {
            if let Some(mut child) = child {
                child.last_token = token;
                self.runs.insert(run, child);
                self.arrange(run);
            }
            runs.push((run, marks));
        }
        self.runs.insert(slot.id(), slot);
        runs
    }

    /// The commit of a run's events, its rows, and the children that it starts.
    fn prepare(
        &mut self,
        slot: &mut Slot,
        events: &mut [RunEvent],
        cause: Option<Seq>,
        actions: &[Action],
    ) -> Result<(Commit, Vec<Prepared>), Error> {
        let mut commit = Commit::default();
        let first = slot.run.version() + 1 - events.len() as u64;
        let emitted = self.label(slot, events, first)?;
        let marks = self.add_events(&mut commit, slot, events, first, (cause, &emitted))?;
        let mut runs = vec![Prepared { run: slot.id(), marks, child: None }];
        let own = commit.events.len().saturating_sub(1);
        for action in actions {
            if let Action::StartChild { step, run, agent, input } = action {
                if self.runs.contains_key(run) {
                    continue;
                }
                let input = datum(slot, input, events, first)?;
                let place = commit.events.len() - 1;
                let child = self.new_child(slot, (*step, *run), agent, input)?;
                runs.push(self.add_child(&mut commit, child, Cause::Within(place))?);
            }
        }
        for action in actions {
            if let Action::AskModel { step, model, args } = action {
                let args = datum(slot, args, events, first)?;
                let event = self.ask_model(slot, *step, model, &args, own)?;
                commit.events.push(event);
            }
        }
        Ok((commit, runs))
    }

    /// The event by which a step asks a model. Its answer comes as an event too.
    fn ask_model(&self, slot: &mut Slot, step: u64, model: &str, args: &Json, place: usize) -> Result<NewEvent, Error> {
        let label = self.child_labels(slot, args)?.joined();
        let run = slot.run.id();
        let mut data = match &**args {
            serde_json::Value::Object(fields) => fields.clone(),
            _ => serde_json::Map::new(),
        };
        data.insert("model".to_owned(), model.into());
        data.insert("by".to_owned(), format!("run/{run}").into());
        data.insert("asked".to_owned(), serde_json::json!({ "run": run, "step": step }));
        let name = model.split('@').next().unwrap_or_default();
        let subject = Subject::new(&format!("model/{name}")).or_else(|_odd| Subject::new("model"))?;
        let data = serde_json::Value::from(data).to_string().into_bytes();
        let mut event = NewEvent::new(slot.namespace.clone(), event_type("model.requested")?, subject, data);
        event.data_subject = Some(slot.subject.to_string());
        event.causation = Cause::Within(place);
        event.trace = slot.trace;
        event.label = (label != *REQUESTED).then_some(label);
        Ok(event)
    }

    /// Adds a run's events, and the rows that change with them. `emitted` are the labels of the agent's own events, by place.
    pub(super) fn add_events(
        &mut self,
        commit: &mut Commit,
        slot: &mut Slot,
        events: &mut [RunEvent],
        first: u64,
        (cause, emitted): (Option<Seq>, &[(usize, SharedLabel)]),
    ) -> Result<Vec<Mark>, Error> {
        commit.preconditions.push(Precondition::SubjectAt {
            namespace: slot.namespace.clone(),
            subject: slot.subject.clone(),
            version: first - 1,
        });
        let mut marks = Vec::with_capacity(events.len());
        let mut write_row = false;
        for (version, event) in (first..).zip(events.iter_mut()) {
            let own = emitted.iter().find(|(place, _)| version == first + *place as u64);
            let label = own.map(|(_, label)| label.clone()).or_else(|| guard::label_of(event));
            let event = &*event;
            let causation = if marks.is_empty() {
                cause.map_or_else(|| slot.causes.of(event), Cause::Local)
            } else {
                Cause::Within(commit.events.len() - 1)
            };
            let data = slot.record.encode(version, event)?;
            let mut new = NewEvent::new(slot.namespace.clone(), event_type(event.kind())?, slot.subject.clone(), data);
            new.schema = SCHEMA;
            new.causation = causation;
            new.trace = slot.trace;
            new.label = label;
            if let RunEvent::Emitted(emitted) = event {
                new.id = emitted.id;
            }
            commit.events.push(new);
            marks.push(Mark::of(event));
            slot.fold(event);
            match event {
                RunEvent::Created(_) | RunEvent::Interrupted(_) => write_row = true,
                RunEvent::Carried(_) => {
                    slot.row.carried = Some(version);
                    write_row = true;
                }
                _ => {}
            }
            let of = fold::Of { namespace: &slot.namespace, run: slot.run.id(), agent: &slot.row.summary.agent };
            if let Some(row) = fold::approval(&mut slot.approvals, &mut slot.decided, of, event, (version, self.now)) {
                upsert(&mut commit.puts, rows::put_approval(&row)?);
            }
        }
        if slot.refresh_row(self.now, write_row) {
            commit.puts.push(rows::put_run(&slot.row)?);
        }
        Ok(marks)
    }

    /// Adds the creation of a run whose slot is fresh.
    pub(super) fn add_child(
        &mut self,
        commit: &mut Commit,
        (mut child, mut events): (Box<Slot>, Vec<RunEvent>),
        cause: Cause,
    ) -> Result<Prepared, Error> {
        let place = commit.events.len();
        let marks = self.add_events(commit, &mut child, &mut events, 1, (None, &[]))?;
        if let Some(created) = commit.events.get_mut(place) {
            created.causation = cause;
        }
        Ok(Prepared { run: child.id(), marks, child: Some(child) })
    }

    /// The runs that a commit on its way is about.
    pub fn runs_of(&self, token: Token) -> Vec<RunId> {
        let pending = self.pending.iter().find(|pending| pending.token == token);
        pending.map(|pending| pending.runs.iter().map(|(run, _)| *run).collect()).unwrap_or_default()
    }

    /// The log's answer to a commit.
    pub fn committed(&mut self, token: Token, outcome: Result<Receipt, nx_journal::Error>) {
        let Some(place) = self.pending.iter().position(|pending| pending.token == token) else { return };
        let Some(pending) = self.pending.remove(place) else { return };
        if let Some(claimed) = &pending.claimed {
            self.claimed.remove(claimed);
        }
        match outcome {
            Ok(receipt) => self.durable(pending, &receipt),
            Err(error) => self.failed(pending, &Error::from(error)),
        }
    }

    fn durable(&mut self, pending: Pending, receipt: &Receipt) {
        let mut seqs = receipt.events.iter();
        for (run, marks) in &pending.runs {
            let slot = self.runs.get_mut(run);
            let seqs = seqs.by_ref().take(marks.len());
            if let Some(slot) = slot {
                for (mark, seq) in marks.iter().zip(seqs) {
                    slot.causes.note(*mark, *seq);
                }
                if slot.last_token == Some(pending.token) {
                    slot.last_token = None;
                    slot.watch.is_durable(slot.run.version());
                }
                self.refused.remove(run);
                if slot.run.is_over() {
                    self.stuck.remove(run);
                }
            } else {
                seqs.for_each(drop);
            }
        }
        for due in pending.actions {
            self.act(due);
        }
        for (ticket, response) in pending.replies {
            self.out.push(Output::Reply { ticket, answer: Ok(response) });
        }
        for (run, _) in pending.runs {
            self.arrange(run);
            self.retire(run);
        }
    }
}

/// A run of a commit.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) run: RunId,
    pub(super) marks: Vec<Mark>,
    /// Its slot, if it is new.
    pub(super) child: Option<Box<Slot>>,
}

/// One put for a row, the last one.
fn upsert(puts: &mut Vec<Put>, put: Put) {
    match puts.iter_mut().find(|other| other.kind == put.kind && other.key == put.key) {
        Some(other) => *other = put,
        None => puts.push(put),
    }
}
