//! Whether a decoded model is well formed: names, producers, cycles, tensors.

use std::collections::HashSet;

use super::{
    Limits, graph,
    proto::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto},
};
use crate::Error;

/// Refuses what is not well formed. External data must have been taken in before.
pub(super) fn model(model: &ModelProto, limits: &Limits) -> Result<(), Error> {
    let Some(graph) = &model.graph else {
        return Err(Error::model("file", "it holds no graph; is it an ONNX model?"));
    };
    if model.opset_import.is_empty() && model.ir_version.unwrap_or_default() >= 3 {
        return Err(Error::model("file", "it imports no operator set"));
    }
    let mut check = Check { limits, nodes: 0, old_ir: model.ir_version.unwrap_or_default() < 4 };
    check.graph(graph, &mut Vec::new())?;
    for function in &model.functions {
        let place = || format!("function `{}`", function.name.as_deref().unwrap_or_default());
        let mut names: HashSet<&str> = function.input.iter().map(String::as_str).collect();
        define_outputs(&function.node, &mut names, place)?;
        check.nodes(&function.node, &mut vec![names], place)?;
    }
    Ok(())
}

struct Check<'a> {
    limits: &'a Limits,
    nodes: usize,
    /// Before IR version 4 every initialiser is also listed as an input.
    old_ir: bool,
}

impl Check<'_> {
    fn graph<'g>(&mut self, graph: &'g GraphProto, scopes: &mut Vec<HashSet<&'g str>>) -> Result<(), Error> {
        if scopes.len() > self.limits.depth {
            return Err(Error::limit("graphs within graphs", scopes.len() as u64, self.limits.depth as u64));
        }
        let place = || format!("graph `{}`", graph.name.as_deref().unwrap_or_default());
        let mut names = HashSet::new();
        for input in &graph.input {
            define(input.name.as_deref(), &mut names, place, "input")?;
        }
        let mut constants = HashSet::new();
        for tensor in &graph.initializer {
            self::tensor(tensor, self.limits)?;
            define(tensor.name.as_deref(), &mut constants, place, "initialiser")?;
        }
        for sparse in &graph.sparse_initializer {
            self.sparse(sparse)?;
            let name = sparse.values.as_ref().and_then(|values| values.name.as_deref());
            define(name, &mut constants, place, "initialiser")?;
        }
        if self.old_ir
            && scopes.is_empty()
            && let Some(tensor) =
                graph.initializer.iter().find(|t| !names.contains(t.name.as_deref().unwrap_or_default()))
        {
            let name = tensor.name.as_deref().unwrap_or_default();
            return Err(Error::model(place(), format!("initialiser `{name}` is no input, as IR version 3 asks")));
        }
        names.extend(constants);
        define_outputs(&graph.node, &mut names, place)?;
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            if !names.contains(name) && !scopes.iter().any(|scope| scope.contains(name)) {
                return Err(Error::model(place(), format!("nothing produces output `{name}`")));
            }
        }
        scopes.push(names);
        self.nodes(&graph.node, scopes, place)?;
        scopes.pop();
        Ok(())
    }

    fn nodes<'g>(
        &mut self,
        nodes: &'g [NodeProto],
        scopes: &mut Vec<HashSet<&'g str>>,
        place: impl Fn() -> String,
    ) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes.len());
        if self.nodes > self.limits.nodes {
            return Err(Error::limit("nodes", self.nodes as u64, self.limits.nodes as u64));
        }
        for node in nodes {
            let name = graph::label(node);
            if node.op_type.as_deref().unwrap_or_default().is_empty() {
                return Err(Error::model(place(), format!("node {name} names no operator")));
            }
            for input in node.input.iter().filter(|input| !input.is_empty()) {
                if !scopes.iter().any(|scope| scope.contains(input.as_str())) {
                    return Err(Error::model(
                        place(),
                        format!("node {name} reads `{input}`, which is no input, no initialiser and no node's output"),
                    ));
                }
            }
            for attribute in &node.attribute {
                self.attribute(attribute, scopes)?;
            }
        }
        graph::order(nodes).map(drop)
    }

    fn attribute<'g>(
        &mut self,
        attribute: &'g AttributeProto,
        scopes: &mut Vec<HashSet<&'g str>>,
    ) -> Result<(), Error> {
        for tensor in attribute.t.as_deref().into_iter().chain(&attribute.tensors) {
            self::tensor(tensor, self.limits)?;
        }
        for sparse in attribute.sparse_tensor.as_deref().into_iter().chain(&attribute.sparse_tensors) {
            self.sparse(sparse)?;
        }
        for graph in attribute.g.as_deref().into_iter().chain(&attribute.graphs) {
            self.graph(graph, scopes)?;
        }
        Ok(())
    }

    fn sparse(&self, sparse: &SparseTensorProto) -> Result<(), Error> {
        let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
            return Err(Error::model("sparse tensor", "it lacks values or indices"));
        };
        elements(values.name.as_deref().unwrap_or_default(), &sparse.dims, self.limits)?;
        tensor(values, self.limits)?;
        tensor(indices, self.limits)
    }
}

