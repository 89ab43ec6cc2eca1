//! The injection classifier: a linear model over hashed word n-grams, summed along the text.
//!
//! Two heads share one table. `Override` finds text that turns on the model itself (ignore what you were told, send me the key);
//! `Instruction` finds any request that a model would carry out. Each head keeps a leaky sum of its weights that never falls below
//! nothing (a CUSUM test, Page 1954): it rises where a passage reads like an instruction, wherever that stands in the text, and
//! its peak is the passage's score. State is a few numbers; work is the same for each word.

use super::text::{Gap, Word};

/// Weights and the numbers that belong to them, as `train/train.py` writes them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    /// Two entries a bucket: fingerprint of the feature, weight of either head.
    entries: Vec<[Entry; 2]>,
    /// What remains of the sum at the next word.
    keep: f32,
    /// What each word costs.
    drift: f32,
    /// What a weight of 1 is worth.
    scale: f32,
    heads: [Head; 2],
}

/// One head's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Head {
    bias: f32,
    /// The sums that score 50 and 90.
    at_50: f32,
    at_90: f32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    fingerprint: u16,
    weights: [i8; 2],
}

/// Which head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Override = 0,
    Instruction = 1,
}

/// A passage that a head finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Passage {
    pub(super) which: Which,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Words of it.
    pub(super) words: u64,
    pub(super) score: u8,
}

/// Passages below this score are not reported.
pub(super) const FAINT: u8 = 30;
/// A passage ends when the sum has fallen by this much from its peak.
const FALL: f32 = 3.0;
const MAGIC: &[u8; 8] = b"nxinj-01";

impl Model {
    /// Reads a model's bytes; `None` if they are none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (numbers, table) = rest.split_at_checked(9 * 4)?;
        let mut numbers = numbers.chunks_exact(4).filter_map(|four| Some(f32::from_le_bytes(four.try_into().ok()?)));
        let mut next = || numbers.next().filter(|number| number.is_finite());
        let (keep, drift, scale) = (next()?, next()?, next()?);
        let mut head = || Some(Head { bias: next()?, at_50: next()?, at_90: next()? });
        let heads = [head()?, head()?];
        let entry = |four: &[u8]| match *four {
            [low, high, first, second] => Entry {
                fingerprint: u16::from_le_bytes([low, high]),
                weights: [first.cast_signed(), second.cast_signed()],
            },
            _ => Entry::default(),
        };
        let entries: Vec<[Entry; 2]> = table
            .chunks_exact(8)
            .map(|eight| [entry(eight.get(..4).unwrap_or_default()), entry(eight.get(4..).unwrap_or_default())])
            .collect();
        let whole = entries.len().is_power_of_two() && entries.len() * 8 == table.len();
        let sane = whole && (0.0..1.0).contains(&keep) && heads.iter().all(|head| head.at_50 < head.at_90);
        sane.then_some(Self { entries, keep, drift, scale, heads })
    }

    fn weights(&self, key: u32) -> [i32; 2] {
        let fingerprint = (key >> 16) as u16;
        let Some(bucket) = self.entries.get(key as usize & (self.entries.len() - 1)) else { return [0, 0] };
        for entry in bucket {
            if entry.fingerprint == fingerprint {
                return [i32::from(entry.weights[0]), i32::from(entry.weights[1])];
            }
        }
        [0, 0]
    }

    fn score(&self, which: Which, sum: f32) -> u8 {
        let head = match which {
            Which::Override => &self.heads[0],
            Which::Instruction => &self.heads[1],
        };
        let z = sum + head.bias;
        let score = if z < head.at_90 {
            50.0 + 40.0 * (z - head.at_50) / (head.at_90 - head.at_50)
        } else {
            90.0 + 5.0 * (z - head.at_90)
        };
        score.clamp(0.0, 100.0) as u8
    }
}

