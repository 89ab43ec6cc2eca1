//! Which nodes are quantised, and which values get a pair.

use std::collections::{BTreeMap, BTreeSet};

use super::Quantise;
use crate::{
    DType,
    onnx::{
        Model,
        graph::{self, Index},
        proto::{GraphProto, NodeProto},
    },
};

/// Operators that give the numbers they were given, or some of them.
const MOVING: [&str; 9] =
    ["MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Identity", "DepthToSpace"];
/// Operators whose output is of a type that their first input does not tell, or that is not told here.
const CHANGING: [&str; 27] = [
    "Shape",
    "Size",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Not",
    "And",
    "Or",
    "Xor",
    "IsNaN",
    "IsInf",
    "ArgMax",
    "ArgMin",
    "NonZero",
    "OneHot",
    "EyeLike",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "DynamicQuantizeLinear",
    "QuantizeLinear",
    "If",
    "Loop",
    "Scan",
    "Constant",
];

/// What [`super::quantise`] will do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Positions of the nodes that are quantised.
    pub(super) nodes: BTreeSet<usize>,
    /// Values that get a pair, and the value whose range they have: their own, or that which is moved.
    pub(super) values: BTreeMap<String, String>,
}

impl Plan {
    pub(super) fn of(model: &Model, how: &Quantise) -> Self {
        let graph = model.graph();
        let index = Index::of(graph);
        let numbers = numbers(graph);
        let outputs: BTreeSet<&str> = graph.output.iter().filter_map(|output| output.name.as_deref()).collect();
        let order = graph::order(&graph.node).unwrap_or_default();
        let mut plan = Self::default();
        for &at in &order {
            let Some(node) = graph.node.get(at) else { continue };
            if !wanted(node, how) || !can(graph, &index, node, &numbers) {
                continue;
            }
            plan.nodes.insert(at);
            let read = node.input.iter().filter(|name| index.initializer(name).is_none() && numbers.contains(*name));
            for name in read {
                plan.values.insert(name.clone(), name.clone());
            }
            if let Some(output) = node.output.first() {
                let shown = behind_activation(graph, &index, output, &outputs);
                if !outputs.contains(shown) {
                    plan.values.insert(shown.to_owned(), shown.to_owned());
                }
            }
        }
        // what is moved keeps its scale
        for &at in &order {
            let Some(node) = graph.node.get(at) else { continue };
            let moved = node.input.first().and_then(|input| plan.values.get(input)).cloned();
            if let (Some(like), [output]) = (moved, node.output.as_slice())
                && MOVING.iter().any(|operator| graph::is(node, operator))
                && !outputs.contains(output.as_str())
            {
                plan.values.insert(output.clone(), like);
            }
        }
        plan
    }
}

fn wanted(node: &NodeProto, how: &Quantise) -> bool {
    let skipped = |name: &String| how.skip.contains(name);
    how.operators.contains(&graph::operator(node)) && !node.name.iter().any(skipped) && !node.output.iter().any(skipped)
}

/// Whether all that a node reads can be quantised.
fn can(graph: &GraphProto, index: &Index, node: &NodeProto, numbers: &BTreeSet<String>) -> bool {
    let constant = |name: &str| index.initializer(name).and_then(|at| graph.initializer.get(at));
    let float = |name: &str| match constant(name) {
        Some(tensor) => tensor.data_type == Some(DType::F32.onnx()),
        None => numbers.contains(name),
    };
    let first = node.input.first().is_some_and(|name| constant(name).is_none() && float(name));
    if graph::is(node, "Conv") || graph::is(node, "Gemm") {
        let plain = |name| graph::float(node, name).is_none_or(|value| (value - 1.0).abs() < f32::EPSILON);
        let weights =
            node.input.iter().skip(1).all(|name| name.is_empty() || (constant(name).is_some() && float(name)));
        let bias = node.input.get(2).and_then(|name| constant(name)).is_none_or(|bias| bias.dims.len() == 1);
        return first && weights && bias && plain("alpha") && plain("beta") && graph::int(node, "transA") != Some(1);
    }
    let any = node.input.iter().any(|name| constant(name).is_none() && float(name));
    any && node.input.iter().all(|name| float(name)) && (first || !graph::is(node, "MatMul"))
}

/// The value behind `Relu` or `Clip`, where that is all that reads it: runtimes make the three one.
fn behind_activation<'g>(graph: &'g GraphProto, index: &Index, output: &'g str, outputs: &BTreeSet<&str>) -> &'g str {
    if outputs.contains(output) {
        return output;
    }
    let &[reader] = index.readers(output) else { return output };
    let Some(node) = graph.node.get(reader) else { return output };
    match node.output.first() {
        Some(shown) if graph::is(node, "Relu") || graph::is(node, "Clip") => shown,
        _ => output,
    }
}

/// The values that are `f32`, as far as that can be told from operators.
pub(in crate::compress) fn numbers(graph: &GraphProto) -> BTreeSet<String> {
    let number = DType::F32.onnx();
    let mut known: BTreeSet<String> = graph
        .input
        .iter()
        .filter(|input| crate::onnx::Value::from_proto(input).is_ok_and(|value| value.dtype == DType::F32))
        .filter_map(|input| input.name.clone())
        .collect();
    let constants: BTreeSet<&str> = graph
        .initializer
        .iter()
        .filter(|tensor| tensor.data_type == Some(number))
        .filter_map(|tensor| tensor.name.as_deref())
        .collect();
    for at in graph::order(&graph.node).unwrap_or_default() {
        let Some(node) = graph.node.get(at) else { continue };
        let float = |at: usize| {
            node.input.get(at).is_some_and(|input| known.contains(input) || constants.contains(input.as_str()))
        };
        let gives = match node.op_type.as_deref().unwrap_or_default() {
            // those of other domains have rules of their own, and those on whole numbers give whole numbers
            operator if graph::operator(node) != operator || operator.contains("Integer") => false,
            operator if CHANGING.contains(&operator) || operator.starts_with("QLinear") => false,
            "Cast" => graph::int(node, "to") == Some(i64::from(number)),
            "ConstantOfShape" => graph::attribute(node, "value")
                .and_then(|value| value.t.as_ref())
                .is_none_or(|value| value.data_type == Some(number)),
            "Where" | "DequantizeLinear" => float(1),
            _ => float(0),
        };
        if gives {
            known.extend(node.output.first().cloned());
            if graph::is(node, "Split") {
                known.extend(node.output.iter().cloned());
            }
        }
    }
    known
}
