//! The part of a run that its events alone decide, and how each event changes it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use neuraxis_sdk::frames::{Effect, StepError, Undo};
use nx_types::{ApprovalId, RunId, Timestamp};
use serde_json::Value;

use super::{
    approval::{Approval, Why},
    event::{
        ApprovalDecided, ApprovalEnded, ApprovalRequested, Cause, Created, How, Identity, Interrupted, Json, Kept,
        KeptUndo, Kind, Ruling, RunEvent, Started, StepCompleted, StepResolved, StepStarted, StepWaiting, Wait,
    },
    record::{Records, State},
};
use crate::Error;

/// Most signal ids that are remembered, to ignore a second delivery.
const SEEN_SIGNALS: usize = 1024;
/// Most failures that are remembered, to open them again on a retry.
const FAILURES: usize = 256;

/// Where the run as a whole is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Phase {
    /// The agent may go on.
    #[default]
    Open,
    /// The agent is being stopped.
    Stopping(Cause),
    /// The agent is over; steps are being undone.
    Compensating(Cause),
    Completed,
    Failed,
    Cancelled,
}

/// A step that is not over.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Open {
    /// Attempts begun.
    pub(super) attempt: u32,
    /// Those of them that were made before the run was retried.
    pub(super) base: u32,
    /// The event that holds the step's identity.
    pub(super) args_at: u64,
    /// The arguments with references substituted, where the code gave references.
    pub(super) given: Option<Json>,
    pub(super) wait: Option<Wait>,
    /// When the next attempt begins.
    pub(super) next: Option<Timestamp>,
    /// Why the last attempt failed.
    pub(super) error: Option<StepError>,
    pub(super) key_until: Option<Timestamp>,
    /// A doubt can be settled by a probe, as far as was declared when it started.
    pub(super) probe: bool,
    /// A person is asked about this step.
    pub(super) ask: Option<ApprovalId>,
    /// A person allowed the execution: with these arguments, if they edited them.
    pub(super) approved: Option<Approved>,
    pub(super) undo: Option<Undo>,
    /// The step whose place it takes, once that is settled.
    pub(super) over: Option<u64>,
    /// The code's call guarded by `why: new_once` was ruled to be run.
    pub(super) ruled_run: bool,
}

/// A person's permission.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Approved {
    pub(super) id: ApprovalId,
    /// The edited arguments and the event that holds them.
    pub(super) edited: Option<(Json, u64)>,
    /// Digest of the policies that wanted it, if policies did.
    pub(super) policies: Option<String>,
}

/// A completed step that can be undone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Undoable {
    pub(super) n: u64,
    /// Scope and name of the step.
    pub(super) name: String,
    pub(super) undo: Undo,
    pub(super) args_at: u64,
    pub(super) value_at: u64,
    /// The step that undoes it, once that began.
    pub(super) by: Option<u64>,
    pub(super) outcome: Option<bool>,
}

/// A failed step, as it would be opened again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    n: u64,
    error: StepError,
    open: Open,
}

/// What the events decide.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durable {
    pub(super) version: u64,
    pub(super) head: Option<Arc<Created>>,
    pub(super) phase: Phase,
    pub(super) inc: u32,
    /// The worker of the present incarnation.
    pub(super) worker: Option<(String, Option<String>)>,
    pub(super) parked: bool,
    /// Carries so far.
    pub(super) segment: u32,
    pub(super) state: Option<Json>,
    pub(super) records: Records,
    pub(super) open: BTreeMap<u64, Open>,
    pub(super) approvals: BTreeMap<ApprovalId, Approval>,
    pub(super) signals: BTreeMap<String, VecDeque<Json>>,
    pub(super) seen: VecDeque<String>,
    pub(super) undos: Vec<Undoable>,
    pub(super) failures: VecDeque<Failure>,
    pub(super) error: Option<StepError>,
    pub(super) not_undone: Vec<u64>,
    pub(super) timers: BTreeSet<(Timestamp, Timer)>,
}

/// What is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The run's deadline.
    Deadline,
    /// A sleep, or a signal's time.
    Step(u64),
    /// An approval's time.
    Approval(ApprovalId),
}

fn unknown(n: u64) -> Error {
    Error::value(format!("step {n} is not in the record"))
}

