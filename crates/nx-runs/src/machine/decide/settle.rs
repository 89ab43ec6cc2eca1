//! Outcomes: of executions here, of tools, of executions on earlier connections. Retries.

use neuraxis_sdk::frames::{Effect, Found, Grant, Outcome, Retry, StepError};
use nx_types::{Duration, Rng, Timestamp};

use super::{Deciding, step_error};
use crate::{
    Error,
    machine::{
        command::{Action, Answer, Purpose},
        event::{AttemptFailed, By, How, Json, Kind, Recorded, RunEvent, StepCompleted, StepFailed},
        json,
        live::{Call, LiveTimer, Stage},
        record::State,
    },
};

/// The name under which a worker reports that an attempt took too long.
const TIMEOUT: &str = "Timeout";
/// The name of the error that stands for a value that may not enter the record.
const REFUSED: &str = "ValueRefused";

impl Deciding<'_> {
    /// The outcome of a granted call.
    pub(super) fn done(&mut self, id: u64, outcome: Outcome) -> Result<(), Error> {
        let outcome = checked(outcome);
        let Some(call) = self.run.live.calls.get(&id) else {
            if let Some(grant) = self.run.live.left.remove(&id) {
                return self.report(grant, outcome);
            }
            return Err(Error::frame(format!("no call {id} is being executed")));
        };
        if call.stage != Stage::Executing {
            return Err(Error::frame(format!("call {id} is not being executed")));
        }
        self.run.live.timers.retain(|(_, timer)| !matches!(timer, LiveTimer::Timeout(call, _) if *call == id));
        match call.n {
            Some(n) => self.settle(n, call.attempt, outcome),
            None => match self.run.live.calls.remove(&id) {
                Some(call) => self.settle_new(call, outcome),
                None => Ok(()),
            },
        }?;
        self.unblock()
    }

    /// The outcome of an execution that nothing is recorded of.
    pub(super) fn settle_new(&mut self, mut call: Call, outcome: Outcome) -> Result<(), Error> {
        let n = self.run.durable.records.next();
        let attempt = call.attempt.max(1);
        match checked(outcome) {
            Outcome::Ok(value) => self.complete_new(n, call, Json::new(value), attempt),
            Outcome::Error(error) => {
                let policy = call.step.retry.clone().unwrap_or_default();
                if let Some(next) = self.retry_at(call.effect, &policy, attempt, &error) {
                    let step = Some(call.identity(false));
                    self.record(RunEvent::AttemptFailed(AttemptFailed { n, step, attempt, error, next }))?;
                    call.stage = Stage::Waiting;
                    self.run.live.attach(n, call);
                    return self.resume(n);
                }
                let step = Some(call.identity(true));
                self.record(RunEvent::StepFailed(StepFailed { n, step, error: error.clone(), attempt }))?;
                self.reply(call.id, Answer::Error(error));
                Ok(())
            }
        }
    }

    /// The outcome of a recorded step's attempt.
    pub(super) fn settle(&mut self, n: u64, attempt: u32, outcome: Outcome) -> Result<(), Error> {
        self.run.live.lost.remove(&n);
        let effect = self.run.effect(n);
        match outcome {
            Outcome::Ok(value) => {
                let value = Json::new(value);
                let body = StepCompleted::new(n, None, value.clone(), attempt);
                self.record(RunEvent::StepCompleted(body))?;
                self.answer_value(n, &value);
            }
            Outcome::Error(error) if effect == Effect::Once && error.name == TIMEOUT => {
                return self.put_in_doubt(n, "it took longer than its timeout");
            }
            Outcome::Error(error) if effect == Effect::Once && error.name == REFUSED => {
                return self.put_in_doubt(n, "it took place, but its value cannot be recorded");
            }
            Outcome::Error(error) => {
                if let Some(next) = self.next_attempt(n, effect, attempt, &error) {
                    let body = AttemptFailed { n, step: None, attempt, error, next };
                    self.record(RunEvent::AttemptFailed(body))?;
                    if let Some(call) = self.run.live.primary(n) {
                        call.stage = Stage::Waiting;
                        return self.resume(n);
                    }
                    return self.proceed();
                }
                self.record(RunEvent::StepFailed(StepFailed { n, step: None, error: error.clone(), attempt }))?;
                self.answer_error(n, &error);
            }
        }
        self.old_ended(n)?;
        self.proceed()
    }

    /// When a recorded step is tried again, if it is.
    fn next_attempt(&mut self, n: u64, effect: Effect, attempt: u32, error: &StepError) -> Option<Timestamp> {
        let base = self.run.durable.open.get(&n).map_or(0, |open| open.base);
        let made = attempt.saturating_sub(base);
        let called = self.run.live.primary(n).map(|call| call.step.retry.clone().unwrap_or_default());
        if let Some(policy) = called {
            return self.retry_at(effect, &policy, made, error);
        }
        if self.run.durable.records.get(n).is_some_and(|record| record.kind() == Kind::Undo) {
            let policy = Retry { attempts: self.cx.limits.undo_attempts, ..Retry::default() };
            return self.retry_at(effect, &policy, made, error);
        }
        // The code has not asked yet and so has not said how often to try: it will be judged then.
        may_retry(effect, error).then_some(self.cx.now)
    }

    /// A step that failed before the code asked for it again: its policy may not allow another attempt.
    pub(super) fn exhausted(&mut self, n: u64) -> Result<bool, Error> {
        let Some(open) = self.run.durable.open.get(&n) else { return Ok(false) };
        let (made, attempt, error) = (open.attempt.saturating_sub(open.base), open.attempt, open.error.clone());
        let (Some(call), Some(error)) = (self.run.live.primary(n), error) else { return Ok(false) };
        let policy = call.step.retry.clone().unwrap_or_default();
        if made < policy.attempts.max(1) && !policy.non_retryable.contains(&error.name) {
            return Ok(false);
        }
        self.record(RunEvent::StepFailed(StepFailed { n, step: None, error: error.clone(), attempt }))?;
        self.answer_error(n, &error);
        self.old_ended(n)?;
        Ok(true)
    }

    /// When the next attempt begins, if there is one.
    fn retry_at(&self, effect: Effect, policy: &Retry, attempt: u32, error: &StepError) -> Option<Timestamp> {
        if !may_retry(effect, error) || attempt >= policy.attempts.max(1) || policy.non_retryable.contains(&error.name)
        {
            return None;
        }
        let wait = backoff(policy, attempt, self.cx.rng);
        Some(self.cx.now + Duration::from_millis(wait.max(error.retry_after_ms.unwrap_or(0))))
    }

    /// The outcome of a dispatched tool call, undo or probe.
    pub(super) fn tool_done(&mut self, grant: Grant, purpose: Purpose, outcome: Outcome) -> Result<(), Error> {
        match purpose {
            Purpose::Execute => self.report(grant, outcome)?,
            Purpose::Probe => {
                let found = match outcome {
                    Outcome::Ok(value) => serde_json::from_value(value).unwrap_or(Found::Unknown),
                    Outcome::Error(_) => Found::Unknown,
                };
                let probing = self.run.live.primary(grant.step).map(|call| call.stage);
                if probing == Some(Stage::Dispatched) && self.run.expects(grant) {
                    self.found(grant.step, found)?;
                }
            }
        }
        self.unblock()
    }

    /// The outcome of a grant of an earlier connection.
    pub(super) fn late(&mut self, grant: Grant, outcome: Outcome) -> Result<(), Error> {
        self.act(Action::LateTaken { grant });
        self.report(grant, outcome)?;
        self.unblock()
    }

    /// An outcome by grant: of use if that attempt is outstanding or in doubt.
    fn report(&mut self, grant: Grant, outcome: Outcome) -> Result<(), Error> {
        if self.run.is_over() || !self.run.expects(grant) {
            return Ok(());
        }
        let n = grant.step;
        let outcome = checked(outcome);
        let state = self.run.durable.records.get(n).map(|record| record.state);
        if state != Some(State::InDoubt) {
            self.run.live.left.retain(|_, left| *left != grant);
            return self.settle(n, grant.attempt, outcome);
        }
        let how = match outcome {
            // They say that it may well have taken place: a person is to look still.
            Outcome::Error(error)
                if self.run.effect(n) == Effect::Once && [TIMEOUT, REFUSED].contains(&error.name.as_str()) =>
            {
                return Ok(());
            }
            Outcome::Ok(value) => How::Completed { value: Json::new(value) },
            Outcome::Error(error) if error.retryable == Some(true) => How::NotDone,
            Outcome::Error(error) => How::Failed { error },
        };
        self.resolve(n, how, By::Late)
    }

    /// A child run has ended.
    pub(super) fn child_ended(&mut self, n: u64, run: nx_types::RunId, outcome: Recorded) -> Result<(), Error> {
        let waits = self.run.durable.children().any(|child| child == (n, run));
        if !waits || self.run.is_over() {
            return Ok(());
        }
        self.came(n, outcome)
    }

    /// A model has answered, or will not.
    pub(super) fn model_answered(&mut self, n: u64, outcome: Recorded) -> Result<(), Error> {
        if self.run.awaits_model(n) { self.came(n, outcome) } else { Ok(()) }
    }

    /// What a waiting step waited for.
    fn came(&mut self, n: u64, outcome: Recorded) -> Result<(), Error> {
        match outcome {
            Recorded::Value(value) => {
                let body = StepCompleted::new(n, None, value.clone(), 1);
                self.record(RunEvent::StepCompleted(body))?;
                self.answer_value(n, &value);
            }
            Recorded::Error(error) => {
                let body = StepFailed { n, step: None, error: error.clone(), attempt: 1 };
                self.record(RunEvent::StepFailed(body))?;
                self.answer_error(n, &error);
            }
        }
        self.old_ended(n)
    }
}

/// A value that may not enter the record counts as an error that is final.
fn checked(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Ok(value) => match json::check(&value) {
            Ok(()) => Outcome::Ok(value),
            Err(error) => Outcome::Error(step_error(REFUSED, error.to_string())),
        },
        error @ Outcome::Error(_) => error,
    }
}

/// Of a once step only an error that asserts that nothing happened leaves room for another attempt.
fn may_retry(effect: Effect, error: &StepError) -> bool {
    error.retryable.unwrap_or(effect != Effect::Once)
}

/// The wait before the next attempt: exponential, bounded, partly random.
pub(super) fn backoff(policy: &Retry, attempt: u32, rng: &dyn Rng) -> u64 {
    let factor = if policy.factor.is_finite() { policy.factor.max(1.0) } else { 1.0 };
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let wait = (policy.initial_ms as f64 * factor.powi(exponent)).min(policy.max_ms as f64);
    let jitter = if policy.jitter.is_finite() { policy.jitter.clamp(0.0, 1.0) } else { 0.0 };
    let random = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    (wait * (1.0 - jitter * random)).round() as u64
}
