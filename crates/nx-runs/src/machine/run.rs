//! The state of one run.

use neuraxis_sdk::frames::Grant;
use nx_types::{ApprovalId, RunId, Timestamp};

use super::{Approval, Command, Context, Created, Decision, Obligation, RunEvent};
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
    id: RunId,
    version: u64,
}

impl Run {
    /// The event that creates a run: hand it to [`Run::load`], and record it.
    pub fn created(created: Created) -> RunEvent {
        RunEvent::Created(Box::new(created))
    }

    /// An empty run that takes in its events with [`Run::apply`], the first being `run.created`.
    pub fn new(id: RunId) -> Self {
        Self { id, version: 0 }
    }

    /// Takes in the next recorded event.
    pub fn apply(&mut self, event: &RunEvent) -> Result<(), Error> {
        let _ = event;
        self.version += 1;
        Ok(())
    }

    /// Decides on a command. The run has taken in the events: if they do not become durable, drop it and load it anew.
    pub fn decide(&mut self, command: Command, context: &Context<'_>) -> Result<Decision, Error> {
        let _ = (command, context);
        Ok(Decision::default())
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// How many events it has.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        Status::Queued
    }

    /// The present or last incarnation, 0 before the first.
    pub fn incarnation(&self) -> u32 {
        0
    }

    /// The worker that the present incarnation is with.
    pub fn worker(&self) -> Option<&str> {
        None
    }

    /// Whether an incarnation shall begin: hand in [`Command::Start`] when a worker has room.
    pub fn wants_worker(&self) -> bool {
        false
    }

    /// Whether every call of the incarnation waits for something that does not need the worker (time, a signal, a
    /// person, a child): since when nothing but waiting happens, and until when at least as far as is known.
    pub fn parkable(&self) -> Option<Option<Timestamp>> {
        None
    }

    /// When [`Command::Tick`] is to be handed in next. May change with every decision.
    pub fn due(&self) -> Option<Timestamp> {
        None
    }

    /// What the engine must look after once the run was loaded.
    pub fn obligations(&self) -> Vec<Obligation> {
        Vec::new()
    }

    /// A question that waits for its answer.
    pub fn approval(&self, id: ApprovalId) -> Option<&Approval> {
        let _ = id;
        None
    }

    /// Whether this grant is of use to the run: it has not reported yet.
    pub fn expects(&self, grant: Grant) -> bool {
        let _ = grant;
        false
    }
}
