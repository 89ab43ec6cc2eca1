//! What values a tensor takes: a histogram that grows with what comes, and the range that a method reads from it.

use serde::{Deserialize, Serialize};

/// Bins on each side of zero.
const BINS: usize = 8192;
/// Bins that are joined where entropy is looked at: finer ones would count noise as information.
const JOINED: usize = 4;
/// Levels that a range is cut into.
const LEVELS: usize = 256;
/// Thresholds that are tried.
const TRIED: usize = 128;

/// How the range of an activation is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// From the least to the largest value that was seen.
    MinMax,
    /// So that this share of the values lies within, in percent: 99.99.
    Percentile {
        /// Percent.
        percent: f64,
    },
    /// The range that loses least information, by relative entropy (Migacz 2017, as `TensorRT` and ONNX Runtime do it).
    Entropy,
    /// The range with the least mean squared error of rounding and cutting.
    Mse,
}

/// Counts of the values of one tensor. Bins are of one width and symmetric about zero; when a value lies outside, the width
/// doubles.
///
/// Zeros are counted by themselves. Every range holds zero exactly, so that they cost nothing, but behind a `Relu` they are most of
/// what there is: in a bin with others they would outweigh all else, and a range would be cut down to what is near them.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    zeros: u64,
    least: f32,
    most: f32,
    width: f64,
    negative: Vec<u64>,
    positive: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { zeros: 0, least: 0.0, most: 0.0, width: 0.0, negative: vec![0; BINS], positive: vec![0; BINS] }
    }
}

impl Histogram {
    /// Counts values in. What is not finite is left out.
    pub fn add(&mut self, values: &[f32]) {
        let largest =
            values.iter().filter(|value| value.is_finite()).fold(0.0_f32, |most, value| most.max(value.abs()));
        if largest > 0.0 {
            self.reach(f64::from(largest));
        }
        for &value in values.iter().filter(|value| value.is_finite()) {
            if value == 0.0 {
                self.zeros += 1;
                continue;
            }
            self.least = self.least.min(value);
            self.most = self.most.max(value);
            let side = if value < 0.0 { &mut self.negative } else { &mut self.positive };
            let bin = (f64::from(value.abs()) / self.width) as usize;
            if let Some(count) = side.get_mut(bin.min(BINS - 1)) {
                *count += 1;
            }
        }
    }

    fn reach(&mut self, largest: f64) {
        if self.width == 0.0 {
            self.width = largest / BINS as f64;
        }
        while largest > self.width * BINS as f64 {
            self.width *= 2.0;
            for side in [&mut self.negative, &mut self.positive] {
                let mut halved: Vec<u64> = side.chunks(2).map(|pair| pair.iter().sum()).collect();
                halved.resize(BINS, 0);
                *side = halved;
            }
        }
    }

    /// The range that a method reads from it. It holds zero; both ends are zero when nothing but zeros was seen.
    pub fn range(&self, method: Method) -> (f32, f32) {
        if self.width == 0.0 {
            return (0.0, 0.0);
        }
        let threshold = match method {
            Method::MinMax => return (self.least, self.most),
            Method::Percentile { percent } => {
                let outside = (1.0 - percent.clamp(0.0, 100.0) / 100.0) / 2.0;
                return (-self.percentile(&self.negative, outside), self.percentile(&self.positive, outside))
                    .cut(self.least, self.most);
            }
            Method::Entropy => self.least_divergence(),
            Method::Mse => self.least_squared_error(),
        };
        (-threshold, threshold).cut(self.least, self.most)
    }

    /// How far from zero a side reaches when this share of all values may lie farther.
    fn percentile(&self, side: &[u64], outside: f64) -> f32 {
        let total = self.zeros + self.negative.iter().chain(&self.positive).sum::<u64>();
        let mut left = (total as f64 * outside) as u64;
        for (bin, &count) in side.iter().enumerate().rev() {
            if count > left {
                return ((bin + 1) as f64 * self.width) as f32;
            }
            left -= count;
        }
        0.0
    }

