//! A network: layers in a row, each with its weights.

use nx_types::Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw,
    error::Error,
    shape::{Plane, Shape},
};

/// A network as it is declared: what goes in and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// One example.
    pub input: Shape,
    /// The layers; a classifier ends with [`LayerSpec::Softmax`].
    pub layers: Vec<LayerSpec>,
}

/// One layer as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LayerSpec {
    /// A convolution of stride 1 whose frame of zeros keeps the size.
    Conv2d {
        /// Channels that come out.
        outputs: usize,
        /// Rows and columns of the kernel; odd.
        size: usize,
        /// Whether a number is added to each channel; needless before a batch norm.
        bias: bool,
    },
    /// Each channel shifted and scaled by its mean and variance (Ioffe and Szegedy 2015).
    BatchNorm,
    /// What is below 0 becomes 0.
    Relu,
    /// The largest of each square; squares do not overlap, and what is left over at the edge is dropped.
    MaxPool {
        /// Rows and columns of a square.
        size: usize,
    },
    /// The mean of each channel.
    GlobalAveragePool,
    /// An image as a vector: channel by channel, row by row.
    Flatten,
    /// A matrix and a vector.
    Dense {
        /// The length of what comes out.
        outputs: usize,
    },
    /// Probabilities of classes.
    Softmax,
}

/// One layer with its weights.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// See [`LayerSpec::Conv2d`].
    Conv2d(Conv2d),
    /// See [`LayerSpec::BatchNorm`].
    BatchNorm(BatchNorm),
    /// See [`LayerSpec::Relu`].
    Relu,
    /// See [`LayerSpec::MaxPool`].
    MaxPool {
        /// Rows and columns of a square.
        size: usize,
    },
    /// See [`LayerSpec::GlobalAveragePool`].
    GlobalAveragePool,
    /// See [`LayerSpec::Flatten`].
    Flatten,
    /// See [`LayerSpec::Dense`].
    Dense(Dense),
    /// See [`LayerSpec::Softmax`].
    Softmax,
}

/// A convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Channels that go in.
    pub inputs: usize,
    /// Channels that come out.
    pub outputs: usize,
    /// Rows and columns of the kernel.
    pub size: usize,
    /// `[outputs][inputs][size][size]`.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

/// A batch norm: `scale · (x − mean) / √(variance + epsilon) + shift` for each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// `[channels]`.
    pub scale: Vec<f32>,
    /// `[channels]`.
    pub shift: Vec<f32>,
    /// `[channels]`; the running mean of training.
    pub mean: Vec<f32>,
    /// `[channels]`; the running variance of training.
    pub variance: Vec<f32>,
}

impl BatchNorm {
    /// What keeps the root away from 0.
    pub const EPSILON: f32 = 1e-5;
}

/// A matrix and a vector: `weight · x + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// The length of what goes in.
    pub inputs: usize,
    /// The length of what comes out.
    pub outputs: usize,
    /// `[outputs][inputs]`.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// A tensor of a layer, to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a> {
    /// `weight`, `bias`, `scale`, `shift`, `mean` or `variance`.
    pub name: &'static str,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: &'a [f32],
}

impl Layer {
    /// How it was declared.
    pub fn spec(&self) -> LayerSpec {
        match self {
            Self::Conv2d(conv) => {
                LayerSpec::Conv2d { outputs: conv.outputs, size: conv.size, bias: conv.bias.is_some() }
            }
            Self::BatchNorm(_) => LayerSpec::BatchNorm,
            Self::Relu => LayerSpec::Relu,
            Self::MaxPool { size } => LayerSpec::MaxPool { size: *size },
            Self::GlobalAveragePool => LayerSpec::GlobalAveragePool,
            Self::Flatten => LayerSpec::Flatten,
            Self::Dense(dense) => LayerSpec::Dense { outputs: dense.outputs },
            Self::Softmax => LayerSpec::Softmax,
        }
    }

