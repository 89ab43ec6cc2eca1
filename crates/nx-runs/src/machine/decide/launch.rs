//! Execution: of new steps and of recorded ones that are not over. What changes the outside is recorded as started
//! first.

use std::sync::Arc;

use neuraxis_sdk::frames::{Body, Effect, Grant, Waiting};
use nx_types::{Duration, EventId, RunId};
use serde_json::Value;

use super::{Deciding, step_error};
use crate::{
    Error,
    machine::{
        command::{Action, Answer, Datum, Dispatch, Purpose, Slot, Target, ToolSpec, Work},
        event::{
            Emitted, Identity, Json, Kind, RunEvent, StepCompleted, StepFailed, StepStarted, StepWaiting, Wait, null,
        },
        key::KeyParts,
        live::{Call, LiveTimer, Stage, UNRECORDED},
        record::State,
    },
};

impl Deciding<'_> {
    /// A step without a record: asks for approval if it must, then launches it.
    pub(super) fn begin(&mut self, call: Call) -> Result<(), Error> {
        let Some(mut call) = self.pass(None, call)? else { return Ok(()) };
        let guarded = call.verdict.is_some();
        if call.kind == Kind::Code
            && call.effect <= Effect::Read
            && !guarded
            && let Some(outcome) = call.outcome()
        {
            call.attempt = 1;
            return self.settle_new(call, outcome);
        }
        match call.kind {
            Kind::Code if call.effect <= Effect::Read && !guarded => {
                call.attempt = 1;
                call.stage = Stage::Executing;
                let grant = Grant { step: UNRECORDED + call.id, attempt: 1 };
                let answer =
                    Answer::Execute { grant, idempotency_key: None, args: None, timeout_ms: call.timeout_ms() };
                self.watch(&call);
                let id = call.id;
                self.run.live.calls.insert(id, call);
                self.reply(id, answer);
                Ok(())
            }
            Kind::Code => {
                let n = self.run.durable.records.next();
                let step = Some(call.identity(false));
                self.run.live.attach(n, call);
                self.start_here(n, step)
            }
            Kind::Tool => {
                let id = call.id;
                call.stage = Stage::Wanted;
                let target = Target::Tool(call.step.name.clone());
                self.run.live.calls.insert(id, call);
                self.act(Action::Want { slot: Slot::Call(id), target });
                Ok(())
            }
            _ => {
                let n = self.run.durable.records.next();
                self.perform(n, call)
            }
        }
    }

    /// Goes on with a recorded step that is not over, for the calls that wait for it.
    pub(super) fn resume(&mut self, n: u64) -> Result<(), Error> {
        let Some(state) = self.run.durable.records.get(n).map(|record| record.state) else { return Ok(()) };
        match state {
            State::Cleared | State::Reopened => {
                let Some(call) = self.run.live.primary(n) else { return Ok(()) };
                call.cleared = true;
                let open = self.run.durable.open.get(&n);
                if open.is_some_and(|open| open.approved.is_some()) {
                    return if self.still_allowed(n)? { self.execute(n) } else { Ok(()) };
                }
                if open.is_some_and(|open| open.attempt > open.base) {
                    return self.execute(n);
                }
                self.pass_again(n)
            }
            State::Retrying => {
                if self.exhausted(n)? {
                    return Ok(());
                }
                let next = self.run.durable.open.get(&n).and_then(|open| open.next).unwrap_or(self.cx.now);
                if next <= self.cx.now {
                    return self.execute(n);
                }
                self.run.wake(next, LiveTimer::Retry(n));
                self.tell_all(n);
                Ok(())
            }
            State::Started if self.run.live.lost.contains(&n) => self.relaunch(n),
            State::InDoubt => self.doubt(n),
            State::Waiting if self.lacks_question(n) => self.ask_again(n),
            State::Waiting => {
                let fresh = self.take_signal(n)?;
                if !fresh {
                    self.tell_all(n);
                }
                Ok(())
            }
            _ => {
                self.tell_all(n);
                Ok(())
            }
        }
    }

    /// Executes the next attempt of a recorded step.
    pub(super) fn execute(&mut self, n: u64) -> Result<(), Error> {
        let attempt = self.run.durable.open.get(&n).map_or(0, |open| open.attempt).saturating_add(1);
        let Some(call) = self.run.live.primary(n) else { return Ok(()) };
        let id = call.id;
        match call.kind {
            Kind::Code if call.effect <= Effect::Read => {
                call.attempt = attempt;
                call.stage = Stage::Executing;
                let timeout_ms = call.timeout_ms();
                let watched = call.clone();
                self.watch(&watched);
                let args = self.executed_args(n);
                let grant = Grant { step: n, attempt };
                self.reply(id, Answer::Execute { grant, idempotency_key: None, args, timeout_ms });
                Ok(())
            }
            Kind::Code => self.start_here(n, None),
            Kind::Tool => {
                call.stage = Stage::Wanted;
                let target = Target::Tool(call.step.name.clone());
                self.act(Action::Want { slot: Slot::Call(id), target });
                Ok(())
            }
            _ => {
                let Some(call) = self.run.live.calls.remove(&id) else { return Ok(()) };
                self.run.live.waiters.remove(&n);
                self.perform(n, call)
            }
        }
    }

    /// Records that the step starts, and lets the agent's worker execute it.
    fn start_here(&mut self, n: u64, step: Option<Box<Identity>>) -> Result<(), Error> {
        let attempt = self.started(n, step)?;
        let idempotency_key = Some(self.idempotency_key(n));
        let args = self.executed_args(n);
        let Some(call) = self.run.live.primary(n) else { return Ok(()) };
        call.attempt = attempt;
        call.stage = Stage::Executing;
        let (id, timeout_ms, watched) = (call.id, call.timeout_ms(), call.clone());
        self.watch(&watched);
        self.reply(id, Answer::Execute { grant: Grant { step: n, attempt }, idempotency_key, args, timeout_ms });
        Ok(())
    }

    /// Records `step.started` for the next attempt.
    fn started(&mut self, n: u64, step: Option<Box<Identity>>) -> Result<u32, Error> {
        let open = self.run.durable.open.get(&n);
        let attempt = open.map_or(0, |open| open.attempt).saturating_add(1);
        let first = open.is_none_or(|open| open.key_until.is_none());
        let call = self.run.live.primary(n).map(|call| {
            let probe = call.probes() || call.tool.as_ref().is_some_and(|tool| tool.probe.is_some());
            (call.key_window_ms().filter(|_| call.effect == Effect::Idempotent), probe)
        });
        let (window, probe) = call.unwrap_or_default();
        let key_until = window.filter(|_| first).map(|ms| self.cx.now + Duration::from_millis(ms));
        self.run.live.lost.remove(&n);
        let verdict = self.run.live.primary(n).and_then(|call| Some((call.effect, call.verdict.take()?)));
        if let Some((effect, verdict)) = verdict {
            self.decided(n, effect, *verdict)?;
        }
        self.record(RunEvent::StepStarted(StepStarted { n, step, attempt, key_until, probe }))?;
        Ok(attempt)
    }

    /// The server waits a little longer than the worker for an attempt's outcome.
    fn watch(&mut self, call: &Call) {
        if let Some(timeout_ms) = call.timeout_ms() {
            let at = self.cx.now + Duration::from_millis(timeout_ms.saturating_add(self.cx.limits.timeout_slack_ms));
            self.run.wake(at, LiveTimer::Timeout(call.id, call.attempt));
        }
    }

    /// A started step whose execution was lost.
    pub(super) fn relaunch(&mut self, n: u64) -> Result<(), Error> {
        let Some(open) = self.run.durable.open.get(&n) else { return Ok(()) };
        let effect = self.run.effect(n);
        let attempts = open.attempt.saturating_sub(open.base);
        let over = open.key_until.is_some_and(|until| until < self.cx.now);
        if effect == Effect::Once || (effect == Effect::Idempotent && over) {
            let reason = if over { "the idempotency key may have been forgotten" } else { "its worker was lost" };
            return self.put_in_doubt(n, reason);
        }
        if attempts >= self.cx.limits.lost_attempts {
            let message = format!("its worker was lost {attempts} times while it was executed");
            let error = step_error("WorkerLost", message);
            let attempt = open.attempt;
            self.record(RunEvent::StepFailed(StepFailed { n, step: None, error: error.clone(), attempt }))?;
            self.answer_error(n, &error);
            return self.old_ended(n);
        }
        self.execute(n)
    }

    /// A worker for a tool or an undo was found.
    pub(super) fn ready(&mut self, slot: Slot, tool: Option<ToolSpec>) -> Result<(), Error> {
        let id = match slot {
            Slot::Call(id) => id,
            Slot::Undo(target) => return self.undo_ready(target, tool),
        };
        let Some(call) = self.run.live.calls.get_mut(&id) else { return Ok(()) };
        match call.stage {
            Stage::Wanted => {
                if let Some(tool) = tool {
                    if call.n.is_none() {
                        call.effect = tool.effect;
                    }
                    call.tool = Some(tool);
                }
                self.dispatch(slot, id)
            }
            Stage::ProbeWanted => self.dispatch_probe(slot, id),
            _ => Ok(()),
        }
    }

    fn dispatch(&mut self, slot: Slot, id: u64) -> Result<(), Error> {
        let Some(call) = self.run.live.calls.get_mut(&id) else { return Ok(()) };
        let (n, step) = match call.n {
            Some(n) => (n, None),
            None => {
                let step = Some(call.identity(false));
                let n = self.run.durable.records.next();
                let Some(call) = self.run.live.calls.remove(&id) else { return Ok(()) };
                self.run.live.attach(n, call);
                (n, step)
            }
        };
        let attempt = self.started(n, step)?;
        let key = (self.run.effect(n) >= Effect::Idempotent).then(|| self.idempotency_key(n));
        let edited = self.edited(n);
        let Some(call) = self.run.live.primary(n) else { return Ok(()) };
        call.attempt = attempt;
        call.stage = Stage::Dispatched;
        let work = Work::Tool { name: call.step.name.clone(), args: edited.unwrap_or_else(|| call.args.clone()) };
        let (timeout_ms, watched) = (call.timeout_ms(), call.clone());
        self.watch(&watched);
        self.act(Action::Dispatch(Box::new(Dispatch {
            slot,
            grant: Grant { step: n, attempt },
            purpose: Purpose::Execute,
            work,
            idempotency_key: key,
            timeout_ms,
        })));
        Ok(())
    }

    /// The arguments to execute with, where they are not those that the code gave.
    fn executed_args(&mut self, n: u64) -> Option<Json> {
        let edited = self.edited(n);
        edited.or_else(|| self.run.live.primary(n).filter(|call| call.refs).map(|call| call.args.clone()))
    }

    /// The arguments of a recorded step, where they are not those that the code gives: as a person edited them, or with
    /// the code's references substituted. After a restart the code gives the references again; what they stood for when
    /// the call was decided on is what is executed.
    pub(super) fn edited(&self, n: u64) -> Option<Json> {
        let open = self.run.durable.open.get(&n)?;
        let edited = open.approved.as_ref().and_then(|approved| approved.edited.as_ref());
        edited.map(|(args, _)| args).or(open.given.as_ref()).cloned()
    }

    /// The idempotency key of a recorded step.
    pub(super) fn idempotency_key(&self, n: u64) -> String {
        let records = &self.run.durable.records;
        let Some((record, name)) = records.get(n).and_then(|record| Some((record, records.name_of(record)?))) else {
            return String::new();
        };
        let index = records.index(n);
        let called = self.run.live.waiters.get(&n).and_then(|calls| self.run.live.calls.get(calls.first()?));
        let key = called.and_then(|call| call.step.key.as_deref()).filter(|key| name.keys.get(*key).copied() == index);
        let key = key.or_else(|| {
            let held = name.keys.iter().find(|(_, held)| record.keyed() && Some(**held) == index);
            held.map(|(key, _)| &**key)
        });
        self.cx.keys.make(KeyParts {
            run: self.run.id,
            scope: name.scope(),
            name: name.name(),
            key,
            segment: self.run.durable.segment,
            occ: record.occ,
            rev: record.rev,
        })
    }

    /// What the server does itself.
    fn perform(&mut self, n: u64, mut call: Call) -> Result<(), Error> {
        let now = self.cx.now;
        let wait = match &call.step.body {
            Body::Sleep { ms: 0 } => return self.complete_new(n, call, null(), 1),
            Body::Sleep { ms } => Wait::Sleep { until: now + Duration::from_millis(*ms) },
            Body::Signal { within_ms } => {
                if let Some(payload) = self.run.durable.signals.get(&call.step.name).and_then(|queue| queue.front()) {
                    let payload = payload.clone();
                    return self.complete_new(n, call, payload, 1);
                }
                Wait::Signal { until: within_ms.map(|ms| now + Duration::from_millis(ms)) }
            }
            Body::Child { .. } => Wait::Child { run: RunId::random(self.cx.rng) },
            Body::Infer { .. } => Wait::Model,
            Body::Emit { .. } => return self.emit(n, call),
            Body::Now => {
                let value = Arc::new(Value::from(now.as_millis()));
                return self.complete_new(n, call, value, 1);
            }
            Body::Random => {
                // 53 random bits make a float in [0, 1).
                let value = (self.cx.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                return self.complete_new(n, call, Arc::new(Value::from(value)), 1);
            }
            Body::Uuid => {
                let value = Arc::new(Value::from(self.uuid()));
                return self.complete_new(n, call, value, 1);
            }
            Body::Code { .. } | Body::Tool { .. } | Body::Approval { .. } => return self.begin(call),
        };
        let step = self.first_identity(n, &mut call);
        let (args, name) = (call.args.clone(), call.step.name.clone());
        self.run.live.attach(n, call);
        self.record(RunEvent::StepWaiting(StepWaiting { n, step, wait: wait.clone() }))?;
        if let Wait::Model = wait {
            self.act(Action::AskModel { step: n, model: name, args: Datum::Inline(args.clone()) });
        }
        if let Wait::Child { run } = wait {
            let agent = args.get("agent").and_then(Value::as_str).unwrap_or_default().to_owned();
            let input = Datum::Inline(Arc::new(args.get("input").cloned().unwrap_or_default()));
            self.act(Action::StartChild { step: n, run, agent, input });
        }
        self.tell_all(n);
        Ok(())
    }

    /// The identity, if the step has no record yet.
    pub(super) fn first_identity(&self, n: u64, call: &mut Call) -> Option<Box<Identity>> {
        self.run.durable.records.get(n).is_none().then(|| call.identity(false))
    }

    /// Completes a step of a call that is not attached to it.
    pub(super) fn complete_new(&mut self, n: u64, mut call: Call, value: Json, attempt: u32) -> Result<(), Error> {
        let step = self.run.durable.records.get(n).is_none().then(|| call.identity(true));
        let body = StepCompleted::new(n, step, value.clone(), attempt);
        self.record(RunEvent::StepCompleted(body))?;
        let live = self.run.live.is_live();
        self.reply(call.id, Answer::Value { value, live });
        Ok(())
    }

    fn emit(&mut self, n: u64, call: Call) -> Result<(), Error> {
        let id = EventId::generate(self.cx.now, self.cx.rng);
        let emitted = Emitted { id: Some(id), kind: call.step.name.clone(), data: call.args.clone() };
        self.record(RunEvent::Emitted(emitted))?;
        let value = serde_json::json!({"event": id, "run": self.run.id, "version": self.run.durable.version});
        self.complete_new(n, call, Arc::new(value), 1)
    }

    /// A UUID version 4 (RFC 9562).
    fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.cx.rng.fill(&mut bytes);
        let bits = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    /// In a fork without live effects: the recorded value stands for the effect.
    pub(super) fn simulated(&mut self, call: &mut Call, text: &str) -> Result<bool, Error> {
        let fork = self.run.durable.head()?.fork;
        if fork.is_none_or(|fork| fork.live) {
            return Ok(false);
        }
        let outside = matches!(call.kind, Kind::Code | Kind::Tool) && call.effect >= Effect::Read;
        let by_server = matches!(call.kind, Kind::Child | Kind::Emit | Kind::Approval | Kind::Signal | Kind::Infer);
        if !outside && !by_server {
            return Ok(false);
        }
        let records = &self.run.durable.records;
        let name = records.name_id(text).and_then(|id| records.name(id));
        let later = name.and_then(|name| {
            let fits = |index: &&u32| {
                records
                    .at(**index)
                    .is_some_and(|r| r.state == State::Later && r.hash == call.hash && r.kind() == call.kind)
            };
            name.displaced.iter().find(fits).copied()
        });
        let n = records.next();
        if let Some(index) = later {
            let from = Some(records.ordinal(index));
            let version = records.at(index).map_or(0, |record| u64::from(record.version));
            call.note = Some("simulated: the value is that of the run it was forked from".to_owned());
            let step = Some(call.identity(true));
            let body = StepCompleted { from, ..StepCompleted::new(n, step, null(), 1) };
            self.record(RunEvent::StepCompleted(body))?;
            let live = self.run.live.is_live();
            self.reply(call.id, Answer::Recorded { version, live });
            return Ok(true);
        }
        match call.kind {
            Kind::Approval | Kind::Signal => Ok(false),
            Kind::Emit => {
                call.note = Some("simulated: no event".to_owned());
                let taken =
                    Call { step: call.step.clone(), note: call.note.take(), args: call.args.clone(), ..call.clone() };
                self.complete_new(n, taken, null(), 1)?;
                Ok(true)
            }
            _ if call.effect <= Effect::Read => Ok(false),
            _ => {
                let error = step_error(
                    "SimulatedEffect",
                    "simulated effect has no recorded value; fork with --live to let it take place",
                );
                let step = Some(call.identity(true));
                self.record(RunEvent::StepFailed(StepFailed { n, step, error: error.clone(), attempt: 0 }))?;
                self.reply(call.id, Answer::Error(error));
                Ok(true)
            }
        }
    }

    /// Tells the calls of a step what it waits for.
    pub(super) fn tell_all(&mut self, n: u64) {
        for call in self.run.live.waiters.get(&n).cloned().unwrap_or_default() {
            self.tell_waiting(n, call);
        }
    }

    /// Tells a call what its step waits for.
    pub(super) fn tell_waiting(&mut self, n: u64, call: u64) {
        let Some(open) = self.run.durable.open.get(&n) else { return };
        let state = self.run.durable.records.get(n).map(|record| record.state);
        let (why, until, approval) = match (&open.wait, state) {
            (Some(Wait::Sleep { until }), _) => (Waiting::Sleep, Some(*until), None),
            (Some(Wait::Signal { until }), _) => (Waiting::Signal, *until, None),
            (Some(Wait::Child { .. }), _) => (Waiting::Child, None, None),
            (Some(Wait::Model), _) => (Waiting::Model, None, None),
            (Some(Wait::Approval { id }), _) => {
                let due = self.run.durable.approvals.get(id).and_then(|approval| approval.due);
                (Waiting::Approval, due, Some(*id))
            }
            (Some(Wait::Ask { id, .. }), _) => (Waiting::Ask, None, Some(*id)),
            (None, Some(State::Retrying)) => (Waiting::Retry, open.next, None),
            (None, Some(State::InDoubt)) => (Waiting::Ask, None, open.ask),
            (None, _) if self.run.durable.dispatched(n) => (Waiting::Tool, None, None),
            (None, _) => (Waiting::Elsewhere, None, None),
        };
        self.wait(call, why, until, approval);
    }
}
