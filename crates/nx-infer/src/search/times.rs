//! Times of candidates that ran by turns, and what may be said of them.

use serde::{Deserialize, Serialize};

use super::bound::at_most;

/// How the time of a candidate relates to that of the original: the median over rounds of the quotient within a round. Turns lie
/// close together, so that what else the machine does hits both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// The median.
    pub median: f64,
    /// The median is not below this, at 95 % on one side (order statistics, no assumption on the distribution).
    pub low: f64,
    /// The median is not above this, at 95 % on one side.
    pub high: f64,
}

/// What may be said of the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// Faster than the original, at 95 %.
    Faster,
    /// Slower than the original, at 95 %.
    Slower,
    /// No difference was shown.
    NoDifference,
}

impl Ratio {
    /// Compares times in nanoseconds, round by round; none without rounds.
    pub fn of(original: &[u64], candidate: &[u64]) -> Option<Self> {
        let mut ratios: Vec<f64> =
            original.iter().zip(candidate).map(|(before, after)| *after as f64 / (*before).max(1) as f64).collect();
        ratios.sort_by(f64::total_cmp);
        let rounds = ratios.len() as u64;
        let beyond = (0..rounds / 2).take_while(|k| at_most(*k, rounds, 0.5) <= 0.05).last();
        let last = ratios.len().checked_sub(1)?;
        let at = |at: usize| ratios.get(at).copied().unwrap_or(f64::NAN);
        // too few rounds say nothing
        let (low, high) = beyond.map_or((0.0, f64::MAX), |k| (at(k as usize), at(last - k as usize)));
        Some(Self { median: at(last / 2), low, high })
    }

    /// What may be said.
    pub fn speed(&self) -> Speed {
        if self.high < 1.0 {
            Speed::Faster
        } else if self.low > 1.0 {
            Speed::Slower
        } else {
            Speed::NoDifference
        }
    }
}

/// The time that half of the runs did not exceed, in microseconds.
pub(super) fn median_us(nanos: &[u64]) -> Option<f64> {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).map(|nanos| *nanos as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faster_is_said_only_when_it_was_measured() {
        let original: Vec<u64> = (0..101).map(|at| 1000 + at * 37 % 200).collect();
        let half: Vec<u64> = original.iter().map(|nanos| nanos / 2).collect();
        let ratio = Ratio::of(&original, &half).unwrap();
        assert_eq!(ratio.speed(), Speed::Faster);
        assert!((ratio.median - 0.5).abs() < 1e-3);
        assert_eq!(Ratio::of(&half, &original).unwrap().speed(), Speed::Slower);
        let noise: Vec<u64> = (0..101).map(|at| 1000 + at * 53 % 200).collect();
        assert_eq!(Ratio::of(&original, &noise).unwrap().speed(), Speed::NoDifference);
        // three rounds show nothing
        assert_eq!(Ratio::of(&original[..3], &half[..3]).unwrap().speed(), Speed::NoDifference);
        assert_eq!(Ratio::of(&[], &[]), None);
        assert_eq!(median_us(&[3000, 1000, 2000]), Some(2.0));
    }
}