impl Durable {
    pub(super) fn apply(&mut self, event: &RunEvent) -> Result<(), Error> {
        if self.head.is_none() && !matches!(event, RunEvent::Created(_)) {
            return Err(Error::value(format!("a run begins with `run.created`, not `{}`", event.kind())));
        }
        self.version += 1;
        match event {
            RunEvent::Created(created) => self.created(created),
            RunEvent::Started(started) => self.incarnation_started(started),
            RunEvent::Interrupted(interrupted) => self.interrupted(interrupted),
            RunEvent::Carried(carried) => {
                self.segment = self.segment.saturating_add(1);
                self.state = Some(carried.state.clone());
                self.records.carry();
                self.open.clear();
                self.failures.clear();
                self.timers.retain(|(_, timer)| *timer == Timer::Deadline);
            }
            RunEvent::CancelRequested(request) => {
                self.parked = false;
                self.timers.clear();
                self.phase = Phase::Stopping(cancel_cause(&request.by, &request.reason));
            }
            RunEvent::Compensating(body) => {
                self.end_incarnation();
                self.timers.clear();
                self.phase = Phase::Compensating(body.cause.clone());
            }
            RunEvent::Completed(_) => self.end(Phase::Completed),
            RunEvent::Failed(failed) => {
                self.error = Some(failed.error.clone());
                self.end(Phase::Failed);
            }
            RunEvent::Cancelled(_) => self.end(Phase::Cancelled),
            RunEvent::Retried(_) => self.retried(),
            RunEvent::StepStarted(body) => self.step_started(body)?,
            RunEvent::StepCompleted(body) => self.step_completed(body)?,
            RunEvent::AttemptFailed(body) => {
                self.open_step(body.n, body.step.as_deref(), State::Retrying)?;
                self.take_over(body.n);
                self.set(body.n, State::Retrying)?;
                let open = self.open.entry(body.n).or_default();
                open.attempt = body.attempt;
                open.next = Some(body.next);
                open.error = Some(body.error.clone());
            }
            RunEvent::StepFailed(body) => {
                self.open_step(body.n, body.step.as_deref(), State::Failed)?;
                self.take_over(body.n);
                let open = self.close(body.n, State::Failed, self.version)?;
                self.failed_step(body.n, body.attempt, &body.error, open);
            }
            RunEvent::StepWaiting(body) => self.step_waiting(body)?,
            RunEvent::StepInDoubt(body) => self.set(body.n, State::InDoubt)?,
            RunEvent::StepResolved(body) => self.step_resolved(body)?,
            RunEvent::ApprovalRequested(body) => self.approval_requested(body),
            RunEvent::ApprovalEscalated(body) => {
                if let Some(approval) = self.approvals.get_mut(&body.id) {
                    clear_timer(&mut self.timers, approval.due, Timer::Approval(body.id));
                    approval.rung = body.rung;
                    approval.due = body.due;
                    if let Some(due) = body.due {
                        self.timers.insert((due, Timer::Approval(body.id)));
                    }
                }
            }
            RunEvent::ApprovalVoted(body) => {
                if let Some(approval) = self.approvals.get_mut(&body.id) {
                    approval.votes.insert(body.by.clone(), body.roles.clone());
                }
            }
            RunEvent::ApprovalDecided(body) => self.approval_decided(body)?,
            RunEvent::ApprovalExpired(body) => {
                self.end_approval(body.id);
            }
            RunEvent::ApprovalWithdrawn(body) => self.approval_withdrawn(body)?,
            RunEvent::SignalReceived(body) => {
                self.parked = false;
                self.seen.push_back(body.id.clone());
                if self.seen.len() > SEEN_SIGNALS {
                    self.seen.pop_front();
                }
                self.signals.entry(body.name.clone()).or_default().push_back(body.payload.clone());
            }
            RunEvent::GuardDecided(_) | RunEvent::Diverged(_) | RunEvent::Emitted(_) => {}
        }
        Ok(())
    }

    fn created(&mut self, created: &Created) {
        if let Some(deadline) = created.deadline {
            self.timers.insert((deadline, Timer::Deadline));
        }
        self.head = Some(Arc::new(created.clone()));
    }