    /// Its tensors, in a fixed order: first those that training moves, then what it only observes.
    pub fn tensors(&self) -> Vec<Tensor<'_>> {
        let tensor = |name, shape, values| Tensor { name, shape, values };
        match self {
            Self::Conv2d(conv) => {
                let shape = vec![conv.outputs, conv.inputs, conv.size, conv.size];
                let bias = conv.bias.as_ref().map(|bias| tensor("bias", vec![conv.outputs], bias));
                [tensor("weight", shape, &conv.weight)].into_iter().chain(bias).collect()
            }
            Self::Dense(dense) => vec![
                tensor("weight", vec![dense.outputs, dense.inputs], &dense.weight),
                tensor("bias", vec![dense.outputs], &dense.bias),
            ],
            Self::BatchNorm(norm) => {
                let shape = vec![norm.scale.len()];
                vec![
                    tensor("scale", shape.clone(), &norm.scale),
                    tensor("shift", shape.clone(), &norm.shift),
                    tensor("mean", shape.clone(), &norm.mean),
                    tensor("variance", shape, &norm.variance),
                ]
            }
            Self::Relu | Self::MaxPool { .. } | Self::GlobalAveragePool | Self::Flatten | Self::Softmax => Vec::new(),
        }
    }

    /// The values of its tensors, in the same order.
    pub(crate) fn values_mut(&mut self) -> Vec<&mut Vec<f32>> {
        match self {
            Self::Conv2d(conv) => [&mut conv.weight].into_iter().chain(&mut conv.bias).collect(),
            Self::Dense(dense) => vec![&mut dense.weight, &mut dense.bias],
            Self::BatchNorm(norm) => vec![&mut norm.scale, &mut norm.shift, &mut norm.mean, &mut norm.variance],
            Self::Relu | Self::MaxPool { .. } | Self::GlobalAveragePool | Self::Flatten | Self::Softmax => Vec::new(),
        }
    }

    /// How many of its tensors training moves.
    pub(crate) fn trained(&self) -> usize {
        match self {
            Self::BatchNorm(_) => 2,
            other => other.tensors().len(),
        }
    }
}

/// Layers that fit together, and their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    input: Shape,
    layers: Vec<Layer>,
    /// What each layer gives.
    shapes: Vec<Shape>,
}

impl Network {
    /// Layers that a network may have.
    pub const MAX_LAYERS: usize = 256;
    /// Numbers that its tensors may have, all together.
    pub const MAX_WEIGHTS: usize = 1 << 24;
    /// Numbers that one example may have on its way, all layers together, with the frames around images.
    pub const MAX_VALUES: usize = 1 << 20;

    /// A network of fresh weights: uniform with the variance 2 / fan-in (He et al. 2015), batch norms that change
    /// nothing.
    pub fn new(spec: &Spec, rng: &dyn Rng) -> Result<Self, Error> {
        let mut network = Self::blank(spec)?;
        for layer in &mut network.layers {
            let (fan_in, weight) = match layer {
                Layer::Conv2d(conv) => (conv.inputs * conv.size * conv.size, &mut conv.weight),
                Layer::Dense(dense) => (dense.inputs, &mut dense.weight),
                _ => continue,
            };
            let bound = (6.0 / fan_in as f32).sqrt();
            for weight in weight {
                *weight = draw::symmetric(rng, bound);
            }
        }
        Ok(network)
    }

    /// A network whose weights are all nothing.
    pub(crate) fn blank(spec: &Spec) -> Result<Self, Error> {
        let at = |layer, reason: &str| Error::Network { layer, reason: reason.to_owned() };
        if spec.layers.len() > Self::MAX_LAYERS {
            return Err(too_large("the network's list of layers", spec.layers.len(), Self::MAX_LAYERS));
        }
        let (mut shape, mut shapes, mut layers) = (spec.input, Vec::new(), Vec::new());
        let pad = pad(&spec.layers);
        let values = |shape: Shape| shape.channels.saturating_mul(Plane::len_of(shape, pad));
        let (mut weights, mut passing) = (0_usize, values(shape));
        for (index, declared) in spec.layers.iter().enumerate() {
            if shape.is_empty() {
                return Err(at(index, "nothing goes in; give it an input of at least one number"));
            }
            if layers.last() == Some(&Layer::Softmax) {
                return Err(at(index, "stands behind a softmax; let the softmax be the last"));
            }
            let (after, needed) = give(declared, shape).map_err(|reason| at(index, reason))?;
            passing = passing.saturating_add(values(after));
            weights = weights.saturating_add(needed);
            if passing > Self::MAX_VALUES {
                return Err(too_large("an example on its way through the network", passing, Self::MAX_VALUES));
            }
            if weights > Self::MAX_WEIGHTS {
                return Err(too_large("the network", weights, Self::MAX_WEIGHTS));
            }
            layers.push(empty(declared, shape));
            shapes.push(after);
            shape = after;
        }
        Ok(Self { input: spec.input, layers, shapes })
    }

