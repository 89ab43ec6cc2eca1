//! Weights stored in fewer bytes, arithmetic as before: `i8` with scales, or half precision, and a node that gives the numbers
//! back. Runtimes do that once, when they load the model.

use std::collections::BTreeMap;

use super::{
    edit::{Edit, node},
    opset::raise,
    scheme,
};
use crate::{
    DType, Data, Error, Tensor,
    onnx::{
        Model,
        graph::{self, Attribute, Index},
        proto::NodeProto,
    },
};

/// Smaller constants stay as they are: the node would cost what the bytes save.
const LEAST: usize = 256;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// `i8`, one scale for each output channel.
    Int8,
    /// IEEE half precision.
    Half,
}

/// Stores weights in fewer bytes. The second result counts the constants that changed.
///
/// # Errors
/// `Compress` when there is no weight that could be stored so.
pub fn store(model: &Model, storage: Storage) -> Result<(Model, usize), Error> {
    let mut edit = Edit::new(&raise(model)?);
    let index = Index::of(&edit.graph);
    let names: Vec<String> = edit.graph.initializer.iter().filter_map(|tensor| tensor.name.clone()).collect();
    let (mut instead, mut added) = (BTreeMap::new(), Vec::new());
    for name in names {
        let Some(tensor) = edit.value(&name).filter(|t| t.dtype() == DType::F32 && t.data().len() >= LEAST) else {
            continue;
        };
        let readers: Vec<&NodeProto> =
            index.readers(&name).iter().filter_map(|reader| edit.graph.node.get(*reader)).collect();
        let back = match storage {
            Storage::Half => half(&mut edit, &name, &tensor, &mut added),
            Storage::Int8 => match axis(&readers, &name) {
                None => None,
                Some(axis) => Some(int8(&mut edit, &name, &tensor, axis, &mut added)?),
            },
        };
        instead.extend(back.map(|back| (name, back)));
    }
    if instead.is_empty() {
        let reason = format!("no constant of {LEAST} or more numbers could be stored in fewer bytes");
        return Err(Error::Compress { step: "store", reason });
    }
    edit.redirect(&instead);
    // they read constants alone, so they may stand first
    added.append(&mut edit.graph.node);
    edit.graph.node = added;
    super::clean::bury(&mut edit);
    Ok((edit.finish()?, instead.len()))
}

/// The dimension of output channels, where all that read a weight agree on it.
fn axis(readers: &[&NodeProto], name: &str) -> Option<usize> {
    let each = readers.iter().map(|node| {
        if node.input.get(1).is_none_or(|input| input != name) {
            None
        } else if graph::is(node, "Conv") {
            Some(0)
        } else if graph::is(node, "Gemm") {
            Some(usize::from(graph::int(node, "transB") != Some(1)))
        } else {
            graph::is(node, "MatMul").then_some(1)
        }
    });
    let each: Option<Vec<usize>> = each.collect();
    let each = each?;
    let first = *each.first()?;
    each.iter().all(|axis| *axis == first).then_some(first)
}

fn int8(
    edit: &mut Edit,
    name: &str,
    tensor: &Tensor,
    axis: usize,
    added: &mut Vec<NodeProto>,
) -> Result<String, Error> {
    // a stack of matrices has one scale
    let axis = (axis == 0 || tensor.shape().len() == 2).then_some(axis);
    let made = scheme::weights(tensor, axis, 8)?;
    let shape = if axis.is_some() { vec![made.scales.len()] } else { Vec::new() };
    let zeros = DType::I8.zeros(made.scales.len());
    let values = edit.constant(&format!("{name}.stored"), &made.values);
    let scale = edit.constant(&format!("{name}.scale"), &Tensor::new(shape.clone(), made.scales)?);
    let zero = edit.constant(&format!("{name}.zero"), &Tensor::new(shape, zeros)?);
    let back = edit.fresh(&format!("{name}.restored"));
    let attributes = axis.map(|axis| ("axis", Attribute::Int(i64::try_from(axis).unwrap_or_default())));
    added.push(node("DequantizeLinear", &[&values, &scale, &zero], &back, attributes.into_iter().collect()));
    Ok(back)
}

/// None where a number is too large for half precision.
fn half(edit: &mut Edit, name: &str, tensor: &Tensor, added: &mut Vec<NodeProto>) -> Option<String> {
    let values: Vec<half::f16> = tensor.f32s()?.iter().map(|value| half::f16::from_f32(*value)).collect();
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let stored = Tensor::new(tensor.shape(), Data::F16(values)).ok()?;
    let values = edit.constant(&format!("{name}.stored"), &stored);
    let back = edit.fresh(&format!("{name}.restored"));
    added.push(node("Cast", &[&values], &back, vec![("to", Attribute::Int(i64::from(DType::F32.onnx())))]));
    Some(back)
}
