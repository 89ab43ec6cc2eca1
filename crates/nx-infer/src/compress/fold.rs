//! Arithmetic with constants behind a convolution or a full layer, folded into its weights: batch norm, and products and sums by
//! channel. A hard swish that is written out becomes one. The result is the same up to rounding.

use super::{clean::bury, edit::Edit};
use crate::{
    Error, Tensor,
    onnx::{
        Model,
        graph::{self, Index},
        proto::NodeProto,
    },
};

/// `y = x · scale + shift`, by channel.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// Folds until there is nothing left to fold. The second result counts what was folded.
///
/// # Errors
/// `Model` when the model was not well formed before.
pub fn fold(model: &Model) -> Result<(Model, usize), Error> {
    let mut edit = Edit::new(model);
    let mut folded = super::swish::swish(&mut edit);
    while let Some((layer, follower, affine, channels)) = next(&edit) {
        apply(&mut edit, layer, follower, &affine, channels);
        folded += 1;
    }
    bury(&mut edit);
    Ok((edit.finish()?, folded))
}

/// The next pair: a layer, the only reader of its output, what that does.
fn next(edit: &Edit) -> Option<(usize, usize, Affine, usize)> {
    let index = Index::of(&edit.graph);
    edit.graph.node.iter().enumerate().find_map(|(at, layer)| {
        let channels = channels(edit, layer)?;
        let output = layer.output.first()?;
        let &[reader] = index.readers(output) else { return None };
        if edit.is_output(output) {
            return None;
        }
        let follower = edit.graph.node.get(reader)?;
        let affine = affine(edit, follower, output, channels, graph::is(layer, "Gemm"))?;
        Some((at, reader, affine, channels))
    })
}

/// Output channels of a layer whose weights are constants of `f32`; none for what cannot take anything in.
fn channels(edit: &Edit, layer: &NodeProto) -> Option<usize> {
    let weights = edit.value(layer.input.get(1)?)?;
    weights.f32s()?;
    if layer
        .input
        .get(2)
        .is_some_and(|bias| !bias.is_empty() && edit.value(bias).is_none_or(|bias| bias.f32s().is_none()))
    {
        return None;
    }
    let channels = weights.shape().get(axis(layer)?).copied()?;
    if graph::is(layer, "ConvTranspose") {
        return channels.checked_mul(usize::try_from(graph::int(layer, "group").unwrap_or(1)).ok()?);
    }
    Some(channels)
}

/// The dimension of the weights that counts output channels.
fn axis(layer: &NodeProto) -> Option<usize> {
    if graph::is(layer, "Conv") {
        Some(0)
    } else if graph::is(layer, "ConvTranspose") {
        Some(1)
    } else if graph::is(layer, "Gemm") {
        // alpha and beta scale before the bias; nobody writes them
        let plain = |name| graph::float(layer, name).is_none_or(|value| (value - 1.0).abs() < f32::EPSILON);
        (plain("alpha") && plain("beta")).then(|| usize::from(graph::int(layer, "transB") != Some(1)))
    } else {
        None
    }
}

fn affine(edit: &Edit, node: &NodeProto, input: &str, channels: usize, flat: bool) -> Option<Affine> {
    let constant = |at: usize| edit.value(node.input.get(at)?);
    if graph::is(node, "BatchNormalization") && node.input.first().is_some_and(|name| name == input) {
        if node.output.iter().skip(1).any(|output| !output.is_empty()) || graph::int(node, "training_mode") == Some(1) {
            return None;
        }
        let parts: Option<Vec<Vec<f32>>> = (1..5).map(|at| constant(at)?.f32s().map(<[f32]>::to_vec)).collect();
        let parts = parts?;
        let [gamma, beta, mean, variance] = parts.as_slice() else { return None };
        if parts.iter().any(|part| part.len() != channels) {
            return None;
        }
        let epsilon = f64::from(graph::float(node, "epsilon").unwrap_or(1e-5));
        let scale: Vec<f64> =
            gamma.iter().zip(variance).map(|(&g, &v)| f64::from(g) / (f64::from(v) + epsilon).sqrt()).collect();
        let shift = beta.iter().zip(mean).zip(&scale).map(|((&b, &m), s)| (f64::from(b) - f64::from(m) * s) as f32);
        return Some(Affine { shift: shift.collect(), scale: scale.iter().map(|&s| s as f32).collect() });
    }
    let (product, sum) = (graph::is(node, "Mul"), graph::is(node, "Add"));
    if !(product || sum) || node.input.len() != 2 {
        return None;
    }
    let other = constant(node.input.iter().position(|name| name != input)?)?;
    let values = by_channel(&other, channels, flat)?;
    Some(if product {
        Affine { shift: vec![0.0; channels], scale: values }
    } else {
        Affine { scale: vec![1.0; channels], shift: values }
    })
}

