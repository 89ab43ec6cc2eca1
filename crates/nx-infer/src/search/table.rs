//! Facts by candidate.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Part, Purpose, Recipe, times::Timing};

/// What is known of a candidate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) recipe: Recipe,
    pub(super) search: Vec<f32>,
    pub(super) held_out: Vec<f32>,
    pub(super) exact: bool,
    pub(super) deviation: Option<f64>,
    pub(super) bytes: u64,
    pub(super) failed: Option<String>,
    /// Nanoseconds of each round, by engine.
    pub(super) race: BTreeMap<String, Vec<u64>>,
    pub(super) confirm: Vec<u64>,
}

impl Entry {
    fn new(recipe: &Recipe) -> Self {
        Self {
            recipe: recipe.clone(),
            search: Vec::new(),
            held_out: Vec::new(),
            exact: true,
            deviation: None,
            bytes: 0,
            failed: None,
            race: BTreeMap::new(),
            confirm: Vec::new(),
        }
    }

    pub(super) fn scores(&self, part: Part) -> &[f32] {
        match part {
            Part::Search => &self.search,
            Part::HeldOut => &self.held_out,
        }
    }
}

/// All candidates that something is known of.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// Deviations by layer.
    pub(super) probes: BTreeMap<String, f64>,
    /// Engines on which the race was run.
    pub(super) raced: BTreeSet<String>,
    pub(super) confirmed: bool,
    /// The original timed beside itself, by engine, and when the chosen were timed anew.
    control: BTreeMap<String, Vec<Vec<u64>>>,
    confirm_control: Vec<Vec<u64>>,
}

impl Table {
    pub(super) fn entry(&self, recipe: &Recipe) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.recipe == *recipe)
    }

    fn entry_mut(&mut self, recipe: &Recipe) -> &mut Entry {
        let found = self.entries.iter().position(|entry| entry.recipe == *recipe);
        let at = found.unwrap_or_else(|| {
            self.entries.push(Entry::new(recipe));
            self.entries.len() - 1
        });
        // the position was found, or is that of what was pushed
        &mut self.entries[at]
    }

    pub(super) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Scored { recipe, part, from, scores, exact, deviation, bytes } => {
                let entry = self.entry_mut(recipe);
                entry.exact &= exact;
                entry.deviation = entry.deviation.or(*deviation);
                entry.bytes = *bytes;
                let known = match part {
                    Part::Search => &mut entry.search,
                    Part::HeldOut => &mut entry.held_out,
                };
                // what was scored twice, or out of turn, does not count
                if known.len() == *from {
                    known.extend_from_slice(scores);
                }
            }
            Fact::Probed { layer, deviation } => {
                self.probes.insert(layer.clone(), *deviation);
            }
            Fact::Timed { engine, purpose, nanos, control } => {
                for (recipe, nanos) in nanos {
                    let entry = self.entry_mut(recipe);
                    match purpose {
                        Purpose::Race => {
                            entry.race.insert(engine.clone(), nanos.clone());
                        }
                        Purpose::Confirm => entry.confirm.clone_from(nanos),
                    }
                }
                match purpose {
                    Purpose::Race => {
                        self.raced.insert(engine.clone());
                        self.control.insert(engine.clone(), control.clone());
                    }
                    Purpose::Confirm => {
                        self.confirmed = true;
                        self.confirm_control.clone_from(control);
                    }
                }
            }
            Fact::Failed { recipe, reason } => self.entry_mut(recipe).failed = Some(reason.clone()),
        }
    }

    /// How the time of a candidate relates to that of the original in the race.
    pub(super) fn race(&self, entry: &Entry, engine: &str) -> Option<Timing> {
        let original = self.entry(&Recipe::Original)?.race.get(engine)?;
        Timing::of(original, entry.race.get(engine)?, self.control.get(engine)?)
    }

    /// The same as measured anew for the chosen.
    pub(super) fn confirm(&self, entry: &Entry) -> Option<Timing> {
        Timing::of(&self.entry(&Recipe::Original)?.confirm, &entry.confirm, &self.confirm_control)
    }
}
