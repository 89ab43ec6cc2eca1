//! Static int8 in the form that every runtime reads: `QuantizeLinear` and `DequantizeLinear` around values (QDQ).
//!
//! Activations are `u8` with a zero point, weights `i8` without. A pair stands on each value that a quantised operator reads
//! or gives; operators that only move values keep the scale of what they move, so that a runtime can drop the pairs.
//! Outputs of the graph stay as they are.

mod calibrate;
mod emit;
mod plan;

use std::collections::{BTreeMap, BTreeSet};

pub use calibrate::{Ranges, calibrate};
pub(super) use plan::numbers;
use serde::{Deserialize, Serialize};

use super::{edit::Edit, observe::Method, opset::raise};
use crate::{Error, onnx::Model};

/// How many scales a layer's weights have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One.
    Tensor,
    /// One for each output channel.
    Channel,
}

/// What is quantised, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quantise {
    /// Scales of weights.
    pub granularity: Granularity,
    /// How the range of an activation is chosen.
    pub method: Method,
    /// Bits of weights: 8, or 7 for x86 processors without VNNI, whose products of 8 bits overflow.
    pub bits: u32,
    /// Operators that are quantised.
    pub operators: BTreeSet<String>,
    /// Nodes that are not, by their name or that of an output.
    pub skip: BTreeSet<String>,
}

impl Default for Quantise {
    fn default() -> Self {
        let operators =
            ["Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "GlobalAveragePool", "AveragePool", "Sigmoid"];
        Self {
            granularity: Granularity::Channel,
            method: Method::MinMax,
            bits: 8,
            operators: operators.map(str::to_owned).into_iter().collect(),
            skip: BTreeSet::new(),
        }
    }
}

impl Quantise {
    /// The layers alone that have weights: arithmetic between them stays in `f32`.
    #[must_use]
    pub fn layers(self) -> Self {
        Self { operators: ["Conv", "Gemm", "MatMul"].map(str::to_owned).into_iter().collect(), ..self }
    }
}

/// Quantises a model with ranges that [`calibrate`] saw on it.
///
/// # Errors
/// `Compress` when nothing can be quantised, or a range is missing: the ranges are those of another model then.
pub fn quantise(model: &Model, ranges: &Ranges, how: &Quantise) -> Result<Model, Error> {
    let model = raise(model)?;
    let plan = plan::Plan::of(&model, how);
    if plan.nodes.is_empty() {
        let reason = format!("the model has none of the operators {:?} on numbers", how.operators);
        return Err(Error::Compress { step: "quantise", reason });
    }
    let mut scales = BTreeMap::new();
    for (value, like) in &plan.values {
        let seen = ranges.histograms.get(like).or_else(|| ranges.histograms.get(value));
        let histogram = seen.ok_or_else(|| Error::Compress {
            step: "quantise",
            reason: format!("value `{like}` was not seen in calibration; calibrate this model with these operators"),
        })?;
        scales.insert(value.clone(), super::scheme::Affine::of(histogram.range(how.method)));
    }
    emit::emit(Edit::new(&model), &plan, &scales, how)
}