    /// What the next `run.carried` keeps.
    pub(super) fn kept(&self) -> Kept {
        let (worker, version) = self.worker.clone().map_or((None, None), |(worker, version)| (Some(worker), version));
        let undo = |undo: &Undoable| KeptUndo {
            n: undo.n,
            name: undo.name.clone(),
            undo: undo.undo.clone(),
            args_at: undo.args_at,
            value_at: undo.value_at,
        };
        let deadline = self.head.as_ref().is_some_and(|head| head.deadline.is_some());
        let held = self.timers.iter().any(|(_, timer)| *timer == Timer::Deadline);
        Kept {
            steps: self.records.next() - 1,
            segment: self.segment.saturating_add(1),
            inc: self.inc,
            worker,
            version,
            no_deadline: deadline && !held,
            signals: self.signals.iter().map(|(name, queue)| (name.clone(), queue.iter().cloned().collect())).collect(),
            seen: self.seen.iter().cloned().collect(),
            undos: self.undos.iter().map(undo).collect(),
        }
    }

    /// Takes in a run's creation and its last carry, without the events between.
    pub(super) fn resume(&mut self, created: &RunEvent, carried: &RunEvent, version: u64) -> Result<(), Error> {
        let (RunEvent::Created(created), RunEvent::Carried(carried)) = (created, carried) else {
            return Err(Error::value("a run is resumed from `run.created` and `run.carried`"));
        };
        let kept = &*carried.kept;
        self.created(created);
        if kept.no_deadline {
            self.timers.clear();
        }
        self.version = version;
        self.inc = kept.inc;
        self.worker = kept.worker.clone().map(|worker| (worker, kept.version.clone()));
        self.segment = kept.segment;
        self.state = Some(carried.state.clone());
        self.records.base = kept.steps;
        self.signals =
            kept.signals.iter().map(|(name, queue)| (name.clone(), queue.iter().cloned().collect())).collect();
        self.seen = kept.seen.iter().cloned().collect();
        let undo = |undo: &KeptUndo| Undoable {
            n: undo.n,
            name: undo.name.clone(),
            undo: undo.undo.clone(),
            args_at: undo.args_at,
            value_at: undo.value_at,
            by: None,
            outcome: None,
        };
        self.undos = kept.undos.iter().map(undo).collect();
        Ok(())
    }

    fn incarnation_started(&mut self, started: &Started) {
        self.inc = started.inc;
        self.worker = Some((started.worker.clone(), started.version.clone()));
        self.parked = false;
    }

    fn interrupted(&mut self, interrupted: &Interrupted) {
        self.end_incarnation();
        self.parked = interrupted.parked;
    }

    fn end_incarnation(&mut self) {
        self.worker = None;
        self.parked = false;
    }

    fn end(&mut self, phase: Phase) {
        self.end_incarnation();
        self.phase = phase;
        self.timers.clear();
        self.approvals.clear();
    }

    /// A failed run is opened again, and with it the steps that made it fail: those whose error it ended with, and those
    /// after which their branch asked for nothing more. The error of any other step was handled by the code.
    fn retried(&mut self) {
        self.phase = Phase::Open;
        self.parked = false;
        let error = self.error.take();
        let failures = std::mem::take(&mut self.failures);
        let last = self.records.last_of_scopes(failures.iter().map(|failure| failure.n).min());
        let opens = |failure: &Failure| {
            let cause = error.as_ref();
            let caused = cause.is_some_and(|e| e.name == failure.error.name && e.message == failure.error.message);
            caused || self.records.ends_its_line(failure.n, &last)
        };
        let opened: Vec<Failure> = failures.into_iter().filter(opens).collect();
        for failure in opened {
            let Some(record) = self.records.get_mut(failure.n).filter(|record| record.state == State::Failed) else {
                continue;
            };
            // An error does not say whether a once effect took place.
            let doubtful = record.effect() == Effect::Once && failure.open.attempt > 0;
            record.state = if doubtful { State::InDoubt } else { State::Reopened };
            self.open.insert(failure.n, failure.open);
        }
        for (n, open) in &mut self.open {
            // What was being tried again when the run failed gets its attempts anew.
            if self.records.get(*n).is_some_and(|record| record.state == State::Retrying) {
                open.base = open.attempt;
            }
        }
        for undo in std::mem::take(&mut self.undos) {
            if undo.outcome != Some(true) {
                self.undos.push(Undoable { by: None, outcome: None, ..undo });
            } else if let Some(record) = self.records.get_mut(undo.n) {
                record.state = State::Undone;
            }
        }
        self.not_undone.clear();
        let waits: Vec<(Timestamp, u64)> =
            self.open.iter().filter_map(|(&n, open)| Some((wait_until(open.wait.as_ref())?, n))).collect();
        self.timers.extend(waits.into_iter().map(|(at, n)| (at, Timer::Step(n))));
    }

