//! How weights follow their gradients.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The rule by which a weight follows its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Optimiser {
    /// Stochastic gradient descent with Nesterov's momentum, as in Sutskever et al. 2013.
    Sgd {
        /// What remains of the velocity, from 0 to below 1.
        momentum: f32,
    },
    /// Adam (Kingma and Ba 2015), with weight decay beside the gradient (Loshchilov and Hutter 2019).
    Adam {
        /// What remains of the mean of gradients, from 0 to below 1.
        beta1: f32,
        /// What remains of the mean of their squares, from 0 to below 1.
        beta2: f32,
    },
}

impl Default for Optimiser {
    fn default() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999 }
    }
}

/// The learning rate along the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// Always the same.
    Constant {
        /// The rate.
        rate: f32,
    },
    /// Up in a line, down in half a cosine, to nothing (Loshchilov and Hutter 2017).
    Cosine {
        /// The highest rate.
        peak: f32,
        /// The part of the way that leads up, from 0 to 1.
        warm_up: f32,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Cosine { peak: 0.004, warm_up: 0.1 }
    }
}

impl Schedule {
    /// The rate at `step` of `steps`, from 0.
    pub fn rate(&self, step: usize, steps: usize) -> f32 {
        match *self {
            Self::Constant { rate } => rate,
            Self::Cosine { peak, warm_up } => {
                let (at, up) = ((step as f64 + 0.5) / steps.max(1) as f64, f64::from(warm_up));
                let part = if at < up {
                    at / up
                } else {
                    0.5 * (1.0 + libm::cos(std::f64::consts::PI * ((at - up) / (1.0 - up)).min(1.0)))
                };
                (f64::from(peak) * part) as f32
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let (rate, warm_up) = match *self {
            Self::Constant { rate } => (rate, 0.0),
            Self::Cosine { peak, warm_up } => (peak, warm_up),
        };
        within("schedule.rate", rate, 0.0..=1e3, "it lies from 0 to 1000")?;
        within("schedule.warm_up", warm_up, 0.0..=1.0, "it lies from 0 to 1")
    }
}

impl Optimiser {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let most = 1.0 - f32::EPSILON;
        let kept = match *self {
            Self::Sgd { momentum } => [momentum; 2],
            Self::Adam { beta1, beta2 } => [beta1, beta2],
        };
        kept.iter().try_for_each(|kept| within("optimiser", *kept, 0.0..=most, "it lies from 0 to below 1"))
    }
}

/// An option that lies within bounds, and is a number.
pub(crate) fn within(
    option: &'static str,
    value: f32,
    bounds: std::ops::RangeInclusive<f32>,
    fix: &'static str,
) -> Result<(), Error> {
    if bounds.contains(&value) { Ok(()) } else { Err(Error::Options { option, value: value.to_string(), fix }) }
}

/// What an optimiser remembers of one tensor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    first: Vec<f32>,
    second: Vec<f32>,
    /// What the means still lack of a whole, for Adam.
    lacks: [f64; 2],
}

impl Memory {
    pub(crate) fn new(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len], lacks: [1.0; 2] }
    }

    /// Moves the weights against the gradient; `decay` of the rate is taken off each weight first.
    pub(crate) fn step(&mut self, optimiser: Optimiser, rate: f32, decay: f32, weights: &mut [f32], gradient: &[f32]) {
        let shrink = 1.0 - rate * decay;
        let moments = self.first.iter_mut().zip(&mut self.second);
        let all = weights.iter_mut().zip(gradient).zip(moments);
        match optimiser {
            Optimiser::Sgd { momentum } => {
                for ((weight, gradient), (velocity, _)) in all {
                    *velocity = momentum * *velocity + gradient;
                    *weight = shrink * *weight - rate * (gradient + momentum * *velocity);
                }
            }
            Optimiser::Adam { beta1, beta2 } => {
                let [lack1, lack2] = &mut self.lacks;
                *lack1 *= f64::from(beta1);
                *lack2 *= f64::from(beta2);
                let (rate, whole) = ((f64::from(rate) / (1.0 - *lack1)) as f32, (1.0 - *lack2) as f32);
                for ((weight, gradient), (mean, square)) in all {
                    *mean = beta1 * *mean + (1.0 - beta1) * gradient;
                    *square = beta2 * *square + (1.0 - beta2) * (gradient * gradient);
                    *weight = shrink * *weight - rate * *mean / ((*square / whole).sqrt() + 1e-8);
                }
            }
        }
    }
}
