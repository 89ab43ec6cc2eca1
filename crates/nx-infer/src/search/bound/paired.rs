//! The exact test for scores of 0 and 1.
//!
//! Of `n` samples, `x` were right before and wrong after, `y` the other way round. The drop is the difference of two
//! probabilities; how often models differ at all is a nuisance parameter. The test is unconditional: the probability of data
//! at least as good, at the least favourable value of the nuisance parameter within its own confidence interval (Berger and
//! Boos 1994). How good data are is told by `(x − y − n·budget) / √(x + y + n·budget)`, near the score statistic. It grows in
//! `x` and falls in `y`, so for each cell of a grid over the parameter the probability at the cell's two corners bounds that
//! within (Barnard's convexity), and the grid costs no validity.

use serde::{Deserialize, Serialize};

use super::binomial::{at_most, exactly, upper};

/// The share of the error that is spent on the interval of the nuisance parameter.
const NUISANCE: f64 = 0.02;
/// Terms of a sum that are left out have at most this probability together; it is added.
const TAIL: f64 = 1e-9;

/// What differs between two models on the same samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs {
    /// Samples.
    pub samples: u64,
    /// Right before, wrong after.
    pub losses: u64,
    /// Wrong before, right after.
    pub gains: u64,
}

impl Pairs {
    /// Counts. Scores above one half count as right.
    pub fn of(before: &[f32], after: &[f32]) -> Self {
        let count = |of: fn(bool, bool) -> bool| {
            before.iter().zip(after).filter(|(before, after)| of(**before > 0.5, **after > 0.5)).count() as u64
        };
        Self {
            samples: before.len().min(after.len()) as u64,
            losses: count(|before, after| before && !after),
            gains: count(|before, after| !before && after),
        }
    }

    pub(super) fn drop(&self) -> f64 {
        (self.losses as f64 - self.gains as f64) / (self.samples as f64).max(1.0)
    }

    /// How good data are: the lower, the better.
    fn statistic(losses: f64, gains: f64, expected: f64) -> f64 {
        (losses - gains - expected) / (losses + gains + expected).sqrt()
    }

    pub(super) fn p_value(&self, budget: f64, error: f64) -> f64 {
        if self.samples == 0 || budget.is_nan() || budget <= 0.0 || self.drop() >= budget {
            return 1.0;
        }
        if budget >= 1.0 {
            return 0.0;
        }
        let samples = self.samples as f64;
        let expected = samples * budget;
        let seen = Self::statistic(self.losses as f64, self.gains as f64, expected);
        let spent = NUISANCE * error;
        let most = upper(self.losses + self.gains, self.samples, spent);
        // with the drop at the budget, gains are what is left of all that differs
        let most = ((most - budget) / 2.0).clamp(0.0, (1.0 - budget) / 2.0);
        let cells = (40.0 * (samples * most).sqrt()).ceil().clamp(40.0, 1200.0) as u64;
        let corner = |cell: u64| most * cell as f64 / cells as f64;
        let mut worst = self.as_good(budget, 0.0, seen, expected);
        for cell in (0..cells).rev() {
            worst = worst.max(self.as_good(budget + corner(cell), corner(cell + 1), seen, expected));
            if worst + spent > error {
                // it is not shown, and how clearly it is not shown does not matter
                return (worst + spent).min(1.0);
            }
        }
        (worst + spent).min(1.0)
    }

    /// The probability of data that are as good as those seen when losses and gains have these probabilities.
    fn as_good(&self, losses: f64, gains: f64, seen: f64, expected: f64) -> f64 {
        let samples = self.samples;
        let mean = samples as f64 * gains;
        let reach = 7.0 * mean.sqrt() + 25.0;
        let (from, to) = ((mean - reach).max(0.0) as u64, ((mean + reach) as u64).min(samples));
        let share = (losses / (1.0 - gains)).clamp(0.0, 1.0);
        let mut sum = TAIL;
        for y in from..=to {
            let probability = exactly(y, samples, gains);
            if probability < 1e-14 {
                continue;
            }
            if let Some(x) = largest(y, samples - y, seen, expected) {
                sum += probability * at_most(x, samples - y, share);
            }
        }
        sum.min(1.0)
    }
}

/// The most losses that are, with that many gains, as good as what was seen; none when not even zero is.
fn largest(gains: u64, most: u64, seen: f64, expected: f64) -> Option<u64> {
    // x − y − e = s·√(x + y + e) with s = `seen`; with z² = x + y + e this is z² − s·z − 2(y + e) = 0
    let rest = gains as f64 + expected;
    let root = f64::midpoint(seen, (seen * seen + 8.0 * rest).sqrt());
    let x = root * root - rest;
    // what was seen itself belongs to it, whatever rounding says
    let x = (x + 1e-6).floor();
    if x < 0.0 { None } else { Some((x as u64).min(most)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The probability that the test passes although the drop is exactly the budget: over all data. For each count of gains the
    /// test passes up to some count of losses.
    fn size(samples: u64, budget: f64, gains: f64, error: f64) -> f64 {
        let losses = budget + gains;
        let passes = |losses, gains| Pairs { samples, losses, gains }.p_value(budget, error) <= error;
        let mut sum = 0.0;
        for y in 0..=samples {
            let probability = exactly(y, samples, gains);
            if probability < 1e-9 || !passes(0, y) {
                continue;
            }
            let (mut low, mut high) = (0, samples - y + 1);
            while high - low > 1 {
                let middle = u64::midpoint(low, high);
                if passes(middle, y) { low = middle } else { high = middle }
            }
            sum += probability * at_most(low, samples - y, losses / (1.0 - gains));
        }
        sum
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn it_errs_as_seldom_as_it_says(
            samples in 20_u64..100,
            budget in 0.01_f64..0.3,
            gains in 0.0_f64..0.2,
        ) {
            let found = size(samples, budget, gains, 0.05);
            prop_assert!(found <= 0.05 + 1e-6, "{found}");
        }

        #[test]
        fn more_losses_are_worse_and_more_gains_better(
            samples in 100_u64..3000, losses in 0_u64..20, gains in 0_u64..20, budget in 0.005_f64..0.1,
        ) {
            let p = |losses, gains| Pairs { samples, losses, gains }.p_value(budget, 0.05);
            let passes = |losses, gains| p(losses, gains) <= 0.05;
            prop_assert!(!passes(losses + 1, gains) || passes(losses, gains));
            prop_assert!(!passes(losses, gains) || passes(losses.saturating_sub(1), gains));
        }
    }

    #[test]
    fn it_is_not_much_more_careful_than_it_must_be() {
        let found: Vec<f64> = [0.0, 0.005, 0.02].map(|gains| size(600, 0.02, gains, 0.05)).to_vec();
        assert!(found.iter().all(|size| (0.02..=0.05).contains(size)), "{found:?}");
    }

    #[test]
    fn the_edge_of_the_region_is_where_the_statistic_says() {
        for (losses, gains, expected) in [(0, 0, 3.0), (5, 4, 25.0), (17, 2, 30.0), (0, 9, 4.5)] {
            let seen = Pairs::statistic(losses as f64, gains as f64, expected);
            assert_eq!(largest(gains, 10_000, seen, expected), Some(losses));
            for y in 0..40 {
                let x = largest(y, 10_000, seen, expected);
                let good = |x: u64| Pairs::statistic(x as f64, y as f64, expected) <= seen + 1e-9;
                match x {
                    None => assert!(!good(0)),
                    Some(x) => assert!(good(x) && !good(x + 1), "{losses} {gains}: {x} {y}"),
                }
            }
        }
    }
}
