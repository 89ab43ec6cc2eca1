//! Batch norm (Ioffe and Szegedy 2015), over the images of one shard (Hoffer et al. 2017, "ghost batch norm"): shards
//! know nothing of each other, so they may run on any thread.

use crate::{
    kernel::{moments, sum, sum_of_products},
    network::BatchNorm,
    shape::Plane,
};

/// What a shard saw in one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) mean: f64,
    /// Of the population, not of a sample.
    pub(crate) variance: f64,
}

impl Seen {
    fn inverse_deviation(self) -> f64 {
        1.0 / (self.variance + f64::from(BatchNorm::EPSILON)).sqrt()
    }
}

/// `Σ` over the images of a shard, of one channel.
fn over<'a>(values: &'a [f32], planes: usize, channel: usize, plane: &Plane) -> impl Iterator<Item = &'a [f32]> {
    values.chunks(plane.len).skip(channel).step_by(planes)
}

/// `output = scale · input + shift` where there are pixels.
fn apply(plane: &Plane, scale: f32, shift: f32, input: &[f32], output: &mut [f32]) {
    for ((to, from), mask) in output.iter_mut().zip(input).zip(&plane.mask) {
        *to = (scale * from + shift) * mask;
    }
}

/// Normalises by what this shard holds; returns what it saw.
pub(crate) fn train(norm: &BatchNorm, plane: &Plane, input: &[f32], output: &mut [f32]) -> Vec<Seen> {
    let channels = norm.scale.len();
    let count = (input.len() / (channels * plane.len) * plane.height * plane.width) as f64;
    let mut all = Vec::with_capacity(channels);
    for (channel, (scale, shift)) in norm.scale.iter().zip(&norm.shift).enumerate() {
        let (total, squares) = over(input, channels, channel, plane)
            .map(moments)
            .fold((0.0, 0.0), |(total, squares), (sum, square)| (total + sum, squares + square));
        let mean = total / count;
        let seen = Seen { mean, variance: (squares / count - mean * mean).max(0.0) };
        let factor = f64::from(*scale) * seen.inverse_deviation();
        let constant = (f64::from(*shift) - factor * mean) as f32;
        let outputs = output.chunks_mut(plane.len).skip(channel).step_by(channels);
        for (from, to) in over(input, channels, channel, plane).zip(outputs) {
            apply(plane, factor as f32, constant, from, to);
        }
        all.push(seen);
    }
    all
}

/// Normalises by the running mean and variance.
pub(crate) fn infer(norm: &BatchNorm, plane: &Plane, input: &[f32], output: &mut [f32]) {
    let channels = norm.scale.len();
    for (channel, (scale, shift)) in norm.scale.iter().zip(&norm.shift).enumerate() {
        let (mean, variance) = (norm.mean.get(channel), norm.variance.get(channel));
        let seen =
            Seen { mean: mean.copied().map_or(0.0, f64::from), variance: variance.copied().map_or(1.0, f64::from) };
        let factor = f64::from(*scale) * seen.inverse_deviation();
        let constant = (f64::from(*shift) - factor * seen.mean) as f32;
        let outputs = output.chunks_mut(plane.len).skip(channel).step_by(channels);
        for (from, to) in over(input, channels, channel, plane).zip(outputs) {
            apply(plane, factor as f32, constant, from, to);
        }
    }
}

/// Adds to the gradients of scale and shift, and carries the error back.
pub(crate) fn back(
    norm: &BatchNorm,
    plane: &Plane,
    seen: &[Seen],
    (input, error): (&[f32], &[f32]),
    (scales, shifts): (&mut [f32], &mut [f32]),
    back: &mut [f32],
) {
    let channels = norm.scale.len();
    let count = (input.len() / (channels * plane.len) * plane.height * plane.width) as f64;
    let gradients = scales.iter_mut().zip(shifts);
    for (channel, ((seen, scale), gradient)) in seen.iter().zip(&norm.scale).zip(gradients).enumerate() {
        let errors = || over(error, channels, channel, plane);
        let inputs = || over(input, channels, channel, plane);
        let inverse = seen.inverse_deviation();
        let shift: f64 = errors().map(sum).fold(0.0, |total, sum| total + sum);
        let products = errors().zip(inputs()).map(|(error, input)| sum_of_products(error, input));
        let spread = inverse * (products.fold(0.0, |total, sum| total + sum) - seen.mean * shift);
        *gradient.0 += spread as f32;
        *gradient.1 += shift as f32;
        // scale · inverse · (error − shift / count − normalised · spread / count)
        let by_error = f64::from(*scale) * inverse;
        let by_input = -by_error * inverse * spread / count;
        let constant = -by_error * shift / count - by_input * seen.mean;
        let (by_error, by_input, constant) = (by_error as f32, by_input as f32, constant as f32);
        let backs = back.chunks_mut(plane.len).skip(channel).step_by(channels);
        for ((error, input), back) in errors().zip(inputs()).zip(backs) {
            for (((to, error), input), mask) in back.iter_mut().zip(error).zip(input).zip(&plane.mask) {
                *to = (by_error * error + (by_input * input + constant)) * mask;
            }
        }
    }
}
