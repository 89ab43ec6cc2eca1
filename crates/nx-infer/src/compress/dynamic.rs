//! Dynamic int8: weights of `i8`, activations of `u8` in a range that is found anew in each run (`DynamicQuantizeLinear`), products of
//! whole numbers (`MatMulInteger`). It needs no data. Full layers alone: for convolutions it was 6 times slower than `f32`
//! in ONNX Runtime (docs/benchmarks.md).

use std::collections::BTreeMap;

use super::{
    Granularity,
    edit::{Edit, node},
    opset::raise,
    quantise::numbers,
    scheme,
};
use crate::{
    DType, Error, Tensor,
    onnx::{
        Model,
        graph::{self, Attribute},
        proto::NodeProto,
    },
};

/// Quantises the full layers of a model without data. The second result counts them.
///
/// # Errors
/// `Compress` when there is none that could be.
pub fn dynamic(model: &Model, granularity: Granularity) -> Result<(Model, usize), Error> {
    let mut edit = Edit::new(&raise(model)?);
    let floats = numbers(&edit.graph);
    let mut given: BTreeMap<String, [String; 3]> = BTreeMap::new();
    let (mut nodes, mut count) = (Vec::new(), 0);
    for layer in std::mem::take(&mut edit.graph.node) {
        let fits = layer.input.first().is_some_and(|input| floats.contains(input));
        match weights(&edit, &layer).filter(|_| fits) {
            Some(weights) => {
                replace(&mut edit, &layer, &weights, granularity, &mut given, &mut nodes)?;
                count += 1;
            }
            None => nodes.push(layer),
        }
    }
    if count == 0 {
        let reason = "the model has no `MatMul` or `Gemm` with constant weights".to_owned();
        return Err(Error::Compress { step: "dynamic", reason });
    }
    edit.graph.node = nodes;
    super::clean::bury(&mut edit);
    Ok((edit.finish()?, count))
}

/// The weights of a full layer as rows of inputs and columns of outputs.
fn weights(edit: &Edit, layer: &NodeProto) -> Option<Tensor> {
    let tensor = || edit.value(layer.input.get(1)?).filter(|tensor| tensor.f32s().is_some());
    if graph::is(layer, "MatMul") {
        return tensor().filter(|tensor| tensor.shape().len() == 2);
    }
    let plain = |name| graph::float(layer, name).is_none_or(|value| (value - 1.0).abs() < f32::EPSILON);
    if !graph::is(layer, "Gemm") || !plain("alpha") || !plain("beta") || graph::int(layer, "transA") == Some(1) {
        return None;
    }
    let tensor = tensor()?;
    if graph::int(layer, "transB") != Some(1) {
        return Some(tensor);
    }
    let &[rows, columns] = tensor.shape() else { return None };
    let values = tensor.f32s()?;
    let turned = (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).copied());
    Tensor::new([columns, rows], turned.collect::<Vec<_>>()).ok()
}

fn replace(
    edit: &mut Edit,
    layer: &NodeProto,
    weights: &Tensor,
    granularity: Granularity,
    given: &mut BTreeMap<String, [String; 3]>,
    nodes: &mut Vec<NodeProto>,
) -> Result<(), Error> {
    let (Some(input), Some(output)) = (layer.input.first(), layer.output.first()) else { return Ok(()) };
    let axis = (granularity == Granularity::Channel).then_some(1);
    let made = scheme::weights(weights, axis, 8)?;
    let values = edit.constant(&format!("{output}.weights"), &made.values);
    let shape = if axis.is_some() { vec![made.scales.len()] } else { Vec::new() };
    let scale = edit.constant(&format!("{output}.scale"), &Tensor::new(shape, made.scales)?);
    let [quantised, input_scale, zero] = match given.get(input) {
        Some(known) => known.clone(),
        None => {
            let names = ["quantised", "scale", "zero"].map(|what| edit.fresh(&format!("{input}.dynamic.{what}")));
            let made = node("DynamicQuantizeLinear", &[input], &format!("{input}.dynamic"), Vec::new());
            nodes.push(NodeProto { output: names.to_vec(), ..made });
            given.insert(input.clone(), names.clone());
            names
        }
    };
    let names = ["products", "numbers", "scales"].map(|what| edit.fresh(&format!("{output}.{what}")));
    let [products, sums, scales] = &names;
    nodes.push(node("MatMulInteger", &[&quantised, &values, &zero], products, Vec::new()));
    let to = vec![("to", Attribute::Int(i64::from(DType::F32.onnx())))];
    nodes.push(node("Cast", &[products], sums, to));
    nodes.push(node("Mul", &[&input_scale, &scale], scales, Vec::new()));
    match layer.input.get(2).filter(|bias| !bias.is_empty()) {
        None => nodes.push(node("Mul", &[sums, scales], output, Vec::new())),
        Some(bias) => {
            let scaled = edit.fresh(&format!("{output}.scaled"));
            nodes.push(node("Mul", &[sums, scales], &scaled, Vec::new()));
            nodes.push(node("Add", &[&scaled, bias], output, Vec::new()));
        }
    }
    Ok(())
}
