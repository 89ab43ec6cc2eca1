//! `x · min(max(x + 3, 0), 6) / 6`, as exporters write the hard swish (Howard et al. 2019) before version 14 of the operators, in two
//! steps instead of four: `x · HardSigmoid(x)`. The same up to rounding, and half the passes over memory.

use super::{
    clean::bury,
    edit::{Edit, node},
};
use crate::onnx::{
    graph::{self, Attribute, Index},
    proto::NodeProto,
};

/// Rewrites every hard swish and hard sigmoid that is written out; how many there were.
pub(super) fn swish(edit: &mut Edit) -> usize {
    let mut count = 0;
    while let Some((at, nodes)) = next(edit) {
        edit.graph.node.splice(at..=at, nodes);
        count += 1;
    }
    if count > 0 {
        bury(edit);
    }
    count
}

/// The position of the last node of one that is written out, and what to write for that node. Those before it are read by
/// nobody then.
fn next(edit: &Edit) -> Option<(usize, Vec<NodeProto>)> {
    let index = Index::of(&edit.graph);
    edit.graph.node.iter().enumerate().find_map(|(at, last)| {
        let sixth = divided(edit, last)?;
        let output = last.output.first()?;
        let before = producer(edit, &index, sixth.0)?;
        if let Some(x) = clipped(edit, &index, before, sixth.1) {
            let made = node("HardSigmoid", &[&x], output, hard_sigmoid(sixth.1));
            return Some((at, vec![made]));
        }
        if !graph::is(before, "Mul") || !once(edit, &index, sixth.0) {
            return None;
        }
        let [a, b] = before.input.as_slice() else { return None };
        let pairs = [(a, b), (b, a)];
        pairs.into_iter().find_map(|(x, gate)| {
            let found = clipped(edit, &index, producer(edit, &index, gate)?, sixth.1)?;
            if found != *x {
                return None;
            }
            // a name that cannot be there: the output's own, which is unique, with what no exporter writes
            let gate = format!("{output}.hard");
            let made = node("HardSigmoid", &[x], &gate, hard_sigmoid(sixth.1));
            Some((at, vec![made, node("Mul", &[x, &gate], output, Vec::new())]))
        })
    })
}

/// `(v + k/2)` cut to 0 and `k`, over `k`.
fn hard_sigmoid(k: f32) -> Vec<(&'static str, Attribute)> {
    vec![("alpha", Attribute::Float(1.0 / k)), ("beta", Attribute::Float(0.5))]
}

fn number(edit: &Edit, name: Option<&String>) -> Option<f32> {
    let value = edit.value(name.filter(|name| !name.is_empty())?)?;
    // more dimensions than what it is combined with would be lent to it
    match value.f32s() {
        Some([number]) if value.shape().len() <= 1 => Some(*number),
        _ => None,
    }
}

/// What a node divides by a number, and the number.
fn divided<'e>(edit: &'e Edit, node: &'e NodeProto) -> Option<(&'e String, f32)> {
    if graph::is(node, "Div") {
        return Some((node.input.first()?, number(edit, node.input.get(1))?)).filter(|(_, by)| *by > 0.0);
    }
    if !graph::is(node, "Mul") {
        return None;
    }
    let [a, b] = node.input.as_slice() else { return None };
    let (value, factor) = number(edit, Some(b)).map(|by| (a, by)).or_else(|| Some((b, number(edit, Some(a))?)))?;
    Some((value, 1.0 / factor)).filter(|(_, by)| by.is_finite() && *by > 0.0)
}

/// `x` of `Clip(x + k/2, 0, k)`.
fn clipped(edit: &Edit, index: &Index, clip: &NodeProto, k: f32) -> Option<String> {
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    if !graph::is(clip, "Clip") {
        return None;
    }
    let bound = |at: usize, name: &str| number(edit, clip.input.get(at)).or_else(|| graph::float(clip, name));
    if !near(bound(1, "min")?, 0.0) || !near(bound(2, "max")?, k) {
        return None;
    }
    let sum = producer(edit, index, clip.input.first()?)?;
    if !graph::is(sum, "Add") {
        return None;
    }
    let [a, b] = sum.input.as_slice() else { return None };
    let (x, added) = number(edit, Some(b)).map(|added| (a, added)).or_else(|| Some((b, number(edit, Some(a))?)))?;
    near(added, k / 2.0).then(|| x.clone())
}

fn producer<'e>(edit: &'e Edit, index: &Index, name: &str) -> Option<&'e NodeProto> {
    edit.graph.node.get(index.producer(name)?)
}

fn once(edit: &Edit, index: &Index, name: &str) -> bool {
    index.readers(name).len() == 1 && !edit.is_output(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType, Tensor,
        onnx::{Builder, Model},
    };

    fn scalar(value: f32) -> Tensor {
        Tensor::scalar(vec![value]).unwrap()
    }

    fn written_out(add: f32, most: f32, by: f32) -> Model {
        let mut build = Builder::new("swish", 13);
        let x = build.input("x", DType::F32, &["n".into()]);
        let (add, zero, most, by) = (
            build.constant("add", &scalar(add)),
            build.constant("zero", &scalar(0.0)),
            build.constant("most", &scalar(most)),
            build.constant("by", &scalar(by)),
        );
        let sum = build.node("Add", "sum", &[&x, &add], &[]);
        let clip = build.node("Clip", "clip", &[&sum, &zero, &most], &[]);
        let product = build.node("Mul", "product", &[&x, &clip], &[]);
        let y = build.node("Div", "y", &[&product, &by], &[]);
        let z = build.node("Div", "z", &[&clip, &by], &[]);
        build.output(&y, DType::F32, &["n".into()]);
        build.output(&z, DType::F32, &["n".into()]);
        build.finish().unwrap()
    }

    #[test]
    fn four_steps_become_two_and_three_become_one() {
        let mut edit = Edit::new(&written_out(3.0, 6.0, 6.0));
        assert_eq!(swish(&mut edit), 2);
        let model = edit.finish().unwrap();
        let left: Vec<_> = model.operators().into_iter().collect();
        assert_eq!(left, [("HardSigmoid".to_owned(), 2), ("Mul".to_owned(), 1)]);
        for (add, most, by) in [(2.0, 6.0, 6.0), (3.0, 5.0, 6.0), (3.0, 6.0, 5.0)] {
            assert_eq!(swish(&mut Edit::new(&written_out(add, most, by))), 0, "{add} {most} {by}");
        }
    }
}
