//! The graph with its pairs.

use std::collections::BTreeMap;

use super::{Granularity, Quantise, plan::Plan};
use crate::{
    DType, Error, Tensor,
    compress::{
        edit::{Edit, node},
        scheme::{self, Affine},
    },
    onnx::{
        Model,
        graph::{self, Attribute},
        proto::NodeProto,
    },
};

struct Emit<'p> {
    edit: Edit,
    how: &'p Quantise,
    scales: &'p BTreeMap<String, Affine>,
    /// Weights that are quantised already, by name and axis: what gives them back, and their scales.
    weights: BTreeMap<(String, Option<usize>), (String, Vec<f32>)>,
    /// Pairs and other nodes that were added.
    added: Vec<NodeProto>,
}

pub(super) fn emit(edit: Edit, plan: &Plan, scales: &BTreeMap<String, Affine>, how: &Quantise) -> Result<Model, Error> {
    let mut emit = Emit { edit, how, scales, weights: BTreeMap::new(), added: Vec::new() };
    let mut nodes = std::mem::take(&mut emit.edit.graph.node);
    for (at, node) in nodes.iter_mut().enumerate() {
        if plan.nodes.contains(&at) {
            emit.constants(node)?;
        }
    }
    emit.edit.graph.node = nodes;
    let mut pairs = BTreeMap::new();
    for (value, affine) in scales {
        pairs.insert(value.clone(), emit.pair(value, *affine)?);
    }
    emit.edit.redirect(&pairs);
    emit.edit.graph.node.append(&mut emit.added);
    sort(&mut emit.edit)?;
    super::super::clean::bury(&mut emit.edit);
    emit.edit.finish()
}

/// ONNX wants nodes to stand in an order that runs.
fn sort(edit: &mut Edit) -> Result<(), Error> {
    let order = graph::order(&edit.graph.node)?;
    let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut edit.graph.node).into_iter().map(Some).collect();
    edit.graph.node = order.into_iter().filter_map(|at| nodes.get_mut(at).and_then(Option::take)).collect();
    Ok(())
}

