//! What values a tensor takes: a histogram that grows with what comes, and the range that a method reads from it.

use serde::{Deserialize, Serialize};

/// Bins on each side of zero.
const BINS: usize = 8192;
/// Levels that a range is cut into when its loss is computed.
const LEVELS: usize = 128;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    least: f32,
    most: f32,
    width: f64,
    negative: Vec<u64>,
    positive: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { least: 0.0, most: 0.0, width: 0.0, negative: vec![0; BINS], positive: vec![0; BINS] }
    }
}

impl Histogram {
    /// Counts values in. What is not finite is left out.
    pub fn add(&mut self, values: &[f32]) {
        let largest =
            values.iter().filter(|value| value.is_finite()).fold(0.0_f32, |most, value| most.max(value.abs()));
        if largest == 0.0 {
            if let Some(first) = self.positive.first_mut() {
                *first += values.len() as u64;
            }
            return;
        }
        self.reach(f64::from(largest));
        for &value in values.iter().filter(|value| value.is_finite()) {
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
            // zeros that came before stay in the first bin
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
            Method::Entropy => self.best(|histogram, bins| histogram.divergence(bins)),
            Method::Mse => self.best(Self::squared_error),
        };
        (-threshold, threshold).cut(self.least, self.most)
    }

    /// How far from zero a side reaches when this share of all values may lie farther.
    fn percentile(&self, side: &[u64], outside: f64) -> f32 {
        let total: u64 = self.negative.iter().chain(&self.positive).sum();
        let mut left = (total as f64 * outside) as u64;
        for (bin, &count) in side.iter().enumerate().rev() {
            if count > left {
                return ((bin + 1) as f64 * self.width) as f32;
            }
            left -= count;
        }
        0.0
    }

    /// The threshold with the least loss, of those that a number of bins makes.
    fn best(&self, loss: impl Fn(&Self, usize) -> f64) -> f32 {
        let step = BINS / LEVELS;
        let bins = (1..=LEVELS).map(|at| at * step);
        let best =
            bins.map(|bins| (bins, loss(self, bins))).fold(
                None,
                |best: Option<(usize, f64)>, (bins, loss)| match best {
                    // of equal losses the larger range
                    Some((_, least)) if loss > least || loss.is_nan() => best,
                    _ => Some((bins, loss)),
                },
            );
        (best.map_or(BINS, |(bins, _)| bins) as f64 * self.width) as f32
    }

    fn signed(&self) -> bool {
        self.least < 0.0
    }

    /// The magnitudes, both sides together.
    fn magnitudes(&self) -> Vec<u64> {
        self.negative.iter().zip(&self.positive).map(|(a, b)| a + b).collect()
    }

    /// Relative entropy of what is left when values beyond `bins` are cut and the rest is cut into levels.
    fn divergence(&self, bins: usize) -> f64 {
        let all = self.magnitudes();
        let (inside, outside) = all.split_at_checked(bins).unwrap_or((&all, &[]));
        let beyond: u64 = outside.iter().sum();
        let total = (inside.iter().sum::<u64>() + beyond) as f64;
        // one side has all 256 levels to itself, two share them
        let levels = if self.signed() { LEVELS } else { 2 * LEVELS };
        let mut divergence = 0.0;
        for level in 0..levels.min(bins) {
            let (from, to) = (level * bins / levels.min(bins), (level + 1) * bins / levels.min(bins));
            let cell = inside.get(from..to).unwrap_or_default();
            let filled = cell.iter().filter(|count| **count > 0).count();
            let sum: u64 = cell.iter().sum();
            for (at, &count) in cell.iter().enumerate().filter(|(_, count)| **count > 0) {
                // what was cut away is counted in the last bin of the one, and missing in the other
                let seen = count + if from + at + 1 == bins { beyond } else { 0 };
                let spread = sum as f64 / filled as f64;
                let (p, q) = (seen as f64 / total, spread / (total - beyond as f64).max(1.0));
                divergence += p * (p / q).ln();
            }
        }
        if beyond > 0 && inside.last() == Some(&0) {
            // nothing there to compare with what was cut: as if one value were
            let (p, q) = (beyond as f64 / total, 1.0 / total);
            divergence += p * (p / q).ln();
        }
        divergence
    }

    /// Mean squared error of rounding to the levels of a range, and of cutting what lies beyond.
    fn squared_error(&self, bins: usize) -> f64 {
        let threshold = bins as f64 * self.width;
        let levels = if self.signed() { LEVELS } else { 2 * LEVELS };
        let step = threshold / levels as f64;
        let each = self.magnitudes();
        each.iter()
            .enumerate()
            .map(|(bin, &count)| {
                let value = (bin as f64 + 0.5) * self.width;
                // within a bin wider than a step the error is that of rounding alone
                let error = if value > threshold { (value - threshold).powi(2) } else { step * step / 12.0 };
                error * count as f64
            })
            .sum()
    }
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

    /// 10,000 values between −1 and 1, and one at 100.
    fn with_outlier() -> Histogram {
        let mut values: Vec<f32> = (0..10_000).map(|n| (n as f32 * 0.618_034).fract() * 2.0 - 1.0).collect();
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
            assert!((-1.0..=-0.9).contains(&least) && (0.9..4.0).contains(&most), "{method:?}: {least} {most}");
        }
        // one value in 10,000 that is 100 times as large outweighs the rounding of all the others
        assert!(histogram.range(Method::Mse).1 > 50.0);
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
