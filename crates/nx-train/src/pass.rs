//! A shard of images on its way through the layers, and the errors on their way back.

use fearless_simd::Level;

use crate::{
    kernel::{self, Kernels},
    layer::{self, dense, norm, pool, softmax},
    network::{Conv2d, Layer, Network, pad},
    shape::Plane,
};

/// What a layer remembers of the way forward.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    Nothing,
    /// What a batch norm saw.
    Seen(Vec<norm::Seen>),
    /// Where a pool's largest values lay.
    From(Vec<u32>),
}

/// Memory for one shard.
#[derive(Debug)]
pub(crate) struct Pass {
    level: Level,
    planes: Vec<Plane>,
    /// Numbers of one image: of the input, then after each layer.
    lens: Vec<usize>,
    values: Vec<Vec<f32>>,
    /// For each layer.
    pub(crate) notes: Vec<Note>,
    /// For each layer, for each of its tensors that training moves.
    pub(crate) gradients: Vec<Vec<Vec<f32>>>,
    error: Vec<f32>,
    back: Vec<f32>,
}

impl Pass {
    /// Room for `room` images on their way through the network.
    pub(crate) fn new(network: &Network, room: usize, level: Level) -> Self {
        let pad = pad(&network.spec().layers);
        let shapes: Vec<_> = [network.input()].into_iter().chain(network.shapes().iter().copied()).collect();
        let planes: Vec<_> = shapes.iter().map(|shape| Plane::new(*shape, pad)).collect();
        let lens: Vec<_> = shapes.iter().zip(&planes).map(|(shape, plane)| shape.channels * plane.len).collect();
        let values = lens.iter().map(|len| vec![0.0; len * room]).collect();
        let notes = network.layers().iter().map(|_| Note::Nothing).collect();
        Self { level, planes, lens, values, notes, gradients: Vec::new(), error: Vec::new(), back: Vec::new() }
    }

