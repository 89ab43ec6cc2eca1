//! Which values the activations of a model take on data.

use std::collections::BTreeMap;

use super::{Quantise, plan::Plan};
use crate::{
    DType, Error, Tensor,
    compress::{edit::Edit, observe::Histogram, opset::raise},
    engine::{Engine, Options, Session},
    onnx::{Model, Value},
};

/// Values of one run that are looked at together: activations of a large model need not all be in memory at once.
const AT_ONCE: usize = 64;

/// What the activations were.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranges {
    pub(super) histograms: BTreeMap<String, Histogram>,
    /// Samples that were run.
    pub samples: usize,
}

/// Runs a model on samples and counts what its activations are. A sample is what a run takes.
///
/// # Errors
/// Of loading and running the model; `Compress` when there is nothing to quantise or no sample.
pub fn calibrate(
    engine: &dyn Engine,
    model: &Model,
    samples: &[Vec<(String, Tensor)>],
    how: &Quantise,
    options: &Options,
) -> Result<Ranges, Error> {
    let refuse = |reason: &str| Err(Error::Compress { step: "calibrate", reason: reason.to_owned() });
    let model = raise(model)?;
    let plan = Plan::of(&model, how);
    // what is moved too: with fewer operators or layers nothing may be before it whose range it has
    let mut names: Vec<&String> = plan.values.iter().flat_map(|(value, like)| [value, like]).collect();
    names.sort();
    names.dedup();
    if samples.is_empty() {
        return refuse("there is no sample; give some that look like what the model will see");
    }
    if names.is_empty() {
        return refuse("the model has no activation that could be quantised");
    }
    let mut ranges = Ranges { samples: samples.len(), ..Ranges::default() };
    let given: Vec<String> = model.inputs()?.into_iter().map(|input| input.name).collect();
    for names in names.chunks(AT_ONCE) {
        let (inner, outer): (Vec<&String>, Vec<&String>) = names.iter().partition(|name| !given.contains(name));
        let mut session = Session::load_model(engine, &showing(&model, &inner)?, options)?;
        let own = session.outputs().len() - inner.len();
        for sample in samples {
            let inputs: Vec<(&str, &Tensor)> = sample.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            let outputs = session.run(&inputs)?;
            let shown = inner.iter().copied().zip(outputs.iter().skip(own));
            let taken = outer
                .iter()
                .filter_map(|name| Some((*name, sample.iter().find(|(given, _)| given == *name).map(|(_, t)| t)?)));
            for (name, tensor) in shown.chain(taken) {
                let histogram = ranges.histograms.entry(name.clone()).or_default();
                histogram.add(tensor.f32s().unwrap_or_default());
            }
        }
    }
    Ok(ranges)
}

/// The model with these values as further outputs, behind its own.
fn showing(model: &Model, names: &[&String]) -> Result<Model, Error> {
    let mut edit = Edit::new(model);
    for name in names {
        let value = Value { name: (*name).clone(), dtype: DType::F32, shape: None };
        edit.graph.output.push(value.to_proto());
    }
    edit.finish()
}
