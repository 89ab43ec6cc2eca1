//! What each layer does to the values that pass, and to the errors that come back.
//!
//! Values of a shard lie image by image, channel by channel, each channel a [plane](crate::shape::Plane); what is no pixel
//! is 0, before and after each layer. Errors lie the same way.

pub(crate) mod dense;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod softmax;

/// Turns the kernels of `[outputs][inputs][size][size]` by half a turn and swaps outputs with inputs: correlating with
/// them carries errors back.
pub(crate) fn turned(weight: &[f32], inputs: usize, size: usize) -> Vec<f32> {
    let places = size * size;
    let mut turned = Vec::with_capacity(weight.len());
    for input in 0..inputs {
        for kernels in weight.chunks(inputs * places) {
            turned.extend(kernels.iter().skip(input * places).take(places).rev());
        }
    }
    turned
}

/// Sets what is below 0 to 0.
pub(crate) fn relu(input: &[f32], output: &mut [f32]) {
    for (to, from) in output.iter_mut().zip(input) {
        *to = if *from > 0.0 { *from } else { 0.0 };
    }
}

/// Lets the error through where something came out.
pub(crate) fn relu_back(output: &[f32], error: &[f32], back: &mut [f32]) {
    for ((to, error), out) in back.iter_mut().zip(error).zip(output) {
        *to = if *out > 0.0 { *error } else { 0.0 };
    }
}