    /// Makes sure that the step has an entry, from the identity that its first event carries.
    fn open_step(&mut self, n: u64, step: Option<&Identity>, state: State) -> Result<(), Error> {
        let Some(step) = step else {
            return if self.records.get(n).is_some() { Ok(()) } else { Err(unknown(n)) };
        };
        if step.kind == Kind::Undo {
            let target = step.key.as_deref().and_then(|key| key.parse::<u64>().ok());
            if let Some(undo) = self.undos.iter_mut().find(|undo| Some(undo.n) == target) {
                undo.by = Some(n);
            }
        }
        self.records.insert(n, step, state, 0)?;
        let open = Open {
            args_at: self.version,
            given: step.refs.then(|| step.args.clone()),
            undo: step.undo.clone(),
            over: step.over,
            ..Open::default()
        };
        self.open.insert(n, open);
        Ok(())
    }

    fn set(&mut self, n: u64, state: State) -> Result<(), Error> {
        let record = self.records.get_mut(n).ok_or_else(|| unknown(n))?;
        record.state = state;
        if let Some(open) = self.open.get_mut(&n) {
            clear_timer(&mut self.timers, wait_until(open.wait.as_ref()), Timer::Step(n));
            clear_timer(&mut self.timers, open.next, Timer::Step(n));
            open.wait = None;
            open.next = None;
        }
        Ok(())
    }

    /// The step whose place this one takes is out of the count.
    fn take_over(&mut self, n: u64) {
        if let Some(old) = self.open.get_mut(&n).and_then(|open| open.over.take()) {
            self.supersede(old);
        }
    }

    fn supersede(&mut self, n: u64) {
        if let Some(record) = self.records.get_mut(n) {
            // What was undone must not be reused.
            if record.state == State::Undone {
                record.version = 0;
            }
            record.state = State::Superseded;
        }
        if let Some(open) = self.open.remove(&n) {
            clear_timer(&mut self.timers, wait_until(open.wait.as_ref()), Timer::Step(n));
            clear_timer(&mut self.timers, open.next, Timer::Step(n));
        }
    }

    fn close(&mut self, n: u64, state: State, version: u64) -> Result<Option<Open>, Error> {
        self.set(n, state)?;
        if let Some(record) = self.records.get_mut(n) {
            record.version = version as u32;
        }
        self.parked = false;
        let open = self.open.remove(&n);
        if let Some(undo) = self.undos.iter_mut().find(|undo| undo.by == Some(n)) {
            undo.outcome = Some(state == State::Completed);
            if state != State::Completed {
                let target = undo.n;
                self.not_undone.push(target);
            }
        }
        Ok(open)
    }

    fn step_started(&mut self, body: &StepStarted) -> Result<(), Error> {
        self.open_step(body.n, body.step.as_deref(), State::Started)?;
        self.take_over(body.n);
        self.set(body.n, State::Started)?;
        let open = self.open.entry(body.n).or_default();
        open.attempt = body.attempt;
        open.key_until = body.key_until.or(open.key_until);
        open.probe = body.probe;
        Ok(())
    }

    fn step_completed(&mut self, body: &StepCompleted) -> Result<(), Error> {
        if body.later {
            let Some(step) = body.step.as_deref() else { return Err(unknown(body.n)) };
            self.records.insert(body.n, step, State::Later, self.version as u32)?;
            return Ok(());
        }
        let from = body.from.and_then(|from| Some((from, u64::from(self.records.get(from)?.version))));
        // The frequent case: first event and outcome in one, nothing to undo.
        if let Some(step) = body.step.as_deref()
            && step.undo.is_none()
            && step.over.is_none()
            && from.is_none()
        {
            self.records.insert(body.n, step, State::Completed, self.version as u32)?;
            self.parked = false;
            self.consume_signal(body);
            return Ok(());
        }
        self.open_step(body.n, body.step.as_deref(), State::Completed)?;
        self.take_over(body.n);
        self.consume_signal(body);
        let version = from.map_or(self.version, |(_, version)| version);
        let open = self.close(body.n, State::Completed, version)?;
        if let Some((from, _)) = from {
            self.supersede(from);
            self.records.lend(from);
        } else {
            self.undoable(body.n, open, version);
        }
        Ok(())
    }

