//! The search: what it promises, tested against truth that is known, and the whole way on small networks.

mod promise;
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
        loop {
            let fact = match search.step() {
                Step::Score { recipe, part, from, to } => {
                    let known = self.known(&recipe);
                    let positions = &search.split().part(part)[from..to];
                    let scores = positions.iter().map(|at| known.scores[drawn[*at]]).collect();
                    Fact::Scored { recipe, part, from, scores, exact: false, deviation: None, bytes: known.bytes }
                }
                Step::Time { engine, purpose, recipes } => {
                    let nanos = |recipe: Recipe| {
                        let nanos = self.known(&recipe).nanos;
                        (recipe, (0..21).map(|round| nanos + round * 5 % 7).collect())
                    };
                    let engine = search.subject().engines[engine].clone();
                    Fact::Timed { engine, purpose, nanos: recipes.into_iter().map(nanos).collect() }
                }
                Step::Done => return,
                other => panic!("{other:?} was not to be expected"),
            };
            search.record(fact);
        }
    }
}
