//! The same graph in fewer bytes: short names, equal constants once, and nothing that only says what can be worked out.
//!
//! Names of inputs and outputs stay, and so does the metadata of the model. Those of values within, of nodes and of shapes do not:
//! in a model of many small layers they are a tenth of the file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::edit::Edit;
use crate::{
    Error,
    onnx::{
        Model, graph,
        proto::{GraphProto, NodeProto, TensorProto},
    },
};

/// Writes a model in as few bytes as it goes without changing what it computes.
///
/// # Errors
/// `Model` when the model was not well formed before.
pub fn slim(model: &Model) -> Result<Model, Error> {
    let mut edit = Edit::new(model);
    merge(&mut edit);
    edit.header.doc_string = None;
    edit.graph.doc_string = None;
    edit.graph.value_info.clear();
    edit.graph.quantization_annotation.clear();
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    count(&edit.graph, &mut uses);
    let mut fixed: BTreeSet<String> = BTreeSet::new();
    let outer = edit.graph.input.iter().chain(&edit.graph.output).filter_map(|value| value.name.clone());
    fixed.extend(outer);
    let mut names: Vec<(String, usize)> = uses.into_iter().filter(|(name, _)| !fixed.contains(name)).collect();
    // what is named most often gets the shortest name
    names.sort_by(|(a, most), (b, other)| other.cmp(most).then(a.cmp(b)));
    let short = (0_usize..).map(letters).filter(|name| !fixed.contains(name));
    let renamed: HashMap<String, String> = names.into_iter().map(|(name, _)| name).zip(short).collect();
    rename(&mut edit.graph, &renamed);
    edit.finish()
}

/// `a` to `Z`, then two letters and so on.
fn letters(mut number: usize) -> String {
    const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut name = String::new();
    loop {
        let letter = LETTERS.get(number % LETTERS.len()).copied().unwrap_or(b'_');
        name.push(char::from(letter));
        number /= LETTERS.len();
        if number == 0 {
            return name;
        }
        number -= 1;
    }
}

/// Lets equal constants of the outermost graph be one.
fn merge(edit: &mut Edit) {
    let bare = |tensor: &TensorProto| TensorProto { name: None, doc_string: None, ..tensor.clone() };
    let given: BTreeSet<&String> = edit.graph.input.iter().filter_map(|input| input.name.as_ref()).collect();
    let mut first: Vec<(u64, TensorProto, String)> = Vec::new();
    let mut instead = BTreeMap::new();
    for tensor in &edit.graph.initializer {
        let Some(name) = tensor.name.clone().filter(|name| !given.contains(name)) else { continue };
        let (key, tensor) = (digest(tensor), bare(tensor));
        match first.iter().find(|(other, known, _)| *other == key && *known == tensor) {
            Some((_, _, known)) if !edit.is_output(&name) => {
                instead.insert(name, known.clone());
            }
            _ => first.push((key, tensor, name)),
        }
    }
    edit.redirect(&instead);
    edit.graph.initializer.retain(|tensor| !tensor.name.as_ref().is_some_and(|name| instead.contains_key(name)));
}

/// Tells most constants apart at once.
fn digest(tensor: &TensorProto) -> u64 {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    let ends = raw.iter().take(64).chain(raw.iter().rev().take(64));
    ends.fold(raw.len() as u64, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte))
}

fn count(graph: &GraphProto, uses: &mut BTreeMap<String, usize>) {
    let mut name = |name: &str| {
        if !name.is_empty() {
            *uses.entry(name.to_owned()).or_default() += 1;
        }
    };
    graph.initializer.iter().filter_map(|tensor| tensor.name.as_deref()).for_each(&mut name);
    graph.input.iter().chain(&graph.output).filter_map(|value| value.name.as_deref()).for_each(&mut name);
    graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).for_each(|value| name(value));
    graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()?.name.as_deref()).for_each(&mut name);
    for inner in graph.node.iter().flat_map(graph::inner) {
        count(inner, uses);
    }
}

fn rename(graph: &mut GraphProto, renamed: &HashMap<String, String>) {
    let new = |name: &mut String| {
        if let Some(short) = renamed.get(name) {
            name.clone_from(short);
        }
    };
    for tensor in &mut graph.initializer {
        tensor.name.iter_mut().for_each(new);
        tensor.doc_string = None;
    }
    for sparse in &mut graph.sparse_initializer {
        sparse.values.iter_mut().flat_map(|values| &mut values.name).for_each(new);
    }
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        value.name.iter_mut().for_each(new);
        value.doc_string = None;
    }
    for node in &mut graph.node {
        bare(node);
        node.input.iter_mut().chain(&mut node.output).for_each(new);
        for attribute in &mut node.attribute {
            for inner in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
                inner.doc_string = None;
                inner.value_info.clear();
                rename(inner, renamed);
            }
        }
    }
}

/// A node without what only a person reads.
fn bare(node: &mut NodeProto) {
    node.name = None;
    node.doc_string = None;
    node.metadata_props.clear();
    for attribute in &mut node.attribute {
        attribute.doc_string = None;
        if let Some(tensor) = attribute.t.as_deref_mut() {
            tensor.name = None;
            tensor.doc_string = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ() {
        assert_eq!([0, 51, 52, 53, 52 * 53].map(letters), ["a", "Z", "aa", "ba", "aaa"]);
        let all: BTreeSet<String> = (0..10_000).map(letters).collect();
        assert_eq!(all.len(), 10_000);
    }
}
