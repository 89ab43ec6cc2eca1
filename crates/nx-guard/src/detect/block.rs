//! A stretch of text as the detectors see it, and what they make of it.

use super::{Budget, Finding, Kind};

/// Bytes that a detector may look back from the start of a match.
pub(super) const BEHIND: usize = 256;
/// Bytes that a detector may look ahead from the start of a match.
pub(super) const AHEAD: usize = 4096;

/// The part of a text in which matches may begin, with what stands before and behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    /// All that is seen.
    pub(super) text: &'a str,
    /// Matches begin at or behind this place in `text`,
    pub(super) low: usize,
    /// and before this one.
    pub(super) high: usize,
    /// Offset of `text` in the whole.
    pub(super) base: usize,
}

impl<'a> Block<'a> {
    /// The byte at a place; 0 beyond the ends.
    pub(super) fn at(&self, place: usize) -> u8 {
        self.text.as_bytes().get(place).copied().unwrap_or(0)
    }

    /// The byte before a place; 0 at the start.
    pub(super) fn before(&self, place: usize) -> u8 {
        place.checked_sub(1).map_or(0, |place| self.at(place))
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.as_bytes().get(start..end.min(self.text.len())).unwrap_or_default()
    }

    /// The end of the run of bytes from `start` that `fits`; at most `most` long, and within no character.
    pub(super) fn run(&self, start: usize, most: usize, mut fits: impl FnMut(u8) -> bool) -> usize {
        let end = start.saturating_add(most).min(self.text.len());
        let run = self.slice(start, end).iter().take_while(|byte| fits(**byte)).count();
        self.text.floor_char_boundary(start + run)
    }

    /// Whether one of `words`, which are in lower case, stands in the `within` bytes before `place`.
    pub(super) fn names(&self, place: usize, within: usize, words: &[&str]) -> bool {
        let before = self.slice(place.saturating_sub(within), place).to_ascii_lowercase();
        words.iter().any(|word| before.windows(word.len()).any(|window| window == word.as_bytes()))
    }
}

/// What was found so far, and what it cost.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) scores: [u8; 3],
    pub(super) work: u64,
    /// Something was left out.
    pub(super) cut: bool,
    budget: Budget,
}

impl Found {
    pub(super) fn new(budget: Budget) -> Self {
        Self { findings: Vec::new(), scores: [0; 3], work: 0, cut: false, budget }
    }

    /// Counts steps; false once there are none left.
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        self.work = self.work.saturating_add(steps as u64);
        if self.work > self.budget.work {
            self.cut = true;
        }
        self.work <= self.budget.work
    }

    /// Keeps a finding, `start` and `end` being offsets in the whole.
    pub(super) fn add(&mut self, kind: Kind, start: usize, end: usize, score: u8) {
        let detector = kind.detector();
        if self.findings.len() < self.budget.findings {
            self.findings.push(Finding { start, end, detector, kind, score });
        } else {
            self.cut = true;
        }
        self.score(kind, score);
    }

    /// Counts a score alone.
    pub(super) fn score(&mut self, kind: Kind, score: u8) {
        use super::Detector::{Anomaly, Injection, Pii, Secrets, Unicode};
        let place = match kind.detector() {
            Injection | Unicode => 0,
            Pii => 1,
            Secrets => 2,
            Anomaly => return,
        };
        if let Some(most) = self.scores.get_mut(place) {
            *most = score.max(*most);
        }
    }
}
