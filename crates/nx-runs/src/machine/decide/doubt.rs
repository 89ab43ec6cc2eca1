//! Doubt: a step started, and nobody can tell whether it took place. A probe may know, the worker may report late,
//! else a person decides. It is never executed again before that.

use neuraxis_sdk::frames::{Found, Grant};

use super::{Deciding, step_error};
use crate::{
    Error,
    machine::{
        approval::Why,
        command::{Action, Answer, Dispatch, Purpose, Slot, Target, Work},
        event::{ApprovalEnded, By, How, RunEvent, StepInDoubt, StepResolved},
        json,
        live::Stage,
        record::State,
    },
};

impl Deciding<'_> {
    pub(super) fn put_in_doubt(&mut self, n: u64, reason: &str) -> Result<(), Error> {
        let attempt = self.run.durable.open.get(&n).map_or(1, |open| open.attempt);
        self.run.live.lost.remove(&n);
        self.record(RunEvent::StepInDoubt(StepInDoubt { n, attempt, reason: reason.to_owned() }))?;
        if self.run.live.waiters.contains_key(&n) {
            return self.doubt(n);
        }
        if self.run.live.after.contains_key(&n) {
            return self.ask_in_doubt(n);
        }
        self.proceed()
    }

    /// Settles the doubt about a step that the code waits for: by its probe, else by a person.
    pub(super) fn doubt(&mut self, n: u64) -> Result<(), Error> {
        let attempt = self.run.durable.open.get(&n).map_or(1, |open| open.attempt);
        let asked = self.run.durable.open.get(&n).is_some_and(|open| open.ask.is_some());
        let grant = Grant { step: n, attempt };
        let key = Some(self.idempotency_key(n));
        let edited = self.edited(n);
        let Some(call) = self.run.live.primary(n) else { return Ok(()) };
        if !asked && call.probes() {
            call.stage = Stage::Probing;
            let (id, args) = (call.id, edited.unwrap_or_else(|| call.args.clone()));
            self.reply(id, Answer::Probe { grant, idempotency_key: key, args });
            return Ok(());
        }
        let probe = call.tool.as_ref().and_then(|tool| tool.probe.clone());
        if let Some(probe) = probe.filter(|_| !asked) {
            call.stage = Stage::ProbeWanted;
            let id = call.id;
            self.act(Action::Want { slot: Slot::Call(id), target: Target::Tool(probe) });
            return Ok(());
        }
        call.stage = Stage::Waiting;
        self.ask_in_doubt(n)?;
        self.tell_all(n);
        Ok(())
    }

    /// A worker that serves the probe was found.
    pub(super) fn dispatch_probe(&mut self, slot: Slot, id: u64) -> Result<(), Error> {
        let Some(n) = self.run.live.calls.get(&id).and_then(|call| call.n) else { return Ok(()) };
        let attempt = self.run.durable.open.get(&n).map_or(1, |open| open.attempt);
        let key = self.idempotency_key(n);
        let edited = self.edited(n);
        let Some(call) = self.run.live.calls.get_mut(&id) else { return Ok(()) };
        let Some(name) = call.tool.as_ref().and_then(|tool| tool.probe.clone()) else {
            call.stage = Stage::Waiting;
            return self.doubt(n);
        };
        call.stage = Stage::Dispatched;
        let args = edited.unwrap_or_else(|| call.args.clone());
        let args = serde_json::json!({"args": *args, "idempotency_key": key});
        let timeout_ms = call.timeout_ms();
        self.act(Action::Dispatch(Box::new(Dispatch {
            slot,
            grant: Grant { step: n, attempt },
            purpose: Purpose::Probe,
            work: Work::Tool { name, args: args.into() },
            idempotency_key: Some(key),
            timeout_ms,
        })));
        Ok(())
    }

    /// The answer of a probe that the agent's worker was asked for.
    pub(super) fn probed(&mut self, id: u64, found: Found) -> Result<(), Error> {
        let call = self.run.live.calls.get(&id).filter(|call| call.stage == Stage::Probing);
        let Some(n) = call.and_then(|call| call.n) else {
            return Err(Error::frame(format!("call {id} was not asked to probe")));
        };
        self.found(n, found)?;
        self.unblock()
    }

    pub(super) fn found(&mut self, n: u64, found: Found) -> Result<(), Error> {
        if let Some(call) = self.run.live.primary(n) {
            call.stage = Stage::Waiting;
        }
        match found {
            Found::Done(value) => match json::check(&value) {
                Ok(()) => self.resolve(n, How::Completed { value: value.into() }, By::Probe),
                Err(_) => self.ask_after_probe(n),
            },
            Found::NotDone => self.resolve(n, How::NotDone, By::Probe),
            Found::Unknown => self.ask_after_probe(n),
        }
    }

    fn ask_after_probe(&mut self, n: u64) -> Result<(), Error> {
        self.ask_in_doubt(n)?;
        self.tell_all(n);
        Ok(())
    }

    /// The doubt is settled.
    pub(super) fn resolve(&mut self, n: u64, how: How, by: By) -> Result<(), Error> {
        let attempt = self.run.durable.open.get(&n).map_or(1, |open| open.attempt);
        self.withdraw_step_questions(n, "the doubt is settled")?;
        self.record(RunEvent::StepResolved(StepResolved { n, attempt, how: how.clone(), by, labels: None }))?;
        match how {
            How::Completed { value } => self.answer_value(n, &value),
            How::Failed { error } => self.answer_error(n, &error),
            How::NotDone => {
                // Nothing happened: no new once step can repeat it.
                if let Some(index) = self.run.durable.records.index(n) {
                    self.run.live.once_unused.remove(&index);
                }
                if self.run.live.waiters.contains_key(&n) {
                    self.resume(n)?;
                }
            }
        }
        self.old_ended(n)?;
        self.proceed()
    }

    /// Takes back the open questions about a step.
    pub(super) fn withdraw_step_questions(&mut self, n: u64, reason: &str) -> Result<(), Error> {
        let ids: Vec<_> = self.run.durable.approvals.values().filter(|a| a.n == n).map(|a| a.id).collect();
        for id in ids {
            self.record(RunEvent::ApprovalWithdrawn(ApprovalEnded { id, reason: reason.to_owned() }))?;
        }
        Ok(())
    }

    /// Executions of dispatched work, or of earlier incarnations, that will not report.
    pub(super) fn grants_lost(&mut self, grants: &[Grant], reason: &str) -> Result<(), Error> {
        for grant in grants {
            let n = grant.step;
            if self.run.is_over() {
                return Ok(());
            }
            let probing = self.run.live.primary(n).is_some_and(|call| call.stage == Stage::Dispatched);
            let state = self.run.durable.records.get(n).map(|record| record.state);
            if !self.run.expects(*grant) {
                continue;
            }
            if state == Some(State::InDoubt) {
                // The worker that probed is lost: probe again.
                if probing {
                    self.doubt(n)?;
                }
                continue;
            }
            self.run.live.left.retain(|_, left| left != grant);
            self.lose(n, reason)?;
        }
        Ok(())
    }

    /// A started step will not report.
    pub(super) fn lose(&mut self, n: u64, reason: &str) -> Result<(), Error> {
        if self.run.effect(n) == neuraxis_sdk::frames::Effect::Once {
            return self.put_in_doubt(n, reason);
        }
        self.run.live.lost.insert(n);
        if self.run.live.waiters.contains_key(&n) { self.relaunch(n) } else { self.proceed() }
    }

    /// What a person's ruling on a doubt means.
    pub(super) fn ruled_failed(&self, n: u64, by: &str, why: Why) -> neuraxis_sdk::frames::StepError {
        let label = self.run.durable.records.label(n);
        step_error("RuledFailed", format!("{by} ruled that `{label}` fails ({})", why.as_str()))
    }
}