    /// The threshold with the least relative entropy between the values as they were and as they are in levels.
    fn least_divergence(&self) -> f32 {
        let joined = |side: &[u64]| -> Vec<u64> {
            let mut bins: Vec<u64> = side.chunks(JOINED).map(|bins| bins.iter().sum()).collect();
            bins.truncate(bins.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1));
            bins
        };
        let (negative, positive) = (joined(&self.negative), joined(&self.positive));
        let most = negative.len().max(positive.len());
        let cut = |bins: usize| {
            let (below, inner) = inside(&negative, bins);
            let (above, outer) = inside(&positive, bins);
            (below, inner.iter().rev().chain(outer).copied().collect::<Vec<u64>>(), above)
        };
        let loss = |bins: usize| {
            let (below, kept, above) = cut(bins);
            divergence(&kept, below, above)
        };
        let step = (BINS / JOINED / TRIED).max(1);
        let tried = (1..=most / step).map(|at| at * step).chain([most]);
        let best = least(tried.map(|bins| (bins, loss(bins)))).unwrap_or(most);
        (best as f64 * JOINED as f64 * self.width) as f32
    }

    /// The threshold with the least mean squared error of rounding to the levels of a range, and of cutting what lies beyond.
    fn least_squared_error(&self) -> f32 {
        let error = |threshold: f64| {
            let low = threshold.min(f64::from(-self.least));
            let high = threshold.min(f64::from(self.most));
            let step = (low + high) / (LEVELS - 1) as f64;
            let side = |side: &[u64], limit: f64| -> f64 {
                let each = side.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bin, &count)| {
                    let beyond = (bin as f64 + 0.5) * self.width - limit;
                    // within a bin wider than a step the error is that of rounding alone
                    count as f64 * if beyond > 0.0 { beyond * beyond } else { step * step / 12.0 }
                });
                each.sum()
            };
            side(&self.negative, low) + side(&self.positive, high)
        };
        let step = BINS / TRIED;
        let tried = (1..=TRIED).map(|at| (at * step) as f64 * self.width);
        least(tried.map(|threshold| (threshold, error(threshold)))).unwrap_or(BINS as f64 * self.width) as f32
    }
}

/// Of equal losses the last.
fn least<T: Copy>(tried: impl Iterator<Item = (T, f64)>) -> Option<T> {
    let best = tried.fold(None, |best: Option<(T, f64)>, (tried, loss)| match best {
        Some((_, least)) if loss > least || loss.is_nan() => best,
        _ => Some((tried, loss)),
    });
    best.map(|(tried, _)| tried)
}

/// How many values lie beyond so many bins, and the bins.
fn inside(side: &[u64], bins: usize) -> (u64, &[u64]) {
    let (inside, outside) = side.split_at_checked(bins).unwrap_or((side, &[]));
    (outside.iter().sum(), inside)
}

/// Relative entropy of what was there, what lies beyond counted at the ends, to what levels leave of it: each level is spread
/// over those of its bins that hold anything. Counts differ by chance too, and the fewer there are the more: what that would make of
/// levels that lose nothing is taken off (Miller 1955), or few values would ask for a range that is no wider than its bins.
fn divergence(kept: &[u64], below: u64, above: u64) -> f64 {
    let mut seen = kept.to_vec();
    if let Some(first) = seen.first_mut() {
        *first += below;
    }
    if let Some(last) = seen.last_mut() {
        *last += above;
    }
    let total = (seen.iter().sum::<u64>() as f64).max(1.0);
    let left = (kept.iter().sum::<u64>() as f64).max(1.0);
    let levels = LEVELS.min(kept.len());
    let (mut divergence, mut free) = (0.0, 0_usize);
    for level in 0..levels {
        let cell = level * kept.len() / levels..(level + 1) * kept.len() / levels;
        let sum: u64 = kept.get(cell.clone()).unwrap_or_default().iter().sum();
        let seen = seen.get(cell).unwrap_or_default();
        let filled = seen.iter().filter(|count| **count > 0).count();
        free += filled.saturating_sub(1);
        for &count in seen.iter().filter(|count| **count > 0) {
            // where nothing was kept, as if one value were: there is nothing to compare with what was cut
            let (p, q) = (count as f64 / total, (sum as f64 / filled as f64).max(1.0) / left);
            divergence += p * (p / q).ln();
        }
    }
    divergence - free as f64 / (2.0 * total)
}

trait Cut {
    fn cut(self, least: f32, most: f32) -> (f32, f32);
}

