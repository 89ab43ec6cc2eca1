//! A graph that is being changed: fresh names, constants, values that take another's place.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Error, Tensor,
    onnx::{
        Limits, Model, from_proto, graph,
        graph::Attribute,
        proto::{GraphProto, ModelProto, NodeProto},
        to_proto,
    },
};

/// A model taken apart.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) header: ModelProto,
    pub(super) graph: GraphProto,
    names: BTreeSet<String>,
}

impl Edit {
    pub(super) fn new(model: &Model) -> Self {
        let (header, graph) = model.clone().into_parts();
        let mut names = BTreeSet::new();
        all_names(&graph, &mut names);
        Self { header, graph, names }
    }

    /// The model again, checked.
    pub(super) fn finish(self) -> Result<Model, Error> {
        let mut proto = self.header;
        proto.graph = Some(self.graph);
        Model::new(proto, &Limits { depth: 32, ..Limits::default() })
    }

    /// A name that nothing has yet.
    pub(super) fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut count = 1_u32;
        while !self.names.insert(name.clone()) {
            count += 1;
            name = format!("{base}.{count}");
        }
        name
    }

    /// A constant under a fresh name.
    pub(super) fn constant(&mut self, base: &str, tensor: &Tensor) -> String {
        let name = self.fresh(base);
        self.graph.initializer.push(to_proto(&name, tensor));
        name
    }

    /// The constant of that name, if it is one that is always the same.
    pub(super) fn value(&self, name: &str) -> Option<Tensor> {
        if self.graph.input.iter().any(|input| input.name.as_deref() == Some(name)) {
            return None;
        }
        let found = self.graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(name));
        found.and_then(|tensor| from_proto(tensor).ok())
    }

    pub(super) fn is_output(&self, name: &str) -> bool {
        self.graph.output.iter().any(|output| output.name.as_deref() == Some(name))
    }

    /// Lets every reader of the keys read the values instead, inner graphs included. Outputs of the graph keep their names.
    pub(super) fn redirect(&mut self, instead: &BTreeMap<String, String>) {
        if instead.is_empty() {
            return;
        }
        for node in &mut self.graph.node {
            redirect(node, instead);
        }
    }
}

/// A node with one output.
pub(super) fn node(operator: &str, inputs: &[&str], output: &str, attributes: Vec<(&str, Attribute)>) -> NodeProto {
    NodeProto {
        op_type: Some(operator.to_owned()),
        name: Some(output.to_owned()),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes.into_iter().map(|(name, value)| value.into_proto(name)).collect(),
        ..NodeProto::default()
    }
}

fn all_names(graph: &GraphProto, names: &mut BTreeSet<String>) {
    names.extend(graph.input.iter().chain(&graph.output).filter_map(|value| value.name.clone()));
    names.extend(graph.initializer.iter().filter_map(|tensor| tensor.name.clone()));
    for node in &graph.node {
        names.extend(node.output.iter().cloned());
        for graph in graph::inner(node) {
            all_names(graph, names);
        }
    }
}

fn redirect(node: &mut NodeProto, instead: &BTreeMap<String, String>) {
    for input in &mut node.input {
        if let Some(name) = instead.get(input) {
            input.clone_from(name);
        }
    }
    for attribute in &mut node.attribute {
        for graph in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
            // names of an inner graph hide those outside; a checked model has none that do
            for node in &mut graph.node {
                redirect(node, instead);
            }
            for output in &mut graph.output {
                if let Some(name) = output.name.as_ref().and_then(|name| instead.get(name)) {
                    output.name = Some(name.clone());
                }
            }
        }
    }
}
