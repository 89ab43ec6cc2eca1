//! A matrix and a vector.

use crate::{
    kernel::{add_scaled, dot},
    network::Dense,
};

/// `output = weight · input + bias` for each image.
pub(crate) fn forward(dense: &Dense, input: &[f32], output: &mut [f32]) {
    for (input, output) in input.chunks(dense.inputs).zip(output.chunks_mut(dense.outputs)) {
        let rows = dense.weight.chunks(dense.inputs).zip(&dense.bias);
        for (to, (weight, bias)) in output.iter_mut().zip(rows) {
            *to = dot(weight, input) + bias;
        }
    }
}

/// Adds to the gradients of weight and bias, and carries the error back where it is wanted.
pub(crate) fn back(
    dense: &Dense,
    (input, error): (&[f32], &[f32]),
    (weights, biases): (&mut [f32], &mut [f32]),
    mut back: Option<&mut [f32]>,
) {
    for (image, (input, error)) in input.chunks(dense.inputs).zip(error.chunks(dense.outputs)).enumerate() {
        for ((error, weights), bias) in error.iter().zip(weights.chunks_mut(dense.inputs)).zip(biases.iter_mut()) {
            add_scaled(weights, *error, input);
            *bias += error;
        }
        let back = back.as_mut().and_then(|back| back.chunks_mut(dense.inputs).nth(image));
        if let Some(back) = back {
            back.fill(0.0);
            for (error, weight) in error.iter().zip(dense.weight.chunks(dense.inputs)) {
                add_scaled(back, *error, weight);
            }
        }
    }
}
