//! A step request: which record is it? By key, else by the hash of the arguments, else by occurrence.

use std::collections::HashMap;

use neuraxis_sdk::frames::{Body, Effect, OnChange, Step};
use nx_types::EventType;

use super::{Deciding, step_error};
use crate::{
    Error,
    machine::{
        command::{Action, Answer, ToolSpec},
        digest::short,
        durable::Phase,
        event::{Diverged, Kind, Note, RunEvent, StepFailed},
        live::{Call, LiveName, LiveTimer, Stage},
        record::{State, name_text},
    },
};

/// Event types that an agent may not emit: they are the system's own.
const RESERVED: [&str; 11] = [
    "run.",
    "step.",
    "approval.",
    "signal.",
    "incarnation.",
    "log.",
    "key.",
    "label.",
    "resource.",
    "checkpoint.",
    "guard.",
];

/// Records looked at before the hash index is made.
const SCAN: usize = 8;

/// What the record holds for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// This step.
    Hit(u32),
    /// A step at the same place, with other arguments or of another kind.
    Changed(u32),
    /// Nothing.
    New,
}

impl Deciding<'_> {
    /// A step frame.
    pub(super) fn step(&mut self, step: Box<Step>, tool: Option<ToolSpec>) -> Result<(), Error> {
        self.check_incarnation(step.inc)?;
        if self.run.live.calls.contains_key(&step.call) {
            return Ok(());
        }
        if matches!(self.run.durable.phase, Phase::Stopping(_)) {
            self.reply(step.call, Answer::Error(step_error("Cancelled", "the run is being cancelled")));
            return Ok(());
        }
        self.check_bounds(&step)?;
        let mut call = Call::new(step, tool)?;
        let mut text = String::with_capacity(call.step.scope.len() + call.step.name.len() + 1);
        name_text(&call.step.scope, &call.step.name, &mut text);
        call.occ = self.run.live.names.get(text.as_str()).map_or(0, |name| name.count) + 1;
        let mut found = self.find(&call, &text);
        let mut renamed = false;
        if found == Found::New
            && let Some(was) = call.step.was.as_deref()
        {
            let mut old = String::with_capacity(call.step.scope.len() + was.len() + 1);
            name_text(&call.step.scope, was, &mut old);
            found = self.find(&call, &old);
            renamed = found != Found::New;
        }
        if call.kind == Kind::Tool && call.tool.is_none() && !matches!(found, Found::Hit(_)) {
            call.step.body = Body::Tool { args: std::sync::Arc::unwrap_or_clone(call.args) };
            self.act(Action::Unready { step: call.step });
            return Ok(());
        }
        if call.step.key.is_none() {
            match self.run.live.names.get_mut(text.as_str()) {
                Some(name) => name.count += 1,
                None => {
                    let name = LiveName { count: 1, ..LiveName::default() };
                    self.run.live.names.insert(text.as_str().into(), name);
                }
            }
        }
        match found {
            Found::Hit(index) => self.hit(index, call, renamed)?,
            Found::Changed(index) => self.changed(index, call, renamed)?,
            Found::New => self.fresh(call, &text)?,
        }
        self.unblock()
    }

    fn check_bounds(&self, step: &Step) -> Result<(), Error> {
        let limits = self.cx.limits;
        let texts = [Some(&step.scope), Some(&step.name), step.key.as_ref(), step.was.as_ref()];
        if texts.into_iter().flatten().any(|text| text.len() > limits.name_bytes || text.contains('\0')) {
            let rule = format!("a step's scope, name and key have at most {} bytes and no zero", limits.name_bytes);
            return Err(Error::invalid(rule));
        }
        if step.name.is_empty() {
            return Err(Error::invalid("a step has a name"));
        }
        match &step.body {
            Body::Emit { .. } => check_emitted(&step.name)?,
            Body::Code { .. }
                if step.outcome.is_some() && step.flow.as_ref().is_some_and(|flow| !flow.sinks.is_empty()) =>
            {
                return Err(Error::invalid("a step with sinks is executed when it is granted, not before"));
            }
            Body::Approval { .. } if step.approve.is_none() => {
                return Err(Error::invalid("an approval step says whom to ask: give `approve`"));
            }
            _ => {}
        }
        let records = &self.run.durable.records;
        let bounds = [
            ("calls in flight", self.run.live.calls.len() as u64, limits.calls as u64, "await some of them first"),
            ("steps since the last carry", records.len() as u64, limits.steps, "use `carry` in long loops"),
            ("names since the last carry", records.name_count() as u64, limits.names as u64, "tell steps apart by key"),
        ];
        for (what, size, max, fix) in bounds {
            if size >= max {
                return Err(Error::Limit { what, max, fix });
            }
        }
        Ok(())
    }

    fn find(&mut self, call: &Call, text: &str) -> Found {
        let records = &self.run.durable.records;
        let Some(id) = records.name_id(text) else { return Found::New };
        let Some(name) = records.name(id) else { return Found::New };
        let same =
            |index: u32| records.at(index).is_some_and(|record| record.hash == call.hash && record.kind() == call.kind);
        if let Some(key) = &call.step.key
            && let Some(&index) = name.keys.get(key.as_str())
        {
            return if same(index) { Found::Hit(index) } else { Found::Changed(index) };
        }
        let by_key = call.step.key.is_some();
        let live = &mut self.run.live;
        let progress = match live.names.get_mut(text) {
            Some(progress) => progress,
            None => live.names.entry(text.into()).or_default(),
        };
        let mut cursor = progress.cursor;
        let used = |live_used: &dyn Fn(u32) -> bool, held: u32| held.checked_sub(1).is_none_or(live_used);
        let bits = &self.run.live;
        let is_used = |index: u32| bits.is_used(index);
        while name.places.get(cursor).is_some_and(|&held| used(&is_used, held)) {
            cursor += 1;
        }
        let exhausted = cursor >= name.places.len() && name.displaced.is_empty() && name.keys.is_empty();
        let mut hit = None;
        let mut ran_long = !name.displaced.is_empty() || !name.keys.is_empty();
        if !exhausted {
            for (seen, &held) in name.places.iter().skip(cursor).enumerate() {
                if seen >= SCAN {
                    ran_long = true;
                    break;
                }
                if let Some(index) = held.checked_sub(1)
                    && !is_used(index)
                    && same(index)
                {
                    hit = Some(index);
                    break;
                }
            }
        }
        if hit.is_none() && !exhausted && ran_long {
            hit = self.find_by_hash(call, text, id, by_key);
        }
        if let Some(progress) = self.run.live.names.get_mut(text) {
            progress.cursor = cursor;
        }
        if let Some(index) = hit {
            return Found::Hit(index);
        }
        if by_key {
            return Found::New;
        }
        match self.run.durable.records.place(id, call.occ) {
            Some(index) if !self.run.live.is_used(index) => Found::Changed(index),
            _ => Found::New,
        }
    }

    /// The unused record of lowest ordinal with equal hash; else one whose place another took, but whose value stands.
    fn find_by_hash(&mut self, call: &Call, text: &str, id: u32, by_key: bool) -> Option<u32> {
        let records = &self.run.durable.records;
        let name = records.name(id)?;
        let held = self.run.live.names.get_mut(text).and_then(|progress| progress.by_hash.take());
        let by_hash = held.unwrap_or_else(|| {
            let placed = name.places.iter().filter_map(|held| held.checked_sub(1));
            let mut all: Vec<u32> =
                placed.chain(name.displaced.iter().copied()).chain(name.keys.values().copied()).collect();
            all.sort_unstable();
            all.dedup();
            let mut by_hash: HashMap<u64, Vec<u32>> = HashMap::with_capacity(all.len());
            for index in all {
                if let Some(record) = records.at(index) {
                    by_hash.entry(prefix(&record.hash)).or_default().push(index);
                }
            }
            by_hash
        });
        let live = &self.run.live;
        let fits = |index: &&u32| {
            records.at(**index).is_some_and(|record| {
                record.hash == call.hash && record.kind() == call.kind && !(by_key && record.keyed())
            })
        };
        let stands = |index: &&u32| {
            records.at(**index).is_some_and(|record| record.state == State::Superseded && record.version != 0)
                && !live.bonus.contains(*index)
        };
        let candidates = by_hash.get(&prefix(&call.hash)).map(Vec::as_slice).unwrap_or_default();
        let unused = candidates.iter().filter(fits).find(|index| !live.is_used(**index));
        let found = unused.or_else(|| candidates.iter().filter(fits).find(stands)).copied();
        if let Some(progress) = self.run.live.names.get_mut(text) {
            progress.by_hash = Some(by_hash);
        }
        found
    }

    /// The record of the request is this one.
    fn hit(&mut self, index: u32, mut call: Call, renamed: bool) -> Result<(), Error> {
        let Some(&record) = self.run.durable.records.at(index) else { return Ok(()) };
        let n = self.run.durable.records.ordinal(index);
        let first = !self.run.live.is_used(index);
        if first || record.state == State::Superseded {
            self.explain(n, index, &call, renamed)?;
        }
        // What the record says counts where it is stricter than the code.
        call.effect = call.effect.max(record.effect());
        self.run.live.use_record(index);
        if let Some(old) = self.run.durable.open.get(&n).and_then(|open| open.over)
            && let Some(old) = self.run.durable.records.index(old)
        {
            self.run.live.use_record(old);
        }
        self.withdraw_question_about(n)?;
        match record.state {
            State::Completed | State::Failed | State::Superseded => {
                if record.state == State::Superseded {
                    self.run.live.bonus.insert(index);
                }
                let live = self.run.live.is_live();
                self.reply(call.id, Answer::Recorded { version: u64::from(record.version), live });
                Ok(())
            }
            State::Undone => {
                call.over = Some(n);
                call.rev = record.rev.saturating_add(1);
                call.occ = record.occ.max(1);
                call.note = Some("was undone: executed again".to_owned());
                call.cleared = true;
                self.begin(call)
            }
            State::Later => self.begin(call),
            _ => {
                let primary = !self.run.live.waiters.contains_key(&n);
                call.rev = record.rev;
                call.occ = record.occ.max(1);
                let id = call.id;
                self.run.live.attach(n, call);
                if primary {
                    return self.resume(n);
                }
                self.tell_waiting(n, id);
                Ok(())
            }
        }
    }

    /// Notes how the code differs, once per incarnation and step.
    fn explain(&mut self, n: u64, index: u32, call: &Call, renamed: bool) -> Result<(), Error> {
        let records = &self.run.durable.records;
        let Some(record) = records.at(index) else { return Ok(()) };
        let mut what = Vec::new();
        if renamed {
            let old = records.name_of(record).map(|name| name.name().to_owned()).unwrap_or_default();
            what.push(format!("renamed from `{old}` to `{}`", call.step.name));
        }
        if record.effect() != call.effect && (call.kind != Kind::Tool || call.tool.is_some()) {
            what.push(format!("effect changed: {} before, {} now", word(record.effect()), word(call.effect)));
        }
        if record.keyed() != call.step.key.is_some() {
            what.push(if record.keyed() { "its key was removed" } else { "it was given a key" }.to_owned());
        }
        let last = self.run.live.last.get(call.step.scope.as_str()).copied().unwrap_or(0);
        if record.state == State::Superseded {
            what.push("its value is kept, although another call took its place".to_owned());
        } else if !record.inserted() {
            if n < last {
                what.push("reordered".to_owned());
            } else {
                match self.run.live.last.get_mut(call.step.scope.as_str()) {
                    Some(last) => *last = n,
                    None => {
                        self.run.live.last.insert(call.step.scope.as_str().into(), n);
                    }
                }
            }
        }
        if what.is_empty() {
            return Ok(());
        }
        self.note(n, what.join("; "))
    }

    /// Records a difference between code and record.
    pub(super) fn note(&mut self, n: u64, what: String) -> Result<(), Error> {
        let live = &mut self.run.live;
        live.notes += 1;
        let what = match live.notes.cmp(&self.cx.limits.notes) {
            std::cmp::Ordering::Less => what,
            std::cmp::Ordering::Equal => "and more: no further notes on this incarnation".to_owned(),
            std::cmp::Ordering::Greater => return Ok(()),
        };
        let inc = self.run.durable.inc;
        self.record(RunEvent::Diverged(Diverged { inc, notes: vec![Note { n, what }] }))
    }

    /// At the request's place stands a step with other arguments, or of another kind.
    fn changed(&mut self, index: u32, mut call: Call, renamed: bool) -> Result<(), Error> {
        let Some(&record) = self.run.durable.records.at(index) else { return Ok(()) };
        let n = self.run.durable.records.ordinal(index);
        let stricter = record.effect().max(call.effect);
        // Nothing can have happened yet to a step that was never executed.
        let attempts = self.run.durable.open.get(&n).map(|open| open.attempt);
        let untouched = match record.state {
            State::Waiting => record.kind() != Kind::Child && attempts == Some(0),
            State::Reopened => attempts == Some(0),
            State::Cleared | State::Retrying | State::Undone => true,
            _ => false,
        };
        let policy = call.step.on_change.unwrap_or(match stricter {
            Effect::Once if untouched => OnChange::Rerun,
            Effect::Once => OnChange::Ask,
            _ => OnChange::Rerun,
        });
        let mut note = if record.kind() == call.kind {
            format!("arguments changed: {} before, {} now", short(&record.hash), short(&call.hash))
        } else {
            format!("kind changed: {:?} before, {:?} now", record.kind(), call.kind).to_lowercase()
        };
        if renamed {
            note.push_str("; renamed");
        }
        if record.kind() == call.kind && record.effect() != call.effect {
            let (before, now) = (word(record.effect()), word(call.effect));
            note = format!("{note}; effect changed: {before} before, {now} now");
            call.effect = stricter;
        }
        let going_on = record.state == State::Waiting && record.kind() == Kind::Child;
        if going_on || matches!(record.state, State::InDoubt | State::Started) {
            if policy == OnChange::Ask {
                return self.after_old(n, index, call);
            }
            self.withdraw_step_questions(n, "another revision is executed")?;
        } else if record.state == State::Waiting {
            self.withdraw_step_questions(n, "another revision takes its place")?;
        }
        self.run.live.use_record(index);
        call.over = Some(n);
        // A record found by key or by an old name need not stand at the request's place.
        call.occ = if renamed { call.occ } else { record.occ.max(1) };
        call.rev = record.rev.saturating_add(1);
        match policy {
            OnChange::Rerun => {
                call.note = Some(format!("{note}; revision {}", call.rev));
                call.cleared = true;
                self.begin(call)
            }
            OnChange::Ask => {
                call.note = Some(note);
                self.ask_changed(n, call)
            }
            OnChange::Fail => {
                call.note = Some(note);
                self.fail_changed(n, call)
            }
        }
    }

    /// The old step may still take place: its end comes first.
    fn after_old(&mut self, n: u64, index: u32, mut call: Call) -> Result<(), Error> {
        self.run.live.use_record(index);
        call.over = Some(n);
        let id = call.id;
        call.stage = Stage::Waiting;
        self.run.live.after.entry(n).or_default().push(id);
        self.run.live.calls.insert(id, call);
        self.wait(id, neuraxis_sdk::frames::Waiting::Ask, None, None);
        if self.run.durable.records.get(n).is_some_and(|record| record.state == State::InDoubt) {
            self.ask_in_doubt(n)?;
        }
        Ok(())
    }

    /// A step has ended whose place others want to take.
    pub(super) fn old_ended(&mut self, n: u64) -> Result<(), Error> {
        for id in self.run.live.after.remove(&n).unwrap_or_default() {
            if let Some(call) = self.run.live.calls.remove(&id)
                && let Some(index) = self.run.durable.records.index(n)
            {
                self.changed(index, call, false)?;
            }
        }
        Ok(())
    }

    /// The policy is to fail the run.
    fn fail_changed(&mut self, old: u64, mut call: Call) -> Result<(), Error> {
        let n = self.run.durable.records.next();
        let label = self.run.durable.records.label(old);
        let message = format!("`{label}` (step {old}) is asked for with other arguments, and its policy is to fail");
        let error = step_error("ArgumentsChanged", message);
        call.over = None;
        let step = Some(call.identity(true));
        self.record(RunEvent::StepFailed(StepFailed { n, step, error: error.clone(), attempt: 0 }))?;
        self.reply(call.id, Answer::Error(error.clone()));
        self.conclude_open(super::super::event::Cause::Failed(error))
    }

    /// Nothing in the record fits.
    fn fresh(&mut self, mut call: Call, text: &str) -> Result<(), Error> {
        if let Some(id) = self.run.durable.records.name_id(text)
            && call.step.key.is_none()
        {
            call.rev = self.run.durable.records.revision_after(id, call.occ);
        }
        if call.step.key.is_some()
            && let Some(leader) = self.in_flight(&call)
        {
            let id = call.id;
            self.run.live.followers.entry(leader).or_default().push(id);
            self.run.live.calls.insert(id, call);
            self.wait(id, neuraxis_sdk::frames::Waiting::Elsewhere, None, None);
            return Ok(());
        }
        if !self.run.live.is_live() {
            call.note = Some("new".to_owned());
        }
        if self.simulated(&mut call, text)? {
            return Ok(());
        }
        if call.effect == Effect::Once && !self.run.live.once_unused.is_empty() {
            call.stage = Stage::Grace;
            let id = call.id;
            let at = self.cx.now + nx_types::Duration::from_millis(self.cx.limits.ask_grace_ms);
            self.run.wake(at, LiveTimer::Grace(id));
            self.run.live.calls.insert(id, call);
            self.wait(id, neuraxis_sdk::frames::Waiting::Ask, None, None);
            return Ok(());
        }
        call.cleared = true;
        self.begin(call)
    }

    /// A call of the same scope, name and key that has no record yet.
    fn in_flight(&self, call: &Call) -> Option<u64> {
        let same = |held: &&Call| {
            held.n.is_none()
                && held.step.key == call.step.key
                && held.step.name == call.step.name
                && held.step.scope == call.step.scope
        };
        let leads = |held: &&Call| held.stage != Stage::Waiting;
        self.run.live.calls.values().filter(same).find(leads).map(|held| held.id)
    }

    /// Calls that wait for another of the same key: it has a record now, or is gone.
    pub(super) fn follow(&mut self) -> Result<(), Error> {
        if self.run.live.followers.is_empty() {
            return Ok(());
        }
        let calls = &self.run.live.calls;
        let leads = |leader: &&u64| calls.get(leader).is_some_and(|call| call.n.is_none());
        let done: Vec<u64> = self.run.live.followers.keys().filter(|leader| !leads(leader)).copied().collect();
        for leader in done {
            for id in self.run.live.followers.remove(&leader).unwrap_or_default() {
                let Some(call) = self.run.live.calls.remove(&id) else { continue };
                let mut text = String::new();
                name_text(&call.step.scope, &call.step.name, &mut text);
                match self.find(&call, &text) {
                    Found::Hit(index) => self.hit(index, call, false)?,
                    Found::Changed(index) => self.changed(index, call, false)?,
                    Found::New => self.fresh(call, &text)?,
                }
            }
        }
        Ok(())
    }

    /// Unused once records were asked for: new once steps that waited for that go on.
    pub(super) fn unblock(&mut self) -> Result<(), Error> {
        if !self.run.live.once_unused.is_empty() || self.run.live.calls.is_empty() {
            return Ok(());
        }
        let grace: Vec<u64> =
            self.run.live.calls.values().filter(|call| call.stage == Stage::Grace).map(|call| call.id).collect();
        for id in grace {
            if let Some(mut call) = self.run.live.calls.remove(&id) {
                self.run.live.timers.retain(|(_, timer)| *timer != LiveTimer::Grace(id));
                call.stage = Stage::Waiting;
                call.cleared = true;
                self.begin(call)?;
            }
        }
        self.withdraw_new_once()
    }
}

fn check_emitted(kind: &str) -> Result<(), Error> {
    if RESERVED.iter().any(|reserved| kind.starts_with(reserved)) {
        return Err(Error::invalid(format!("`{kind}` is a type of the system's own events; choose another")));
    }
    EventType::new(kind)?;
    Ok(())
}

fn prefix(hash: &nx_types::Digest) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(hash.0) {
        *to = from;
    }
    u64::from_be_bytes(bytes)
}

/// The effect's word in JSON.
pub(super) fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Code => "code",
        Effect::Read => "read",
        Effect::Idempotent => "idempotent",
        Effect::Once => "once",
    }
}
