//! How long a model takes: measured, with a clock that is passed in.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Data, Error, Manifest, Tensor,
    engine::Session,
    manifest::Before,
    onnx::Dim,
    process::{self, Sample},
};

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Runs that are not counted.
    pub warm_up: usize,
    /// Runs at least.
    pub least: usize,
    /// Runs at most.
    pub most: usize,
    /// No further run is begun after this time.
    pub time: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { warm_up: 3, least: 10, most: 2000, time: Duration::from_secs(1) }
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Runs that were counted.
    pub runs: usize,
    /// The shortest.
    pub least: Duration,
    /// Half of them were not longer.
    pub p50: Duration,
    /// 99 of 100 were not longer.
    pub p99: Duration,
}

/// Runs a session again and again. `now` is the time since some fixed moment.
///
/// # Errors
/// As [`Session::run`].
pub fn measure(
    session: &mut Session,
    inputs: &[(&str, &Tensor)],
    plan: &Plan,
    now: &mut dyn FnMut() -> Duration,
) -> Result<Figures, Error> {
    for _ in 0..plan.warm_up {
        session.run(inputs)?;
    }
    let begin = now();
    let mut times = Vec::new();
    let mut last = begin;
    while times.len() < plan.most.max(1) && (times.len() < plan.least.max(1) || last.saturating_sub(begin) < plan.time)
    {
        let start = now();
        session.run(inputs)?;
        last = now();
        times.push(last.saturating_sub(start));
    }
    times.sort();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default();
    Ok(Figures { runs: times.len(), least: at(0), p50: at(50), p99: at(99) })
}

/// Sides of the picture that stands for one.
const SIDE: usize = 64;

/// Inputs of a run of one sample, made up: numbers between 0 and 1 that look random, zeros for states, a picture or bytes where
/// the manifest makes the tensor of one. A dimension that is open counts 1, unless `shapes` gives that input's shape.
///
/// # Errors
/// `Tensor` when a shape is given that the input does not take; `Process` when the steps make no tensor of it.
pub fn inputs(manifest: &Manifest, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Vec<(String, Tensor)>, Error> {
    if let Some(unknown) = shapes.keys().find(|name| !manifest.inputs.iter().any(|input| input.name == **name)) {
        let known: Vec<&str> = manifest.inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(Error::tensor(unknown, format!("is not an input; the model takes `{}`", known.join("`, `"))));
    }
    let mut inputs = Vec::new();
    for input in &manifest.inputs {
        let made = match (shapes.get(&input.name), input.before.as_slice()) {
            (None, [Before::Bytes(_)]) => {
                let text: Vec<u8> = (0..4096_usize).map(|at| b' ' + (at * 7 % 90) as u8).collect();
                process::before(input, Sample::Bytes(&text))?.0
            }
            (None, [_, ..]) => {
                let pixels = (0..SIDE * SIDE).map(|at| (at * 7 % 251) as u8).collect();
                let image = process::Image::new(SIDE, SIDE, 1, pixels)?;
                process::before(input, Sample::Image(&image))?.0
            }
            (given, _) => {
                let open = |dim: &Dim| if let Dim::Fixed(count) = dim { *count } else { 1 };
                let shape = given.cloned().unwrap_or_else(|| input.shape.iter().map(open).collect());
                let tensor = filled(Tensor::zeros(shape, input.dtype)?)?;
                input.value().accepts(tensor.dtype(), tensor.shape())?;
                tensor
            }
        };
        inputs.push((input.name.clone(), made));
    }
    for state in manifest.states()? {
        if !inputs.iter().any(|(name, _)| *name == state.input) {
            inputs.push((state.input, state.first));
        }
    }
    Ok(inputs)
}

/// Numbers in place of zeros; whole ones are 0 and 1, which every table of tokens has.
fn filled(tensor: Tensor) -> Result<Tensor, Error> {
    let shape = tensor.shape().to_vec();
    let data: Data = match tensor.into_data() {
        Data::F32(values) => (0..values.len()).map(|at| (at * 37 % 97) as f32 / 97.0).collect::<Vec<_>>().into(),
        Data::I64(values) => (0..values.len()).map(|at| i64::from(at % 2 == 1)).collect::<Vec<_>>().into(),
        Data::I32(values) => (0..values.len()).map(|at| i32::from(at % 2 == 1)).collect::<Vec<_>>().into(),
        other => other,
    };
    Tensor::new(shape, data)
}
