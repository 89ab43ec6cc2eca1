//! A run: what is durable, what belongs to the present incarnation, and the questions that the engine asks of it.

use std::sync::Arc;

use neuraxis_sdk::frames::{Effect, Grant};
use nx_types::{ApprovalId, RunId, Timestamp};

use super::{
    approval::Approval,
    command::{Obligation, Start},
    durable::{Durable, Phase},
    event::{Created, Kind, RunEvent},
    live::{Live, LiveTimer, Stage},
    record::State,
};
use crate::Error;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No incarnation yet, or none any more: a worker is wanted.
    Queued,
    /// An incarnation is with a worker.
    Running,
    /// It only waits.
    Waiting,
    /// Completed steps are being undone.
    Compensating,
    /// It returned.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// One run.
#[derive(Debug)]
pub struct Run {
    pub(super) id: RunId,
    pub(super) durable: Durable,
    pub(super) live: Live,
}

impl Run {
    /// A run without events; the first that it takes in is `run.created`.
    pub fn new(id: RunId) -> Self {
        Self { id, durable: Durable::default(), live: Live::default() }
    }

    /// Takes in the next recorded event, when the run is created or loaded.
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), Error> {
        self.durable.apply(event)
    }

    /// Takes in `run.created` and the last `run.carried`, whose version is given, in place of all events up to it.
    pub fn resume(&mut self, created: &RunEvent, carried: &RunEvent, version: u64) -> Result<(), Error> {
        self.durable.resume(created, carried, version)
    }

    /// What the run's events alone decide: equal for the live run and one that was loaded from its events.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// How many events it has: the version of its subject in the log.
    pub fn version(&self) -> u64 {
        self.durable.version
    }

    /// How it was created.
    pub fn head(&self) -> Option<&Arc<Created>> {
        self.durable.head.as_ref()
    }

    /// How many steps it has in all.
    pub fn steps(&self) -> u64 {
        self.durable.records.next() - 1
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        match self.durable.phase {
            Phase::Completed => Status::Completed,
            Phase::Failed => Status::Failed,
            Phase::Cancelled => Status::Cancelled,
            Phase::Compensating(_) => Status::Compensating,
            Phase::Stopping(_) => Status::Running,
            Phase::Open if self.is_session() => {
                if self.durable.approvals.is_empty() {
                    Status::Running
                } else {
                    Status::Waiting
                }
            }
            Phase::Open if self.durable.parked => Status::Waiting,
            Phase::Open if self.durable.worker.is_none() => Status::Queued,
            Phase::Open => {
                let waits = |stage| matches!(stage, Stage::Waiting | Stage::Grace | Stage::Wanted | Stage::ProbeWanted);
                let waiting = !self.live.calls.is_empty() && self.live.calls.values().all(|call| waits(call.stage));
                if waiting { Status::Waiting } else { Status::Running }
            }
        }
    }

    /// Whether the run is over; a failed one can be retried.
    pub fn is_over(&self) -> bool {
        self.durable.is_over()
    }

    /// Whether this step waits for a model's answer.
    pub fn awaits_model(&self, step: u64) -> bool {
        !self.is_over() && self.durable.awaits_model(step)
    }

    /// Whether a step waits for a child run.
    pub fn awaits_child(&self) -> bool {
        self.durable.children().next().is_some()
    }

    /// Steps in doubt.
    pub fn in_doubt(&self) -> impl Iterator<Item = u64> {
        let in_doubt = |n: &u64| self.durable.records.get(*n).is_some_and(|record| record.state == State::InDoubt);
        self.durable.open.keys().copied().filter(in_doubt)
    }

    /// What a step is, what it does to the world, and its name.
    pub fn step(&self, n: u64) -> Option<(Kind, Effect, &str)> {
        let records = &self.durable.records;
        let record = records.get(n)?;
        Some((record.kind(), record.effect(), records.name_of(record)?.name()))
    }

    /// A step's scope and name, for people.
    pub fn label(&self, n: u64) -> String {
        self.durable.records.label(n)
    }

    /// The present or last incarnation, 0 before the first.
    pub fn incarnation(&self) -> u32 {
        self.durable.inc
    }

    /// The worker that the present incarnation is with, and the version of its code.
    pub fn worker(&self) -> Option<(&str, Option<&str>)> {
        self.durable.worker.as_ref().map(|(worker, version)| (worker.as_str(), version.as_deref()))
    }

    /// Whether an incarnation shall begin: hand in [`super::Command::Start`] when a worker has room.
    pub fn wants_worker(&self) -> bool {
        self.durable.phase == Phase::Open
            && self.durable.head.is_some()
            && self.durable.worker.is_none()
            && !self.durable.parked
            && !self.is_session()
    }

    /// Whether its steps are reported by a program that is not ours.
    pub fn is_session(&self) -> bool {
        self.durable.head.as_ref().is_some_and(|head| head.session.is_some())
    }

    /// Whether every call of the incarnation waits for something that does not need the worker (time, a signal, a
    /// person, a child), and when the first of these is over, as far as that is known.
    #[expect(clippy::option_option, reason = "whether, and until when if that is known")]
    pub fn parkable(&self) -> Option<Option<Timestamp>> {
        let idle = |n: u64| {
            self.durable.open.get(&n).is_some_and(|open| {
                open.wait.is_some()
                    || (open.ask.is_some() && self.durable.records.get(n).is_some_and(|r| r.state == State::InDoubt))
            })
        };
        let parkable = self.durable.phase == Phase::Open
            && self.durable.worker.is_some()
            && !self.live.calls.is_empty()
            && self.live.carry.is_none()
            && self.live.calls.values().all(|call| call.stage == Stage::Waiting && call.n.is_some_and(idle));
        parkable.then(|| self.durable.timers.first().map(|(at, _)| *at))
    }

    /// When [`super::Command::Tick`] is to be handed in next. May change with every decision. In the past for a run
    /// that was loaded in the midst of its compensation.
    pub fn due(&self) -> Option<Timestamp> {
        if matches!(self.durable.phase, Phase::Compensating(_)) && !self.live.driven {
            return Some(Timestamp::from_micros(0));
        }
        let durable = self.durable.timers.first().map(|(at, _)| *at);
        let live = self.live.timers.first().map(|(at, _)| *at);
        match (durable, live) {
            (Some(durable), Some(live)) => Some(durable.min(live)),
            (durable, live) => durable.or(live),
        }
    }

    /// What the engine must look after once the run was loaded.
    pub fn obligations(&self) -> Vec<Obligation> {
        let mut all = Vec::new();
        if self.is_over() || self.is_session() {
            return all;
        }
        if let Some((worker, _)) = &self.durable.worker {
            all.push(Obligation::Incarnation { inc: self.durable.inc, worker: worker.clone() });
        }
        for (n, open, effect) in self.durable.started() {
            if self.live.lost.contains(&n) {
                continue;
            }
            let grant = Grant { step: n, attempt: open.attempt };
            all.push(Obligation::Outstanding { grant, dispatched: self.durable.dispatched(n), effect });
        }
        all.extend(self.durable.children().map(|(step, run)| Obligation::Child { step, run }));
        all
    }

    /// Questions that wait for their answers.
    pub fn approvals(&self) -> impl Iterator<Item = &Approval> {
        self.durable.approvals.values()
    }

    /// A question that waits for its answer.
    pub fn approval(&self, id: ApprovalId) -> Option<&Approval> {
        self.durable.approvals.get(&id)
    }

    /// Whether this grant is outstanding: it was given for an effect, and has not reported.
    pub fn expects(&self, grant: Grant) -> bool {
        let state = self.durable.records.get(grant.step).map(|record| record.state);
        matches!(state, Some(State::Started | State::InDoubt))
            && self.durable.open.get(&grant.step).is_some_and(|open| open.attempt == grant.attempt)
    }

    /// Records that the code has not asked for in the present incarnation.
    pub fn unused(&self) -> u64 {
        u64::from(self.live.unused)
    }

    /// What `start` says to the present incarnation.
    pub(super) fn start(&self) -> Result<Start, Error> {
        let head = self.durable.head()?;
        let recorded = self.durable.records.iter().filter(|(_, r)| r.state.counts() && r.kind() != Kind::Undo).count();
        Ok(Start {
            inc: self.durable.inc,
            agent: head.agent.clone(),
            input: head.input.clone(),
            state: self.durable.state.clone(),
            key: head.key.clone(),
            deadline: head.deadline,
            recorded: recorded as u64,
            live: self.live.is_live(),
        })
    }

    /// Sets a timer of this process.
    pub(super) fn wake(&mut self, at: Timestamp, timer: LiveTimer) {
        self.live.timers.insert((at, timer));
    }

    /// The effect of a recorded step.
    pub(super) fn effect(&self, n: u64) -> Effect {
        self.durable.records.get(n).map_or(Effect::Code, |record| record.effect())
    }
}
