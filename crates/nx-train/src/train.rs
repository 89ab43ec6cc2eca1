//! Training: the network follows the gradient of its loss, batch by batch.

use std::{num::NonZeroUsize, ops::ControlFlow};

use fearless_simd::Level;
use nx_types::env::SeededRng;
use serde::{Deserialize, Serialize};

use crate::{
    data::{self, Dataset, Shift},
    draw,
    error::Error,
    kernel::add_scaled,
    layer::norm::Seen,
    network::{BatchNorm, Layer, Network},
    optimise::{Memory, Optimiser, Schedule, within},
    parallel,
    pass::{Note, Pass},
};

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Decides the order of images and how they are moved.
    pub seed: u64,
    /// How often each image is learned from; at most 10,000. Default 10.
    pub epochs: usize,
    /// Images whose gradients are added before weights move; at most 4,096. Images that fill no batch at an epoch's end are
    /// left to the next. Default 64.
    pub batch: usize,
    /// Images that are normalised together, and that one thread takes at a time; at most 256. Part of what decides the
    /// result. Default 16.
    pub shard: usize,
    /// Threads; no part of what decides the result. More than a batch has shards are idle. Default 1.
    pub threads: NonZeroUsize,
    /// The rule by which weights follow gradients. Default Adam.
    pub optimiser: Optimiser,
    /// The learning rate along the way.
    pub schedule: Schedule,
    /// What is taken off each weight of a kernel or matrix at each step, for each unit of the learning rate. Default 0.02.
    pub weight_decay: f32,
    /// What is taken from each label and spread over all classes, from 0 to below 1 (Szegedy et al. 2016). Default 0.
    pub label_smoothing: f32,
    /// Pixels by which images are moved at most, in each direction. Default 0.
    pub shift_px: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 10,
            batch: 64,
            shard: 16,
            threads: NonZeroUsize::MIN,
            optimiser: Optimiser::default(),
            schedule: Schedule::default(),
            weight_decay: 0.02,
            label_smoothing: 0.0,
            shift_px: 0,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let counts = [
            ("epochs", self.epochs, 10_000, "it lies from 1 to 10000"),
            ("batch", self.batch, 4096, "it lies from 1 to 4096"),
            ("shard", self.shard, 256, "it lies from 1 to 256"),
            ("threads", self.threads.get(), 256, "it lies from 1 to 256"),
            ("shift_px", self.shift_px.saturating_add(1), 33, "it is at most 32"),
        ];
        for (option, value, most, fix) in counts {
            if value == 0 || value > most {
                return Err(Error::Options { option, value: value.to_string(), fix });
            }
        }
        within("weight_decay", self.weight_decay, 0.0..=1e3, "it lies from 0 to 1000")?;
        within("label_smoothing", self.label_smoothing, 0.0..=0.99, "it lies from 0 to 0.99")?;
        self.optimiser.check()?;
        self.schedule.check()
    }
}

/// Where training stands, after each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps to do, all together.
    pub steps: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The mean loss of the step's batch.
    pub loss: f32,
    /// The learning rate of the step.
    pub rate: f32,
}

/// What came of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// The mean loss on what was learned from, while it was learned: `−ln p` of the label.
    pub loss: f64,
    /// The learning rate of the last step.
    pub rate: f32,
}

/// The loss curve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Epoch by epoch.
    pub epochs: Vec<Epoch>,
    /// Step by step: the mean loss of each batch.
    pub steps: Vec<f32>,
}

/// What remains of a batch norm's running mean and variance at each step.
const KEEP: f64 = 0.9;

