//! Raises a model to the version 13 of ONNX's operators, the first that knows scales by channel.

use super::edit::{Edit, node};
use crate::{
    Error, Tensor,
    onnx::{
        Model,
        graph::{self, Attribute},
        proto::NodeProto,
    },
};

const TARGET: i64 = 13;

/// Raises a model of version 11 or 12 to 13; leaves later ones as they are.
///
/// # Errors
/// `Compress` when it is older, or when an operator that changed stands in an inner graph.
pub fn raise(model: &Model) -> Result<Model, Error> {
    let refuse = |reason: String| Err(Error::Compress { step: "raise", reason });
    let version = model.opset("").unwrap_or_default();
    if version >= TARGET {
        return Ok(model.clone());
    }
    if version < 11 {
        return refuse(format!(
            "the model uses version {version} of the operators, before 11; export it again with a later one"
        ));
    }
    let mut edit = Edit::new(model);
    let mut nodes = Vec::new();
    for mut node in std::mem::take(&mut edit.graph.node) {
        let mut within = None;
        graph::inner(&node)
            .for_each(|graph| graph::walk(graph, &mut |node| within = within.take().or_else(|| changed(node))));
        if let Some(operator) = within {
            return refuse(format!(
                "`{operator}` stands within another operator; export the model with version 13 or later"
            ));
        }
        match changed(&node) {
            Some("Softmax" | "LogSoftmax" | "Hardmax") => flat(&mut edit, node, &mut nodes),
            Some(operator) => {
                let (attribute, at) = if operator == "Split" { ("split", 1) } else { ("axes", 1) };
                to_input(&mut edit, &mut node, attribute, at)?;
                nodes.push(node);
            }
            None => nodes.push(node),
        }
    }
    edit.graph.node = nodes;
    for set in &mut edit.header.opset_import {
        if matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")) {
            set.version = Some(TARGET);
        }
    }
    // a constant need not be an input from IR version 4 on, which version 13 presupposes
    edit.header.ir_version = edit.header.ir_version.map(|version| version.max(7));
    edit.finish()
}

/// Before version 13 `Softmax` and its kin work on all dimensions from `axis` on as one row, since then on one dimension.
/// Writes such nodes so that both readings are the same; none when there are no such nodes.
///
/// # Errors
/// `Compress` when one stands in an inner graph.
#[cfg(feature = "rten")]
pub(crate) fn rows_of_softmax(model: &Model) -> Result<Option<Model>, Error> {
    let concerned = |node: &NodeProto| matches!(changed(node), Some("Softmax" | "LogSoftmax" | "Hardmax"));
    let mut count = 0;
    graph::walk(model.graph(), &mut |node| count += usize::from(concerned(node)));
    if model.opset("").unwrap_or_default() >= TARGET || count == 0 {
        return Ok(None);
    }
    if count != model.graph().node.iter().filter(|node| concerned(node)).count() {
        let reason =
            "`Softmax` of an old version stands within another operator; export the model with version 13 or later";
        return Err(Error::Compress { step: "raise", reason: reason.to_owned() });
    }
    let mut edit = Edit::new(model);
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut edit.graph.node) {
        if concerned(&node) {
            flat(&mut edit, node, &mut nodes);
        } else {
            nodes.push(node);
        }
    }
    edit.graph.node = nodes;
    edit.finish().map(Some)
}

/// The operator, where version 13 writes it in another way than this node does.
fn changed(node: &NodeProto) -> Option<&'static str> {
    ["Squeeze", "Unsqueeze", "ReduceSum", "Split", "Softmax", "LogSoftmax", "Hardmax", "Dropout"].into_iter().find(
        |operator| {
            graph::is(node, operator)
                && match *operator {
                    "Split" => graph::attribute(node, "split").is_some(),
                    "Dropout" => graph::attribute(node, "ratio").is_some(),
                    "Squeeze" | "Unsqueeze" | "ReduceSum" => graph::attribute(node, "axes").is_some(),
                    _ => graph::int(node, "axis") != Some(-1),
                }
        },
    )
}

fn to_input(edit: &mut Edit, node: &mut NodeProto, attribute: &str, at: usize) -> Result<(), Error> {
    if graph::is(node, "Dropout") {
        // the ratio matters in training alone
        node.attribute.retain(|entry| entry.name.as_deref() != Some("ratio"));
        return Ok(());
    }
    let values = graph::ints(node, attribute).unwrap_or_default().to_vec();
    let base = format!("{}.{attribute}", node.output.first().map_or("node", String::as_str));
    let constant = edit.constant(&base, &Tensor::new([values.len()], values)?);
    node.input.resize(at, String::new());
    node.input.push(constant);
    node.attribute.retain(|entry| entry.name.as_deref() != Some(attribute));
    Ok(())
}

/// Before version 13 these work on everything from `axis` on, as one row: flatten, work, shape again.
fn flat(edit: &mut Edit, mut old: NodeProto, nodes: &mut Vec<NodeProto>) {
    let axis = graph::int(&old, "axis").unwrap_or(1);
    let (Some(input), Some(output)) = (old.input.first().cloned(), old.output.first().cloned()) else { return };
    let (shape, rows, done) = (
        edit.fresh(&format!("{output}.shape")),
        edit.fresh(&format!("{output}.rows")),
        edit.fresh(&format!("{output}.flat")),
    );
    nodes.push(node("Shape", &[&input], &shape, Vec::new()));
    nodes.push(node("Flatten", &[&input], &rows, vec![("axis", Attribute::Int(axis))]));
    old.input = vec![rows];
    old.output = vec![done.clone()];
    // ONNX Runtime wants names of nodes to differ
    old.name = Some(done.clone());
    old.attribute.retain(|entry| entry.name.as_deref() != Some("axis"));
    old.attribute.push(Attribute::Int(-1).into_proto("axis"));
    nodes.push(old);
    nodes.push(node("Reshape", &[&done, &shape], &output, Vec::new()));
}
