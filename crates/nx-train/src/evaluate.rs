//! How good a network is on examples that it did not learn from.

use std::num::NonZeroUsize;

use fearless_simd::Level;
use serde::{Deserialize, Serialize};

use crate::{
    data::Dataset, error::Error, layer::softmax::surprise, network::Network, parallel, pass::Pass, train::fits,
};

/// Images that one thread takes at a time.
const CHUNK: usize = 16;

/// How good a network is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Examples.
    pub count: u64,
    /// Examples whose likeliest class is theirs.
    pub correct: u64,
    /// `correct` / `count`.
    pub accuracy: f64,
    /// Where the accuracy of the whole population lies, at 95 % (Wilson 1927).
    pub interval: (f64, f64),
    /// `confusion[class][guess]`: how often examples of a class were taken for which.
    pub confusion: Vec<Vec<u64>>,
    /// The mean of `−ln p` of the label.
    pub loss: f64,
    /// Expected calibration error: how far confidence lies from accuracy, over 15 bins of equal width (Guo et al. 2017).
    pub calibration_error: f64,
}

/// Judges the network by examples.
pub fn evaluate(network: &Network, data: &Dataset, threads: NonZeroUsize) -> Result<Evaluation, Error> {
    fits(network, data)?;
    let pixels = (0..data.len()).filter_map(|at| data.get(at));
    let inputs: Vec<f32> = pixels.flat_map(|(pixels, _)| Dataset::numbers(pixels)).collect();
    let probabilities = network.predict(&inputs, threads)?;
    Ok(Evaluation::of(network.output().channels, &probabilities, data.labels()))
}

impl Network {
    /// What comes out for each of the examples that `inputs` holds one after the other, channel by channel, row by row;
    /// one after the other as well.
    ///
    /// The same bytes with any number of threads.
    pub fn predict(&self, inputs: &[f32], threads: NonZeroUsize) -> Result<Vec<f32>, Error> {
        let (len, width) = (self.input().len(), self.output().len());
        if len == 0 || !inputs.len().is_multiple_of(len) {
            let reason = format!("{} numbers are no whole examples of {len}", inputs.len());
            return Err(Error::Data { reason });
        }
        let mut outputs = vec![0.0; inputs.len() / len * width];
        let mut chunks: Vec<_> = inputs.chunks(CHUNK * len).zip(outputs.chunks_mut(CHUNK * width)).collect();
        // each thread takes a run of chunks, so that it asks for memory once
        let runs = chunks.len().div_ceil(threads.get()).max(1);
        let mut runs: Vec<_> = chunks.chunks_mut(runs).collect();
        parallel::each(threads, &mut runs, |chunks| {
            let mut pass = Pass::new(self, CHUNK, Level::new());
            for (input, output) in chunks.iter_mut() {
                pass.load(input);
                pass.forward(self, input.len() / len, false);
                pass.unload(output);
            }
        });
        Ok(outputs)
    }
}

impl Evaluation {
    /// Judges probabilities, `classes` for each example, by the examples' labels.
    pub fn of(classes: usize, probabilities: &[f32], labels: &[u8]) -> Self {
        let mut confusion = vec![vec![0; classes]; classes];
        let mut bins = [Bin::default(); 15];
        let mut loss = 0.0;
        let (mut count, mut correct) = (0, 0);
        for (probabilities, label) in probabilities.chunks(classes.max(1)).zip(labels) {
            let (guess, confidence) = likeliest(probabilities);
            let right = guess == usize::from(*label);
            if let Some(times) =
                confusion.get_mut(usize::from(*label)).and_then(|row: &mut Vec<u64>| row.get_mut(guess))
            {
                *times += 1;
            }
            let bin = (f64::from(confidence) * bins.len() as f64) as usize;
            let bin = bin.min(bins.len() - 1);
            if let Some(bin) = bins.get_mut(bin) {
                bin.confidence += f64::from(confidence);
                bin.correct += f64::from(u8::from(right));
            }
            loss += surprise(probabilities, *label);
            count += 1;
            correct += u64::from(right);
        }
        let total = count.max(1) as f64;
        let off = bins.iter().fold(0.0, |sum, bin| sum + (bin.confidence - bin.correct).abs());
        Self {
            count,
            correct,
            accuracy: correct as f64 / total,
            interval: wilson(correct, count),
            confusion,
            loss: loss / total,
            calibration_error: off / total,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    confidence: f64,
    correct: f64,
}

/// The class with the highest probability, the first of equals, and that probability.
fn likeliest(probabilities: &[f32]) -> (usize, f32) {
    let better = |best: (usize, f32), (class, p): (usize, f32)| if p > best.1 { (class, p) } else { best };
    probabilities.iter().copied().enumerate().fold((0, 0.0), better)
}

/// Wilson's interval for a proportion, at 95 %, two-sided.
fn wilson(correct: u64, count: u64) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (count as f64, correct as f64 / count as f64);
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}
