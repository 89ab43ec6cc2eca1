//! Clean-up that keeps every result: `Constant` nodes become initialisers, `Identity` and `Dropout` go, and so does whatever
//! nobody reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::edit::Edit;
use crate::{
    DType, Data, Error, Tensor,
    onnx::{
        Model, graph,
        proto::{NodeProto, TensorProto},
        to_proto,
    },
};

/// What a clean-up did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cleaned {
    /// `Constant` nodes that became initialisers.
    pub constants: usize,
    /// Nodes that only gave a constant another shape or type, which it has by itself now.
    pub shaped: usize,
    /// Nodes that only passed a value on.
    pub passed_on: usize,
    /// Nodes that nobody read.
    pub dead_nodes: usize,
    /// Initialisers that nobody read.
    pub dead_constants: usize,
}

/// Cleans a model up.
///
/// # Errors
/// `Model` when the model was not well formed before.
pub fn clean(model: &Model) -> Result<(Model, Cleaned), Error> {
    let mut edit = Edit::new(model);
    // since IR version 4 an initialiser need not be an input
    edit.header.ir_version = edit.header.ir_version.map(|version| version.max(4));
    let mut cleaned = Cleaned { constants: constants(&mut edit), ..Cleaned::default() };
    cleaned.shaped = shaped(&mut edit)?;
    cleaned.passed_on = pass_on(&mut edit);
    (cleaned.dead_nodes, cleaned.dead_constants) = bury(&mut edit);
    Ok((edit.finish()?, cleaned))
}

fn constants(edit: &mut Edit) -> usize {
    let (mut kept, mut made) = (Vec::new(), Vec::new());
    for node in std::mem::take(&mut edit.graph.node) {
        match (constant(&node), node.output.first()) {
            (Some(mut tensor), Some(name)) if graph::is(&node, "Constant") => {
                tensor.name = Some(name.clone());
                made.push(tensor);
            }
            _ => kept.push(node),
        }
    }
    edit.graph.node = kept;
    let count = made.len();
    edit.graph.initializer.extend(made);
    count
}

/// The tensor of a `Constant` node; none for the sparse and for text.
fn constant(node: &NodeProto) -> Option<TensorProto> {
    if let Some(attribute) = graph::attribute(node, "value") {
        return attribute.t.as_deref().cloned();
    }
    let tensor = if let Some(value) = graph::float(node, "value_float") {
        Tensor::scalar(vec![value])
    } else if let Some(value) = graph::int(node, "value_int") {
        Tensor::scalar(vec![value])
    } else if let Some(values) = graph::ints(node, "value_ints") {
        Tensor::new([values.len()], values.to_vec())
    } else {
        let floats = &graph::attribute(node, "value_floats")?.floats;
        Tensor::new([floats.len()], floats.clone())
    };
    tensor.ok().map(|tensor| to_proto("", &tensor))
}

/// Constants that a node gives another shape or type: exporters write biases and axes so.
fn shaped(edit: &mut Edit) -> Result<usize, Error> {
    let mut kept = BTreeSet::new();
    let mut count = 0;
    for at in graph::order(&edit.graph.node)? {
        let Some(node) = edit.graph.node.get(at) else { continue };
        let made = match node.output.as_slice() {
            [output] if !edit.is_output(output) => reshaped(edit, node).or_else(|| cast(edit, node)),
            _ => None,
        };
        match (made, node.output.first().cloned()) {
            (Some(tensor), Some(name)) => {
                edit.graph.initializer.push(to_proto(&name, &tensor));
                count += 1;
            }
            _ => {
                kept.insert(at);
            }
        }
    }
    let mut at = 0;
    edit.graph.node.retain(|_| {
        at += 1;
        kept.contains(&(at - 1))
    });
    Ok(count)
}

fn reshaped(edit: &Edit, node: &NodeProto) -> Option<Tensor> {
    if !graph::is(node, "Reshape") {
        return None;
    }
    let tensor = edit.value(node.input.first()?)?;
    let shape = edit.value(node.input.get(1)?)?;
    let Data::I64(dims) = shape.data() else { return None };
    let zero_is_zero = graph::int(node, "allowzero") == Some(1);
    let open = dims.iter().filter(|dim| **dim == -1).count();
    let given = |(at, dim): (usize, &i64)| match dim {
        0 if !zero_is_zero => tensor.shape().get(at).copied(),
        dim => usize::try_from(*dim).ok(),
    };
    let known = dims.iter().enumerate().filter(|(_, dim)| **dim != -1).map(given).collect::<Option<Vec<_>>>()?;
    let rest = if open == 1 { tensor.data().len().checked_div(known.iter().product())? } else { 1 };
    let mut known = known.into_iter();
    let shape: Option<Vec<usize>> = dims.iter().map(|dim| if *dim == -1 { Some(rest) } else { known.next() }).collect();
    tensor.reshape(shape.filter(|_| open <= 1)?).ok()
}

