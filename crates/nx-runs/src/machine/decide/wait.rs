//! Signals, and the waiting for them.

use nx_types::Timestamp;

use super::Deciding;
use crate::{
    Error,
    machine::{
        event::{Kind, RunEvent, SignalReceived, StepCompleted, Wait, null},
        json,
    },
};

impl Deciding<'_> {
    /// A signal from outside.
    pub(super) fn signal(&mut self, signal: SignalReceived) -> Result<(), Error> {
        if self.run.is_over() {
            let status = match self.run.status() {
                crate::machine::Status::Completed => "completed",
                crate::machine::Status::Failed => "failed",
                _ => "cancelled",
            };
            return Err(Error::WrongStatus { run: self.run.id, status, fix: "only an open run takes signals" });
        }
        if self.run.durable.seen.contains(&signal.id) {
            return Ok(());
        }
        let limits = self.cx.limits;
        let held: usize = self.run.durable.signals.values().map(std::collections::VecDeque::len).sum();
        if held >= limits.signals {
            let max = limits.signals as u64;
            return Err(Error::Limit { what: "signals that wait to be used", max, fix: "let the agent use them" });
        }
        let name = signal.name.clone();
        if name.is_empty() || name.len() > limits.name_bytes || signal.id.len() > limits.name_bytes {
            return Err(Error::invalid(format!("a signal's name and id have 1 to {} bytes", limits.name_bytes)));
        }
        json::check(&signal.payload)?;
        self.record(RunEvent::SignalReceived(signal))?;
        if let Some(n) = self.signal_waiter(&name) {
            self.take_signal(n)?;
        }
        self.unblock()
    }

    /// The step that gets a signal: one that the code waits for now, else the first that waits.
    fn signal_waiter(&self, name: &str) -> Option<u64> {
        let records = &self.run.durable.records;
        let mut waiting = self.run.durable.open.iter().filter(|(n, open)| {
            matches!(open.wait, Some(Wait::Signal { .. }))
                && records.get(**n).and_then(|record| records.name_of(record)).is_some_and(|held| held.name() == name)
        });
        let first = waiting.clone().next().map(|(&n, _)| n);
        waiting.find(|(n, _)| self.run.live.waiters.contains_key(n)).map(|(&n, _)| n).or(first)
    }

    /// Completes a waiting signal step if its signal is there.
    pub(super) fn take_signal(&mut self, n: u64) -> Result<bool, Error> {
        let records = &self.run.durable.records;
        let Some(record) = records.get(n).filter(|record| record.kind() == Kind::Signal) else { return Ok(false) };
        let name = records.name_of(record).map(|name| name.name()).unwrap_or_default();
        let Some(payload) = self.run.durable.signals.get(name).and_then(|queue| queue.front()).cloned() else {
            return Ok(false);
        };
        let body = StepCompleted::new(n, None, payload.clone(), 1);
        self.record(RunEvent::StepCompleted(body))?;
        self.answer_value(n, &payload);
        self.old_ended(n)?;
        Ok(true)
    }

    /// A sleep is over, or a signal did not come in time.
    pub(super) fn step_due(&mut self, n: u64) -> Result<(), Error> {
        let attempt = match self.run.durable.open.get(&n).and_then(|open| open.wait.as_ref()) {
            Some(Wait::Sleep { .. }) => 1,
            Some(Wait::Signal { .. }) => 0,
            _ => return Ok(()),
        };
        let value = null();
        let body = StepCompleted::new(n, None, value.clone(), attempt);
        self.record(RunEvent::StepCompleted(body))?;
        self.answer_value(n, &value);
        self.old_ended(n)
    }

    /// Whether an instant has come.
    pub(super) fn is_due(&self, at: Timestamp) -> bool {
        at <= self.cx.now
    }
}
