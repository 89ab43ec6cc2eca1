//! What is tried: ways to make a model smaller.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    compress::{self, Granularity, Quantise, Ranges, Storage, observe::Method},
    onnx::Model,
};

/// One way to change a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "recipe", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Recipe {
    /// The model as it is.
    Original,
    /// What does nothing is taken out.
    Clean,
    /// And arithmetic with constants is folded into weights.
    Fold,
    /// And weights are stored in half precision.
    Half,
    /// Folded, and weights are stored as `i8`; arithmetic is that of `f32`.
    Weights,
    /// The same with one scale a layer instead of one a channel: smaller where layers are.
    CoarseWeights,
    /// Folded, and weights are stored in four bits; arithmetic is that of `f32`.
    FourBits,
    /// Folded, and full layers work in eight bits, in ranges that are found in each run; other weights are stored as `i8`.
    Dynamic,
    /// Folded, and layers with weights work in eight bits, all between them in `f32`.
    Layers {
        /// Scales of weights.
        granularity: Granularity,
        /// How the range of an activation is chosen.
        range: Method,
        /// Layers that stay in `f32`, by their output. Their weights are stored as `i8`.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        keep: BTreeSet<String>,
    },
    /// Folded, and weights and activations are of eight bits.
    Int8 {
        /// Scales of weights.
        granularity: Granularity,
        /// How the range of an activation is chosen.
        range: Method,
        /// Bits of weights.
        bits: u32,
        /// Layers that stay in `f32`, by their output. Their weights are stored as `i8`.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        keep: BTreeSet<String>,
    },
}

/// What a search tries by default: clean-up, storage, and static int8 over scales and ranges.
pub fn grid() -> Vec<Recipe> {
    let mut grid = vec![
        Recipe::Clean,
        Recipe::Fold,
        Recipe::Half,
        Recipe::Weights,
        Recipe::CoarseWeights,
        Recipe::FourBits,
        Recipe::Dynamic,
    ];
    let ranges = [Method::MinMax, Method::Percentile { percent: 99.99 }, Method::Entropy, Method::Mse];
    for granularity in [Granularity::Tensor, Granularity::Channel] {
        let int8 = |range| Recipe::Int8 { granularity, range, bits: 8, keep: BTreeSet::new() };
        grid.extend(ranges.map(int8));
    }
    let layers = |range| Recipe::Layers { granularity: Granularity::Channel, range, keep: BTreeSet::new() };
    grid.extend([Method::MinMax, Method::Mse].map(layers));
    // for processors whose products of eight bits overflow
    let range = Method::Percentile { percent: 99.99 };
    grid.push(Recipe::Int8 { granularity: Granularity::Channel, range, bits: 7, keep: BTreeSet::new() });
    grid
}

impl Recipe {
    /// Its name in reports. Recipes that keep other layers may share one.
    pub fn name(&self) -> String {
        match self {
            Self::Original => "original".to_owned(),
            Self::Clean => "clean".to_owned(),
            Self::Fold => "fold".to_owned(),
            Self::Half => "f16 weights".to_owned(),
            Self::Weights => "int8 weights".to_owned(),
            Self::CoarseWeights => "int8 weights, one scale".to_owned(),
            Self::FourBits => "int4 weights".to_owned(),
            Self::Dynamic => "int8 dynamic".to_owned(),
            Self::Layers { granularity, range, keep } => {
                format!("int8 layers {}{}", scales(*granularity, *range), but(keep))
            }
            Self::Int8 { granularity, range, bits, keep } => {
                let bits = if *bits == 8 { String::new() } else { format!(" {bits} bits") };
                format!("int8 {}{bits}{}", scales(*granularity, *range), but(keep))
            }
        }
    }

    /// The same with these layers kept in `f32`; none for recipes without layers of int8.
    pub fn keeping(&self, layers: BTreeSet<String>) -> Option<Self> {
        match self {
            Self::Int8 { granularity, range, bits, .. } => {
                Some(Self::Int8 { granularity: *granularity, range: *range, bits: *bits, keep: layers })
            }
            Self::Layers { granularity, range, .. } => {
                Some(Self::Layers { granularity: *granularity, range: *range, keep: layers })
            }
            _ => None,
        }
    }

    pub(super) fn quantise(&self) -> Option<Quantise> {
        match self {
            Self::Int8 { granularity, range, bits, keep } => Some(Quantise {
                granularity: *granularity,
                method: *range,
                bits: *bits,
                skip: keep.clone(),
                ..Quantise::default()
            }),
            Self::Layers { granularity, range, keep } => {
                let how =
                    Quantise { granularity: *granularity, method: *range, skip: keep.clone(), ..Quantise::default() };
                Some(how.layers())
            }
            _ => None,
        }
    }

    /// Makes the model. `ranges` are those of the folded model. What is changed is written in as few bytes as it goes.
    ///
    /// # Errors
    /// `Compress` when the model has nothing that the recipe could change.
    pub fn make(
        &self,
        original: &Model,
        folded: &Model,
        ranges: &dyn Fn() -> Result<Ranges, Error>,
    ) -> Result<Model, Error> {
        let weights = Storage::Int8(Granularity::Channel);
        let model = match self {
            Self::Original => return Ok(original.clone()),
            // what a person may want to compare with the original keeps its names
            Self::Clean => return Ok(compress::clean(original)?.0),
            Self::Fold => folded.clone(),
            Self::Half => compress::store(folded, Storage::Half)?.0,
            Self::Weights => compress::store(folded, weights)?.0,
            Self::CoarseWeights => compress::store(folded, Storage::Int8(Granularity::Tensor))?.0,
            Self::FourBits => compress::store(folded, Storage::Int4)?.0,
            Self::Dynamic => rest(compress::dynamic(folded, Granularity::Channel)?.0, weights),
            Self::Int8 { granularity, .. } | Self::Layers { granularity, .. } => {
                let how = self.quantise().unwrap_or_default();
                rest(compress::quantise(folded, &ranges()?, &how)?, Storage::Int8(*granularity))
            }
        };
        compress::slim(&model)
    }
}

/// Weights of layers that stay in `f32` are stored in fewer bytes all the same; there may be none.
fn rest(model: Model, storage: Storage) -> Model {
    compress::store(&model, storage).map(|(stored, _)| stored).unwrap_or(model)
}

fn scales(granularity: Granularity, range: Method) -> String {
    let granularity = match granularity {
        Granularity::Tensor => "tensor",
        Granularity::Channel => "channel",
    };
    let range = match range {
        Method::MinMax => "min-max".to_owned(),
        Method::Percentile { percent } => format!("percentile {percent}"),
        Method::Entropy => "entropy".to_owned(),
        Method::Mse => "mse".to_owned(),
    };
    format!("{granularity} {range}")
}

fn but(keep: &BTreeSet<String>) -> String {
    if keep.is_empty() { String::new() } else { format!(" but {} layers", keep.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_written_and_read() {
        for recipe in grid() {
            let text = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
        }
        let names: BTreeSet<String> = grid().iter().map(Recipe::name).collect();
        assert_eq!(names.len(), grid().len());
    }
}
