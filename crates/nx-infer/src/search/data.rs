//! The data that a search looks at, and how they are divided.

use nx_types::{Rng as _, env::SeededRng};
use ring::digest::{Context, SHA256};

use super::metric::Reading;
use crate::{
    Error, Tensor,
    onnx::{Model, write_tensor},
};

/// One run of the model, and what it should say.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Every input by its name.
    pub inputs: Vec<(String, Tensor)>,
    /// What the answer should be; where it is not known, the uncompressed model's own answer is taken.
    pub truth: Option<Reading>,
}

/// Samples, drawn independently from what the model will see.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    samples: Vec<Sample>,
    hash: String,
}

impl Samples {
    /// Takes samples, and their digest.
    pub fn new(samples: Vec<Sample>) -> Self {
        let mut context = Context::new(&SHA256);
        for sample in &samples {
            for (name, tensor) in &sample.inputs {
                let bytes = write_tensor(name, tensor);
                context.update(&(bytes.len() as u64).to_le_bytes());
                context.update(&bytes);
            }
            let truth = serde_json::to_vec(&sample.truth).unwrap_or_default();
            context.update(&(truth.len() as u64).to_le_bytes());
            context.update(&truth);
        }
        Self { hash: digest(context), samples }
    }

    /// `sha256:` and the digest of inputs and truths.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Whether every truth is given: the claim is about the truth then, and else about agreement with the model as it was.
    pub fn labelled(&self) -> bool {
        !self.is_empty() && self.samples.iter().all(|sample| sample.truth.is_some())
    }

    /// A sample.
    ///
    /// # Errors
    /// `Compress` when there is none at that position.
    pub(super) fn get(&self, at: usize) -> Result<&Sample, Error> {
        let missing = || Error::Compress { step: "search", reason: format!("there is no sample {at}") };
        self.samples.get(at).ok_or_else(missing)
    }
}

/// `sha256:` and the digest of a model's file.
pub(super) fn hash_of(model: &Model) -> String {
    hash_of_bytes(&model.write())
}

/// `sha256:` and the digest of a file.
pub fn hash_of_bytes(bytes: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    digest(context)
}

pub(crate) fn digest(context: Context) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in context.finish().as_ref() {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// The part of the data that something was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What the search looks at: calibration, sensitivity, comparison of candidates.
    Search,
    /// What only the claim is made on.
    HeldOut,
}

/// Which sample is in which part: shuffled by a seed, so that an order in the data does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    order: Vec<usize>,
    search: usize,
}

impl Split {
    /// Divides. `held_out` is a share.
    pub fn new(samples: usize, held_out: f64, seed: u64) -> Self {
        let order = shuffled(samples, &SeededRng::new(seed));
        let held_out = ((samples as f64 * held_out.clamp(0.0, 1.0)).round() as usize).min(samples);
        Self { search: samples - held_out, order }
    }

    /// The positions of a part's samples, in the order in which they are looked at.
    pub fn part(&self, part: Part) -> &[usize] {
        let (search, held_out) = self.order.split_at_checked(self.search).unwrap_or_default();
        match part {
            Part::Search => search,
            Part::HeldOut => held_out,
        }
    }
}

/// The numbers below `count` in an order of chance.
pub(crate) fn shuffled(count: usize, rng: &SeededRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        // 64 bits over so few: the bias is far below anything that can be measured
        order.swap(at, (rng.next_u64() % (at as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_nothing_and_leave_nothing_out() {
        for (samples, held_out, wanted) in [(10, 0.5, 5), (9, 0.5, 5), (3, 1.0, 3), (0, 0.5, 0), (7, 0.0, 0)] {
            let split = Split::new(samples, held_out, 3);
            assert_eq!(split.part(Part::HeldOut).len(), wanted);
            let mut all = [split.part(Part::Search), split.part(Part::HeldOut)].concat();
            all.sort_unstable();
            assert_eq!(all, (0..samples).collect::<Vec<_>>());
        }
        assert_eq!(Split::new(100, 0.5, 1), Split::new(100, 0.5, 1));
        assert_ne!(Split::new(100, 0.5, 1), Split::new(100, 0.5, 2));
    }

    #[test]
    fn the_digest_tells_inputs_and_truths_apart() {
        let sample = |value: f32, truth| Sample {
            inputs: vec![("x".to_owned(), Tensor::scalar(vec![value]).unwrap())],
            truth: Some(Reading::Class(truth)),
        };
        let hash = |samples: Vec<Sample>| Samples::new(samples).hash().to_owned();
        assert_eq!(hash(vec![sample(1.0, 2)]), hash(vec![sample(1.0, 2)]));
        assert_ne!(hash(vec![sample(1.0, 2)]), hash(vec![sample(1.0, 3)]));
        assert_ne!(hash(vec![sample(1.0, 2)]), hash(vec![sample(2.0, 2)]));
        assert!(hash(Vec::new()).starts_with("sha256:e3b0c442"));
    }
}