/// One number for each channel, if the tensor has the shape of that: `[C, 1, 1]`, `[1, C, 1, 1]`, one number; `[C]` behind a full
/// layer, where channels are last.
fn by_channel(tensor: &Tensor, channels: usize, flat: bool) -> Option<Vec<f32>> {
    let values = tensor.f32s()?;
    let shape = tensor.shape();
    if let [value] = values {
        return (shape.len() <= if flat { 2 } else { 4 }).then(|| vec![*value; channels]);
    }
    let fits = if flat {
        shape == [channels] || shape == [1, channels]
    } else {
        shape == [channels, 1, 1] || shape == [1, channels, 1, 1]
    };
    fits.then(|| values.to_vec())
}

fn apply(edit: &mut Edit, layer: usize, follower: usize, affine: &Affine, channels: usize) {
    let (Some(node), Some(after)) = (edit.graph.node.get(layer).cloned(), edit.graph.node.get(follower).cloned())
    else {
        return;
    };
    let name = node.output.first().cloned().unwrap_or_default();
    let Some(weights) = node.input.get(1).and_then(|weights| edit.value(weights)) else { return };
    let bias = node.input.get(2).filter(|bias| !bias.is_empty()).and_then(|bias| edit.value(bias));
    let bias: Vec<f32> = match bias.as_ref().and_then(Tensor::f32s) {
        Some([one]) => vec![*one; channels],
        Some(bias) => bias.to_vec(),
        None => vec![0.0; channels],
    };
    let shifted = bias.iter().zip(&affine.scale).zip(&affine.shift).map(|((b, s), t)| b * s + t).collect::<Vec<_>>();
    let Some(scaled) = scaled(&node, &weights, &affine.scale) else { return };
    let Ok(bias) = Tensor::new([channels], shifted) else { return };
    let weights = edit.constant(&format!("{name}.weight"), &scaled);
    let bias = edit.constant(&format!("{name}.bias"), &bias);
    if let Some(node) = edit.graph.node.get_mut(layer) {
        node.input.truncate(1);
        node.input.extend([weights, bias]);
        // the layer gives what the follower gave, so that outputs of the graph keep their names
        node.output.clone_from(&after.output);
        node.output.truncate(1);
    }
    edit.graph.node.remove(follower);
}

fn scaled(layer: &NodeProto, weights: &Tensor, scale: &[f32]) -> Option<Tensor> {
    let (shape, values) = (weights.shape(), weights.f32s()?);
    let axis = axis(layer)?;
    let (count, inner) = (shape.get(axis).copied()?, shape.iter().skip(axis + 1).product::<usize>());
    let group = usize::try_from(graph::int(layer, "group").unwrap_or(1)).ok()?;
    // rows of a transposed convolution's weights are input channels; those of a group feed its own output channels
    let per_group =
        if graph::is(layer, "ConvTranspose") { shape.first().copied()?.checked_div(group)? } else { usize::MAX };
    let made = values.iter().enumerate().map(|(at, value)| {
        let (outer, channel) = (at / (inner * count).max(1), (at / inner.max(1)) % count.max(1));
        let channel = if per_group == usize::MAX { channel } else { outer / per_group.max(1) * count + channel };
        value * scale.get(channel).copied().unwrap_or(1.0)
    });
    Tensor::new(shape, made.collect::<Vec<_>>()).ok()
}
