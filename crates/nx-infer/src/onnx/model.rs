//! A model that was read and found well formed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::Path,
};

use bytes::Bytes;
use prost::Message as _;

use super::{
    Limits, Value, check, external, graph,
    proto::{GraphProto, ModelProto},
    scan,
};
use crate::Error;

/// A well-formed ONNX model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    proto: ModelProto,
    graph: GraphProto,
}

impl Model {
    /// Reads a model from bytes that hold all of it. Its tensors share the buffer.
    ///
    /// # Errors
    /// `Limit` when it is larger than the limits allow, `External` when data lies beside it, else `Model`.
    pub fn read(bytes: impl Into<Bytes>, limits: &Limits) -> Result<Self, Error> {
        let proto = decode(bytes.into(), limits)?;
        Self::new(proto, limits)
    }

    /// Reads a model from a file, and the data beside it, which must lie in the file's own directory.
    ///
    /// # Errors
    /// As [`Model::read`]; `Read` when the file cannot be read.
    pub fn read_file(path: &Path, limits: &Limits) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(limits.file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        let mut proto = decode(bytes.into(), limits)?;
        external::take_in(&mut proto, path.parent().unwrap_or_else(|| Path::new(".")), limits)?;
        Self::new(proto, limits)
    }

    /// Checks a model that was made or changed in memory.
    ///
    /// # Errors
    /// `Model` or `Limit` when it is not well formed.
    pub fn new(mut proto: ModelProto, limits: &Limits) -> Result<Self, Error> {
        check::model(&proto, limits)?;
        let graph = proto.graph.take().unwrap_or_default();
        Ok(Self { proto, graph })
    }

    /// Writes it. What was read from one file is written as one file, external data included.
    pub fn write(&self) -> Vec<u8> {
        let mut proto = self.proto.clone();
        proto.graph = Some(self.graph.clone());
        proto.encode_to_vec()
    }

    /// The outermost graph.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// The graph, and what is said about it (operator sets, producer, metadata; its `graph` is empty), to be changed.
    pub fn into_parts(self) -> (ModelProto, GraphProto) {
        (self.proto, self.graph)
    }

    /// What is said about the graph; its `graph` is empty.
    pub fn header(&self) -> &ModelProto {
        &self.proto
    }

    /// The version of an operator set that it imports; `""` is ONNX's own.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let plain =
            |domain: &Option<String>| domain.as_deref().filter(|d| *d != "ai.onnx").unwrap_or_default().to_owned();
        self.proto.opset_import.iter().find(|set| plain(&set.domain) == domain).and_then(|set| set.version)
    }

    /// The inputs that a caller must give: those without an initialiser.
    ///
    /// # Errors
    /// `Tensor` when one is of a type that is not passed here.
    pub fn inputs(&self) -> Result<Vec<Value>, Error> {
        let constants: BTreeSet<_> = self.graph.initializer.iter().map(|tensor| tensor.name.as_deref()).collect();
        let inputs = self.graph.input.iter().filter(|input| !constants.contains(&input.name.as_deref()));
        inputs.map(Value::from_proto).collect()
    }

    /// The outputs.
    ///
    /// # Errors
    /// `Tensor` when one is of a type that is not passed here.
    pub fn outputs(&self) -> Result<Vec<Value>, Error> {
        self.graph.output.iter().map(Value::from_proto).collect()
    }

    /// How often each operator is used, inner graphs included.
    pub fn operators(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        graph::walk(&self.graph, &mut |node| *counts.entry(graph::operator(node)).or_default() += 1);
        counts
    }

    /// Bytes of all initialisers and constants in the outermost graph.
    pub fn parameter_bytes(&self) -> u64 {
        self.graph.initializer.iter().map(|tensor| tensor.encoded_len() as u64).sum()
    }
}

fn decode(bytes: Bytes, limits: &Limits) -> Result<ModelProto, Error> {
    scan::scan(&bytes, limits)?;
    ModelProto::decode(bytes).map_err(|error| Error::model("file", error.to_string()))
}