    /// The rows of pixels of the input's planes, to be filled in: image by image, channel by channel.
    pub(crate) fn inputs_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let plane = self.planes.first();
        let values = self.values.first_mut();
        plane
            .zip(values)
            .into_iter()
            .flat_map(|(plane, values)| values.chunks_mut(plane.len).flat_map(move |values| plane.rows_mut(values)))
    }

    /// Fills in images as numbers.
    pub(crate) fn load(&mut self, images: &[f32]) {
        let width = self.planes.first().map_or(1, |plane| plane.width);
        self.inputs_mut().zip(images.chunks(width)).for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// What came out, without the frames around images.
    pub(crate) fn unload(&self, outputs: &mut [f32]) {
        if let (Some(plane), Some(values)) = (self.planes.last(), self.values.last()) {
            pool::flatten(plane, values, outputs);
        }
    }

    /// What came out for the first `count` images.
    pub(crate) fn output(&self, count: usize) -> &[f32] {
        let (values, len) = (self.values.last(), self.lens.last().copied().unwrap_or(0));
        values.and_then(|values| values.get(..count * len)).unwrap_or_default()
    }

    /// Carries the first `count` images through all layers.
    pub(crate) fn forward(&mut self, network: &Network, count: usize, training: bool) {
        for (index, (layer, note)) in network.layers().iter().zip(&mut self.notes).enumerate() {
            let (before, after) = self.values.split_at_mut(index + 1);
            let (Some(input), Some(output)) = (before.last(), after.first_mut()) else { break };
            let [from, to] = [index, index + 1].map(|at| self.lens.get(at).copied().unwrap_or(0) * count);
            let (Some(input), Some(output)) = (input.get(..from), output.get_mut(..to)) else { break };
            let [Some(plane), Some(small)] = [index, index + 1].map(|at| self.planes.get(at)) else { break };
            match layer {
                Layer::Conv2d(conv) => convolve(self.level, plane, conv, input, output),
                Layer::BatchNorm(norm) if training => {
                    *note = Note::Seen(norm::train(norm, plane, input, output));
                }
                Layer::BatchNorm(norm) => norm::infer(norm, plane, input, output),
                Layer::Relu => layer::relu(input, output),
                Layer::MaxPool { size } => {
                    let mut places = if let Note::From(places) = note { std::mem::take(places) } else { Vec::new() };
                    places.resize(to, 0);
                    pool::max((plane, small), *size, input, output, &mut places);
                    *note = Note::From(places);
                }
                Layer::GlobalAveragePool => pool::mean(plane, input, output),
                Layer::Flatten => pool::flatten(plane, input, output),
                Layer::Dense(dense) => dense::forward(dense, input, output),
                Layer::Softmax => softmax::forward(network.output().channels, input, output),
            }
        }
    }

    /// Carries the errors of the labels back through all layers; leaves the gradients' sums, and returns each image's loss.
    pub(crate) fn backward(&mut self, network: &Network, labels: &[u8], smoothing: f32) -> Vec<f64> {
        let classes = network.output().channels;
        self.error.resize(classes * labels.len(), 0.0);
        let mut error = std::mem::take(&mut self.error);
        let losses = softmax::back(classes, self.output(labels.len()), labels, smoothing, &mut error);
        self.error = error;
        self.backward_error(network, labels.len());
        losses
    }

    /// Carries back the error that lies in `self.error`: of the output, or before the softmax if that is the last layer.
    fn backward_error(&mut self, network: &Network, count: usize) {
        let fresh = |layer: &Layer| {
            layer.tensors().iter().take(layer.trained()).map(|tensor| vec![0.0; tensor.values.len()]).collect()
        };
        self.gradients = network.layers().iter().map(fresh).collect();
        let layers = network.layers().iter().zip(&self.notes).zip(&mut self.gradients).enumerate();
        for (index, ((layer, note), gradients)) in layers.rev() {
            let [from, to] = [index, index + 1].map(|at| self.lens.get(at).copied().unwrap_or(0) * count);
            let [Some(input), Some(output)] =
                [(index, from), (index + 1, to)].map(|(at, len)| self.values.get(at).and_then(|v| v.get(..len)))
            else {
                break;
            };
            let [Some(plane), Some(small)] = [index, index + 1].map(|at| self.planes.get(at)) else { break };
            self.back.resize(from, 0.0);
            let (error, back) = (self.error.as_slice(), self.back.as_mut_slice());
            match (layer, gradients.as_mut_slice(), note) {
                (Layer::Conv2d(conv), [weights, biases @ ..], _) => {
                    convolve_back(self.level, plane, conv, (input, error), weights, (index > 0).then_some(back));
                    if let [biases] = biases {
                        let sums = error.chunks(plane.len).map(kernel::sum);
                        (0..).zip(sums).for_each(|(at, sum): (usize, f64)| {
                            if let Some(bias) = biases.get_mut(at % conv.outputs) {
                                *bias += sum as f32;
                            }
                        });
                    }
                }
                (Layer::BatchNorm(norm), [scales, shifts], Note::Seen(seen)) => {
                    norm::back(norm, plane, seen, (input, error), (scales, shifts), back);
                }
                (Layer::Relu, ..) => layer::relu_back(output, error, back),
                (Layer::MaxPool { .. }, _, Note::From(places)) => pool::max_back(plane, small, places, error, back),
                (Layer::GlobalAveragePool, ..) => pool::mean_back(plane, error, back),
                (Layer::Flatten, ..) => pool::flatten_back(plane, error, back),
                (Layer::Dense(dense), [weights, biases], _) => {
                    dense::back(dense, (input, error), (weights, biases), (index > 0).then_some(back));
                }
                // the error already stands before the softmax
                _ => continue,
            }
            std::mem::swap(&mut self.error, &mut self.back);
        }
    }
}

fn convolve(level: Level, plane: &Plane, conv: &Conv2d, input: &[f32], output: &mut [f32]) {
    match &conv.bias {
        None => output.fill(0.0),
        Some(bias) => {
            for (output, bias) in output.chunks_mut(plane.len).zip(bias.iter().cycle()) {
                output.fill(*bias);
            }
        }
    }
    kernel::correlate(level, plane, &kernels(conv), input, output);
    plane.wipe(output);
}

fn convolve_back(
    level: Level,
    plane: &Plane,
    conv: &Conv2d,
    (input, error): (&[f32], &[f32]),
    weights: &mut [f32],
    back: Option<&mut [f32]>,
) {
    kernel::weight_gradient(level, plane, &kernels(conv), (input, error), weights);
    if let Some(back) = back {
        let turned = layer::turned(&conv.weight, conv.inputs, conv.size);
        let kernels = Kernels { inputs: conv.outputs, outputs: conv.inputs, size: conv.size, weights: &turned };
        back.fill(0.0);
        kernel::correlate(level, plane, &kernels, error, back);
        plane.wipe(back);
    }
}

fn kernels(conv: &Conv2d) -> Kernels<'_> {
    Kernels { inputs: conv.inputs, outputs: conv.outputs, size: conv.size, weights: &conv.weight }
}

#[cfg(test)]
mod tests;
