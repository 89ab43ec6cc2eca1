//! How sure one can be that a model is no worse: one-sided confidence bounds on the mean drop of a score between two models
//! that were asked about the same samples. Samples are taken to be drawn independently from what the model will see.
//!
//! A score that is 0 or 1 leaves a table of two numbers, the samples that only one of the models got right, and has an exact
//! test. Any other score in [0, 1] has a bound that makes no assumption on its distribution. Which of the two is used depends
//! on the metric, never on the data.

mod betting;
mod binomial;
mod paired;

use serde::{Deserialize, Serialize};

pub use betting::Bets;
pub use binomial::{at_most, interval, lower, upper};
pub use paired::Pairs;

/// What was seen of two models on the same samples: how the score of the second lies below that of the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Seen {
    /// Of a score that is 0 or 1.
    Pairs(Pairs),
    /// Of a score between 0 and 1.
    Bets(Bets),
}

impl Seen {
    /// Compares scores sample by sample. `binary` says that the metric has no scores but 0 and 1.
    pub fn of(binary: bool, before: &[f32], after: &[f32]) -> Self {
        if binary { Self::Pairs(Pairs::of(before, after)) } else { Self::Bets(Bets::of(before, after)) }
    }

    /// Samples that were compared.
    pub fn samples(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.samples as usize,
            Self::Bets(bets) => bets.drops.len(),
        }
    }

    /// The mean drop on these samples.
    pub fn drop(&self) -> f64 {
        match self {
            Self::Pairs(pairs) => pairs.drop(),
            Self::Bets(bets) => bets.drop(),
        }
    }

    /// How probable at most such good data would be if the true drop were `budget` or more.
    pub fn p_value(&self, budget: f64, confidence: f64) -> f64 {
        match self {
            Self::Pairs(pairs) => pairs.p_value(budget, 1.0 - confidence),
            Self::Bets(bets) => bets.p_value(budget, 1.0 - confidence),
        }
    }

    /// The largest drop that the data do not exclude at this confidence.
    pub fn bound(&self, confidence: f64) -> f64 {
        let (mut low, mut high) = (self.drop().max(-1.0), 1.0);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.p_value(middle, confidence) <= 1.0 - confidence {
                high = middle;
            } else {
                low = middle;
            }
            if high - low < 1e-7 {
                break;
            }
        }
        // the p-value falls with the budget but for ripples of what is discrete: the bound lies above all of them
        let ripples = (1..=24).map(|step| high * 1.02_f64.powi(step)).filter(|budget| *budget < 1.0);
        ripples.filter(|budget| self.p_value(*budget, confidence) > 1.0 - confidence).fold(high, f64::max)
    }
}

/// Samples without any difference that it takes to show that a drop stays within a budget.
pub fn needed(binary: bool, budget: f64, confidence: f64) -> u64 {
    if budget.is_nan() || budget <= 0.0 {
        return u64::MAX;
    }
    let shows = |samples: u64| {
        let seen = if binary {
            Seen::Pairs(Pairs { samples, losses: 0, gains: 0 })
        } else {
            Seen::Bets(Bets { drops: vec![0.0; samples as usize] })
        };
        seen.p_value(budget, confidence) <= 1.0 - confidence
    };
    let mut high = 1_u64;
    while !shows(high) {
        if high > 1 << 24 {
            return u64::MAX;
        }
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if shows(middle) { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_asks_for_samples() {
        // the rule of three, and the share of the error that goes to the nuisance parameter
        assert_eq!(needed(true, 0.005, 0.95), 602);
        assert_eq!(needed(true, 0.01, 0.95), 301);
        assert!((602..800).contains(&needed(false, 0.005, 0.95)), "{}", needed(false, 0.005, 0.95));
        assert_eq!(needed(true, 0.0, 0.95), u64::MAX);
    }

    #[test]
    fn bounds_shrink_with_data_and_cover_what_was_seen() {
        let mut last = 1.0;
        for samples in [100_u64, 1000, 10_000] {
            let seen = Seen::Pairs(Pairs { samples, losses: samples / 50, gains: samples / 100 });
            let bound = seen.bound(0.95);
            assert!(bound > seen.drop() && bound < last, "{samples}: {bound}");
            last = bound;
        }
    }

    #[test]
    fn the_exact_test_beats_the_interval_of_losses_alone() {
        let seen = Pairs { samples: 5000, losses: 5, gains: 4 };
        let bound = Seen::Pairs(seen.clone()).bound(0.95);
        assert!(bound < 0.0016, "{bound}");
        assert!(bound < upper(seen.losses, seen.samples, 0.05), "{bound}");
    }
}