fn cast(edit: &Edit, node: &NodeProto) -> Option<Tensor> {
    if !graph::is(node, "Cast") {
        return None;
    }
    let tensor = edit.value(node.input.first()?)?;
    let to = i32::try_from(graph::int(node, "to")?).ok().and_then(DType::from_onnx)?;
    let data = match (tensor.data(), to) {
        (Data::I64(values), DType::I32) => {
            Data::I32(values.iter().map(|value| i32::try_from(*value).ok()).collect::<Option<_>>()?)
        }
        (Data::I32(values), DType::I64) => Data::I64(values.iter().copied().map(i64::from).collect()),
        (data, to) if data.dtype() == to => data.clone(),
        _ => return None,
    };
    Tensor::new(tensor.shape(), data).ok()
}

fn passes_on(node: &NodeProto) -> bool {
    let mask_unread = node.output.iter().skip(1).all(String::is_empty);
    // a third input of Dropout says that it is training
    graph::is(node, "Identity") || (graph::is(node, "Dropout") && mask_unread && node.input.len() < 3)
}

fn pass_on(edit: &mut Edit) -> usize {
    let mut instead: BTreeMap<String, String> = BTreeMap::new();
    let mut kept = Vec::new();
    let before = edit.graph.node.len();
    // the nodes may stand in any order, so chains are followed at the end
    for node in std::mem::take(&mut edit.graph.node) {
        match (node.input.first(), node.output.first()) {
            (Some(input), Some(output)) if passes_on(&node) && !edit.is_output(output) => {
                instead.insert(output.clone(), input.clone());
            }
            _ => kept.push(node),
        }
    }
    let resolved: BTreeMap<String, String> =
        instead.iter().map(|(from, to)| (from.clone(), last(&instead, to))).collect();
    edit.graph.node = kept;
    edit.redirect(&resolved);
    before - edit.graph.node.len()
}

fn last(instead: &BTreeMap<String, String>, name: &str) -> String {
    let mut name = name;
    while let Some(next) = instead.get(name) {
        name = next;
    }
    name.to_owned()
}

/// Takes out nodes and initialisers that lead to no output.
pub(super) fn bury(edit: &mut Edit) -> (usize, usize) {
    let producer: BTreeMap<&str, usize> = edit
        .graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(at, node)| node.output.iter().map(move |output| (output.as_str(), at)))
        .collect();
    let mut wanted: Vec<&str> = edit.graph.output.iter().filter_map(|output| output.name.as_deref()).collect();
    let (mut read, mut alive) = (BTreeSet::new(), BTreeSet::new());
    while let Some(name) = wanted.pop() {
        if !read.insert(name.to_owned()) {
            continue;
        }
        if let Some(&at) = producer.get(name)
            && alive.insert(at)
            && let Some(node) = edit.graph.node.get(at)
        {
            wanted.extend(graph::reads(node));
        }
    }
    let (nodes, constants) = (edit.graph.node.len(), edit.graph.initializer.len());
    let mut at = 0;
    edit.graph.node.retain(|_| {
        at += 1;
        alive.contains(&(at - 1))
    });
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| read.contains(name));
    edit.graph.initializer.retain(|tensor| named(&tensor.name));
    edit.graph.sparse_initializer.retain(|sparse| sparse.values.as_ref().is_some_and(|values| named(&values.name)));
    // what is known of values that are gone
    let left: BTreeSet<String> = edit.graph.node.iter().flat_map(|node| node.output.iter().cloned()).collect();
    edit.graph.value_info.retain(|value| value.name.as_ref().is_some_and(|name| left.contains(name)));
    // some exporters list initialisers as inputs, too
    let constants_now: BTreeSet<_> = edit.graph.initializer.iter().filter_map(|tensor| tensor.name.clone()).collect();
    edit.graph.input.retain(|input| !input.name.as_ref().is_some_and(|name| constants_now.contains(name)));
    (nodes - edit.graph.node.len(), constants - edit.graph.initializer.len())
}
