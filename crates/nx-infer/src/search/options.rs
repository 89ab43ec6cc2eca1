//! What a search is asked for.

use serde::{Deserialize, Serialize};

use super::{Recipe, bound, recipe::grid};
use crate::Error;

/// What is made as small as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// The time of a run.
    #[default]
    Latency,
    /// The bytes of the file. It may be slower then, and the report says so.
    Size,
}

/// What a search is asked for; part of the key under which measurements are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// How much the mean score may drop: 0.005 by default, half a percent.
    pub max_drop: f64,
    /// The confidence of the claim: 0.95 by default, on one side.
    pub confidence: f64,
    /// The share of the data that the claim is made on: 0.5 by default.
    pub held_out: f64,
    /// What to make small.
    pub aim: Aim,
    /// What is tried.
    pub grid: Vec<Recipe>,
    /// Samples that ranges of activations are seen on, of the search's part: 128 by default.
    pub calibration: usize,
    /// Samples that each layer's sensitivity is measured on: 32 by default. 0 leaves mixed precision out.
    pub probe: usize,
    /// Layers whose sensitivity is measured at most: 256 by default, in the order of the graph.
    pub layers: usize,
    /// Samples between two looks at whether a candidate can still make it: 250 by default.
    pub chunk: usize,
    /// Rounds of a timing; in each, every candidate runs once: 101 by default.
    pub rounds: usize,
    /// Candidates that are tested on held-out data at most: 4 by default.
    pub shortlist: usize,
    /// Shuffles the data.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_drop: 0.005,
            confidence: 0.95,
            held_out: 0.5,
            aim: Aim::Latency,
            grid: grid(),
            calibration: 128,
            probe: 32,
            layers: 256,
            chunk: 250,
            rounds: 101,
            shortlist: 4,
            seed: 1,
        }
    }
}

impl Options {
    /// Refuses what cannot be searched or shown with that many samples.
    pub(super) fn check(&self, samples: usize, binary: bool) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::Compress { step: "search", reason });
        let within = |value: f64| value > 0.0 && value < 1.0;
        if !within(self.max_drop) {
            return refuse(format!("a budget of {} is not between 0 and 1", self.max_drop));
        }
        if !(0.5..1.0).contains(&self.confidence) {
            return refuse(format!("a confidence of {} is not between 0.5 and 1", self.confidence));
        }
        if !within(self.held_out) {
            return refuse(format!("a share of held-out data of {} is not between 0 and 1", self.held_out));
        }
        let held_out = (samples as f64 * self.held_out).round();
        let needed = bound::needed(binary, self.max_drop, self.confidence);
        if held_out < needed as f64 {
            let total = (needed as f64 / self.held_out).ceil();
            return refuse(format!(
                "{samples} samples cannot show a drop of {} % or less at {} % confidence; give {total} or more, or allow a \
                 larger drop",
                self.max_drop * 100.0,
                self.confidence * 100.0
            ));
        }
        if samples as f64 - held_out < 1.0 {
            return refuse("no sample is left to search on; hold out less".to_owned());
        }
        Ok(())
    }
}
