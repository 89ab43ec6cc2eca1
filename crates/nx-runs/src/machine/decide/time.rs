//! What time brings.

use super::Deciding;
use crate::{
    Error,
    machine::{
        durable::{Phase, Timer},
        event::CancelRequested,
        live::{LiveTimer, Stage},
        record::State,
    },
};

impl Deciding<'_> {
    /// Takes everything that is due.
    pub(super) fn tick(&mut self) -> Result<(), Error> {
        // Each turn removes a timer, so this ends.
        while let Some(&(at, timer)) = self.run.durable.timers.first() {
            if !self.is_due(at) {
                break;
            }
            match timer {
                Timer::Deadline => self.deadline()?,
                Timer::Step(n) => self.step_due(n)?,
                Timer::Approval(id) => self.approval_due(id)?,
            }
            self.run.durable.timers.remove(&(at, timer));
        }
        while let Some(&(at, timer)) = self.run.live.timers.first() {
            if !self.is_due(at) {
                break;
            }
            self.run.live.timers.pop_first();
            match timer {
                LiveTimer::Retry(n) => self.retry_due(n)?,
                LiveTimer::Grace(call) => self.grace_over(call)?,
                LiveTimer::Timeout(call, attempt) => self.timed_out(call, attempt)?,
                LiveTimer::CancelGrace(inc) => self.cancel_grace_over(inc)?,
            }
        }
        self.unblock()?;
        self.proceed()
    }

    fn deadline(&mut self) -> Result<(), Error> {
        if self.run.durable.phase != Phase::Open {
            return Ok(());
        }
        let reason = "the run's deadline has passed".to_owned();
        self.stop(CancelRequested { by: "deadline".to_owned(), reason })
    }

    fn retry_due(&mut self, n: u64) -> Result<(), Error> {
        let retrying = self.run.durable.records.get(n).is_some_and(|record| record.state == State::Retrying);
        if retrying && self.run.live.waiters.contains_key(&n) {
            return self.execute(n);
        }
        Ok(())
    }

    fn grace_over(&mut self, id: u64) -> Result<(), Error> {
        if self.run.live.calls.get(&id).is_none_or(|call| call.stage != Stage::Grace) {
            return Ok(());
        }
        let Some(mut call) = self.run.live.calls.remove(&id) else { return Ok(()) };
        call.stage = Stage::Waiting;
        if self.run.live.once_unused.is_empty() { self.begin(call) } else { self.ask_new_once(call) }
    }

    /// A worker did not report an attempt, not even that it took too long.
    fn timed_out(&mut self, id: u64, attempt: u32) -> Result<(), Error> {
        let Some(call) = self.run.live.calls.get(&id) else { return Ok(()) };
        if call.attempt != attempt || !matches!(call.stage, Stage::Executing | Stage::Dispatched) {
            return Ok(());
        }
        let mut error = super::step_error("Timeout", "the worker did not report within the step's timeout");
        error.retryable = None;
        let outcome = neuraxis_sdk::frames::Outcome::Error(error);
        match call.n {
            Some(n) => self.settle(n, attempt, outcome),
            None => match self.run.live.calls.remove(&id) {
                Some(call) => self.settle_new(call, outcome),
                None => Ok(()),
            },
        }
    }
}
