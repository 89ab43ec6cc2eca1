//! Compensation: when the run fails or is cancelled, completed steps that can be undone are, the last one first. Each
//! undo is a step of its own. Doubts are settled before: nothing can be said to be undone while it may yet happen.

use neuraxis_sdk::frames::{Effect, Grant, Undo};

use super::Deciding;
use crate::{
    Error,
    machine::{
        command::{Action, Datum, Dispatch, Purpose, Slot, Target, ToolSpec, Work},
        digest,
        durable::{Phase, Undoable},
        event::{Identity, Kind, RunEvent, StepStarted},
        key::KeyParts,
        live::LiveTimer,
        record::State,
    },
};

/// The scope of undos.
const SCOPE: &str = "undo";

impl Deciding<'_> {
    /// Steps that must be settled before the run can be undone or end.
    pub(super) fn unresolved(&self) -> Vec<u64> {
        let durable = &self.run.durable;
        let unsettled = |(&n, open): (&u64, &crate::machine::durable::Open)| {
            let record = durable.records.get(n)?;
            if record.kind() == Kind::Undo || !matches!(record.state, State::Started | State::InDoubt) {
                return None;
            }
            let matters = match record.effect() {
                Effect::Once => true,
                Effect::Idempotent => open.undo.is_some() || record.state == State::InDoubt,
                Effect::Code | Effect::Read => false,
            };
            matters.then_some(n)
        };
        durable.open.iter().filter_map(unsettled).collect()
    }

    /// Goes on with the undoing.
    pub(super) fn compensate(&mut self) -> Result<(), Error> {
        let Phase::Compensating(cause) = self.run.durable.phase.clone() else { return Ok(()) };
        self.run.live.driven = true;
        let unresolved = self.unresolved();
        for &n in &unresolved {
            if self.run.live.lost.remove(&n) {
                let attempt = self.run.durable.open.get(&n).map_or(1, |open| open.attempt);
                let reason = "its worker was lost, and the run is over".to_owned();
                self.record(RunEvent::StepInDoubt(crate::machine::event::StepInDoubt { n, attempt, reason }))?;
            }
            if self.run.durable.records.get(n).is_some_and(|record| record.state == State::InDoubt) {
                self.ask_in_doubt(n)?;
            }
        }
        if !unresolved.is_empty() {
            return Ok(());
        }
        let Some(undo) = self.run.durable.undos.iter().rev().find(|undo| undo.outcome.is_none()).cloned() else {
            return self.finish(cause, Vec::new());
        };
        let state = undo.by.and_then(|by| self.run.durable.records.get(by)).map(|record| record.state);
        match (state, undo.by) {
            (Some(State::Started), Some(by)) if !self.run.live.lost.contains(&by) => Ok(()),
            (Some(State::InDoubt), Some(by)) => self.ask_in_doubt(by),
            (Some(State::Retrying), Some(by)) => {
                let next = self.run.durable.open.get(&by).and_then(|open| open.next).unwrap_or(self.cx.now);
                if next <= self.cx.now {
                    return self.want_undo(&undo);
                }
                self.run.wake(next, LiveTimer::Retry(by));
                Ok(())
            }
            _ => self.want_undo(&undo),
        }
    }

    fn want_undo(&mut self, undo: &Undoable) -> Result<(), Error> {
        if self.run.live.undo_wanted == Some(undo.n) {
            return Ok(());
        }
        self.run.live.undo_wanted = Some(undo.n);
        let target = match &undo.undo {
            Undo::Function(_) => Target::Agent(self.run.durable.head()?.agent.clone()),
            Undo::Tool(tool) => Target::Tool(tool.clone()),
        };
        self.act(Action::Want { slot: Slot::Undo(undo.n), target });
        Ok(())
    }

    /// A worker for an undo was found.
    pub(super) fn undo_ready(&mut self, target: u64, tool: Option<ToolSpec>) -> Result<(), Error> {
        if self.run.live.undo_wanted != Some(target) {
            return Ok(());
        }
        let Some(undo) = self.run.durable.undos.iter().find(|undo| undo.n == target).cloned() else { return Ok(()) };
        self.run.live.undo_wanted = None;
        let timeout_ms = tool.as_ref().and_then(|tool| tool.timeout_ms);
        let (n, step, attempt) = match undo.by {
            Some(by) => (by, None, self.run.durable.open.get(&by).map_or(0, |open| open.attempt).saturating_add(1)),
            None => {
                let step = undo_identity(&undo, tool.map(|tool| tool.effect))?;
                (self.run.durable.records.next(), Some(Box::new(step)), 1)
            }
        };
        self.run.live.lost.remove(&n);
        self.record(RunEvent::StepStarted(StepStarted { n, step, attempt, key_until: None, probe: false }))?;
        let key = target.to_string();
        let idempotency_key = self.cx.keys.make(KeyParts {
            run: self.run.id,
            scope: SCOPE,
            name: &undo.name,
            key: Some(&key),
            segment: 0,
            occ: 0,
            rev: 0,
        });
        let args = Datum::ArgsAt(undo.args_at);
        let result = Datum::ValueAt(undo.value_at);
        let work = match undo.undo {
            Undo::Function(function) => {
                Work::UndoFunction { agent: self.run.durable.head()?.agent.clone(), function, args, result }
            }
            Undo::Tool(name) => Work::UndoTool { name, args, result },
        };
        self.act(Action::Dispatch(Box::new(Dispatch {
            slot: Slot::Undo(target),
            grant: Grant { step: n, attempt },
            purpose: Purpose::Execute,
            work,
            idempotency_key: Some(idempotency_key),
            timeout_ms,
        })));
        Ok(())
    }
}

/// Who the step is that undoes another.
fn undo_identity(undo: &Undoable, effect: Option<Effect>) -> Result<Identity, Error> {
    let args = serde_json::json!({"undoes": undo.n});
    let function = match &undo.undo {
        Undo::Function(name) | Undo::Tool(name) => name,
    };
    Ok(Identity {
        scope: SCOPE.to_owned(),
        name: undo.name.clone(),
        key: Some(undo.n.to_string()),
        occ: 0,
        kind: Kind::Undo,
        effect: effect.unwrap_or(Effect::Idempotent),
        hash: digest::of(&args)?,
        args: args.into(),
        rev: 0,
        over: None,
        undo: None,
        note: Some(format!("undoes step {} by `{function}`", undo.n)),
        refs: false,
        flow: None,
    })
}
