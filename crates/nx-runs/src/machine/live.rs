//! The part of a run that belongs to the present incarnation and to this process: its calls, what it has used of the
//! record, timers that nobody needs to remember. Lost in a crash, and made anew when the next incarnation begins.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use neuraxis_sdk::frames::{Body, Effect, Grant, Outcome, Step};
use nx_types::{Digest, Timestamp};
use serde_json::Value;

use super::{
    command::ToolSpec,
    digest,
    event::{Identity, Json, Kind, null},
    gate::Verdict,
    json,
    record::{Records, State},
};
use crate::Error;

/// Grants of executions without a record begin here, so that none is mistaken for another after a restart.
pub(super) const UNRECORDED: u64 = 1 << 52;

/// What a call is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for its record.
    Waiting,
    /// A new once step that waits for unused once records to be asked for.
    Grace,
    /// Its worker executes it.
    Executing,
    /// Its worker was asked to probe.
    Probing,
    /// A worker for the tool is wanted.
    Wanted,
    /// A worker for the tool's probe is wanted.
    ProbeWanted,
    /// A tool's worker executes or probes it.
    Dispatched,
}

/// A call without a terminal answer.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: u64,
    /// The request; its arguments are moved into `args`.
    pub(super) step: Box<Step>,
    pub(super) kind: Kind,
    pub(super) effect: Effect,
    pub(super) args: Json,
    pub(super) hash: Digest,
    pub(super) tool: Option<ToolSpec>,
    pub(super) occ: u32,
    pub(super) rev: u16,
    pub(super) over: Option<u64>,
    pub(super) note: Option<String>,
    /// Its record, once it has one.
    pub(super) n: Option<u64>,
    pub(super) attempt: u32,
    pub(super) stage: Stage,
    /// Unused once records need not be asked about any more.
    pub(super) cleared: bool,
    /// References were substituted in the arguments; the hash is of the arguments as given.
    pub(super) refs: bool,
    /// What the gate said, until it is recorded.
    pub(super) verdict: Option<Box<Verdict>>,
}

impl Call {
    pub(super) fn new(mut step: Box<Step>, tool: Option<ToolSpec>) -> Result<Self, Error> {
        let (kind, effect, args) = match &mut step.body {
            Body::Code { effect, args, .. } => (Kind::Code, *effect, args.take()),
            Body::Tool { args } => (Kind::Tool, tool.as_ref().map_or(Effect::Once, |tool| tool.effect), args.take()),
            Body::Sleep { .. } => (Kind::Sleep, Effect::Code, Value::Null),
            Body::Signal { .. } => (Kind::Signal, Effect::Code, Value::Null),
            Body::Approval { args } => (Kind::Approval, Effect::Code, args.take()),
            // A child may do anything: other arguments are a person's matter.
            Body::Child { agent, input } => {
                (Kind::Child, Effect::Once, serde_json::json!({"agent": agent, "input": input.take()}))
            }
            Body::Infer { args } => (Kind::Infer, Effect::Read, args.take()),
            Body::Emit { args } => (Kind::Emit, Effect::Idempotent, args.take()),
            Body::Now => (Kind::Now, Effect::Code, Value::Null),
            Body::Random => (Kind::Random, Effect::Code, Value::Null),
            Body::Uuid => (Kind::Uuid, Effect::Code, Value::Null),
        };
        let (hash, args) = if args.is_null() {
            (NULL_HASH, null())
        } else {
            json::check(&args)?;
            (digest::of(&args)?, Arc::new(args))
        };
        Ok(Self {
            id: step.call,
            step,
            kind,
            effect,
            args,
            hash,
            tool,
            occ: 1,
            rev: 0,
            over: None,
            note: None,
            n: None,
            attempt: 0,
            stage: Stage::Waiting,
            cleared: false,
            refs: false,
            verdict: None,
        })
    }

