//! What one asks of a graph: the order of its nodes, who produces and who reads a value, attributes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
};

use bytes::Bytes;

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type};
use crate::Error;

/// A node for a person: its operator, and its name in backticks.
pub fn label(node: &NodeProto) -> String {
    let mut label = node.op_type.clone().unwrap_or_default();
    let name = node.name.as_deref().filter(|name| !name.is_empty()).or_else(|| node.output.first().map(String::as_str));
    if let Some(name) = name {
        let _ignored = write!(label, " `{name}`");
    }
    label
}

/// The operator, with its domain where that is not ONNX's own: `Conv`, `com.microsoft.FusedConv`.
pub fn operator(node: &NodeProto) -> String {
    let name = node.op_type.as_deref().unwrap_or_default();
    match node.domain.as_deref() {
        None | Some("" | "ai.onnx") => name.to_owned(),
        Some(domain) => format!("{domain}.{name}"),
    }
}

/// Whether the node is this operator of ONNX's own set.
pub fn is(node: &NodeProto, operator: &str) -> bool {
    matches!(node.domain.as_deref(), None | Some("" | "ai.onnx")) && node.op_type.as_deref() == Some(operator)
}

/// A node's attribute.
pub fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
}

/// The whole number that an attribute holds.
pub fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).and_then(|attribute| attribute.i)
}

/// The number that an attribute holds.
pub fn float(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).and_then(|attribute| attribute.f)
}

/// The whole numbers that an attribute holds.
pub fn ints<'n>(node: &'n NodeProto, name: &str) -> Option<&'n [i64]> {
    attribute(node, name).map(|attribute| attribute.ints.as_slice())
}

/// What an attribute may be set to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f32),
    /// A word.
    Text(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// A tensor.
    Tensor(TensorProto),
    /// A graph, for `If` and loops.
    Graph(GraphProto),
}

impl Attribute {
    /// Writes it as a node does.
    pub fn into_proto(self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
        let kind = match self {
            Self::Int(value) => {
                proto.i = Some(value);
                attribute_type::INT
            }
            Self::Float(value) => {
                proto.f = Some(value);
                attribute_type::FLOAT
            }
            Self::Text(value) => {
                proto.s = Some(Bytes::from(value));
                attribute_type::STRING
            }
            Self::Ints(values) => {
                proto.ints = values;
                attribute_type::INTS
            }
            Self::Floats(values) => {
                proto.floats = values;
                attribute_type::FLOATS
            }
            Self::Tensor(value) => {
                proto.t = Some(Box::new(value));
                attribute_type::TENSOR
            }
            Self::Graph(value) => {
                proto.g = Some(Box::new(value));
                attribute_type::GRAPH
            }
        };
        proto.r#type = Some(kind);
        proto
    }
}

/// The graphs within a node.
pub fn inner(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs))
}

/// Every name that a node reads, those that its inner graphs take from outside included.
pub fn reads(node: &NodeProto) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in inner(node) {
        captures(graph, &mut names);
    }
    names
}

fn captures<'g>(graph: &'g GraphProto, names: &mut BTreeSet<&'g str>) {
    let mut own: BTreeSet<&str> = graph.input.iter().filter_map(|input| input.name.as_deref()).collect();
    own.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()));
    own.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
    names.extend(graph.output.iter().filter_map(|output| output.name.as_deref()).filter(|name| !own.contains(name)));
    for node in &graph.node {
        names.extend(reads(node).into_iter().filter(|name| !own.contains(name)));
    }
}

/// The order in which nodes can run: each after those whose values it reads, else as they stand.
///
/// # Errors
/// `Model` when there is a cycle.
pub fn order(nodes: &[NodeProto]) -> Result<Vec<usize>, Error> {
    let mut producer = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        producer.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), at)));
    }
    let mut waiting = vec![0_usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (at, (node, count)) in nodes.iter().zip(&mut waiting).enumerate() {
        for before in reads(node).into_iter().filter_map(|name| producer.get(name)) {
            *count += 1;
            if let Some(list) = readers.get_mut(*before) {
                list.push(at);
            }
        }
    }
    let mut ready: BTreeSet<usize> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(at, _)| at).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for &reader in readers.get(at).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(reader) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(reader);
                }
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    let stuck = waiting.iter().position(|count| *count > 0).and_then(|at| nodes.get(at));
    Err(Error::model(
        "graph",
        format!("node {} waits for itself: there is a cycle", stuck.map(label).unwrap_or_default()),
    ))
}

/// Who produces and who reads each value of a graph, by the positions of nodes. It is right until the graph changes.
#[derive(Debug, Clone, Default)]
pub struct Index {
    producers: BTreeMap<String, usize>,
    readers: BTreeMap<String, Vec<usize>>,
    initializers: BTreeMap<String, usize>,
}

impl Index {
    /// Looks a graph through.
    pub fn of(graph: &GraphProto) -> Self {
        let mut index = Self::default();
        for (at, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                index.producers.insert(output.clone(), at);
            }
            for name in reads(node) {
                index.readers.entry(name.to_owned()).or_default().push(at);
            }
        }
        for (at, tensor) in graph.initializer.iter().enumerate() {
            index.initializers.insert(tensor.name.clone().unwrap_or_default(), at);
        }
        index
    }

    /// The node that produces a value.
    pub fn producer(&self, name: &str) -> Option<usize> {
        self.producers.get(name).copied()
    }

    /// The nodes that read a value.
    pub fn readers(&self, name: &str) -> &[usize] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The initialiser of that name.
    pub fn initializer(&self, name: &str) -> Option<usize> {
        self.initializers.get(name).copied()
    }
}

/// Every node, those of inner graphs included.
pub fn walk<'g>(graph: &'g GraphProto, visit: &mut impl FnMut(&'g NodeProto)) {
    for node in &graph.node {
        visit(node);
        for graph in inner(node) {
            walk(graph, visit);
        }
    }
}
