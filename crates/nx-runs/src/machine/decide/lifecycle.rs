//! The run as a whole: incarnations begin and end; the agent returns, fails, carries, is cancelled; the run is retried.

use neuraxis_sdk::frames::{Effect, Grant, StepError};
use nx_types::Duration;

use super::{Deciding, step_error};
use crate::{
    Error,
    machine::{
        Status,
        command::{Action, Answer, Slot},
        durable::Phase,
        event::{
            ApprovalEnded, CancelRequested, Cancelled, Carried, Cause, Compensating, Completed, Failed, Interrupted,
            Json, Kind, Orphan, Retried, RunEvent, Started, end_of, null,
        },
        json,
        live::{LiveTimer, Stage},
        record::State,
    },
};

/// Most orphans that are listed.
const ORPHANS: usize = 1000;

impl Deciding<'_> {
    /// A worker takes the run.
    pub(super) fn start(&mut self, worker: String, version: Option<String>) -> Result<(), Error> {
        if !self.run.wants_worker() {
            let status = status_word(self.run.status());
            return Err(Error::WrongStatus { run: self.run.id, status, fix: "it wants no worker now" });
        }
        let inc = self.run.durable.inc.saturating_add(1);
        self.record(RunEvent::Started(Started { inc, worker, version }))?;
        self.run.live.reset(&self.run.durable.records);
        let start = self.run.start()?;
        self.act(Action::Start(Box::new(start)));
        Ok(())
    }

    /// The incarnation's worker is lost.
    pub(super) fn lost(&mut self, reason: &str, executing: &[Grant]) -> Result<(), Error> {
        if self.run.durable.worker.is_none() {
            return Ok(());
        }
        self.interrupt(reason, executing, false)?;
        match self.run.durable.phase.clone() {
            Phase::Stopping(cause) => self.conclude(cause),
            _ => Ok(()),
        }
    }

    /// Ends the incarnation, not the run. What was executed by its worker and does not go on there is in doubt or lost.
    fn interrupt(&mut self, reason: &str, executing: &[Grant], parked: bool) -> Result<(), Error> {
        self.unwant_calls();
        let inc = self.run.durable.inc;
        self.record(RunEvent::Interrupted(Interrupted { inc, reason: reason.to_owned(), parked }))?;
        self.run.live.reset(&self.run.durable.records);
        let silent: Vec<u64> = self
            .run
            .durable
            .started()
            .filter(|(n, open, _)| {
                !self.run.durable.dispatched(*n) && !executing.contains(&Grant { step: *n, attempt: open.attempt })
            })
            .map(|(n, ..)| n)
            .collect();
        for n in silent {
            self.lose(n, reason)?;
        }
        Ok(())
    }

    /// The worker gives the run back.
    pub(super) fn release(&mut self, inc: u32) -> Result<(), Error> {
        self.check_incarnation(inc)?;
        self.lost("released by its worker", &[])
    }

    /// The engine takes a run that only waits off its worker.
    pub(super) fn park(&mut self) -> Result<(), Error> {
        if self.run.parkable().is_none() {
            return Ok(());
        }
        let inc = self.run.durable.inc;
        self.interrupt("parked: it only waits", &[], true)?;
        self.act(Action::Close { inc, state: "parked" });
        Ok(())
    }

    /// The agent returned.
    pub(super) fn complete(&mut self, inc: u32, result: Json) -> Result<(), Error> {
        self.check_incarnation(inc)?;
        if let Phase::Stopping(cause) = self.run.durable.phase.clone() {
            return self.conclude(cause);
        }
        if let Err(error) = json::check(&result) {
            return self.conclude(Cause::Failed(step_error("ValueRefused", format!("the result: {error}"))));
        }
        self.unwant_calls();
        self.withdraw_all("the run has completed")?;
        let orphans = self.orphans();
        self.act(Action::Close { inc, state: "completed" });
        self.end(RunEvent::Completed(Completed { result, labels: None, orphans }))?;
        self.run.live.reset(&self.run.durable.records);
        Ok(())
    }

    /// The agent raised an error.
    pub(super) fn fail(&mut self, inc: u32, error: StepError) -> Result<(), Error> {
        self.check_incarnation(inc)?;
        match self.run.durable.phase.clone() {
            Phase::Stopping(cause) => self.conclude(cause),
            _ => self.conclude(Cause::Failed(error)),
        }
    }

    /// The agent has stopped after a cancel.
    pub(super) fn stopped(&mut self, inc: u32) -> Result<(), Error> {
        self.check_incarnation(inc)?;
        match self.run.durable.phase.clone() {
            Phase::Stopping(cause) => self.conclude(cause),
            _ => self.lost("its agent stopped without being asked to", &[]),
        }
    }

    /// Someone wants the run stopped.
    pub(super) fn cancel(&mut self, by: String, reason: String) -> Result<(), Error> {
        match self.run.durable.phase {
            Phase::Open => self.stop(CancelRequested { by, reason }),
            Phase::Stopping(_) | Phase::Compensating(_) => Ok(()),
            Phase::Completed | Phase::Failed | Phase::Cancelled => {
                let status = status_word(self.run.status());
                Err(Error::WrongStatus { run: self.run.id, status, fix: "only an open run can be cancelled" })
            }
        }
    }

    /// Stops the agent; what it did is undone when it has stopped.
    pub(super) fn stop(&mut self, request: CancelRequested) -> Result<(), Error> {
        let reason = request.reason.clone();
        self.record(RunEvent::CancelRequested(request))?;
        let children: Vec<_> = self.run.durable.children().collect();
        for (_, run) in children {
            self.act(Action::CancelChild { run, reason: reason.clone() });
        }
        if self.run.durable.worker.is_some() {
            let inc = self.run.durable.inc;
            let at = self.cx.now + Duration::from_millis(self.cx.limits.cancel_grace_ms);
            self.run.wake(at, LiveTimer::CancelGrace(inc));
            self.act(Action::Cancel { inc, reason });
            return Ok(());
        }
        match self.run.durable.phase.clone() {
            Phase::Stopping(cause) => self.conclude(cause),
            _ => Ok(()),
        }
    }

    /// A cancelled agent has not stopped in time, or an execution that its agent left behind has not reported.
    pub(super) fn cancel_grace_over(&mut self, inc: u32) -> Result<(), Error> {
        if inc != self.run.durable.inc {
            return Ok(());
        }
        if let Phase::Stopping(cause) = self.run.durable.phase.clone() {
            return self.conclude(cause);
        }
        for grant in std::mem::take(&mut self.run.live.left).into_values() {
            if self.run.expects(grant) {
                self.lose(grant.step, "its agent ended before it reported")?;
            }
        }
        Ok(())
    }

    /// [`Self::conclude`] for a failure of the run that no worker reported.
    pub(super) fn conclude_open(&mut self, cause: Cause) -> Result<(), Error> {
        if self.is_open() { self.conclude(cause) } else { Ok(()) }
    }

    /// The agent is over: undo what can be undone, then end.
    pub(super) fn conclude(&mut self, cause: Cause) -> Result<(), Error> {
        self.unwant_calls();
        let attached = self.run.durable.worker.is_some();
        let inc = self.run.durable.inc;
        let left: Vec<(u64, Grant)> = self
            .run
            .live
            .calls
            .values()
            .filter(|call| call.stage == Stage::Executing)
            .filter_map(|call| Some((call.id, Grant { step: call.n?, attempt: call.attempt })))
            .collect();
        self.withdraw_all("the run is over")?;
        let done = self.run.durable.undos.is_empty() && self.unresolved().is_empty();
        let state = match &cause {
            Cause::Failed(_) => "failed",
            Cause::Cancelled(_) => "cancelled",
        };
        if done {
            let orphans = self.orphans();
            self.finish(cause, orphans)?;
        } else {
            self.record(RunEvent::Compensating(Compensating { cause }))?;
        }
        if attached {
            self.act(Action::Close { inc, state });
        }
        self.run.live.reset(&self.run.durable.records);
        if done {
            return Ok(());
        }
        if !left.is_empty() {
            let at = self.cx.now + Duration::from_millis(self.cx.limits.cancel_grace_ms);
            self.run.wake(at, LiveTimer::CancelGrace(inc));
            self.run.live.left = left.into_iter().collect();
        }
        self.compensate()
    }

    /// The log refuses for good what would come next.
    pub(super) fn abandon(&mut self, error: StepError, bare: bool) -> Result<(), Error> {
        if self.run.is_over() {
            return Ok(());
        }
        // If it is the undoing that cannot be recorded, there is nothing to go on with.
        if !bare && !matches!(self.run.durable.phase, Phase::Compensating(_)) {
            return self.conclude(Cause::Failed(error));
        }
        self.unwant_calls();
        if let Some(n) = self.run.live.undo_wanted {
            self.act(Action::Unwant { slot: Slot::Undo(n) });
        }
        if self.run.durable.worker.is_some() {
            let inc = self.run.durable.inc;
            self.act(Action::Close { inc, state: "failed" });
        }
        let left = self.run.durable.undos.iter().filter(|undo| undo.outcome.is_none()).map(|undo| undo.n);
        let not_undone = self.run.durable.not_undone.iter().copied().chain(left).collect();
        self.end(RunEvent::Failed(Failed { error, orphans: Vec::new(), not_undone }))?;
        self.run.live.reset(&self.run.durable.records);
        Ok(())
    }

    /// Records the end without a result.
    pub(super) fn finish(&mut self, cause: Cause, orphans: Vec<Orphan>) -> Result<(), Error> {
        let not_undone = self.run.durable.not_undone.clone();
        let error = match cause {
            Cause::Failed(error) => error,
            Cause::Cancelled(reason) if not_undone.is_empty() => {
                return self.end(RunEvent::Cancelled(Cancelled { reason, not_undone }));
            }
            Cause::Cancelled(reason) => {
                step_error("CompensationFailed", format!("cancelled ({reason}), but not everything could be undone"))
            }
        };
        self.end(RunEvent::Failed(Failed { error, orphans, not_undone }))
    }

    /// Records the end, and tells the run that waits for it.
    pub(super) fn end(&mut self, event: RunEvent) -> Result<(), Error> {
        let parent = self.run.durable.head()?.parent;
        if let (Some(parent), Some(outcome)) = (parent, end_of(&event)) {
            self.act(Action::NotifyParent { run: parent.run, step: parent.step, outcome });
        }
        self.record(event)
    }

    /// Takes back every question but those about doubts that must be settled.
    pub(super) fn withdraw_all(&mut self, reason: &str) -> Result<(), Error> {
        let over = !self.run.durable.approvals.is_empty();
        let keep: Vec<u64> = if over { self.unresolved() } else { Vec::new() };
        let ids: Vec<_> =
            self.run.durable.approvals.values().filter(|a| !keep.contains(&a.n)).map(|approval| approval.id).collect();
        for id in ids {
            self.record(RunEvent::ApprovalWithdrawn(ApprovalEnded { id, reason: reason.to_owned() }))?;
        }
        Ok(())
    }

    /// Records that the code did not ask for, and steps that are not over.
    fn orphans(&self) -> Vec<Orphan> {
        let records = &self.run.durable.records;
        let live = &self.run.live;
        let unfinished = |index: u32| self.run.durable.open.contains_key(&records.ordinal(index));
        if live.unused == 0 && self.run.durable.open.is_empty() {
            return Vec::new();
        }
        let orphan = |(index, record): (u32, &crate::machine::record::Record)| {
            let out =
                record.state.counts() && record.kind() != Kind::Undo && (!live.is_used(index) || unfinished(index));
            let name = records.name_of(record).filter(|_| out)?;
            Some(Orphan {
                n: records.ordinal(index),
                scope: name.scope().to_owned(),
                name: name.name().to_owned(),
                effect: record.effect(),
                state: record.state.word().to_owned(),
            })
        };
        records.iter().filter_map(orphan).take(ORPHANS).collect()
    }

    /// A carry frame.
    pub(super) fn carry(&mut self, call: u64, inc: u32, state: Json) -> Result<(), Error> {
        self.check_incarnation(inc)?;
        if matches!(self.run.durable.phase, Phase::Stopping(_)) {
            self.reply(call, Answer::Error(step_error("Cancelled", "the run is being cancelled")));
            return Ok(());
        }
        if self.run.live.carry.as_ref().is_some_and(|(held, _)| *held == call) {
            return Ok(());
        }
        if !self.run.live.calls.is_empty() || self.run.live.carry.is_some() {
            return Err(Error::invalid("`carry` replaces the history: await every step first"));
        }
        json::check(&state)?;
        self.run.live.carry = Some((call, state));
        self.try_carry()
    }

    /// Carries once nothing is in doubt.
    fn try_carry(&mut self) -> Result<(), Error> {
        let doubtful: Vec<u64> = self
            .run
            .durable
            .open
            .keys()
            .copied()
            .filter(|&n| {
                let record = self.run.durable.records.get(n);
                record.is_some_and(|r| {
                    matches!(r.state, State::InDoubt | State::Started) && r.effect() >= Effect::Idempotent
                })
            })
            .collect();
        if !doubtful.is_empty() {
            for n in doubtful {
                if self.run.live.lost.contains(&n) {
                    self.put_in_doubt(n, "its worker was lost, and the code does not ask for it any more")?;
                }
                if self.run.durable.records.get(n).is_some_and(|record| record.state == State::InDoubt) {
                    self.ask_in_doubt(n)?;
                }
            }
            if let Some((call, _)) = self.run.live.carry {
                self.wait(call, neuraxis_sdk::frames::Waiting::Ask, None, None);
            }
            return Ok(());
        }
        let Some((call, state)) = self.run.live.carry.take() else { return Ok(()) };
        self.withdraw_all("the run carried")?;
        let orphans = self.orphans();
        let kept = Box::new(self.run.durable.kept());
        self.record(RunEvent::Carried(Carried { state, labels: None, kept, orphans }))?;
        self.run.live.reset(&self.run.durable.records);
        self.reply(call, Answer::Value { value: null(), live: true });
        Ok(())
    }

    /// Goes on with what waits for doubts to be settled: a carry, or the undoing.
    pub(super) fn proceed(&mut self) -> Result<(), Error> {
        match self.run.durable.phase {
            Phase::Compensating(_) => self.compensate(),
            Phase::Open if self.run.live.carry.is_some() => {
                let settled = self.unresolved().is_empty();
                if settled { self.try_carry() } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Someone wants a failed run to go on.
    pub(super) fn retry(&mut self, by: String) -> Result<(), Error> {
        if self.run.durable.phase != Phase::Failed {
            let status = status_word(self.run.status());
            return Err(Error::WrongStatus { run: self.run.id, status, fix: "only a failed run can be retried" });
        }
        self.record(RunEvent::Retried(Retried { by }))
    }
}

/// The status as a word.
fn status_word(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Running => "running",
        Status::Waiting => "waiting",
        Status::Compensating => "compensating",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}