    /// The step's identity for its first event. `last` hands the texts over instead of copying them.
    pub(super) fn identity(&mut self, last: bool) -> Box<Identity> {
        let step = &mut self.step;
        let (scope, name, key, undo) = if last {
            (std::mem::take(&mut step.scope), std::mem::take(&mut step.name), step.key.take(), step.undo.take())
        } else {
            (step.scope.clone(), step.name.clone(), step.key.clone(), step.undo.clone())
        };
        let declared = self.tool.as_ref().and_then(|tool| tool.undo.clone());
        Box::new(Identity {
            scope,
            name,
            occ: if key.is_some() { 0 } else { self.occ },
            key,
            kind: self.kind,
            effect: self.effect,
            hash: self.hash,
            args: self.args.clone(),
            rev: self.rev,
            over: self.over,
            undo: undo.or_else(|| declared.map(neuraxis_sdk::frames::Undo::Tool)),
            note: self.note.take(),
            refs: self.refs,
            flow: if last { step.flow.take() } else { step.flow.clone() },
        })
    }

    /// A probe of the worker's code is offered.
    pub(super) fn probes(&self) -> bool {
        matches!(self.step.body, Body::Code { probe: true, .. })
    }

    /// How long the outside honours an idempotency key.
    pub(super) fn key_window_ms(&self) -> Option<u64> {
        match &self.step.body {
            Body::Code { key_window_ms, .. } => *key_window_ms,
            _ => self.tool.as_ref().and_then(|tool| tool.key_window_ms),
        }
    }

    pub(super) fn timeout_ms(&self) -> Option<u64> {
        self.step.timeout_ms.or_else(|| self.tool.as_ref().and_then(|tool| tool.timeout_ms))
    }

    pub(super) fn outcome(&mut self) -> Option<Outcome> {
        if self.effect <= Effect::Read && self.kind == Kind::Code { self.step.outcome.take() } else { None }
    }
}

/// SHA-256 of `null`.
const NULL_HASH: Digest = Digest([
    0x74, 0x23, 0x4e, 0x98, 0xaf, 0xe7, 0x49, 0x8f, 0xb5, 0xda, 0xf1, 0xf3, 0x6a, 0xc2, 0xd7, 0x8a, 0xcc, 0x33, 0x94,
    0x64, 0xf9, 0x50, 0x70, 0x3b, 0x8c, 0x01, 0x98, 0x92, 0xf9, 0x82, 0xb9, 0x0b,
]);

/// What is due in this process alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LiveTimer {
    /// The next attempt of a step that somebody waits for.
    Retry(u64),
    /// A new once step has waited long enough for unused records.
    Grace(u64),
    /// A worker should have reported this attempt.
    Timeout(u64, u32),
    /// A cancelled agent should have stopped.
    CancelGrace(u32),
}

/// How far the incarnation is with the records of one scope and name.
#[derive(Debug, Clone, Default)]
pub(super) struct LiveName {
    /// Requests without a key so far.
    pub(super) count: u32,
    /// Places before this one are used.
    pub(super) cursor: usize,
    /// By the first 8 bytes of the hash: made when a search ran long.
    pub(super) by_hash: Option<HashMap<u64, Vec<u32>>>,
}

