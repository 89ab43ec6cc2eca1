//! What to measure next, and what to release: a function of options and facts, without clock, engine or chance.

use std::collections::BTreeSet;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{
    Aim, Fact, Options, Part, Purpose, Recipe, Speed, Split, State,
    bound::Seen,
    data::digest,
    table::{Entry, Table},
};
use crate::Error;

/// A candidate has to be better by this share to stand behind a safer one in the sequence of tests.
const GAIN: f64 = 0.01;
/// Samples that are scored at once when the claim is made.
const AT_ONCE: usize = 1000;

/// What is searched on, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The digest of the model's file.
    pub model: String,
    /// The digest of the data.
    pub data: String,
    /// The metric's name and parameters.
    pub metric: String,
    /// Whether the metric has no scores but 0 and 1.
    pub binary: bool,
    /// Samples.
    pub samples: usize,
    /// Engines with their versions, the one that is searched for first.
    pub engines: Vec<String>,
    /// Layers whose precision can be chosen, by their output.
    pub layers: Vec<String>,
}

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Score samples of a part.
    Score {
        /// The candidate.
        recipe: Recipe,
        /// The part.
        part: Part,
        /// The first sample's position in the part.
        from: usize,
        /// The position behind the last.
        to: usize,
    },
    /// Measure a layer's sensitivity.
    Probe {
        /// The layer.
        layer: String,
        /// The candidate in which it alone is quantised.
        recipe: Recipe,
    },
    /// Time candidates by turns, and the original beside itself.
    Time {
        /// The position of the engine.
        engine: usize,
        /// What for.
        purpose: Purpose,
        /// The candidates, the original first.
        recipes: Vec<Recipe>,
    },
    /// Nothing: the verdict is there.
    Done,
}

/// A candidate's test on held-out data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    /// The candidate.
    pub recipe: Recipe,
    /// What was seen.
    pub seen: Seen,
    /// How probable such good data would be if the budget were broken. Above the error probability it may be larger still.
    pub p_value: f64,
    /// Whether the budget is kept at the confidence.
    pub passed: bool,
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What is released.
    pub released: Recipe,
    /// The tests, in their order.
    pub tests: Vec<Test>,
}

/// A search: what is asked for, and what is known.
#[derive(Debug, Clone)]
pub struct Search {
    options: Options,
    subject: Subject,
    split: Split,
    state: State,
    pub(super) table: Table,
    /// What is tested, once the race was run.
    shortlist: Option<Vec<Recipe>>,
}

impl Search {
    /// Begins.
    ///
    /// # Errors
    /// `Compress` when the budget is finer than so many samples can show (with the number that can), or when options make no
    /// sense.
    pub fn new(options: Options, subject: Subject) -> Result<Self, Error> {
        options.check(subject.samples, subject.binary)?;
        if subject.engines.is_empty() {
            let reason = "there is no engine to search for".to_owned();
            return Err(Error::Compress { step: "search", reason });
        }
        let split = Split::new(subject.samples, options.held_out, options.seed);
        let state = State { key: key(&options, &subject), facts: Vec::new() };
        Ok(Self { options, subject, split, state, table: Table::default(), shortlist: None })
    }

    /// Goes on from stored measurements, if they are of the same: model, data, metric, engines, options.
    ///
    /// # Errors
    /// As [`Search::new`]; `Compress` when the measurements are of something else.
    pub fn resume(options: Options, subject: Subject, state: State) -> Result<Self, Error> {
        let mut search = Self::new(options, subject)?;
        if search.state.key != state.key {
            let reason = "the stored measurements are of another model, other data, engines or options; begin anew";
            return Err(Error::Compress { step: "search", reason: reason.to_owned() });
        }
        for fact in state.facts {
            search.record(fact);
        }
        Ok(search)
    }

    /// What is asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What is searched on.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Which sample is in which part.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// What was measured, to be stored.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a measurement in.
    pub fn record(&mut self, fact: Fact) {
        self.table.apply(&fact);
        self.state.facts.push(fact);
        if self.shortlist.is_none() && self.subject.engines.iter().all(|engine| self.table.raced.contains(engine)) {
            self.shortlist = Some(self.choose());
        }
    }

