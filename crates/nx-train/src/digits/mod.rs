//! Handwritten digits: the data, the network that reads them, and how it is trained.
//!
//! The data are 8,000 images of MNIST, 28 × 28, in an order already shuffled: the first 7,000 are to
//! learn from, the last 1,000 to judge by.

mod card;

use std::num::NonZeroUsize;

use crate::{
    data::Dataset,
    error::Error,
    idx,
    network::{LayerSpec, Spec},
    optimise::Schedule,
    shape::Shape,
    train::Options,
};
pub use card::{card, onnx_card};

/// Images to learn from; the rest are to judge by.
pub const TO_LEARN: usize = 7000;
/// One image.
pub const IMAGE: Shape = Shape { channels: 1, height: 28, width: 28 };
/// The digits.
pub const CLASSES: usize = 10;
/// The seed of the network that ships.
pub const SEED: u64 = 1;

/// Reads images and their labels, each an idx file, gzipped or not.
pub fn read(images: &[u8], labels: &[u8]) -> Result<Dataset, Error> {
    let (images, labels) = (idx::parse(images)?, idx::parse(labels)?);
    let [_, height, width] = *images.dimensions.as_slice() else {
        let reason = format!("images have {} dimensions, not 3: image, row, column", images.dimensions.len());
        return Err(Error::Data { reason });
    };
    if labels.dimensions.len() != 1 {
        return Err(Error::Data { reason: "labels have more than one dimension".to_owned() });
    }
    Dataset::new(Shape { channels: 1, height, width }, CLASSES, images.values, labels.values)
}

/// The network: four convolutions on images of 28, 14 and 7 pixels, 67,000 parameters.
pub fn network() -> Spec {
    let mut layers = Vec::new();
    for (outputs, pool) in [(16, true), (32, true), (64, false), (64, true)] {
        layers.extend([LayerSpec::Conv2d { outputs, size: 3, bias: false }, LayerSpec::BatchNorm, LayerSpec::Relu]);
        layers.extend(pool.then_some(LayerSpec::MaxPool { size: 2 }));
    }
    layers.extend([LayerSpec::Flatten, LayerSpec::Dense { outputs: CLASSES }, LayerSpec::Softmax]);
    Spec { input: IMAGE, layers }
}

/// How the network that ships was trained.
pub fn options(seed: u64, threads: NonZeroUsize) -> Options {
    Options {
        seed,
        threads,
        epochs: 18,
        schedule: Schedule::Cosine { peak: 0.003, warm_up: 0.15 },
        weight_decay: 0.02,
        shift_px: 2,
        ..Options::default()
    }
}
