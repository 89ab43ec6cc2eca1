//! Weights stored in fewer bytes, arithmetic as before: eight or four bits with scales, or half precision, and nodes that give
//! the numbers back.
//!
//! The nodes are plain arithmetic (`Cast`, `Mul`) on constants, not `DequantizeLinear`: every runtime works those out when it
//! loads the model, so that a run costs what it cost before, whereas ONNX Runtime keeps `DequantizeLinear` and works it out in
//! each run. Four bits are two to a byte, taken apart by arithmetic too: the type `INT4` needs version 21 of the
//! operators, which most models and many engines are before.

mod nibbles;

use super::{
    edit::{Edit, node},
    scheme,
};
use crate::{
    DType, Data, Error, Tensor,
    compress::Granularity,
    onnx::{
        Model, from_proto,
        graph::{self, Attribute, Index},
        proto::{GraphProto, NodeProto, TensorProto},
        to_proto,
    },
};

/// Smaller constants stay as they are: the nodes would cost what the bytes save.
const LEAST: usize = 64;
/// Numbers from which four bits are used; fewer are stored in eight.
const LEAST_OF_FOUR: usize = 4096;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// `i8` with one scale, or one for each output channel.
    Int8(Granularity),
    /// Four bits with a scale for each block of 32; small weights in eight bits.
    Int4,
    /// IEEE half precision.
    Half,
}

/// Stores weights in fewer bytes, those of inner graphs included. The second result counts the constants that changed.
///
/// # Errors
/// `Compress` when there is no weight that could be stored so.
pub fn store(model: &Model, storage: Storage) -> Result<(Model, usize), Error> {
    let mut edit = Edit::new(model);
    let mut graph = std::mem::take(&mut edit.graph);
    let count = within(&mut edit, &mut graph, storage)?;
    if count == 0 {
        let reason = format!("no constant of {LEAST} or more numbers could be stored in fewer bytes");
        return Err(Error::Compress { step: "store", reason });
    }
    edit.graph = graph;
    Ok((edit.finish()?, count))
}

/// What gives a constant back: constants, and the nodes over them.
#[derive(Debug, Default)]
struct Stored {
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

impl Stored {
    fn constant(&mut self, edit: &mut Edit, base: &str, tensor: &Tensor) -> String {
        let name = edit.fresh(base);
        self.constants.push(to_proto(&name, tensor));
        name
    }

    fn node(&mut self, edit: &mut Edit, operator: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>) -> String {
        let name = edit.fresh(&format!("{}.{operator}", inputs.first().copied().unwrap_or_default()));
        self.nodes.push(node(operator, inputs, &name, attributes));
        name
    }

    fn numbers(&mut self, edit: &mut Edit, input: &str) -> String {
        self.node(edit, "Cast", &[input], vec![("to", Attribute::Int(i64::from(DType::F32.onnx())))])
    }