fn define<'g>(
    name: Option<&'g str>,
    names: &mut HashSet<&'g str>,
    place: impl Fn() -> String,
    what: &str,
) -> Result<(), Error> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return Err(Error::model(place(), format!("an {what} has no name")));
    }
    if !names.insert(name) {
        return Err(Error::model(place(), format!("{what} `{name}` is there twice")));
    }
    Ok(())
}

fn define_outputs<'g>(
    nodes: &'g [NodeProto],
    names: &mut HashSet<&'g str>,
    place: impl Fn() -> String,
) -> Result<(), Error> {
    for node in nodes {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !names.insert(output) {
                return Err(Error::model(
                    place(),
                    format!("node {} produces `{output}`, which something else already is", graph::label(node)),
                ));
            }
        }
    }
    Ok(())
}

fn elements(name: &str, dims: &[i64], limits: &Limits) -> Result<u64, Error> {
    let mut product = 1_u64;
    for &dim in dims {
        let Ok(size) = u64::try_from(dim) else {
            return Err(Error::model(format!("tensor `{name}`"), format!("dimension {dim} is negative")));
        };
        product = product.saturating_mul(size);
    }
    // a zero may hide dimensions that no engine can multiply
    let largest = dims.iter().map(|dim| dim.unsigned_abs()).max().unwrap_or_default();
    let found = product.max(largest);
    if found > limits.elements {
        return Err(Error::limit(format!("elements of tensor `{name}`"), found, limits.elements));
    }
    Ok(product)
}

/// Refuses a tensor whose data does not fit its shape and type.
pub(super) fn tensor(tensor: &TensorProto, limits: &Limits) -> Result<(), Error> {
    let name = tensor.name.as_deref().unwrap_or_default();
    let wrong = |reason: String| Err(Error::model(format!("tensor `{name}`"), reason));
    let count = elements(name, &tensor.dims, limits)?;
    if tensor.data_location == Some(1) {
        let reason = "it lies beside the model's file; read the model by its path, not as bytes alone".to_owned();
        return Err(Error::External { tensor: name.to_owned(), reason });
    }
    if tensor.segment.is_some() {
        return wrong("it is cut in segments, which no engine here joins".to_owned());
    }
    let number = tensor.data_type.unwrap_or_default();
    let Some((bits, field)) = storage(number) else {
        return wrong(format!("its element type {number} is not one of ONNX"));
    };
    let lengths = [
        ("float_data", tensor.float_data.len()),
        ("int32_data", tensor.int32_data.len()),
        ("string_data", tensor.string_data.len()),
        ("int64_data", tensor.int64_data.len()),
        ("double_data", tensor.double_data.len()),
        ("uint64_data", tensor.uint64_data.len()),
    ];
    let stray = lengths.iter().find(|(at, length)| *length > 0 && (tensor.raw_data.is_some() || *at != field));
    if let Some((at, _)) = stray {
        return wrong(format!("`{at}` does not go with its element type {number} or with other data"));
    }
    let (found, wanted) = match &tensor.raw_data {
        Some(_) if field == "string_data" => return wrong("strings are not raw data".to_owned()),
        Some(raw) => (raw.len() as u64, (count.saturating_mul(bits)).div_ceil(8)),
        None => {
            let found = lengths.iter().find(|(at, _)| *at == field).map_or(0, |(_, length)| *length as u64);
            let wanted = match number {
                14 | 15 => count.saturating_mul(2),
                _ if bits > 0 && bits < 8 => (count.saturating_mul(bits)).div_ceil(8),
                _ => count,
            };
            (found, wanted)
        }
    };
    if found != wanted {
        return wrong(format!("its shape {:?} asks for {wanted} of data, it holds {found}", tensor.dims));
    }
    Ok(())
}

/// Bits of an element, and the field that holds them where they are not raw.
fn storage(number: i32) -> Option<(u64, &'static str)> {
    Some(match number {
        1 => (32, "float_data"),
        2 | 3 | 9 => (8, "int32_data"),
        4 | 5 | 10 | 16 => (16, "int32_data"),
        6 => (32, "int32_data"),
        7 => (64, "int64_data"),
        8 => (0, "string_data"),
        11 => (64, "double_data"),
        12 => (32, "uint64_data"),
        13 => (64, "uint64_data"),
        14 => (64, "float_data"),
        15 => (128, "double_data"),
        17..=20 | 24 => (8, "int32_data"),
        21..=23 => (4, "int32_data"),
        25 | 26 => (2, "int32_data"),
        27 | 28 => (6, "int32_data"),
        _ => return None,
    })
}