    /// A signal step that did not have to wait, or was woken: the signal is used.
    fn consume_signal(&mut self, body: &StepCompleted) {
        let Some(record) = self.records.get(body.n) else { return };
        if record.kind() != Kind::Signal {
            return;
        }
        let Some(name) = self.records.name_of(record).map(|name| name.name().to_owned()) else { return };
        // A timeout's result is null and uses nothing; a payload of null is told apart by `attempt` 0.
        if body.attempt != 0
            && let Some(queue) = self.signals.get_mut(&name)
        {
            queue.pop_front();
            if queue.is_empty() {
                self.signals.remove(&name);
            }
        }
    }

    fn undoable(&mut self, n: u64, open: Option<Open>, value_at: u64) {
        let Some(open) = open else { return };
        let Some(undo) = open.undo else { return };
        let args_at = open.approved.and_then(|approved| approved.edited).map_or(open.args_at, |(_, at)| at);
        let name = self.records.label(n);
        self.undos.push(Undoable { n, name, undo, args_at, value_at, by: None, outcome: None });
    }

    fn failed_step(&mut self, n: u64, attempt: u32, error: &StepError, open: Option<Open>) {
        let open = open.unwrap_or_default();
        let open = Open {
            attempt,
            base: attempt,
            args_at: open.args_at,
            given: open.given,
            undo: open.undo,
            key_until: open.key_until,
            probe: open.probe,
            ..Open::default()
        };
        self.failures.push_back(Failure { n, error: error.clone(), open });
        if self.failures.len() > FAILURES {
            self.failures.pop_front();
        }
    }

    fn step_waiting(&mut self, body: &StepWaiting) -> Result<(), Error> {
        self.open_step(body.n, body.step.as_deref(), State::Waiting)?;
        // A question about changed arguments takes the old step's place only when it is answered.
        if !matches!(body.wait, Wait::Ask { why: Why::Changed, .. }) {
            self.take_over(body.n);
        }
        self.set(body.n, State::Waiting)?;
        let open = self.open.entry(body.n).or_default();
        if let Wait::Approval { id } | Wait::Ask { id, .. } = &body.wait {
            open.ask = Some(*id);
        }
        open.wait = Some(body.wait.clone());
        if let Some(until) = wait_until(Some(&body.wait)) {
            self.timers.insert((until, Timer::Step(body.n)));
        }
        Ok(())
    }

    fn step_resolved(&mut self, body: &StepResolved) -> Result<(), Error> {
        match &body.how {
            How::Completed { .. } => {
                let version = self.version;
                let open = self.close(body.n, State::Completed, version)?;
                self.undoable(body.n, open, version);
            }
            How::Failed { error } => {
                let open = self.close(body.n, State::Failed, self.version)?;
                self.failed_step(body.n, body.attempt, error, open);
            }
            How::NotDone => {
                self.set(body.n, State::Cleared)?;
                self.parked = false;
                if let Some(open) = self.open.get_mut(&body.n) {
                    open.ask = None;
                }
            }
        }
        Ok(())
    }

    fn approval_requested(&mut self, body: &ApprovalRequested) {
        if let Some(due) = body.due {
            self.timers.insert((due, Timer::Approval(body.id)));
        }
        if let Some(open) = self.open.get_mut(&body.n) {
            open.ask = Some(body.id);
        }
        let approval = Approval {
            id: body.id,
            n: body.n,
            why: body.why,
            args: body.args.clone(),
            hash: body.hash,
            ask: body.ask.clone(),
            rung: 0,
            due: body.due,
            candidates: body.candidates.clone(),
            votes: BTreeMap::new(),
            policy: body.policy.clone(),
        };
        self.approvals.insert(body.id, approval);
    }

    fn end_approval(&mut self, id: ApprovalId) -> Option<Approval> {
        let approval = self.approvals.remove(&id)?;
        clear_timer(&mut self.timers, approval.due, Timer::Approval(id));
        if let Some(open) = self.open.get_mut(&approval.n) {
            open.ask = None;
        }
        self.parked = false;
        Some(approval)
    }