    /// The last node gives the constant its old name.
    fn named(mut self, name: &str) -> Self {
        if let Some(last) = self.nodes.last_mut() {
            last.output = vec![name.to_owned()];
        }
        self
    }
}

fn within(edit: &mut Edit, graph: &mut GraphProto, storage: Storage) -> Result<usize, Error> {
    let mut count = 0;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        for inner in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
            count += within(edit, inner, storage)?;
        }
    }
    let index = Index::of(graph);
    let mut made: Vec<Stored> = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    let nodes = graph.node.iter().filter(|node| graph::is(node, "Constant"));
    let values = nodes.filter_map(|node| {
        Some((node.output.first()?.clone(), graph::attribute(node, "value").and_then(|value| value.t.as_deref())?))
    });
    let constants = graph.initializer.iter().filter_map(|tensor| Some((tensor.name.clone()?, tensor)));
    for (name, proto) in constants.chain(values) {
        let shown = |value: &crate::onnx::proto::ValueInfoProto| value.name.as_ref() == Some(&name);
        if proto.data_type != Some(DType::F32.onnx()) || graph.input.iter().chain(&graph.output).any(shown) {
            continue;
        }
        let Ok(tensor) = from_proto(proto) else { continue };
        let readers: Vec<&NodeProto> = index.readers(&name).iter().filter_map(|at| graph.node.get(*at)).collect();
        // scales and zero points are parts of a scheme already
        let scheme = |node: &&NodeProto| matches!(node.op_type.as_deref(), Some("QuantizeLinear" | "DequantizeLinear"));
        if tensor.data().len() < LEAST || readers.is_empty() || readers.iter().any(scheme) {
            continue;
        }
        let axis = axis(&readers, &name, tensor.shape());
        let eight =
            |edit: &mut Edit, granularity| axis.map(|axis| eight(edit, &name, &tensor, axis, granularity)).transpose();
        let weight = match storage {
            Storage::Half => None,
            Storage::Int8(granularity) => eight(&mut *edit, granularity)?,
            Storage::Int4 if axis.is_some() && tensor.data().len() >= LEAST_OF_FOUR => {
                match nibbles::four(edit, &name, &tensor)? {
                    Some(stored) => Some(stored),
                    None => eight(&mut *edit, Granularity::Channel)?,
                }
            }
            Storage::Int4 => eight(&mut *edit, Granularity::Channel)?,
        };
        // what is no weight of a layer is not told by so few bits
        let stored = weight.or_else(|| half(edit, &name, &tensor));
        if let Some(stored) = stored {
            made.push(stored.named(&name));
            gone.push(name);
        }
    }
    count += gone.len();
    graph.initializer.retain(|tensor| !tensor.name.as_ref().is_some_and(|name| gone.contains(name)));
    graph.node.retain(|node| !(graph::is(node, "Constant") && node.output.iter().any(|name| gone.contains(name))));
    // they read constants alone, so they may stand first
    let mut nodes = Vec::new();
    for stored in made {
        graph.initializer.extend(stored.constants);
        nodes.extend(stored.nodes);
    }
    nodes.append(&mut graph.node);
    graph.node = nodes;
    Ok(count)
}

/// The dimension of output channels, where all that read a weight agree on it.
fn axis(readers: &[&NodeProto], name: &str, shape: &[usize]) -> Option<usize> {
    let last = shape.len().checked_sub(1)?;
    let each = readers.iter().map(|node| {
        let at = node.input.iter().position(|input| input == name)?;
        match (node.op_type.as_deref()?, at) {
            ("Conv", 1) | ("Gather", 0) => Some(0),
            ("ConvTranspose" | "LSTM" | "GRU" | "RNN", 1) | ("LSTM" | "GRU" | "RNN", 2) => Some(1),
            ("Gemm", 1) => Some(usize::from(graph::int(node, "transB") != Some(1))),
            ("MatMul", 1) => Some(last),
            _ => None,
        }
    });
    let each: Option<Vec<usize>> = each.collect();
    let each = each?;
    let first = *each.first()?;
    (first <= last && each.iter().all(|axis| *axis == first)).then_some(first)
}

fn eight(edit: &mut Edit, name: &str, tensor: &Tensor, axis: usize, granularity: Granularity) -> Result<Stored, Error> {
    let channels = tensor.shape().get(axis).copied().unwrap_or(1).max(1);
    // scales of a few numbers each would cost more than they save
    let by_channel = granularity == Granularity::Channel && tensor.data().len() / channels >= 8;
    let made = scheme::weights(tensor, by_channel.then_some(axis), 8)?;
    let shape = if by_channel {
        tensor.shape().iter().enumerate().map(|(at, dim)| if at == axis { *dim } else { 1 }).collect()
    } else {
        Vec::new()
    };
    let mut stored = Stored::default();
    let values = stored.constant(edit, &format!("{name}.stored"), &made.values);
    let scale = stored.constant(edit, &format!("{name}.scale"), &Tensor::new(shape, made.scales)?);
    let numbers = stored.numbers(edit, &values);
    stored.node(edit, "Mul", &[&numbers, &scale], Vec::new());
    Ok(stored)
}

/// None where a number is too large for half precision.
fn half(edit: &mut Edit, name: &str, tensor: &Tensor) -> Option<Stored> {
    let values: Vec<half::f16> = tensor.f32s()?.iter().map(|value| half::f16::from_f32(*value)).collect();
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let tensor = Tensor::new(tensor.shape(), Data::F16(values)).ok()?;
    let mut stored = Stored::default();
    let values = stored.constant(edit, &format!("{name}.stored"), &tensor);
    stored.numbers(edit, &values);
    Some(stored)
}