impl Cut for (f32, f32) {
    /// No farther than what was seen, and never without zero.
    fn cut(self, least: f32, most: f32) -> (f32, f32) {
        (self.0.max(least).min(0.0), self.1.min(most).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        values.chunks(7).for_each(|part| histogram.add(part));
        histogram
    }

    /// 10,000 values between −1 and 1, most of them near 0, and one at 100.
    fn with_outlier() -> Histogram {
        let even = |n: u32, step: f64| (f64::from(n) * step).fract() as f32;
        let sum = |n| even(n, 0.618_034) + even(n, 0.414_214) + even(n, 0.732_051);
        let mut values: Vec<f32> = (0..10_000).map(|n| sum(n) / 1.5 - 1.0).collect();
        values.push(100.0);
        of(&values)
    }

    #[test]
    fn the_ends_are_what_was_seen() {
        assert_eq!(of(&[0.5, -2.0, 1.0]).range(Method::MinMax), (-2.0, 1.0));
        assert_eq!(of(&[3.0, 4.0]).range(Method::MinMax), (0.0, 4.0));
        assert_eq!(of(&[0.0; 9]).range(Method::Entropy), (0.0, 0.0));
        assert_eq!(of(&[]).range(Method::Mse), (0.0, 0.0));
        assert_eq!(of(&[f32::NAN, f32::INFINITY, 1.0]).range(Method::MinMax), (0.0, 1.0));
    }

    #[test]
    fn an_outlier_does_not_stretch_the_range() {
        let histogram = with_outlier();
        assert!((histogram.range(Method::MinMax).1 - 100.0).abs() < 1e-6);
        for method in [Method::Percentile { percent: 99.9 }, Method::Entropy] {
            let (least, most) = histogram.range(method);
            assert!((-1.0..=-0.7).contains(&least) && (0.7..20.0).contains(&most), "{method:?}: {least} {most}");
        }
        // one value in 10,000 that is 100 times as large outweighs the rounding of all the others
        assert!(histogram.range(Method::Mse).1 > 50.0);
    }

    /// What a `Relu` gives: mostly zeros, and a tail that falls off.
    fn behind_relu() -> Histogram {
        let mut values = vec![0.0; 80_000];
        values.extend((0..20_000).map(|n| -((n as f32 + 0.5) / 20_000.0).ln()));
        of(&values)
    }

    #[test]
    fn zeros_do_not_pull_the_range_down() {
        let histogram = behind_relu();
        for method in [Method::Entropy, Method::Mse] {
            let (least, most) = histogram.range(method);
            // of 20,000 values that fall off as exp(−x), 1 in 150 lies beyond 5
            assert!(least == 0.0 && most > 5.0, "{method:?}: {least} {most}");
        }
        // and where they lie makes no difference
        let mut without = behind_relu();
        without.zeros = 0;
        assert_eq!(without.range(Method::Entropy), histogram.range(Method::Entropy));
    }

    #[test]
    fn few_values_keep_their_range() {
        let values: Vec<f32> = (0..512).map(|n| (n as f32 * 0.618_034).fract().powi(2) + 0.01).collect();
        for method in [Method::Entropy, Method::Mse] {
            let (_, most) = of(&values).range(method);
            assert!(most > 0.9, "{method:?}: {most}");
        }
    }

    /// A thousand million values that fall off, and a thousand far away: enough that chance says nothing.
    /// `bench/inference/entropy.py` works the threshold out by the definition.
    #[test]
    fn entropy_is_that_of_its_definition() {
        let mut histogram = Histogram { width: 1.0, most: BINS as f32, ..Histogram::default() };
        let beyond = |bin: usize| (-(bin as f64) / 30.0).exp();
        for bin in 0..BINS / JOINED {
            histogram.positive[bin * JOINED] = (1e9 * (beyond(bin) - beyond(bin + 1))) as u64;
        }
        histogram.positive[BINS - 1] += 1000;
        assert_eq!(histogram.range(Method::Entropy), (0.0, 1408.0));
    }

    #[test]
    fn without_outliers_all_methods_agree() {
        let values: Vec<f32> = (0..10_000).map(|n| (n as f32 * 0.618_034).fract()).collect();
        let histogram = of(&values);
        for method in [Method::MinMax, Method::Percentile { percent: 99.99 }, Method::Entropy, Method::Mse] {
            let (least, most) = histogram.range(method);
            assert!(least == 0.0 && most > 0.95, "{method:?}: {least} {most}");
        }
    }

    #[test]
    fn the_order_of_values_does_not_matter_much() {
        let mut values: Vec<f32> = (0..5000).map(|n| (n as f32 * 0.618_034).fract() * 8.0 - 3.0).collect();
        let forward = of(&values).range(Method::Mse);
        values.sort_by(f32::total_cmp);
        let sorted = of(&values).range(Method::Mse);
        assert!((forward.0 - sorted.0).abs() < 0.2 && (forward.1 - sorted.1).abs() < 0.2, "{forward:?} {sorted:?}");
    }
}