impl Emit<'_> {
    /// A pair on a value; the name of what comes out of it.
    fn pair(&mut self, value: &str, affine: Affine) -> Result<String, Error> {
        let scale = self.edit.constant(&format!("{value}.scale"), &Tensor::scalar(vec![affine.scale])?);
        let zero = self.edit.constant(&format!("{value}.zero"), &Tensor::scalar(vec![affine.zero])?);
        let quantised = self.edit.fresh(&format!("{value}.quantised"));
        let back = self.edit.fresh(&format!("{value}.dequantised"));
        self.added.push(node("QuantizeLinear", &[value, &scale, &zero], &quantised, Vec::new()));
        self.added.push(node("DequantizeLinear", &[&quantised, &scale, &zero], &back, Vec::new()));
        Ok(back)
    }

    /// Quantises what a node reads of constants.
    fn constants(&mut self, node: &mut NodeProto) -> Result<(), Error> {
        let weighted = ["Conv", "Gemm", "MatMul"].iter().any(|operator| graph::is(node, operator));
        let value =
            |edit: &Edit, name: Option<&String>| name.filter(|name| !name.is_empty()).and_then(|n| edit.value(n));
        if !weighted {
            for name in &mut node.input {
                if let Some(tensor) = value(&self.edit, Some(name)) {
                    *name = self.operand(name, &tensor)?;
                }
            }
            return Ok(());
        }
        let Some(weights) = value(&self.edit, node.input.get(1)) else { return Ok(()) };
        let axis = self.axis(node, &weights);
        let name = node.input.get(1).cloned().unwrap_or_default();
        let (back, scales) = self.weights(&name, &weights, axis)?;
        let bias = value(&self.edit, node.input.get(2));
        if let Some(name) = node.input.get_mut(1) {
            *name = back;
        }
        let input = node.input.first().and_then(|input| self.scales.get(input));
        if let (Some(bias), Some(input), Some(name)) = (bias, input, node.input.get_mut(2)) {
            *name = self.bias(name, &bias, input.scale, &scales)?;
        }
        Ok(())
    }

    /// The dimension of the weights that has a scale for each position; none for one scale.
    fn axis(&self, node: &NodeProto, weights: &Tensor) -> Option<usize> {
        if self.how.granularity == Granularity::Tensor {
            return None;
        }
        let last = weights.shape().len().checked_sub(1)?;
        if graph::is(node, "Conv") {
            Some(0)
        } else if graph::is(node, "Gemm") {
            Some(usize::from(graph::int(node, "transB") != Some(1)))
        } else {
            // a stack of matrices has one scale
            (last == 1).then_some(1)
        }
    }

    fn weights(&mut self, name: &str, tensor: &Tensor, axis: Option<usize>) -> Result<(String, Vec<f32>), Error> {
        let key = (name.to_owned(), axis);
        if let Some(known) = self.weights.get(&key) {
            return Ok(known.clone());
        }
        let made = scheme::weights(tensor, axis, self.how.bits)?;
        let zeros = DType::I8.zeros(made.scales.len());
        let shape = if axis.is_some() { vec![made.scales.len()] } else { Vec::new() };
        let values = self.edit.constant(&format!("{name}.quantised"), &made.values);
        let scale = self.edit.constant(&format!("{name}.scale"), &Tensor::new(shape.clone(), made.scales.clone())?);
        let zero = self.edit.constant(&format!("{name}.zero"), &Tensor::new(shape, zeros)?);
        let back = self.back(name, [&values, &scale, &zero], axis);
        self.weights.insert(key, (back.clone(), made.scales.clone()));
        Ok((back, made.scales))
    }

    fn bias(&mut self, name: &str, bias: &Tensor, input: f32, scales: &[f32]) -> Result<String, Error> {
        let Some(values) = bias.f32s() else { return Ok(name.to_owned()) };
        let (quantised, scales) = scheme::bias(values, input, scales);
        let axis = (scales.len() > 1).then_some(0);
        let shape = if axis.is_some() { vec![scales.len()] } else { Vec::new() };
        let zeros = DType::I32.zeros(scales.len());
        let values = self.edit.constant(&format!("{name}.quantised"), &Tensor::new(bias.shape(), quantised)?);
        let scale = self.edit.constant(&format!("{name}.scale"), &Tensor::new(shape.clone(), scales)?);
        let zero = self.edit.constant(&format!("{name}.zero"), &Tensor::new(shape, zeros)?);
        Ok(self.back(name, [&values, &scale, &zero], axis))
    }

    /// A constant that is an operand as activations are.
    fn operand(&mut self, name: &str, tensor: &Tensor) -> Result<String, Error> {
        let Some(values) = tensor.f32s() else { return Ok(name.to_owned()) };
        let range =
            values.iter().fold((0.0_f32, 0.0_f32), |(least, most), value| (least.min(*value), most.max(*value)));
        let affine = Affine::of(range);
        let quantised = values
            .iter()
            .map(|value| ((value / affine.scale).round_ties_even() + f32::from(affine.zero)).clamp(0.0, 255.0) as u8);
        let quantised = Tensor::new(tensor.shape(), quantised.collect::<Vec<_>>())?;
        let values = self.edit.constant(&format!("{name}.quantised"), &quantised);
        let scale = self.edit.constant(&format!("{name}.scale"), &Tensor::scalar(vec![affine.scale])?);
        let zero = self.edit.constant(&format!("{name}.zero"), &Tensor::scalar(vec![affine.zero])?);
        Ok(self.back(name, [&values, &scale, &zero], None))
    }

    fn back(&mut self, name: &str, inputs: [&str; 3], axis: Option<usize>) -> String {
        let back = self.edit.fresh(&format!("{name}.dequantised"));
        let attributes = axis.map(|axis| ("axis", Attribute::Int(i64::try_from(axis).unwrap_or_default())));
        self.added.push(node("DequantizeLinear", &inputs, &back, attributes.into_iter().collect()));
        back
    }
}
