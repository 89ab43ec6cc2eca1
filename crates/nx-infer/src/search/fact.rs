//! What was measured. Facts and options decide everything that a search does next, so storing facts is storing the search.

use serde::{Deserialize, Serialize};

use super::{Part, Recipe};

/// What a timing is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To choose.
    Race,
    /// To say how fast the chosen are: measured anew, because the fastest of many looks faster than it is.
    Confirm,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Fact {
    /// Scores of samples that follow one another in a part of the data.
    Scored {
        /// The candidate.
        recipe: Recipe,
        /// The part.
        part: Part,
        /// The first sample's position in the part.
        from: usize,
        /// Scores in [0, 1].
        scores: Vec<f32>,
        /// Whether all outputs were those of the original, bit for bit.
        exact: bool,
        /// How far outputs lie from those of the original, relative to their size (root mean square over the first samples).
        deviation: Option<f64>,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A layer's sensitivity: the deviation of the outputs when it alone is of eight bits.
    Probed {
        /// The layer, by its output.
        layer: String,
        /// The deviation.
        deviation: f64,
    },
    /// Times of candidates that ran by turns.
    Timed {
        /// The engine.
        engine: String,
        /// What for.
        purpose: Purpose,
        /// For each candidate nanoseconds of each round; none when it does not run on this engine.
        nanos: Vec<(Recipe, Vec<u64>)>,
        /// The same of the original again, loaded anew for each: what two timings of one model differ by is no gain.
        #[serde(default)]
        control: Vec<Vec<u64>>,
    },
    /// A candidate that cannot be made or run.
    Failed {
        /// The candidate.
        recipe: Recipe,
        /// Why.
        reason: String,
    },
}

/// All that was measured, and of what.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// The digest of model, data, metric, engines and options: what was measured of one is nothing to another.
    pub key: String,
    /// The measurements, in their order.
    pub facts: Vec<Fact>,
}
