//! Which layers lose most in eight bits: each by itself, by how far the outputs move.

use std::collections::BTreeSet;

use nx_infer::{
    Error,
    engine::{Engine, Options, Session},
    onnx::{Model, graph},
    search::Recipe,
};

use crate::{Failure, Sample, named};

/// Samples that are looked at.
const LOOKED_AT: usize = 2;

/// The layers with weights, the most sensitive first.
pub(crate) fn order(
    engine: &dyn Engine,
    folded: &Model,
    samples: &[Sample],
    recipe: &Recipe,
    make: &dyn Fn(&Recipe) -> Result<Model, Error>,
) -> Result<Vec<String>, Failure> {
    let samples = samples.get(..LOOKED_AT.min(samples.len())).unwrap_or_default();
    let wanted = answers(engine, folded, samples)?;
    let weighted = |node: &&_| ["Conv", "Gemm", "MatMul"].iter().any(|operator| graph::is(node, operator));
    let layers: Vec<String> =
        folded.graph().node.iter().filter(weighted).filter_map(|node| node.output.first().cloned()).collect();
    let mut moved = Vec::new();
    for layer in &layers {
        let others: BTreeSet<String> = layers.iter().filter(|other| *other != layer).cloned().collect();
        // one that cannot be quantised by itself is none that a choice is made about
        let alone = recipe.keeping(others).and_then(|alone| make(&alone).ok());
        let found = alone.and_then(|model| answers(engine, &model, samples).ok());
        if let Some(found) = found {
            let off: f64 = wanted.iter().zip(&found).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            moved.push((off, layer));
        }
    }
    moved.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(moved.into_iter().map(|(_, layer)| layer.clone()).collect())
}

fn answers(engine: &dyn Engine, model: &Model, samples: &[Sample]) -> Result<Vec<f32>, Error> {
    let mut session = Session::load_model(engine, model, &Options::default())?;
    let mut all = Vec::new();
    for sample in samples {
        for output in session.run(&named(sample))? {
            all.extend_from_slice(output.f32s().unwrap_or_default());
        }
    }
    Ok(all)
}
