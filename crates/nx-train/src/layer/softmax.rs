//! Probabilities, and how wrong they are.

/// `e^x` of each value over the sum of all.
pub(crate) fn forward(classes: usize, input: &[f32], output: &mut [f32]) {
    for (input, output) in input.chunks(classes).zip(output.chunks_mut(classes)) {
        let largest = input.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for (to, from) in output.iter_mut().zip(input) {
            *to = libm::expf(from - largest);
            total += *to;
        }
        for value in output {
            *value /= total;
        }
    }
}

/// The error of cross-entropy at what went into the softmax; `smoothing` of each label is spread over all classes.
///
/// Returns the loss of each image, against the label alone.
pub(crate) fn back(
    classes: usize,
    probabilities: &[f32],
    labels: &[u8],
    smoothing: f32,
    error: &mut [f32],
) -> Vec<f64> {
    let images = probabilities.chunks(classes).zip(error.chunks_mut(classes)).zip(labels);
    let mut losses = Vec::with_capacity(labels.len());
    for ((probabilities, error), label) in images {
        for (class, (to, probability)) in error.iter_mut().zip(probabilities).enumerate() {
            let wanted = if class == usize::from(*label) { 1.0 - smoothing } else { 0.0 };
            *to = probability - (wanted + smoothing / classes as f32);
        }
        losses.push(surprise(probabilities, *label));
    }
    losses
}

/// `−ln p` of the label.
pub(crate) fn surprise(probabilities: &[f32], label: u8) -> f64 {
    let probability = probabilities.get(usize::from(label)).copied().unwrap_or(0.0);
    // not `max`, which would hide what is no number
    let least = if probability < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { probability };
    -libm::log(f64::from(least))
}