    /// How it was declared.
    pub fn spec(&self) -> Spec {
        Spec { input: self.input, layers: self.layers.iter().map(Layer::spec).collect() }
    }

    /// What goes in.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// What comes out.
    pub fn output(&self) -> Shape {
        self.shapes.last().copied().unwrap_or(self.input)
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// What each layer gives.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Numbers that training moves.
    pub fn parameters(&self) -> usize {
        let trained =
            |layer: &Layer| layer.tensors().iter().take(layer.trained()).map(|t| t.values.len()).sum::<usize>();
        self.layers.iter().map(trained).sum()
    }
}

/// The frame that images need so that each convolution keeps their size.
pub(crate) fn pad(layers: &[LayerSpec]) -> usize {
    let half = |layer: &LayerSpec| if let LayerSpec::Conv2d { size, .. } = layer { (size / 2).min(15) } else { 0 };
    layers.iter().map(half).max().unwrap_or(0)
}

fn too_large(what: &'static str, found: usize, most: usize) -> Error {
    Error::TooLarge { what, found: found as u64, most: most as u64 }
}

/// What a layer gives, and how many numbers it holds; or why it can't stand here.
fn give(layer: &LayerSpec, input: Shape) -> Result<(Shape, usize), &'static str> {
    match *layer {
        LayerSpec::Conv2d { outputs, size, bias } => {
            if input.is_vector() {
                return Err("a convolution wants an image; put it before what makes a vector");
            }
            if outputs == 0 || size % 2 == 0 || size > 31 {
                return Err("a convolution has an output and an odd size of at most 31");
            }
            let weights = outputs.saturating_mul(input.channels).saturating_mul(size * size);
            let bias = if bias { outputs } else { 0 };
            Ok((Shape { channels: outputs, ..input }, weights.saturating_add(bias)))
        }
        LayerSpec::BatchNorm => Ok((input, input.channels.saturating_mul(4))),
        LayerSpec::Relu => Ok((input, 0)),
        LayerSpec::MaxPool { size } => {
            if size == 0 || size > input.height || size > input.width {
                return Err("a pool's square is at least 1 and fits into the image");
            }
            Ok((Shape { channels: input.channels, height: input.height / size, width: input.width / size }, 0))
        }
        LayerSpec::GlobalAveragePool => Ok((Shape::vector(input.channels), 0)),
        LayerSpec::Flatten => Ok((Shape::vector(input.len()), 0)),
        LayerSpec::Dense { outputs } => {
            if !input.is_vector() {
                return Err("a dense layer wants a vector; put `flatten` or `global_average_pool` before it");
            }
            if outputs == 0 {
                return Err("a dense layer has an output");
            }
            Ok((Shape::vector(outputs), outputs.saturating_mul(input.channels).saturating_add(outputs)))
        }
        LayerSpec::Softmax => {
            if input.is_vector() {
                Ok((input, 0))
            } else {
                Err("a softmax wants a vector; put a dense layer before it")
            }
        }
    }
}

fn empty(layer: &LayerSpec, input: Shape) -> Layer {
    match *layer {
        LayerSpec::Conv2d { outputs, size, bias } => Layer::Conv2d(Conv2d {
            inputs: input.channels,
            outputs,
            size,
            weight: vec![0.0; outputs * input.channels * size * size],
            bias: bias.then(|| vec![0.0; outputs]),
        }),
        LayerSpec::BatchNorm => Layer::BatchNorm(BatchNorm {
            scale: vec![1.0; input.channels],
            shift: vec![0.0; input.channels],
            mean: vec![0.0; input.channels],
            variance: vec![1.0; input.channels],
        }),
        LayerSpec::Relu => Layer::Relu,
        LayerSpec::MaxPool { size } => Layer::MaxPool { size },
        LayerSpec::GlobalAveragePool => Layer::GlobalAveragePool,
        LayerSpec::Flatten => Layer::Flatten,
        LayerSpec::Dense { outputs } => Layer::Dense(Dense {
            inputs: input.channels,
            outputs,
            weight: vec![0.0; outputs * input.channels],
            bias: vec![0.0; outputs],
        }),
        LayerSpec::Softmax => Layer::Softmax,
    }
}
