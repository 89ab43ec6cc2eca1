//! Networks as ONNX models, for any runtime: opset 17, as many images at once as one likes.
//!
//! Written here and never read. The same network and card give the same bytes.

mod proto;

use prost::Message as _;

use crate::{
    network::{BatchNorm, Layer, Network},
    shape::Shape,
    store,
};
use proto::{Attribute, Entry, Graph, Model, Node, OperatorSet, Tensor, ValueInfo, integer};

/// What a model says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// The graph's name.
    pub name: String,
    /// What the model is for.
    pub doc: String,
    /// Counted by the caller.
    pub version: i64,
    /// Any other entries, such as the data's licence.
    pub entries: Vec<(String, String)>,
}

/// The name of the model's input: `[batch, length]` or `[batch, channels, height, width]`.
pub const INPUT: &str = "input";
/// The name of the model's output.
pub const OUTPUT: &str = "output";
const OPSET: i64 = 17;
/// The version of the format that came with that opset.
const IR: i64 = 8;

/// The network as an ONNX model.
pub fn write(network: &Network, card: &Card) -> Vec<u8> {
    let mut writer = Writer { nodes: Vec::new(), value: INPUT.to_owned(), flat: network.input().is_vector() };
    for (index, layer) in network.layers().iter().enumerate() {
        writer.layer(index, layer);
    }
    let (mut nodes, flat) = (writer.nodes, writer.flat);
    match nodes.last_mut().and_then(|node| node.output.first_mut()) {
        Some(last) => OUTPUT.clone_into(last),
        None => nodes.push(Node::new("Identity", "identity", &[INPUT], OUTPUT)),
    }
    let initializer = store::named(network).map(|(name, tensor)| Tensor::floats(name, &tensor.shape, tensor.values));
    let graph = Graph {
        node: nodes,
        name: card.name.clone(),
        initializer: initializer.collect(),
        input: vec![ValueInfo::floats(INPUT, &dimensions(network.input(), network.input().is_vector()))],
        output: vec![ValueInfo::floats(OUTPUT, &dimensions(network.output(), flat))],
    };
    let entry = |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
    let model = Model {
        ir_version: IR,
        producer_name: "neuraxis".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        model_version: card.version,
        doc_string: card.doc.clone(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: card.entries.iter().map(entry).collect(),
    };
    model.encode_to_vec()
}

fn dimensions(shape: Shape, flat: bool) -> Vec<usize> {
    if flat { vec![shape.len()] } else { vec![shape.channels, shape.height, shape.width] }
}

struct Writer {
    nodes: Vec<Node>,
    /// The name of what the last node gives.
    value: String,
    /// Whether that has no rows and columns.
    flat: bool,
}

impl Writer {
    fn layer(&mut self, index: usize, layer: &Layer) {
        let name = |tensor: &str| format!("{index}.{tensor}");
        match layer {
            Layer::Conv2d(conv) => {
                let (size, pad) = (integer(conv.size), integer(conv.size / 2));
                let tensors =
                    if conv.bias.is_some() { vec![name("weight"), name("bias")] } else { vec![name("weight")] };
                let attributes = vec![Attribute::ints("kernel_shape", &[size; 2]), Attribute::ints("pads", &[pad; 4])];
                self.node("Conv", index, tensors, attributes);
            }
            Layer::BatchNorm(_) => {
                let tensors = ["scale", "shift", "mean", "variance"].map(name);
                let epsilon = Attribute::float("epsilon", BatchNorm::EPSILON);
                self.node("BatchNormalization", index, tensors.into(), vec![epsilon]);
            }
            Layer::Relu => self.node("Relu", index, Vec::new(), Vec::new()),
            // of a vector, only single numbers can be pooled
            Layer::MaxPool { .. } | Layer::GlobalAveragePool if self.flat => {}
            Layer::MaxPool { size } => {
                let size = [integer(*size); 2];
                let attributes = vec![Attribute::ints("kernel_shape", &size), Attribute::ints("strides", &size)];
                self.node("MaxPool", index, Vec::new(), attributes);
            }
            Layer::GlobalAveragePool => {
                self.node("GlobalAveragePool", index, Vec::new(), Vec::new());
                self.flatten(index);
            }
            Layer::Flatten => self.flatten(index),
            Layer::Dense(_) => {
                self.flatten(index);
                let tensors = vec![name("weight"), name("bias")];
                self.node("Gemm", index, tensors, vec![Attribute::int("transB", 1)]);
            }
            Layer::Softmax => {
                self.flatten(index);
                self.node("Softmax", index, Vec::new(), vec![Attribute::int("axis", -1)]);
            }
        }
    }

    fn flatten(&mut self, index: usize) {
        if !self.flat {
            self.node("Flatten", index, Vec::new(), vec![Attribute::int("axis", 1)]);
            self.flat = true;
        }
    }

    fn node(&mut self, operator: &str, index: usize, tensors: Vec<String>, attributes: Vec<Attribute>) {
        let name = format!("{index}.{}", operator.to_lowercase());
        let mut node = Node::new(operator, &name, &[&self.value], &name);
        node.input.extend(tensors);
        node.attribute = attributes;
        self.nodes.push(node);
        self.value = name;
    }
}
