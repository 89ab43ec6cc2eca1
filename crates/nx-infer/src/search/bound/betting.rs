//! The bound for scores between 0 and 1: against the claim that the mean drop is at least `budget`, bet on each sample that
//! its drop is lower. If the claim is true, the capital is a supermartingale and exceeds `1/error` with probability `error` at
//! most (Ville 1939); so whoever gets rich has refuted it. Stakes follow the variance seen so far (Waudby-Smith and Ramdas 2024,
//! J. R. Stat. Soc. B 86, "predictable plug-in"). Nothing is assumed of the distribution, and little variance gives a narrow
//! bound as with empirical Bernstein, but narrower.

use serde::{Deserialize, Serialize};

/// The largest stake, as a part of the one that could lose everything.
const MOST: f64 = 0.9;

/// The drops of the samples, in the order in which they were drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bets {
    /// Score before less score after, between −1 and 1.
    pub drops: Vec<f32>,
}

impl Bets {
    /// Subtracts.
    pub fn of(before: &[f32], after: &[f32]) -> Self {
        Self { drops: before.iter().zip(after).map(|(before, after)| (before - after).clamp(-1.0, 1.0)).collect() }
    }

    pub(super) fn drop(&self) -> f64 {
        self.drops.iter().copied().map(f64::from).sum::<f64>() / (self.drops.len() as f64).max(1.0)
    }

    pub(super) fn p_value(&self, budget: f64, error: f64) -> f64 {
        if budget >= 1.0 {
            return 0.0;
        }
        let samples = self.drops.len() as f64;
        let most = MOST / (1.0 - budget);
        let (mut capital, mut richest) = (0.0_f64, 0.0_f64);
        // as if half a sample had been seen that lay as far away as can be
        let (mut count, mut sum, mut squares) = (0.5, 0.0, 0.5 * 0.25);
        for &drop in &self.drops {
            let drop = f64::from(drop);
            let stake = (2.0 * (1.0 / error).ln() * count / (samples * squares)).sqrt().min(most);
            capital += (stake * (budget - drop)).ln_1p();
            richest = richest.max(capital);
            count += 1.0;
            sum += drop;
            squares += (drop - sum / count).powi(2);
        }
        // a gambler may stop when he is rich: Ville's inequality holds for the largest capital
        (-richest).exp().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use nx_types::{Rng as _, env::SeededRng};

    use super::*;

    /// How often the bound fails for drops of a mean that is exactly the budget.
    fn fails(draw: impl Fn(f64) -> f32, budget: f64, samples: usize) -> u32 {
        let rng = SeededRng::new(7);
        let uniform = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let trial = |_| Bets { drops: (0..samples).map(|_| draw(uniform())).collect() };
        (0..1000).map(trial).filter(|bets: &Bets| bets.p_value(budget, 0.05) <= 0.05).count() as u32
    }

    #[test]
    fn it_errs_as_seldom_as_it_says() {
        // 1,000 draws of a probability of 5 %: more than 70 come once in 500 times
        let rare = fails(|u| if u < 0.02 { 0.5 } else { 0.0 }, 0.01, 500);
        let both = fails(
            |u| {
                if u < 0.15 {
                    1.0
                } else if u < 0.25 {
                    -1.0
                } else {
                    0.0
                }
            },
            0.05,
            300,
        );
        let smooth = fails(|u| (u * 0.2 - 0.05) as f32, 0.05, 200);
        assert!(rare <= 70 && both <= 70 && smooth <= 70, "{rare} {both} {smooth}");
    }

    #[test]
    fn little_variance_gives_a_narrow_bound() {
        let drops: Vec<f32> = (0..2000).map(|at| if at % 100 == 7 { 0.3 } else { 0.0 }).collect();
        let bets = Bets { drops };
        assert!(bets.p_value(0.0055, 0.05) <= 0.05, "{}", bets.p_value(0.0055, 0.05));
        assert!(bets.p_value(0.003, 0.05) > 0.5);
    }
}
