use nx_types::env::SeededRng;

use super::*;
use crate::{
    draw,
    kernel::tests::levels,
    network::{LayerSpec, Spec},
    shape::Shape,
};

const LABELS: [u8; 6] = [0, 1, 2, 2, 1, 0];

/// The mean loss of some images with batch norms in training.
fn loss(pass: &mut Pass, network: &Network, smoothing: f32) -> f64 {
    pass.forward(network, LABELS.len(), true);
    let classes = network.output().channels;
    let output = pass.output(LABELS.len());
    let mut total = 0.0;
    for (probabilities, label) in output.chunks(classes).zip(LABELS) {
        for (class, probability) in probabilities.iter().enumerate() {
            let wanted = if class == usize::from(label) { 1.0 - smoothing } else { 0.0 } + smoothing / classes as f32;
            total -= f64::from(wanted) * f64::from(*probability).ln();
        }
    }
    total
}

/// Steps of each weight in turn change the loss as its gradient says.
fn check(input: Shape, layers: Vec<LayerSpec>) {
    let layers = layers.into_iter().chain([LayerSpec::Dense { outputs: 3 }, LayerSpec::Softmax]).collect();
    let rng = SeededRng::new(11);
    let mut network = Network::new(&Spec { input, layers }, &rng).unwrap();
    // scales and shifts that do something
    for values in network.layers_mut().iter_mut().flat_map(|layer| layer.values_mut()).filter(|v| v.len() < 8) {
        for value in values {
            *value += draw::symmetric(&rng, 0.3);
        }
    }
    let mut pass = Pass::new(&network, LABELS.len(), levels()[0]);
    let images: Vec<f32> = (0..LABELS.len() * input.len()).map(|_| draw::symmetric(&rng, 1.0)).collect();
    pass.load(&images);
    pass.forward(&network, LABELS.len(), true);
    pass.backward(&network, &LABELS, 0.1);
    let gradients = pass.gradients.clone();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (layer, tensors) in gradients.iter().enumerate() {
        for (tensor, gradient) in tensors.iter().enumerate() {
            for (at, gradient) in gradient.iter().enumerate() {
                let step = 2e-3;
                let mut moved = |by: f32| {
                    let mut network = network.clone();
                    network.layers_mut()[layer].values_mut()[tensor][at] += by;
                    loss(&mut pass, &network, 0.1)
                };
                let (left, here, right) = (moved(-step), moved(0.0), moved(step));
                let gradient = f64::from(*gradient);
                let off = |slope: f64| (slope / f64::from(step) - gradient).abs() > 4e-3 + 0.02 * gradient.abs();
                checked += 1;
                // a corner of a ReLU or of a pool may lie on one side
                if off((right - left) / 2.0) && off(here - left) && off(right - here) {
                    wrong.push((layer, tensor, at, left - here, right - here, gradient));
                }
            }
        }
    }
    // or on both
    assert!(checked > 10 && wrong.len() * 100 <= checked, "{} of {checked}: {wrong:?}", wrong.len());
}

const IMAGE: Shape = Shape { channels: 2, height: 6, width: 5 };

fn conv(outputs: usize, size: usize, bias: bool) -> LayerSpec {
    LayerSpec::Conv2d { outputs, size, bias }
}

#[test]
fn gradients_of_dense_layers_are_slopes() {
    check(Shape::vector(7), vec![]);
    check(Shape::vector(7), vec![LayerSpec::Dense { outputs: 5 }, LayerSpec::BatchNorm, LayerSpec::Relu]);
    check(IMAGE, vec![LayerSpec::Flatten]);
}

#[test]
fn gradients_of_convolutions_are_slopes() {
    check(IMAGE, vec![conv(3, 3, true), LayerSpec::GlobalAveragePool]);
    check(IMAGE, vec![conv(3, 3, true), conv(2, 1, false), LayerSpec::Flatten]);
    check(IMAGE, vec![conv(2, 5, false), conv(4, 3, true), LayerSpec::GlobalAveragePool]);
}

#[test]
fn gradients_of_batch_norms_relus_and_pools_are_slopes() {
    check(IMAGE, vec![conv(3, 3, false), LayerSpec::BatchNorm, conv(3, 3, false), LayerSpec::GlobalAveragePool]);
    check(IMAGE, vec![conv(3, 3, false), LayerSpec::BatchNorm, LayerSpec::Relu, LayerSpec::GlobalAveragePool]);
    let pool = LayerSpec::MaxPool { size: 2 };
    check(
        IMAGE,
        vec![conv(3, 3, false), LayerSpec::BatchNorm, LayerSpec::Relu, pool, conv(2, 3, true), LayerSpec::Flatten],
    );
}
