//! The promise put to the test: every candidate is asked about all of the data once, which makes these a population whose truth is
//! known. Then searches run on samples drawn from it with replacement, with answers and times from the cache, and it is
//! counted how often what they release breaks the budget on the whole population. The budget is set just below what the
//! candidate that loses most truly loses, and times are as bad as can be: the more a candidate loses, the faster it is.

use std::{collections::BTreeMap, time::Duration};

use nx_infer::search::{
    Fact, Options, Part, Recipe, Runner, Search, Step, Subject,
    bound::{interval, needed},
};
use nx_types::{Rng as _, env::SeededRng};

use crate::Failure;

/// What is known of the population.
struct World {
    subject: Subject,
    /// Scores and bytes of each candidate.
    scores: Vec<(Recipe, Vec<f32>, u64)>,
    nanos: BTreeMap<String, u64>,
}

impl World {
    fn of(&self, recipe: &Recipe) -> Option<&(Recipe, Vec<f32>, u64)> {
        self.scores.iter().find(|(known, _, _)| known == recipe)
    }

    fn drop(&self, recipe: &Recipe) -> f64 {
        let mean = |recipe| {
            let scores = self.of(recipe).map(|(_, scores, _)| scores.as_slice()).unwrap_or_default();
            scores.iter().copied().map(f64::from).sum::<f64>() / scores.len() as f64
        };
        mean(&Recipe::Original) - mean(recipe)
    }

    /// Answers a step for a sample that was drawn.
    fn answer(&self, search: &Search, step: &Step, drawn: &[usize]) -> Option<Fact> {
        match step {
            Step::Score { recipe, part, from, to } => {
                let (_, scores, bytes) = self.of(recipe)?;
                let positions = search.split().part(*part).get(*from..*to)?;
                let score = |at: &usize| drawn.get(*at).and_then(|at| scores.get(*at)).copied().unwrap_or_default();
                let scores = positions.iter().map(score).collect();
                Some(Fact::Scored {
                    recipe: recipe.clone(),
                    part: *part,
                    from: *from,
                    scores,
                    exact: false,
                    deviation: None,
                    bytes: *bytes,
                })
            }
            Step::Time { engine, purpose, recipes } => {
                let rounds = search.options().rounds as u64;
                let nanos = |recipe: &Recipe| {
                    let nanos = self.nanos.get(&recipe.name()).copied().unwrap_or_default();
                    (recipe.clone(), (0..rounds).map(|round| nanos + round % 7).collect())
                };
                Some(Fact::Timed {
                    engine: self.subject.engines.get(*engine)?.clone(),
                    purpose: *purpose,
                    nanos: recipes.iter().map(nanos).collect(),
                    control: vec![nanos(&Recipe::Original).1],
                })
            }
            _ => None,
        }
    }
}

/// Asks every candidate about all of the data.
fn ask(
    runner: &mut Runner<'_>,
    options: &Options,
    now: &mut dyn FnMut() -> Duration,
) -> Result<(World, Vec<(Recipe, f64)>), Failure> {
    let options = Options { probe: 0, held_out: 0.5, chunk: usize::MAX, ..options.clone() };
    let subject = runner.subject(0);
    let search = Search::new(Options { max_drop: 0.9, ..options.clone() }, subject.clone())?;
    let mut world = World { subject, scores: Vec::new(), nanos: BTreeMap::new() };
    for recipe in std::iter::once(&Recipe::Original).chain(&options.grid) {
        let (mut all, mut size) = (vec![0.0; world.subject.samples], 0);
        for part in [Part::Search, Part::HeldOut] {
            let to = search.split().part(part).len();
            let step = Step::Score { recipe: recipe.clone(), part, from: 0, to };
            if let Some(Fact::Scored { scores, bytes, .. }) = runner.perform(&search, &step, now)? {
                size = bytes;
                for (at, score) in search.split().part(part).iter().zip(scores) {
                    if let Some(known) = all.get_mut(*at) {
                        *known = score;
                    }
                }
            }
        }
        if size > 0 {
            world.scores.push((recipe.clone(), all, size));
        }
    }
    let mut drops: Vec<(Recipe, f64)> =
        world.scores.iter().map(|(recipe, _, _)| (recipe.clone(), world.drop(recipe))).collect();
    drops.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    // the original is slowest, and who loses most is fastest
    for (at, (recipe, _)) in (0_u64..).zip(&drops) {
        let nanos = if *recipe == Recipe::Original { 2_000_000 } else { 500_000 + at * 20_000 };
        world.nanos.insert(recipe.name(), nanos);
    }
    Ok((world, drops))
}

#[expect(clippy::print_stdout, reason = "what it found is what it prints")]
pub(crate) fn run(
    runner: &mut Runner<'_>,
    options: &Options,
    searches: u32,
    now: &mut dyn FnMut() -> Duration,
) -> Result<(), Failure> {
    let (world, drops) = ask(runner, options, now)?;
    for (recipe, drop) in &drops {
        println!("{}: drops by {:.4} %", recipe.name(), drop * 100.0);
    }
    // a budget that nobody would set shows nothing
    let mut losing: Vec<f64> = drops.iter().map(|(_, drop)| *drop).filter(|drop| (1e-4..0.05).contains(drop)).collect();
    losing.dedup_by(|a, b| (*a - *b).abs() < 1e-6);
    for worst in losing.iter().take(3) {
        // the candidate that loses that much breaks this budget, but as little as can be
        let budget = worst * 0.999;
        let confidence = options.confidence;
        // samples enough to release something, and few enough to err
        let samples = (3 * needed(true, budget, confidence)).min(200_000) as usize;
        let subject = Subject { samples, ..world.subject.clone() };
        let (mut broken, mut released_other, mut kept) = (0_u64, 0_u64, 0_u64);
        for seed in 1..=u64::from(searches) {
            let rng = SeededRng::new(options.seed.wrapping_mul(1_000_003).wrapping_add(seed));
            let population = world.subject.samples as u64;
            let drawn: Vec<usize> = (0..samples).map(|_| (rng.next_u64() % population) as usize).collect();
            let grid = world.scores.iter().map(|(recipe, _, _)| recipe.clone()).filter(|r| *r != Recipe::Original);
            let options = Options {
                max_drop: budget,
                probe: 0,
                chunk: 1000,
                rounds: 21,
                seed,
                grid: grid.collect(),
                ..options.clone()
            };
            let mut search = Search::new(options, subject.clone())?;
            while let Some(fact) = world.answer(&search, &search.step(), &drawn) {
                search.record(fact);
            }
            let Some(verdict) = search.verdict() else { return Err("a search ended without a verdict".into()) };
            if world.drop(&verdict.released) > budget {
                broken += 1;
            } else if verdict.released == Recipe::Original {
                kept += 1;
            } else {
                released_other += 1;
            }
        }
        let (low, high) = interval(broken, u64::from(searches), 0.95);
        println!(
            "budget {:.4} %, {samples} samples: {broken} of {searches} searches released what breaks it, {:.2} % (exact 95 % interval \
             {:.2} to {:.2} %); {released_other} released what keeps it, {kept} the original",
            budget * 100.0,
            broken as f64 / f64::from(searches) * 100.0,
            low * 100.0,
            high * 100.0
        );
    }
    Ok(())
}
