//! Detectors: injection, personal data, secrets, Unicode tricks, anomalies. They label; they never decide.
//!
//! A score may lower the trust in a value and is there for policies to look at. A low score proves nothing: what detectors
//! miss is written in `docs/detectors.md`. No clock and no I/O: work is counted in steps, not in time, so that the same
//! text gets the same report everywhere.

mod block;
mod classifier;
mod encoded;
mod ids;
mod kind;
mod mask;
mod pii;
mod scanner;
mod screen;
mod secrets;
mod shape;
mod text;
mod unicode;
mod value;

use std::sync::LazyLock;

use serde::Serialize;

use crate::call::Scores;

pub use kind::{Detector, Kind};
pub use mask::Mask;
pub use scanner::Scanner;
pub use screen::{Message, Role, Screened, Thresholds, Traced as ScreenedFinding};
pub use shape::{Limits, Shape, shape};
pub use value::{Located, ValueReport};

/// The detectors with what they know. Immutable; made once.
#[derive(Debug)]
pub struct Detectors {
    model: classifier::Model,
    secrets: secrets::Literals,
}

/// How much may be looked at. What lies beyond is not judged, and the report says that it is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of text that are read.
    pub bytes: usize,
    /// Findings that are kept.
    pub findings: usize,
    /// Steps: about one for each byte that each detector reads, those of lookups behind and ahead and of decoded text included.
    /// It is looked at once for every candidate, so that a few thousand more may be spent.
    pub work: u64,
}

impl Default for Budget {
    /// 1 MiB, 1,000 findings, 32 steps a byte. Clean text takes 5 a byte.
    fn default() -> Self {
        Self::of_bytes(1 << 20)
    }
}

impl Budget {
    /// A budget for texts of up to `bytes`.
    pub const fn of_bytes(bytes: usize) -> Self {
        Self { bytes, findings: 1000, work: bytes as u64 * 32 + 65_536 }
    }
}

/// One finding. It never holds the text that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Offset of its first byte.
    pub start: usize,
    /// Offset behind its last byte.
    pub end: usize,
    /// Who finds it.
    pub detector: Detector,
    /// What it is.
    pub kind: Kind,
    /// How sure the detector is, 1 to 100; no probability.
    pub score: u8,
}

/// What the detectors say of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The highest score of each kind; Unicode tricks count as injection.
    pub scores: Scores,
    /// The findings, by place.
    pub findings: Vec<Finding>,
    /// Whether all of the text was looked at, and every finding kept. A report that is not complete vouches for nothing:
    /// treat the value as suspect.
    pub complete: bool,
    /// Bytes that were read.
    pub bytes: usize,
    /// Steps that were spent.
    pub work: u64,
}

/// The classifier's weights; made by `train/train.py`, described in `train/CARD.md`.
const MODEL: &[u8] = include_bytes!("injection.bin");

impl Detectors {
    /// The detectors with the model that is part of the binary.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: LazyLock<Detectors> = LazyLock::new(|| {
            #[expect(clippy::expect_used, reason = "the bytes are constant; a test reads them")]
            Detectors::with_model(MODEL).expect("the embedded model is whole")
        });
        &EMBEDDED
    }

    /// The detectors with another model of the same format; `None` if the bytes are none.
    pub fn with_model(bytes: &[u8]) -> Option<Self> {
        Some(Self { model: classifier::Model::parse(bytes)?, secrets: secrets::Literals::new()? })
    }

    /// A text that comes in pieces. However it is cut, the report is the same.
    pub fn scanner(&self, budget: Budget) -> Scanner<'_> {
        Scanner::new(self, budget)
    }

    /// Looks at a text.
    pub fn scan(&self, text: &str, budget: Budget) -> Report {
        let mut scanner = self.scanner(budget);
        scanner.push(text);
        scanner.finish()
    }

    /// The keys of the classifier's features, word by word, so that the training script can be compared.
    #[doc(hidden)]
    pub fn features(text: &str) -> Vec<Vec<u32>> {
        let (mut words, mut classifier) = (text::Words::new(), classifier::Classifier::new());
        let mut rows = Vec::new();
        let mut row = |word| {
            let mut keys = Vec::new();
            classifier.features(word, |key| keys.push(key));
            rows.push(keys);
        };
        words.push(text, 0, &mut row);
        words.finish(&mut row);
        rows
    }
}
