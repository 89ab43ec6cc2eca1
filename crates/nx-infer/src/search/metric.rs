//! What a model's outputs say, and how near that is to the truth: a score in [0, 1] for each sample.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Tensor,
    process::{
        Detection, classify, ctc,
        detect::{Yolox, intersection_over_union},
    },
};

/// How an answer is judged. Every metric compares with a truth that is given, or with the uncompressed model's own answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "metric", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Metric {
    /// The best class is the right one: 1, else 0. A sample is one row of scores.
    Class {
        /// The output's position.
        #[serde(default)]
        output: usize,
    },
    /// The text is the right one, letter by letter: 1, else 0. Read as [`ctc::greedy`] reads.
    Text {
        /// The output's position.
        #[serde(default)]
        output: usize,
        /// The position of the symbol that stands for none.
        blank: usize,
        /// The symbols.
        labels: Vec<String>,
    },
    /// Detections found again: twice the matches over all boxes of both sides; a match is of the same class and overlaps.
    Detections {
        /// The output's position.
        #[serde(default)]
        output: usize,
        /// How boxes are read.
        yolox: Yolox,
        /// Intersection over union of a match, at least.
        overlap: f32,
    },
    /// The share of numbers of the first output that are on the same side of a threshold: a decision, a mask.
    Side {
        /// The output's position.
        #[serde(default)]
        output: usize,
        /// The threshold.
        threshold: f32,
    },
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reading {
    /// A class by its position.
    Class(usize),
    /// Lines.
    Text(Vec<String>),
    /// Boxes.
    Detections(Vec<Detection>),
    /// On which side of the threshold each number is.
    Sides(Vec<bool>),
}

impl Metric {
    /// Whether there are no scores but 0 and 1.
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Class { .. } | Self::Text { .. })
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Class { .. } => "class",
            Self::Text { .. } => "text",
            Self::Detections { .. } => "detections",
            Self::Side { .. } => "side",
        }
    }

    /// Reads outputs.
    ///
    /// # Errors
    /// `Process` when they are not of the kind that the metric judges.
    pub fn read(&self, outputs: &[Tensor]) -> Result<Reading, Error> {
        let at = match self {
            Self::Class { output }
            | Self::Text { output, .. }
            | Self::Detections { output, .. }
            | Self::Side { output, .. } => *output,
        };
        let refuse = |reason: String| Error::Process { step: "metric", reason };
        let count = outputs.len();
        let output = outputs
            .get(at)
            .ok_or_else(|| refuse(format!("judges output {at}, the model has {count}; count from 0")))?;
        match self {
            Self::Class { .. } => match classify::argmax(output, &[])?.as_slice() {
                [one] => Ok(Reading::Class(one.index)),
                rows => Err(refuse(format!("judges one row of scores a sample, there are {}", rows.len()))),
            },
            Self::Text { blank, labels, .. } => {
                let lines = ctc::greedy(output, *blank, labels)?;
                Ok(Reading::Text(lines.into_iter().map(|line| line.text).collect()))
            }
            Self::Detections { yolox, .. } => {
                Ok(Reading::Detections(yolox.read(output, &[])?.into_iter().flatten().collect()))
            }
            Self::Side { threshold, .. } => {
                let values = output.f32s().ok_or_else(|| refuse(format!("judges f32, not {}", output.dtype())))?;
                Ok(Reading::Sides(values.iter().map(|value| value > threshold).collect()))
            }
        }
    }

    /// The score of what was found. Answers of another kind or shape than the truth have none of it right.
    pub fn score(&self, truth: &Reading, found: &Reading) -> f32 {
        match (truth, found) {
            (Reading::Detections(truth), Reading::Detections(found)) => {
                let overlap = if let Self::Detections { overlap, .. } = self { *overlap } else { 0.5 };
                found_again(truth, found, overlap)
            }
            (Reading::Sides(truth), Reading::Sides(found)) if truth.len() == found.len() => {
                let same = truth.iter().zip(found).filter(|(a, b)| a == b).count();
                if truth.is_empty() { 1.0 } else { same as f32 / truth.len() as f32 }
            }
            (truth, found) => f32::from(u8::from(truth == found)),
        }
    }
}

fn found_again(truth: &[Detection], found: &[Detection], overlap: f32) -> f32 {
    if truth.is_empty() && found.is_empty() {
        return 1.0;
    }
    let mut left: Vec<&Detection> = truth.iter().collect();
    let mut matches = 0_usize;
    // the surest first, as they come
    for one in found {
        let shared = |other: &Detection| intersection_over_union(&one.corners, &other.corners);
        let candidates = left.iter().enumerate().filter(|(_, other)| other.class == one.class);
        let best = candidates.map(|(at, other)| (at, shared(other))).max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((at, share)) = best
            && share >= overlap
        {
            left.swap_remove(at);
            matches += 1;
        }
    }
    2.0 * matches as f32 / (truth.len() + found.len()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(left: f32, class: usize) -> Detection {
        Detection { corners: [left, 0.0, left + 10.0, 10.0], class, label: None, score: 0.9 }
    }

    #[test]
    fn boxes_are_found_again_or_not() {
        let yolox = Yolox { width: 32, height: 32, strides: vec![8], score: 0.3, overlap: 0.45, most: 10 };
        let metric = Metric::Detections { output: 0, yolox, overlap: 0.5 };
        let check = |truth: Vec<Detection>, other: Vec<Detection>, wanted: f32| {
            let score = metric.score(&Reading::Detections(truth), &Reading::Detections(other));
            assert!((score - wanted).abs() < 1e-6, "{score} {wanted}");
        };
        check(vec![], vec![], 1.0);
        check(vec![found(0.0, 1)], vec![], 0.0);
        check(vec![found(0.0, 1), found(50.0, 1)], vec![found(1.0, 1)], 2.0 / 3.0);
        check(vec![found(0.0, 1)], vec![found(0.0, 2)], 0.0);
        // one box is no match for two
        check(vec![found(0.0, 1)], vec![found(0.0, 1), found(1.0, 1)], 2.0 / 3.0);
    }

    #[test]
    fn outputs_are_read_as_the_metric_wants() {
        let scores = Tensor::new([1, 3], vec![0.1, 0.7, 0.2_f32]).unwrap();
        let class = Metric::Class { output: 0 };
        assert_eq!(class.read(std::slice::from_ref(&scores)).unwrap(), Reading::Class(1));
        assert!(class.read(&[]).unwrap_err().to_string().contains("judges output 0, the model has 0"));
        let side = Metric::Side { output: 0, threshold: 0.15 };
        let reading = side.read(&[scores]).unwrap();
        assert_eq!(reading, Reading::Sides(vec![false, true, true]));
        assert!((side.score(&Reading::Sides(vec![true; 3]), &reading) - 2.0 / 3.0).abs() < 1e-6);
        assert!(side.score(&Reading::Sides(vec![]), &reading) < 1e-6);
        let text = Metric::Text { output: 0, blank: 0, labels: ["", "a", "b"].map(str::to_owned).to_vec() };
        let steps = Tensor::new([1, 2, 3], vec![0.0, 1.0, 0.0, 0.0, 0.0, 1.0_f32]).unwrap();
        assert_eq!(text.read(&[steps]).unwrap(), Reading::Text(vec!["ab".to_owned()]));
    }
}
