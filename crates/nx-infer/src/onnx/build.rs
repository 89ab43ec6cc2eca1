//! Writes a network out as ONNX, node by node.

use super::{
    Dim, Limits, Model, Value,
    graph::Attribute,
    proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto},
    to_proto,
};
use crate::{DType, Error, Tensor};

/// The version of the format that is written: every ONNX Runtime since 1.13 reads it.
const IR_VERSION: i64 = 8;

/// A graph in the making. Methods that add a value return its name.
#[derive(Debug, Clone)]
pub struct Builder {
    header: ModelProto,
    graph: GraphProto,
}

impl Builder {
    /// An empty graph over a version of ONNX's own operators.
    pub fn new(name: &str, opset: i64) -> Self {
        let header = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("neuraxis".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            ..ModelProto::default()
        };
        Self { header, graph: GraphProto { name: Some(name.to_owned()), ..GraphProto::default() } }
    }

    /// A line of metadata.
    pub fn metadata(&mut self, key: &str, value: &str) -> &mut Self {
        let entry = StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
        self.header.metadata_props.push(entry);
        self
    }

    /// What the caller gives.
    pub fn input(&mut self, name: &str, dtype: DType, shape: &[Dim]) -> String {
        let value = Value { name: name.to_owned(), dtype, shape: Some(shape.to_vec()) };
        self.graph.input.push(value.to_proto());
        name.to_owned()
    }

    /// A constant: weights, axes, shapes.
    pub fn constant(&mut self, name: &str, tensor: &Tensor) -> String {
        self.graph.initializer.push(to_proto(name, tensor));
        name.to_owned()
    }

    /// A node with one output, which is named as the node is.
    pub fn node(&mut self, operator: &str, name: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        self.nodes(operator, name, inputs, &[name], attributes);
        name.to_owned()
    }

    /// A node with several outputs; an empty name stands for one that is not wanted.
    pub fn nodes(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) {
        self.graph.node.push(NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(name.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: outputs.iter().map(|&output| output.to_owned()).collect(),
            attribute: attributes.iter().map(|(name, value)| value.clone().into_proto(name)).collect(),
            ..NodeProto::default()
        });
    }

    /// What the caller gets.
    pub fn output(&mut self, name: &str, dtype: DType, shape: &[Dim]) -> &mut Self {
        let value = Value { name: name.to_owned(), dtype, shape: Some(shape.to_vec()) };
        self.graph.output.push(value.to_proto());
        self
    }

    /// The graph alone, to stand within a node of another.
    pub fn graph(self) -> GraphProto {
        self.graph
    }

    /// The model, checked.
    ///
    /// # Errors
    /// `Model` when it is not well formed.
    pub fn finish(self) -> Result<Model, Error> {
        let mut proto = self.header;
        proto.graph = Some(self.graph);
        Model::new(proto, &Limits::default())
    }
}