    fn approval_decided(&mut self, body: &ApprovalDecided) -> Result<(), Error> {
        let Some(approval) = self.end_approval(body.id) else { return Ok(()) };
        let version = self.version;
        let run = match (approval.why, &body.decision) {
            (Why::Call, Ruling::Approve) | (Why::Changed | Why::NewOnce, Ruling::Run) => true,
            (Why::Changed, Ruling::Complete { .. } | Ruling::Fail | Ruling::Reuse { .. }) => {
                self.take_over(body.n);
                false
            }
            _ => false,
        };
        if run {
            self.set(body.n, State::Cleared)?;
            self.take_over(body.n);
        }
        if let Some(open) = self.open.get_mut(&body.n) {
            open.ruled_run |= run && approval.why != Why::Call;
            if run && approval.why == Why::Call {
                let policies = approval.policy.map(|policy| policy.policies);
                let edited = body.args.clone().map(|args| (args, version));
                open.approved = Some(Approved { id: body.id, edited, policies });
            }
        }
        Ok(())
    }

    fn approval_withdrawn(&mut self, body: &ApprovalEnded) -> Result<(), Error> {
        let Some(approval) = self.end_approval(body.id) else { return Ok(()) };
        match approval.why {
            // The code asks for the old step again.
            Why::Changed => {
                let old = self.open.get_mut(&approval.n).and_then(|open| open.over.take());
                self.supersede(approval.n);
                if let Some(old) = old {
                    self.records.restore(old, approval.n);
                }
            }
            Why::NewOnce => {
                if self.records.get(approval.n).is_some_and(|record| record.state == State::Waiting) {
                    self.set(approval.n, State::Cleared)?;
                }
            }
            Why::Call | Why::Standalone | Why::InDoubt => {}
        }
        Ok(())
    }

    /// The run's creation; there is none before the first event.
    pub(super) fn head(&self) -> Result<&Arc<Created>, Error> {
        self.head.as_ref().ok_or_else(|| Error::value("the run has no events"))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Completed | Phase::Failed | Phase::Cancelled)
    }

    /// The error of a step that failed, as far as it is remembered.
    pub(super) fn failure(&self, n: u64) -> Option<&StepError> {
        self.failures.iter().rev().find(|failure| failure.n == n).map(|failure| &failure.error)
    }

    /// Steps that failed, the latest last, as far as they are remembered.
    pub(super) fn failed(&self) -> impl Iterator<Item = (u64, &StepError)> {
        self.failures.iter().map(|failure| (failure.n, &failure.error))
    }

    /// Whether a step's execution is by dispatch (of a tool or an undo) rather than by the agent's worker.
    pub(super) fn dispatched(&self, n: u64) -> bool {
        self.records.get(n).is_some_and(|record| matches!(record.kind(), Kind::Tool | Kind::Undo))
    }

    /// Steps whose execution was permitted and has not reported.
    pub(super) fn started(&self) -> impl Iterator<Item = (u64, &Open, Effect)> {
        self.open.iter().filter_map(|(&n, open)| {
            let record = self.records.get(n).filter(|record| record.state == State::Started)?;
            Some((n, open, record.effect()))
        })
    }

    /// Whether a step waits for a model's answer.
    pub(super) fn awaits_model(&self, n: u64) -> bool {
        self.open.get(&n).is_some_and(|open| matches!(open.wait, Some(Wait::Model)))
    }

    pub(super) fn children(&self) -> impl Iterator<Item = (u64, RunId)> {
        self.open.iter().filter_map(|(&n, open)| match open.wait {
            Some(Wait::Child { run }) => Some((n, run)),
            _ => None,
        })
    }
}

/// How a cancelled run ends: a deadline is a failure.
fn cancel_cause(by: &str, reason: &str) -> Cause {
    if by == "deadline" {
        Cause::Failed(StepError {
            name: "DeadlineExceeded".to_owned(),
            message: reason.to_owned(),
            retryable: Some(false),
            retry_after_ms: None,
            details: None,
        })
    } else {
        Cause::Cancelled(reason.to_owned())
    }
}

fn wait_until(wait: Option<&Wait>) -> Option<Timestamp> {
    match wait? {
        Wait::Sleep { until } => Some(*until),
        Wait::Signal { until } => *until,
        Wait::Child { .. } | Wait::Approval { .. } | Wait::Ask { .. } | Wait::Model => None,
    }
}

fn clear_timer(timers: &mut BTreeSet<(Timestamp, Timer)>, at: Option<Timestamp>, timer: Timer) {
    if let Some(at) = at {
        timers.remove(&(at, timer));
    }
}

/// The result of a question that guards no call.
pub(super) fn standalone_result(approved: bool, by: &str, reason: Option<&str>, args: &Json) -> Json {
    Arc::new(serde_json::json!({"approved": approved, "by": by, "reason": reason, "args": Value::clone(args)}))
}