const SALT_WORD: u64 = 0x9e37_79b9_7f4a_7c15;
const SALT_GAP: u64 = 0xc2b2_ae3d_27d4_eb4f;
const SALT_PAIR: u64 = 0x1656_67b1_9e37_79f9;
const SALT_GAP_PAIR: u64 = 0x27d4_eb2f_1656_67c5;
const SALT_TRIPLE: u64 = 0x85eb_ca77_c2b2_ae63;
const SALT_SKIP: u64 = 0xff51_afd7_ed55_8ccd;

const fn mix(value: u64, part: u64) -> u64 {
    let value = (value ^ part).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 32)
}

/// A text under classification.
#[derive(Debug, Clone)]
pub(super) struct Classifier {
    first: u64,
    second: u64,
    /// Whether the last word began after more than a space.
    after_gap: bool,
    sums: [Sum; 2],
    words: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    value: f32,
    peak: f32,
    start: u64,
    start_word: u64,
    end: u64,
    end_word: u64,
}

impl Classifier {
    pub(super) fn new() -> Self {
        Self { first: 0, second: 0, after_gap: false, sums: [Sum::default(); 2], words: 0 }
    }

    /// Words so far.
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// The keys of the features of `word`.
    pub(super) fn features(&mut self, word: Word, mut key: impl FnMut(u32)) {
        let cut = |value: u64| (value >> 16) as u32;
        key(cut(mix(SALT_WORD, word.hash)));
        if word.gap != Gap::Space {
            key(cut(mix(mix(SALT_GAP, word.hash), word.gap as u64)));
        }
        if self.first != 0 {
            key(cut(mix(mix(SALT_PAIR, self.first), word.hash)));
            if self.after_gap && word.gap == Gap::Space {
                key(cut(mix(mix(SALT_GAP_PAIR, self.first), word.hash)));
            }
        }
        if self.second != 0 {
            key(cut(mix(mix(mix(SALT_TRIPLE, self.second), self.first), word.hash)));
            key(cut(mix(mix(SALT_SKIP, self.second), word.hash)));
        }
        self.second = self.first;
        self.first = word.hash;
        self.after_gap = word.gap != Gap::Space;
    }

    /// Takes in a word; passages that it ends are given out.
    pub(super) fn push(&mut self, model: &Model, word: Word, found: &mut impl FnMut(Passage)) {
        let mut total = [0_i32; 2];
        self.features(word, |key| {
            let weights = model.weights(key);
            total[0] += weights[0];
            total[1] += weights[1];
        });
        for (which, gain) in [(Which::Override, total[0]), (Which::Instruction, total[1])] {
            let Some(sum) = self.sums.get_mut(which as usize) else { continue };
            if sum.value <= 0.0 {
                sum.end_passage(model, which, found);
                *sum = Sum { start: word.start, start_word: self.words, ..Sum::default() };
            }
            sum.value = model.keep * sum.value + gain as f32 * model.scale - model.drift;
            if sum.value > sum.peak {
                (sum.peak, sum.end, sum.end_word) = (sum.value, word.end, self.words + 1);
            } else if sum.value < sum.peak - FALL {
                sum.end_passage(model, which, found);
                *sum = Sum { value: 0.0, ..Sum::default() };
            }
        }
        self.words += 1;
    }

    /// The text ends here.
    pub(super) fn finish(&mut self, model: &Model, found: &mut impl FnMut(Passage)) {
        for which in [Which::Override, Which::Instruction] {
            if let Some(sum) = self.sums.get_mut(which as usize) {
                sum.end_passage(model, which, found);
                *sum = Sum::default();
            }
        }
    }
}

impl Sum {
    fn end_passage(&self, model: &Model, which: Which, found: &mut impl FnMut(Passage)) {
        if self.peak <= 0.0 {
            return;
        }
        let score = model.score(which, self.peak);
        if score >= FAINT {
            let words = self.end_word - self.start_word;
            found(Passage { which, start: self.start, end: self.end, words, score });
        }
    }
}
