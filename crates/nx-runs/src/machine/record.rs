//! The compact index of a run's steps since its last carry: 48 bytes a step, values stay in the log. A step is found
//! by its scope and name, and there by key, by occurrence, or by the hash of its arguments.

use std::collections::{BTreeMap, HashMap};

use neuraxis_sdk::frames::Effect;
use nx_types::Digest;

use super::event::{Identity, Kind};
use crate::Error;

/// How far a recorded step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// An execution was permitted and has not reported.
    Started,
    /// It has a value.
    Completed,
    /// It failed.
    Failed,
    /// An attempt failed, another follows.
    Retrying,
    /// It waits for time, a signal, a run, an approval or a ruling.
    Waiting,
    /// It is unknown whether it took place.
    InDoubt,
    /// It may be executed: it was approved, or a doubt was settled by `not_done`.
    Cleared,
    /// It failed, and the run was retried.
    Reopened,
    /// It was undone, and the run was retried.
    Undone,
    /// Another step stands in its place.
    Superseded,
    /// In a fork: its value serves simulation.
    Later,
}

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::InDoubt => "in_doubt",
            Self::Cleared => "cleared",
            Self::Reopened => "reopened",
            Self::Undone => "undone",
            Self::Superseded => "superseded",
            Self::Later => "later",
        }
    }

    /// Whether the code can still be expected to ask for it.
    pub(super) const fn counts(self) -> bool {
        !matches!(self, Self::Superseded | Self::Later)
    }

    /// Whether its effect took place, or may have.
    pub(super) const fn may_have_happened(self) -> bool {
        matches!(self, Self::Started | Self::Completed | Self::InDoubt)
    }
}

/// A step's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) hash: Digest,
    /// Index into [`Records::names`].
    pub(super) name: u32,
    /// The occurrence, from 1; 0 for steps with a key.
    pub(super) occ: u32,
    /// The event that holds the outcome, once there is one.
    pub(super) version: u32,
    pub(super) rev: u16,
    pub(super) state: State,
    bits: u8,
}

const _: () = assert!(size_of::<Record>() <= 48);

/// How far an occurrence may run ahead of the number of records: calls in flight have none yet.
const OCCURRENCE_SLACK: usize = 1 << 20;

/// The bit of [`Record::inserted`]; below it stand 4 bits of kind and 2 of effect.
const INSERTED: u8 = 1 << 6;

const KINDS: [Kind; 12] = [
    Kind::Code,
    Kind::Tool,
    Kind::Sleep,
    Kind::Signal,
    Kind::Approval,
    Kind::Child,
    Kind::Emit,
    Kind::Now,
    Kind::Random,
    Kind::Uuid,
    Kind::Undo,
    Kind::Infer,
];

impl Record {
    pub(super) fn effect(&self) -> Effect {
        match self.bits & 3 {
            0 => Effect::Code,
            1 => Effect::Read,
            2 => Effect::Idempotent,
            _ => Effect::Once,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        KINDS.get(usize::from((self.bits >> 2) & 15)).copied().unwrap_or_default()
    }

    /// It was not at its place in the code when it was recorded: its ordinal says nothing about the code's order.
    pub(super) fn inserted(&self) -> bool {
        self.bits & INSERTED != 0
    }

    pub(super) fn keyed(&self) -> bool {
        self.occ == 0
    }
}

/// The steps of one scope and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Name {
    /// `scope`, a zero character, `name`.
    text: Box<str>,
    /// By occurrence: index of the record that holds the place, plus one.
    pub(super) places: Vec<u32>,
    /// Records that lost their place to a later revision.
    pub(super) displaced: Vec<u32>,
    /// By key.
    pub(super) keys: BTreeMap<Box<str>, u32>,
}

impl Name {
    pub(super) fn scope(&self) -> &str {
        self.text.split_once('\0').map_or("", |(scope, _)| scope)
    }