    /// What to measure next.
    pub fn step(&self) -> Step {
        let all = std::iter::once(&Recipe::Original).chain(&self.options.grid);
        if let Some(step) = all.into_iter().find_map(|recipe| self.score(recipe, Part::Search)) {
            return step;
        }
        if let Some((layer, recipe)) = self.unprobed() {
            return Step::Probe { layer, recipe };
        }
        if let Some(step) = self.mixed().iter().find_map(|recipe| self.score(recipe, Part::Search)) {
            return step;
        }
        let unraced = self.subject.engines.iter().position(|engine| !self.table.raced.contains(engine));
        if let Some(engine) = unraced {
            let alive = self.candidates().into_iter().filter(|recipe| self.alive(recipe));
            let recipes = std::iter::once(Recipe::Original).chain(alive).collect();
            return Step::Time { engine, purpose: Purpose::Race, recipes };
        }
        let chosen = self.shortlist();
        if chosen.is_empty() {
            return Step::Done;
        }
        if !self.table.confirmed {
            let recipes = std::iter::once(&Recipe::Original).chain(chosen).cloned().collect();
            return Step::Time { engine: 0, purpose: Purpose::Confirm, recipes };
        }
        self.claim()
    }

    /// What was tried so far, or will be as far as that is known.
    pub(super) fn candidates(&self) -> Vec<Recipe> {
        self.options.grid.iter().cloned().chain(self.mixed()).collect()
    }

    fn score(&self, recipe: &Recipe, part: Part) -> Option<Step> {
        let entry = self.table.entry(recipe);
        let from = entry.map_or(0, |entry| entry.scores(part).len());
        let most = self.split.part(part).len();
        let over = entry.is_some_and(|entry| entry.failed.is_some());
        if from >= most || over || (part == Part::Search && self.hopeless(recipe)) {
            return None;
        }
        let chunk = if part == Part::Search { self.options.chunk.max(1) } else { AT_ONCE };
        Some(Step::Score { recipe: recipe.clone(), part, from, to: (from + chunk).min(most) })
    }

    /// Whether a candidate was run to the end of the search's part and can be timed.
    fn alive(&self, recipe: &Recipe) -> bool {
        self.table
            .entry(recipe)
            .is_some_and(|entry| entry.failed.is_none() && entry.search.len() == self.split.part(Part::Search).len())
    }

    /// Whether a candidate loses so much that it will not pass: three standard errors over the budget.
    pub(super) fn hopeless(&self, recipe: &Recipe) -> bool {
        let (Some(before), Some(after)) = (self.table.entry(&Recipe::Original), self.table.entry(recipe)) else {
            return false;
        };
        let drops: Vec<f64> =
            before.search.iter().zip(&after.search).map(|(before, after)| f64::from(before - after)).collect();
        if drops.is_empty() {
            return false;
        }
        let count = drops.len() as f64;
        let mean = drops.iter().sum::<f64>() / count;
        let variance = drops.iter().map(|drop| (drop - mean).powi(2)).sum::<f64>() / count;
        mean - self.options.max_drop > 3.0 * (variance / count).sqrt() + 1.0 / count
    }

