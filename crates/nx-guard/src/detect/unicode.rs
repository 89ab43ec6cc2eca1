//! Characters that hide something or pass for others (Unicode Technical Reports 36 and 39; "Trojan Source", Boucher and
//! Anderson 2021).

use super::{
    block::Found,
    classifier::{Classifier, Model, Passage},
    kind::Kind,
    text::{Words, ignored, lookalike},
};

/// Bytes between two odd characters within which they are one finding.
const NEAR: usize = 32;
/// Hidden letters from which on they count as text.
const TEXT: u32 = 4;
/// Marks on one letter from which on they are too many.
const MARKS: u32 = 4;

/// What is going on at this place of the text.
#[derive(Debug)]
pub(super) struct Tricks {
    invisible: Group,
    smuggled: Group,
    bidi: Group,
    homoglyph: Group,
    marks: Group,
    /// Combining marks in a row.
    stacked: u32,
    last: char,
    /// Tags that may be those of a flag.
    flag: u32,
    word: Letters,
    hidden: Hidden,
}

/// Findings of one kind that lie near each other.
#[derive(Debug, Clone, Copy)]
struct Group {
    kind: Kind,
    start: usize,
    end: usize,
    count: u32,
}

/// The letters of a word.
#[derive(Debug, Clone, Copy, Default)]
struct Letters {
    start: usize,
    end: usize,
    latin: u32,
    /// Letters of other scripts that look like Latin ones.
    alike: u32,
    other: u32,
}

/// Text in characters that nobody sees, read as what it stands for.
#[derive(Debug)]
struct Hidden {
    words: Words,
    classifier: Classifier,
    start: usize,
    end: usize,
    any: bool,
    worst: u8,
}

impl Tricks {
    pub(super) fn new() -> Self {
        let group = |kind| Group { kind, start: 0, end: 0, count: 0 };
        Self {
            invisible: group(Kind::Invisible),
            smuggled: group(Kind::Smuggled),
            bidi: group(Kind::Bidi),
            homoglyph: group(Kind::Homoglyph),
            marks: group(Kind::Marks),
            stacked: 0,
            last: ' ',
            flag: 0,
            word: Letters::default(),
            hidden: Hidden {
                words: Words::new(),
                classifier: Classifier::new(),
                start: 0,
                end: 0,
                any: false,
                worst: 0,
            },
        }
    }

    /// Takes in `text`, which begins at byte `at` of the whole.
    pub(super) fn push(&mut self, text: &str, at: usize, model: &Model, found: &mut Found) {
        if text.is_ascii() && self.word.alike == 0 {
            self.ascii(text, at);
            return;
        }
        for (place, char) in text.char_indices() {
            self.char(char, at + place, model, found);
        }
    }

    /// The text ends here.
    pub(super) fn finish(&mut self, model: &Model, found: &mut Found) {
        self.end_word(found);
        for group in [&mut self.invisible, &mut self.smuggled, &mut self.bidi, &mut self.homoglyph, &mut self.marks] {
            group.close(found);
        }
        self.hidden.finish(model, found);
    }

    /// What plain text leaves behind: its last word, which may go on with other letters.
    fn ascii(&mut self, text: &str, at: usize) {
        let tail = text.bytes().rev().take_while(u8::is_ascii_alphabetic).count();
        if tail < text.len() {
            self.word = Letters { start: at + text.len() - tail, ..Letters::default() };
        }
        self.word.latin = self.word.latin.saturating_add(tail as u32);
        self.word.end = at + text.len();
        self.stacked = 0;
        self.flag = 0;
        self.last = text.chars().next_back().unwrap_or(self.last);
    }