    pub(super) fn name(&self) -> &str {
        self.text.split_once('\0').map_or("", |(_, name)| name)
    }
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Records {
    /// Ordinal of the first record, less one.
    pub(super) base: u64,
    all: Vec<Record>,
    ids: HashMap<Box<str>, u32>,
    names: Vec<Name>,
    /// Records of once steps and child runs.
    pub(super) once: Vec<u32>,
}

/// Writes the form under which a scope and name are looked up.
pub(super) fn name_text(scope: &str, name: &str, into: &mut String) {
    into.clear();
    into.push_str(scope);
    into.push('\0');
    into.push_str(name);
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The next step's ordinal.
    pub(super) fn next(&self) -> u64 {
        self.base + self.all.len() as u64 + 1
    }

    pub(super) fn ordinal(&self, index: u32) -> u64 {
        self.base + u64::from(index) + 1
    }

    pub(super) fn index(&self, n: u64) -> Option<u32> {
        let index = n.checked_sub(self.base)?.checked_sub(1)?;
        (index < self.all.len() as u64).then_some(index as u32)
    }

    pub(super) fn at(&self, index: u32) -> Option<&Record> {
        self.all.get(index as usize)
    }

    pub(super) fn get(&self, n: u64) -> Option<&Record> {
        self.at(self.index(n)?)
    }

    pub(super) fn get_mut(&mut self, n: u64) -> Option<&mut Record> {
        let index = self.index(n)?;
        self.all.get_mut(index as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Record)> {
        self.all.iter().enumerate().map(|(index, record)| (index as u32, record))
    }

    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name_id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub(super) fn name(&self, id: u32) -> Option<&Name> {
        self.names.get(id as usize)
    }

    /// The name's entry of a record.
    pub(super) fn name_of(&self, record: &Record) -> Option<&Name> {
        self.name(record.name)
    }

    /// Scope and name for people.
    pub(super) fn label(&self, n: u64) -> String {
        let name = self.get(n).and_then(|record| self.name_of(record));
        name.map_or_else(|| format!("step {n}"), |name| label(name.scope(), name.name()))
    }

    /// The occurrence after the highest recorded.
    pub(super) fn next_occurrence(&self, text: &str) -> u32 {
        let name = self.name_id(text).and_then(|id| self.name(id));
        name.map_or(0, |name| name.places.len() as u32).saturating_add(1)
    }

    /// The record that holds a place.
    pub(super) fn place(&self, name: u32, occ: u32) -> Option<u32> {
        let held = *self.name(name)?.places.get((occ as usize).checked_sub(1)?)?;
        held.checked_sub(1)
    }

    /// Adds a step. It takes its place, if it has one.
    pub(super) fn insert(&mut self, n: u64, step: &Identity, state: State, version: u32) -> Result<u32, Error> {
        if n != self.next() {
            return Err(Error::value(format!("step {n} cannot follow step {}", self.next() - 1)));
        }
        if step.occ as usize > self.all.len() + OCCURRENCE_SLACK {
            return Err(Error::value(format!("occurrence {} of step {n} is out of range", step.occ)));
        }
        let index = self.all.len() as u32;
        let mut text = String::with_capacity(step.scope.len() + step.name.len() + 1);
        name_text(&step.scope, &step.name, &mut text);
        let id = match self.ids.get(text.as_str()) {
            Some(&id) => id,
            None => {
                let id = self.names.len() as u32;
                let text: Box<str> = text.into();
                self.names.push(Name { text: text.clone(), ..Name::default() });
                self.ids.insert(text, id);
                id
            }
        };
        let occ = match (&step.key, step.kind, step.occ) {
            (Some(_), ..) | (None, Kind::Undo, _) => 0,
            (None, _, 0) => self.names.get(id as usize).map_or(0, |name| name.places.len() as u32).saturating_add(1),
            (None, _, occ) => occ,
        };
        let inserted = if step.note.is_some() { INSERTED } else { 0 };
        let bits = inserted | ((step.kind as u8) << 2) | step.effect as u8;
        self.all.push(Record { hash: step.hash, name: id, occ, version, rev: step.rev, state, bits });
        if step.effect == Effect::Once {
            self.once.push(index);
        }
        let Some(name) = self.names.get_mut(id as usize) else { return Ok(index) };
        if state == State::Later {
            name.displaced.push(index);
        } else if let Some(key) = &step.key {
            if let Some(old) = name.keys.insert(key.as_str().into(), index) {
                name.displaced.push(old);
            }
        } else if occ > 0 {
            take_place(name, occ, index);
        }
        Ok(index)
    }

    /// Gives a place back to the record that held it before.
    pub(super) fn restore(&mut self, old: u64, new: u64) {
        let (Some(old), Some(new)) = (self.index(old), self.index(new)) else { return };
        let Some(&record) = self.at(old) else { return };
        let Some(name) = self.names.get_mut(record.name as usize) else { return };
        if record.occ > 0 {
            take_place(name, record.occ, old);
        } else if let Some(held) = name.keys.values_mut().find(|held| **held == new) {
            *held = old;
            name.displaced.push(new);
        }
        name.displaced.retain(|&index| index != old);
    }

    /// A ruling gave the value to another step. It is found by its arguments still: should the code ask for it after
    /// all, its value stands.
    pub(super) fn lend(&mut self, n: u64) {
        let Some(index) = self.index(n) else { return };
        let Some(name) = self.at(index).map(|record| record.name).and_then(|id| self.names.get_mut(id as usize)) else {
            return;
        };
        if !name.displaced.contains(&index) {
            name.displaced.push(index);
        }
    }

    /// The highest revision that was given out at a place, if any was.
    pub(super) fn revision_after(&self, name: u32, occ: u32) -> u16 {
        let Some(held) = self.place(name, occ) else { return 0 };
        let displaced = self.name(name).map(|name| name.displaced.as_slice()).unwrap_or_default();
        let revisions = displaced.iter().filter_map(|&index| self.at(index)).filter(|record| record.occ == occ);
        let highest = revisions.chain(self.at(held)).map(|record| record.rev).max();
        highest.map_or(0, |rev| rev.saturating_add(1))
    }

    /// Of each scope, the last step that was asked for, as far as it is not before the given ordinal.
    pub(super) fn last_of_scopes(&self, from: Option<u64>) -> BTreeMap<&str, u64> {
        let mut last = BTreeMap::new();
        let Some(first) = from.and_then(|from| self.index(from)) else { return last };
        let asked = |record: &Record| record.kind() != Kind::Undo && record.state != State::Later;
        for (index, record) in self.iter().skip(first as usize).filter(|(_, record)| asked(record)) {
            if let Some(name) = self.name_of(record) {
                last.insert(name.scope(), self.ordinal(index));
            }
        }
        last
    }

    /// Whether nothing was asked for after a step in its line of the program: its scope, those around, those within.
    pub(super) fn ends_its_line(&self, n: u64, last: &BTreeMap<&str, u64>) -> bool {
        let scope = self.get(n).and_then(|record| self.name_of(record)).map(Name::scope);
        let Some(scope) = scope else { return false };
        if scope.is_empty() {
            return last.values().all(|at| *at <= n);
        }
        let around = scope.match_indices('/').filter_map(|(at, _)| scope.get(..at)).chain(["", scope]);
        let inner = format!("{scope}/");
        let within = last.range(inner.as_str()..).take_while(|(other, _)| other.starts_with(&inner));
        let within = within.map(|(_, at)| *at);
        around.filter_map(|other| last.get(other).copied()).chain(within).all(|at| at <= n)
    }

    /// Begins a new segment: everything before is out of reach.
    pub(super) fn carry(&mut self) {
        *self = Self { base: self.base + self.all.len() as u64, ..Self::default() };
    }
}

fn take_place(name: &mut Name, occ: u32, index: u32) {
    let place = occ as usize - 1;
    if name.places.len() <= place {
        name.places.resize(place + 1, 0);
    }
    if let Some(held) = name.places.get_mut(place) {
        if let Some(old) = held.checked_sub(1) {
            name.displaced.push(old);
        }
        *held = index + 1;
    }
}

/// Scope and name for people.
pub(super) fn label(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}/{name}") }
}
