//! The search: what it promises, tested against truth that is known, and the whole way on small networks.

mod promise;
mod speed;
mod whole;

use nx_infer::search::{Fact, Options, Recipe, Search, Step, Subject};

/// Candidates with answers and times that are known beforehand.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) candidates: Vec<Known>,
    pub(crate) binary: bool,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) recipe: Recipe,
    /// Of each member of the population.
    pub(crate) scores: Vec<f32>,
    pub(crate) nanos: u64,
    pub(crate) bytes: u64,
}

impl World {
    pub(crate) fn drop(&self, recipe: &Recipe) -> f64 {
        let mean = |recipe: &Recipe| {
            let scores = &self.known(recipe).scores;
            scores.iter().copied().map(f64::from).sum::<f64>() / scores.len() as f64
        };
        mean(&Recipe::Original) - mean(recipe)
    }

    fn known(&self, recipe: &Recipe) -> &Known {
        let found = self.candidates.iter().find(|known| known.recipe == *recipe);
        found.unwrap_or_else(|| panic!("`{}` is not known", recipe.name()))
    }

    pub(crate) fn search(&self, options: &Options, samples: usize) -> Search {
        let subject = Subject {
            model: "model".to_owned(),
            data: "data".to_owned(),
            metric: "known".to_owned(),
            binary: self.binary,
            samples,
            engines: vec!["known 1".to_owned()],
            layers: Vec::new(),
        };
        let grid = self.candidates.iter().map(|known| known.recipe.clone()).filter(|r| *r != Recipe::Original);
        Search::new(Options { grid: grid.collect(), rounds: 21, chunk: 1000, ..options.clone() }, subject).unwrap()
    }

    /// Answers every step for the members that were drawn, to the end.
    pub(crate) fn finish(&self, search: &mut Search, drawn: &[usize]) {
        let same = |_: usize, _: &Recipe, round: u64| 1.0 + (round * 5 % 7) as f64 * 1e-6;
        self.finish_timed(search, drawn, &mut { same });
    }

    /// The same with times that vary: a factor for each timing, candidate and round. The original's control is timed too.
    pub(crate) fn finish_timed(
        &self,
        search: &mut Search,
        drawn: &[usize],
        vary: &mut dyn FnMut(usize, &Recipe, u64) -> f64,
    ) {
        let mut timings = 0;
        loop {
            let fact = match search.step() {
                Step::Score { recipe, part, from, to } => {
                    let known = self.known(&recipe);
                    let positions = &search.split().part(part)[from..to];
                    let scores = positions.iter().map(|at| known.scores[drawn[*at]]).collect();
                    Fact::Scored { recipe, part, from, scores, exact: false, deviation: None, bytes: known.bytes }
                }
                Step::Time { engine, purpose, recipes } => {
                    timings += 1;
                    let mut nanos = |recipe: Recipe| {
                        let nanos = self.known(&recipe).nanos as f64;
                        let each = (0..21).map(|round| (nanos * vary(timings, &recipe, round)) as u64);
                        (recipe.clone(), each.collect::<Vec<u64>>())
                    };
                    let engine = search.subject().engines[engine].clone();
                    let control = (0..2).map(|_| nanos(Recipe::Original).1).collect();
                    Fact::Timed { engine, purpose, nanos: recipes.into_iter().map(nanos).collect(), control }
                }
                Step::Done => return,
                other => panic!("{other:?} was not to be expected"),
            };
            search.record(fact);
        }
    }
}