    /// The best of the grid's candidates of int8, whose layers are looked at one by one.
    fn base(&self) -> Option<&Entry> {
        if self.options.probe == 0 || self.subject.layers.len() < 2 {
            return None;
        }
        let entries = self.options.grid.iter().filter_map(|recipe| self.table.entry(recipe));
        let quantised = entries.filter(|entry| entry.recipe.quantise().is_some() && entry.failed.is_none());
        let key = |entry: &Entry| {
            let mean = entry.search.iter().copied().map(f64::from).sum::<f64>() / (entry.search.len() as f64).max(1.0);
            (!self.alive(&entry.recipe), -mean, entry.deviation.unwrap_or(f64::MAX))
        };
        quantised.min_by(|a, b| {
            let (a, b) = (key(a), key(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
        })
    }

    fn unprobed(&self) -> Option<(String, Recipe)> {
        let base = self.base()?;
        let layer = self.subject.layers.iter().find(|layer| !self.table.probes.contains_key(*layer))?;
        let others: BTreeSet<String> = self.subject.layers.iter().filter(|other| *other != layer).cloned().collect();
        Some((layer.clone(), base.recipe.keeping(others)?))
    }

    /// The best candidate of int8 with the most sensitive layers in `f32`: one, two, four and so on.
    fn mixed(&self) -> Vec<Recipe> {
        let Some(base) = self.base() else { return Vec::new() };
        let mut layers: Vec<(&String, f64)> =
            self.subject.layers.iter().filter_map(|layer| Some((layer, *self.table.probes.get(layer)?))).collect();
        if layers.len() < self.subject.layers.len() {
            return Vec::new();
        }
        layers.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let counts = std::iter::successors(Some(1), |count| Some(count * 2));
        let counts = counts.take_while(|count| *count <= (layers.len() / 2).max(1));
        let keep = |count: usize| layers.iter().take(count).map(|(layer, _)| (*layer).clone()).collect();
        counts.filter_map(|count| base.recipe.keeping(keep(count))).collect()
    }

    pub(super) fn seen(&self, recipe: &Recipe, part: Part) -> Option<Seen> {
        let (before, after) = (self.table.entry(&Recipe::Original)?, self.table.entry(recipe)?);
        let (before, after) = (before.scores(part), after.scores(part));
        let count = before.len().min(after.len());
        Some(Seen::of(self.subject.binary, before.get(..count)?, after.get(..count)?))
    }

    /// What is tested on held-out data and in which order: the safest first, each better than those before.
    fn choose(&self) -> Vec<Recipe> {
        let error = 1.0 - self.options.confidence;
        let engine = self.subject.engines.first().map_or("", String::as_str);
        let mut sorted: Vec<(f64, f64, Recipe)> = Vec::new();
        for recipe in self.candidates().into_iter().filter(|recipe| self.alive(recipe)) {
            let Some(entry) = self.table.entry(&recipe) else { continue };
            let Some(race) = self.table.race(entry, engine) else { continue };
            let original = self.table.entry(&Recipe::Original).map_or(0, |entry| entry.bytes);
            let (value, useful) = match self.options.aim {
                Aim::Latency => (race.ratio.median, race.speed() == Speed::Faster),
                Aim::Size => {
                    let value = entry.bytes as f64 / (original as f64).max(1.0);
                    (value, value < 1.0 - GAIN)
                }
            };
            let p_value = self
                .seen(&recipe, Part::Search)
                .map_or(1.0, |s| s.p_value(self.options.max_drop, self.options.confidence));
            // what does not pass on the data it was chosen on will hardly pass on others
            if useful && p_value <= error {
                // those that are safe beyond doubt are equally safe
                sorted.push((p_value.max(error / 10.0), value, recipe));
            }
        }
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut chain: Vec<(f64, Recipe)> = Vec::new();
        for (_, value, recipe) in sorted {
            if chain.last().is_none_or(|(last, _)| value < last * (1.0 - GAIN)) {
                chain.push((value, recipe));
            }
        }
        // too long a sequence may stop early: those go that gain least on what stands before them
        while chain.len() > self.options.shortlist.max(1) {
            let gains = chain
                .windows(2)
                .map(|pair| pair.first().map_or(1.0, |(v, _)| *v) / pair.last().map_or(1.0, |(v, _)| *v));
            let least = gains.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(at, _)| at);
            chain.remove(least);
        }
        chain.into_iter().map(|(_, recipe)| recipe).collect()
    }

    fn shortlist(&self) -> &[Recipe] {
        self.shortlist.as_deref().unwrap_or_default()
    }

    /// The sequence of tests: what is still faster when it was timed anew.
    fn sequence(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.shortlist().iter().filter_map(|recipe| self.table.entry(recipe));
        entries.filter(|entry| {
            let confirmed = self.table.confirm(entry);
            self.options.aim == Aim::Size || confirmed.is_some_and(|timing| timing.speed() == Speed::Faster)
        })
    }

    /// The next step on held-out data.
    fn claim(&self) -> Step {
        for entry in self.sequence() {
            let steps =
                self.score(&Recipe::Original, Part::HeldOut).or_else(|| self.score(&entry.recipe, Part::HeldOut));
            if let Some(step) = steps {
                return step;
            }
            if self.test(entry).is_none_or(|test| !test.passed) {
                break;
            }
        }
        Step::Done
    }

    fn test(&self, entry: &Entry) -> Option<Test> {
        if entry.held_out.len() < self.split.part(Part::HeldOut).len() {
            return None;
        }
        let seen = self.seen(&entry.recipe, Part::HeldOut)?;
        let p_value = seen.p_value(self.options.max_drop, self.options.confidence);
        let passed = entry.failed.is_none() && p_value <= 1.0 - self.options.confidence;
        Some(Test { recipe: entry.recipe.clone(), seen, p_value, passed })
    }

    /// What is released; none while there is something to measure.
    pub fn verdict(&self) -> Option<Verdict> {
        if self.step() != Step::Done {
            return None;
        }
        let tests: Vec<Test> = self.sequence().map_while(|entry| self.test(entry)).collect();
        let value = |recipe: &Recipe| {
            let entry = self.table.entry(recipe);
            match self.options.aim {
                Aim::Latency => {
                    entry.and_then(|e| self.table.confirm(e)).map_or(f64::MAX, |timing| timing.ratio.median)
                }
                Aim::Size => entry.map_or(f64::MAX, |entry| entry.bytes as f64),
            }
        };
        let passed = tests.iter().take_while(|test| test.passed).map(|test| &test.recipe);
        let best = passed.min_by(|a, b| value(a).total_cmp(&value(b))).cloned();
        Some(Verdict { released: best.unwrap_or_else(|| self.unchanged()), tests })
    }

    /// The original, cleaned up where that changed no bit of any output and did not make it slower.
    fn unchanged(&self) -> Recipe {
        let engine = self.subject.engines.first().map_or("", String::as_str);
        let cleaned = self.table.entry(&Recipe::Clean).filter(|entry| entry.exact && self.alive(&Recipe::Clean));
        let slower = |entry| self.table.race(entry, engine).is_none_or(|timing| timing.speed() == Speed::Slower);
        if cleaned.is_some_and(|entry| !slower(entry)) { Recipe::Clean } else { Recipe::Original }
    }

    /// Runs of a model that are done and that there are in all, as far as that is known.
    pub fn work(&self) -> (u64, u64) {
        let search = self.split.part(Part::Search).len();
        let rounds = self.options.rounds;
        let all: Vec<Recipe> = std::iter::once(Recipe::Original).chain(self.candidates()).collect();
        let over = |recipe: &&Recipe| {
            self.table.entry(recipe).is_some_and(|entry| entry.failed.is_some()) || self.hopeless(recipe)
        };
        let scored: usize = all.iter().filter_map(|recipe| self.table.entry(recipe)).map(|e| e.search.len()).sum();
        let unscored: usize = all
            .iter()
            .filter(|recipe| !over(recipe))
            .map(|recipe| search - self.table.entry(recipe).map_or(0, |entry| entry.search.len()))
            .sum();
        let probed = self.table.probes.len() * self.options.probe;
        let unprobed = if self.base().is_some() { self.subject.layers.len() * self.options.probe - probed } else { 0 };
        let race = all.len() * rounds;
        let raced = self.table.raced.len() * race;
        let unraced = (self.subject.engines.len() * race).saturating_sub(raced);
        let held_out = self.split.part(Part::HeldOut).len();
        let claimed: usize = all.iter().filter_map(|recipe| self.table.entry(recipe)).map(|e| e.held_out.len()).sum();
        let tested = match &self.shortlist {
            None => 2,
            Some(chain) if chain.is_empty() => 0,
            Some(chain) => 1 + chain.len(),
        };
        let unclaimed = (tested * held_out).saturating_sub(claimed);
        let done = (scored + probed + raced + claimed) as u64;
        (done, done + (unscored + unprobed + unraced + unclaimed) as u64)
    }
}

/// What measurements are kept under.
fn key(options: &Options, subject: &Subject) -> String {
    let mut context = Context::new(&SHA256);
    context.update(&serde_json::to_vec(&(options, subject)).unwrap_or_default());
    digest(context)
}