/// The incarnation.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    pub(super) calls: BTreeMap<u64, Call>,
    /// By step: the calls that get its outcome; the first executes it.
    pub(super) waiters: BTreeMap<u64, Vec<u64>>,
    /// Calls that wait for the end of the step whose place they would take.
    pub(super) after: BTreeMap<u64, Vec<u64>>,
    /// By call that has no record yet: calls of the same key, which get the same record.
    pub(super) followers: BTreeMap<u64, Vec<u64>>,
    /// Superseded records whose value was used all the same.
    pub(super) bonus: BTreeSet<u32>,
    /// Executions that the agent left behind when it ended.
    pub(super) left: BTreeMap<u64, Grant>,
    used: Vec<u64>,
    size: u32,
    /// Records that the code has not asked for yet.
    pub(super) unused: u32,
    /// Those of them whose once effect took place or may have.
    pub(super) once_unused: BTreeSet<u32>,
    pub(super) names: HashMap<Box<str>, LiveName>,
    /// By scope: the last record used.
    pub(super) last: HashMap<Box<str>, u64>,
    pub(super) timers: BTreeSet<(Timestamp, LiveTimer)>,
    pub(super) notes: usize,
    pub(super) carry: Option<(u64, Json)>,
    /// Started steps that will not report any more and may be executed again.
    pub(super) lost: BTreeSet<u64>,
    /// The step whose undo waits for a worker.
    pub(super) undo_wanted: Option<u64>,
    /// Compensation was looked at in this process.
    pub(super) driven: bool,
}

impl Live {
    /// Forgets the calls, for a new incarnation or because one ended.
    pub(super) fn reset(&mut self, records: &Records) {
        let lost = std::mem::take(&mut self.lost);
        *self = Self { lost, ..Self::default() };
        self.size = records.len() as u32;
        self.used.resize(records.len().div_ceil(64), 0);
        for (index, record) in records.iter() {
            if record.state.counts() && record.kind() != Kind::Undo {
                self.unused += 1;
            } else {
                self.mark(index);
            }
        }
        for &index in &records.once {
            if records.at(index).is_some_and(|record| {
                record.kind() != Kind::Undo
                    && (record.state.may_have_happened() || is_child(record.kind(), record.state))
            }) {
                self.once_unused.insert(index);
            }
        }
    }

    fn mark(&mut self, index: u32) {
        if let Some(word) = self.used.get_mut(index as usize / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn is_used(&self, index: u32) -> bool {
        self.used.get(index as usize / 64).is_none_or(|word| word & (1 << (index % 64)) != 0)
    }

    /// The code has asked for the record, or it is out of the count.
    pub(super) fn use_record(&mut self, index: u32) {
        if !self.is_used(index) {
            self.mark(index);
            self.unused = self.unused.saturating_sub(1);
            self.once_unused.remove(&index);
        }
    }

    /// Records that were added are the code's own.
    pub(super) fn grow(&mut self, records: usize) {
        self.used.resize(records.div_ceil(64), 0);
        while (self.size as usize) < records {
            self.mark(self.size);
            self.size += 1;
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.unused == 0
    }

    /// The call that executes a step.
    pub(super) fn primary(&mut self, n: u64) -> Option<&mut Call> {
        let id = self.waiters.get(&n)?.first()?;
        self.calls.get_mut(id)
    }

    pub(super) fn attach(&mut self, n: u64, mut call: Call) {
        call.n = Some(n);
        self.waiters.entry(n).or_default().push(call.id);
        self.calls.insert(call.id, call);
    }

    /// The call that executes a step, taken out; those that wait for its outcome stay.
    pub(super) fn take_primary(&mut self, n: u64) -> Option<Call> {
        let waiters = self.waiters.get_mut(&n)?;
        if waiters.is_empty() {
            return None;
        }
        let id = waiters.remove(0);
        self.calls.remove(&id)
    }

    /// [`Self::attach`], before the calls that wait already.
    pub(super) fn attach_first(&mut self, n: u64, mut call: Call) {
        call.n = Some(n);
        self.waiters.entry(n).or_default().insert(0, call.id);
        self.calls.insert(call.id, call);
    }

    /// The calls that waited for a step.
    pub(super) fn detach(&mut self, n: u64) -> Vec<u64> {
        let calls = self.waiters.remove(&n).unwrap_or_default();
        for call in &calls {
            self.calls.remove(call);
        }
        calls
    }
}

fn is_child(kind: Kind, state: State) -> bool {
    kind == Kind::Child && state == State::Waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_null_is_known() {
        assert_eq!(digest::of(&Value::Null).unwrap(), NULL_HASH);
    }
}