/// Trains the network; `progress` hears of each step and may break it off.
///
/// The same network, data and options but for `threads` give the same bytes. When it is broken off or diverges, the
/// network is as the last step left it.
pub fn train(
    network: &mut Network,
    data: &Dataset,
    options: &Options,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<History, Error> {
    train_at(Level::new(), network, data, options, progress)
}

pub(crate) fn train_at(
    level: Level,
    network: &mut Network,
    data: &Dataset,
    options: &Options,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<History, Error> {
    options.check()?;
    fits(network, data)?;
    let batch = options.batch.min(data.len());
    let per_epoch = data.len() / batch;
    let steps = options.epochs * per_epoch;
    let mut shards: Vec<Shard> =
        (0..batch.div_ceil(options.shard)).map(|_| Shard::new(network, options.shard.min(batch), level)).collect();
    let mut memories: Vec<Memory> = trained(network).map(|(weights, _)| Memory::new(weights.len())).collect();
    let rng = SeededRng::new(options.seed);
    let mut history = History::default();
    for epoch in 1..=options.epochs {
        let order = draw::order(&rng, data.len());
        let mut losses = 0.0;
        for images in order.chunks_exact(batch) {
            for (shard, images) in shards.iter_mut().zip(images.chunks(options.shard)) {
                shard.images = images.iter().map(|at| (*at, Shift::draw(&rng, options.shift_px))).collect();
            }
            let seen: &Network = network;
            parallel::each(options.threads, &mut shards, |shard| shard.run(seen, data, options.label_smoothing));
            let loss = shards.iter().flat_map(|shard| &shard.losses).fold(0.0, |total, loss| total + loss);
            let step = history.steps.len();
            if !loss.is_finite() {
                return Err(Error::Diverged { step });
            }
            let rate = options.schedule.rate(step, steps);
            learn(network, &shards, batch, &mut memories, options, rate);
            losses += loss;
            let loss = (loss / batch as f64) as f32;
            history.steps.push(loss);
            if progress(&Progress { step: step + 1, steps, epoch, loss, rate }).is_break() {
                return Err(Error::Cancelled { step: step + 1 });
            }
        }
        let rate = options.schedule.rate(history.steps.len().saturating_sub(1), steps);
        history.epochs.push(Epoch { loss: losses / (per_epoch * batch) as f64, rate });
    }
    Ok(history)
}

/// Whether the network can learn from the data.
pub(crate) fn fits(network: &Network, data: &Dataset) -> Result<(), Error> {
    let fail = |reason: String| Err(Error::Data { reason });
    if data.is_empty() {
        return fail("there are no examples".to_owned());
    }
    if data.shape() != network.input() {
        return fail(format!("images are {:?} and the network takes {:?}", data.shape(), network.input()));
    }
    if network.layers().last() != Some(&Layer::Softmax) {
        return fail("the network gives no probabilities; let its last layer be `softmax`".to_owned());
    }
    if data.classes() > network.output().channels {
        let (classes, outputs) = (data.classes(), network.output().channels);
        return fail(format!("there are {classes} classes and the network gives {outputs}"));
    }
    Ok(())
}

/// The tensors that training moves, and whether they decay: kernels and matrices do.
fn trained(network: &mut Network) -> impl Iterator<Item = (&mut Vec<f32>, bool)> {
    network.layers_mut().iter_mut().flat_map(|layer| {
        let (count, decays) = (layer.trained(), matches!(layer, Layer::Conv2d(_) | Layer::Dense(_)));
        layer.values_mut().into_iter().take(count).enumerate().map(move |(at, values)| (values, decays && at == 0))
    })
}

/// Images that one thread takes at a time.
struct Shard {
    pass: Pass,
    /// Which images, and how they are moved.
    images: Vec<(usize, Shift)>,
    losses: Vec<f64>,
}

impl Shard {
    fn new(network: &Network, room: usize, level: Level) -> Self {
        Self { pass: Pass::new(network, room, level), images: Vec::new(), losses: Vec::new() }
    }

    fn run(&mut self, network: &Network, data: &Dataset, smoothing: f32) {
        let (mut labels, mut rows) = (Vec::with_capacity(self.images.len()), self.pass.inputs_mut());
        for (at, shift) in &self.images {
            if let Some((pixels, label)) = data.get(*at) {
                data::write(data.shape(), pixels, *shift, rows.by_ref());
                labels.push(label);
            }
        }
        drop(rows);
        self.pass.forward(network, labels.len(), true);
        self.losses = self.pass.backward(network, &labels, smoothing);
    }
}

/// Adds up what the shards found, in their order, and moves the network.
fn learn(network: &mut Network, shards: &[Shard], batch: usize, memories: &mut [Memory], options: &Options, rate: f32) {
    for (index, layer) in network.layers_mut().iter_mut().enumerate() {
        if let Layer::BatchNorm(norm) = layer {
            let seen = shards.iter().filter_map(|shard| match shard.pass.notes.get(index) {
                Some(Note::Seen(seen)) => Some((seen.as_slice(), shard.images.len())),
                _ => None,
            });
            observe(norm, &seen.collect::<Vec<_>>());
        }
    }
    let share = 1.0 / batch as f32;
    let sums = shards.first().into_iter().flat_map(|shard| {
        shard
            .pass
            .gradients
            .iter()
            .enumerate()
            .flat_map(|(layer, tensors)| (0..tensors.len()).map(move |at| (layer, at)))
    });
    let sums: Vec<Vec<f32>> = sums
        .map(|(layer, at)| {
            let mut parts = shards.iter().filter_map(|shard| shard.pass.gradients.get(layer)?.get(at));
            let mut sum = vec![0.0; parts.clone().next().map_or(0, Vec::len)];
            parts.by_ref().for_each(|part| add_scaled(&mut sum, share, part));
            sum
        })
        .collect();
    for (((weights, decays), gradient), memory) in trained(network).zip(&sums).zip(memories) {
        let decay = if decays { options.weight_decay } else { 0.0 };
        memory.step(options.optimiser, rate, decay, weights, gradient);
    }
}

/// Moves the running mean and variance towards those of all shards together.
fn observe(norm: &mut BatchNorm, shards: &[(&[Seen], usize)]) {
    let images: usize = shards.iter().map(|(_, images)| images).sum();
    for (channel, (mean, variance)) in norm.mean.iter_mut().zip(&mut norm.variance).enumerate() {
        let parts = || {
            shards
                .iter()
                .filter_map(|(seen, count)| seen.get(channel).map(|seen| (*seen, *count as f64 / images as f64)))
        };
        let middle = parts().fold(0.0, |sum, (seen, part)| sum + part * seen.mean);
        let spread = parts().fold(0.0, |sum, (seen, part)| {
            let off = seen.mean - middle;
            sum + part * (seen.variance + off * off)
        });
        *mean = (KEEP * f64::from(*mean) + (1.0 - KEEP) * middle) as f32;
        *variance = (KEEP * f64::from(*variance) + (1.0 - KEEP) * spread) as f32;
    }
}
