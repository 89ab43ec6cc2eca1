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

    /// What may be said, where the same model timed twice may seem to differ by the factor `margin`.
    pub fn speed(&self, margin: f64) -> Speed {
        if self.high * margin < 1.0 {
            Speed::Faster
        } else if self.low > margin {
            Speed::Slower
        } else {
            Speed::NoDifference
        }
    }
}

/// By which factor the same model, loaded anew and timed by turns with itself, may seem faster or slower: the farthest bound
/// over all pairs. Nothing may be said without such a control, so that it is then beyond any quotient.
pub fn margin(original: &[u64], control: &[Vec<u64>]) -> f64 {
    let same: Vec<&[u64]> = std::iter::once(original).chain(control.iter().map(Vec::as_slice)).collect();
    let pairs = same.iter().enumerate().flat_map(|(at, one)| same.iter().skip(at + 1).map(move |other| (one, other)));
    let away = pairs.map(|(one, other)| match Ratio::of(one, other) {
        Some(ratio) if ratio.low > 0.0 => ratio.high.max(1.0 / ratio.low),
        _ => f64::MAX,
    });
    away.fold(None, |most: Option<f64>, away| Some(most.map_or(away, |most| most.max(away))))
        .unwrap_or(f64::MAX)
        .max(1.0)
}

/// A candidate beside the original, and what may be said of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timing {
    pub(super) ratio: Ratio,
    pub(super) margin: f64,
}

impl Timing {
    pub(super) fn of(original: &[u64], candidate: &[u64], control: &[Vec<u64>]) -> Option<Self> {
        Some(Self { ratio: Ratio::of(original, candidate)?, margin: margin(original, control) })
    }

    pub(super) fn speed(&self) -> Speed {
        self.ratio.speed(self.margin)
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
        assert_eq!(ratio.speed(1.0), Speed::Faster);
        assert!((ratio.median - 0.5).abs() < 1e-3);
        assert_eq!(Ratio::of(&half, &original).unwrap().speed(1.0), Speed::Slower);
        let noise: Vec<u64> = (0..101).map(|at| 1000 + at * 53 % 200).collect();
        assert_eq!(Ratio::of(&original, &noise).unwrap().speed(1.0), Speed::NoDifference);
        // three rounds show nothing
        assert_eq!(Ratio::of(&original[..3], &half[..3]).unwrap().speed(1.0), Speed::NoDifference);
        assert_eq!(Ratio::of(&[], &[]), None);
        assert_eq!(median_us(&[3000, 1000, 2000]), Some(2.0));
    }

    #[test]
    fn what_the_same_model_differs_by_is_no_gain() {
        let original: Vec<u64> = (0..101).map(|at| 100_000 + at * 37 % 200).collect();
        let times = |percent: u64| original.iter().map(|nanos| nanos * percent / 100).collect::<Vec<_>>();
        // loaded once more it is 4 % slower, and once more 2 % faster: 6 % lie between the two
        let control = [times(104), times(98)];
        let margin = margin(&original, &control);
        assert!((1.06..1.07).contains(&margin), "{margin}");
        let speed = |percent| Timing::of(&original, &times(percent), &control).unwrap().speed();
        assert_eq!(
            [90, 95, 105, 110].map(speed),
            [Speed::Faster, Speed::NoDifference, Speed::NoDifference, Speed::Slower]
        );
        // and without a control there is nothing to say
        assert_eq!(Timing::of(&original, &times(10), &[]).unwrap().speed(), Speed::NoDifference);
    }
}
