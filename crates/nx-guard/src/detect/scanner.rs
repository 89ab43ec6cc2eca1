//! A text, piece by piece: cut into blocks that depend on nothing but the text, so that the pieces do not matter.

use super::{
    Budget, Detector, Detectors, Kind, Report,
    block::{AHEAD, BEHIND, Block, Found},
    classifier::{Classifier, Passage, Which},
    encoded, pii, secrets,
    text::Words,
    unicode::Tricks,
};
use crate::call::Scores;

/// Bytes that are looked at in one go. The buffer holds at most that, what lies ahead and behind, and one piece of as much.
const BLOCK: usize = 16 * 1024;
/// Words beside a passage from which on it stands within other text: more than the rest of its own sentence.
const SURROUNDED: u64 = 24;
/// The score that a request has at most where nothing else is there: it may be all that somebody wants.
const ALONE: u8 = 60;

/// A text under examination. Takes constant memory, but for the findings.
#[derive(Debug)]
pub struct Scanner<'d> {
    detectors: &'d Detectors,
    budget: Budget,
    /// The text from `base` on, up to what has come in.
    buffer: String,
    base: usize,
    /// Up to here all is done.
    done: usize,
    taken: usize,
    /// The budget of bytes is spent.
    full: bool,
    /// The budget of steps is spent.
    closed: bool,
    found: Found,
    words: Words,
    classifier: Classifier,
    passages: Vec<Passage>,
    tricks: Tricks,
    claimed: pii::Claimed,
    runs: encoded::Runs,
}

impl<'d> Scanner<'d> {
    pub(super) fn new(detectors: &'d Detectors, budget: Budget) -> Self {
        Self {
            detectors,
            budget,
            buffer: String::new(),
            base: 0,
            done: 0,
            taken: 0,
            full: false,
            closed: false,
            found: Found::new(budget),
            words: Words::new(),
            classifier: Classifier::new(),
            passages: Vec::new(),
            tricks: Tricks::new(),
            claimed: pii::Claimed::default(),
            runs: encoded::Runs::default(),
        }
    }

    /// Bytes taken in so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Takes in the next piece.
    pub fn push(&mut self, mut text: &str) {
        while !text.is_empty() && !self.full && !self.closed {
            let room = self.budget.bytes - self.taken;
            let cut = text.floor_char_boundary(room.min(BLOCK));
            if cut == 0 {
                self.full = true;
                self.found.cut = true;
                return;
            }
            let (piece, rest) = text.split_at(cut);
            self.buffer.push_str(piece);
            self.taken += piece.len();
            text = rest;
            while !self.closed && self.taken >= self.done + BLOCK + AHEAD {
                self.block();
            }
        }
    }

    /// The text ends here.
    pub fn finish(mut self) -> Report {
        while !self.closed && self.done < self.taken {
            self.block();
        }
        self.end()
    }

    /// Looks at the next block and drops what is needed no more.
    fn block(&mut self) {
        let low = self.done - self.base;
        let high = self.buffer.floor_char_boundary((low + BLOCK).min(self.buffer.len()));
        let seen = self.buffer.floor_char_boundary((high + AHEAD).min(self.buffer.len()));
        let text = self.buffer.split_at(seen).0;
        let block = Block { text, low, high, base: self.base };
        let fresh = text.get(low..high).unwrap_or_default();
        // words, tricks, digits, literals and runs: each reads the block once
        if self.found.spend(5 * fresh.len()) {
            let (classifier, model, passages) = (&mut self.classifier, &self.detectors.model, &mut self.passages);
            let most = self.budget.findings;
            let mut over = false;
            self.words.push(fresh, (self.base + low) as u64, &mut |word| {
                classifier.push(model, word, &mut |passage| {
                    over |= passages.len() >= most;
                    if passages.len() < most {
                        passages.push(passage);
                    }
                });
            });
            self.found.cut |= over;
            self.tricks.push(fresh, self.base + low, model, &mut self.found);
            pii::scan(&block, &mut self.claimed, &mut self.found);
            secrets::scan(&block, &self.detectors.secrets, &mut self.found);
            self.runs.scan(&block, model, &mut self.found);
        }
        self.closed |= self.found.work > self.budget.work;
        self.done = self.base + high;
        let keep = self.buffer.floor_char_boundary(high.saturating_sub(BEHIND));
        self.buffer.drain(..keep);
        self.base += keep;
    }

    fn end(mut self) -> Report {
        let (classifier, model, passages) = (&mut self.classifier, &self.detectors.model, &mut self.passages);
        self.words.finish(&mut |word| classifier.push(model, word, &mut |passage| passages.push(passage)));
        classifier.finish(model, &mut |passage| passages.push(passage));
        self.tricks.finish(model, &mut self.found);
        let within: u64 = passages.iter().filter(|p| p.which == Which::Instruction).map(|p| p.words).sum();
        let alone = classifier.words().saturating_sub(within) < SURROUNDED;
        for passage in &self.passages {
            let (kind, score) = match passage.which {
                Which::Override => (Kind::Override, passage.score),
                Which::Instruction if alone => (Kind::Instruction, passage.score.min(ALONE)),
                Which::Instruction => (Kind::Instruction, passage.score),
            };
            self.found.add(kind, passage.start as usize, passage.end as usize, score);
        }
        let mut findings = self.found.findings;
        findings.sort_unstable();
        // a part of a secret whose format is known is no second one
        let known: Vec<(usize, usize)> = findings
            .iter()
            .filter(|finding| finding.detector == Detector::Secrets && finding.kind != Kind::Random)
            .map(|finding| (finding.start, finding.end))
            .collect();
        findings.retain(|finding| {
            let within = |span: &(usize, usize)| span.0 <= finding.start && finding.end <= span.1;
            finding.kind != Kind::Random || !known.iter().any(within)
        });
        let [injection, pii, secrets] = self.found.scores;
        let takeover =
            findings.iter().filter(|found| found.kind.takes_over()).map(|found| found.score).max().unwrap_or(0);
        Report {
            scores: Scores { injection, takeover, pii, secrets },
            findings,
            complete: !self.found.cut,
            bytes: self.done,
            work: self.found.work,
        }
    }
}