    fn char(&mut self, char: char, at: usize, model: &Model, found: &mut Found) {
        let end = at + char.len_utf8();
        match char {
            '\u{e0020}'..='\u{e007f}' => {
                if self.last == '\u{1f3f4}' {
                    self.flag = 1;
                } else if self.flag > 0 {
                    self.flag += 1;
                }
                // the flag of a region: up to six letters and the end
                if self.flag == 0 || self.flag > 7 {
                    self.smuggled.add(at, end, found);
                }
                let letter = char::from_u32(char as u32 - 0xe0000).unwrap_or(' ');
                self.hidden.push(letter, at, end, model);
            }
            '\u{e0100}'..='\u{e01ef}' => {
                self.smuggled.add(at, end, found);
                let byte = (char as u32 - 0xe0100 + 16) as u8;
                self.hidden.push(char::from(byte), at, end, model);
            }
            '\u{fe00}'..='\u{fe0f}' if matches!(self.last, '\u{fe00}'..='\u{fe0f}') => {
                self.smuggled.add(at, end, found);
            }
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.bidi.add(at, end, found),
            '\u{200c}' | '\u{200d}' if joins(self.last) => {}
            '\u{feff}' if at == 0 => {}
            '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{3164}' => {
                self.invisible.add(at, end, found);
            }
            _ => {}
        }
        if mark(char) {
            self.stacked += 1;
            if self.stacked >= MARKS {
                self.marks.add(at, end, found);
            }
        } else {
            self.stacked = 0;
        }
        if !matches!(char, '\u{e0020}'..='\u{e007f}') {
            self.flag = 0;
        }
        self.letter(char, at, found);
        self.last = char;
    }

    fn letter(&mut self, char: char, at: usize, found: &mut Found) {
        if ignored(char) {
            return;
        }
        if !char.is_alphabetic() {
            self.end_word(found);
            return;
        }
        if self.word.latin + self.word.alike + self.word.other == 0 {
            self.word.start = at;
        }
        self.word.end = at + char.len_utf8();
        let low = char.to_lowercase().next().unwrap_or(char);
        match low {
            'a'..='z' => self.word.latin += 1,
            '\u{370}'..='\u{52f}' if lookalike(low).is_some() => self.word.alike += 1,
            _ => self.word.other += 1,
        }
    }

    fn end_word(&mut self, found: &mut Found) {
        let word = self.word;
        // kΩ and µm are units, and a word of one script is one that somebody wrote
        if word.latin > 0 && word.alike > 0 && word.latin + word.alike >= 4 {
            self.homoglyph.add(word.start, word.end, found);
        }
        self.word = Letters::default();
    }
}

impl Group {
    fn add(&mut self, start: usize, end: usize, found: &mut Found) {
        if self.count > 0 && start > self.end + NEAR {
            self.close(found);
        }
        if self.count == 0 {
            self.start = start;
        }
        self.count = self.count.saturating_add(1);
        self.end = end;
    }

    fn close(&mut self, found: &mut Found) {
        let score = match (self.kind, self.count) {
            (_, 0) => return,
            (Kind::Smuggled, TEXT..) => 95,
            (Kind::Smuggled, _) => 60,
            (Kind::Invisible, 1..=2) => 20,
            (Kind::Invisible, 3..=7) => 50,
            (Kind::Bidi, _) => 50,
            (Kind::Homoglyph, 1) => 50,
            (Kind::Marks, 1..=7) => 30,
            _ => 65,
        };
        found.add(self.kind, self.start, self.end, score);
        self.count = 0;
    }
}

impl Hidden {
    fn push(&mut self, letter: char, at: usize, end: usize, model: &Model) {
        if !self.any {
            (self.any, self.start) = (true, at);
        }
        self.end = end;
        let (classifier, worst) = (&mut self.classifier, &mut self.worst);
        let mut utf8 = [0; 4];
        self.words.push(letter.encode_utf8(&mut utf8), at as u64, &mut |word| {
            classifier.push(model, word, &mut |passage: Passage| *worst = passage.score.max(*worst));
        });
    }

    fn finish(&mut self, model: &Model, found: &mut Found) {
        let (classifier, worst) = (&mut self.classifier, &mut self.worst);
        let mut keep = |passage: Passage| *worst = passage.score.max(*worst);
        self.words.finish(&mut |word| classifier.push(model, word, &mut keep));
        classifier.finish(model, &mut keep);
        if self.any && self.worst > 0 {
            found.add(Kind::Hidden, self.start, self.end, 99);
        }
    }
}

fn mark(char: char) -> bool {
    matches!(char, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Whether a joiner has its place behind this character: scripts that join letters, and pictures.
fn joins(last: char) -> bool {
    matches!(last, '\u{590}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{2190}'..='\u{2bff}' | '\u{fb50}'..='\u{fdff}'
        | '\u{fe0f}' | '\u{fe70}'..='\u{fefe}' | '\u{10a00}'..='\u{10fff}' | '\u{11000}'..='\u{11fff}' | '\u{1f000}'..='\u{1faff}')
}
