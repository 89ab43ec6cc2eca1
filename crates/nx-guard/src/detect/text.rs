//! A text as the injection classifier reads it: words, piece by piece, and the gap before each.
//!
//! Letters and digits in lower case; compatibility forms and look-alike letters folded; marks and invisible characters
//! dropped, so that they hide nothing; each Han, Kana or Hangul character a word of its own. `train/features.py` does the
//! same, and a test compares the two.

use unicode_normalization::UnicodeNormalization as _;

/// A word: its hash, the gap before it, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) hash: u64,
    pub(super) gap: Gap,
    /// Byte offsets of its first byte and behind its last one.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What stands before a word; the strongest of what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    Space = 0,
    Quote = 1,
    Colon = 2,
    Stop = 3,
    Line = 4,
    Mark = 5,
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;
/// Characters of a word that count; the rest of a longer one is skipped.
const LONGEST_WORD: u32 = 40;

/// Cuts a text into words. What it needs to know of the text so far is a few numbers.
#[derive(Debug, Clone)]
pub(super) struct Words {
    hash: u64,
    length: u32,
    start: u64,
    end: u64,
    gap: Gap,
}

impl Words {
    pub(super) fn new() -> Self {
        Self { hash: OFFSET, length: 0, start: 0, end: 0, gap: Gap::Line }
    }

    /// Takes in `text`, which begins at byte `at` of the whole.
    pub(super) fn push(&mut self, text: &str, at: u64, word: &mut impl FnMut(Word)) {
        let mut bytes = text.as_bytes().iter().enumerate();
        while let Some((place, &byte)) = bytes.next() {
            let class = CLASS.get(usize::from(byte)).copied().unwrap_or(OTHER);
            if class & LETTER != 0 {
                // bit 5 alone tells upper from lower case, and every digit has it
                self.letter(byte | 0x20, at + place as u64);
            } else if byte < 0x80 {
                if byte != b'\'' || self.length == 0 {
                    self.close(word);
                    self.gap = self.gap.max(gap(class));
                }
            } else {
                let Some(char) = text.get(place..).and_then(|rest| rest.chars().next()) else { continue };
                self.wide(char, at + place as u64, word);
                for _ in 1..char.len_utf8() {
                    bytes.next();
                }
            }
        }
    }

    /// Gives out the word that the text ends in.
    pub(super) fn finish(&mut self, word: &mut impl FnMut(Word)) {
        self.close(word);
    }

    fn letter(&mut self, byte: u8, at: u64) {
        if self.length == 0 {
            self.start = at;
        }
        if self.length < LONGEST_WORD {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        self.length = self.length.saturating_add(1);
        self.end = at + 1;
    }

    fn close(&mut self, word: &mut impl FnMut(Word)) {
        if self.length > 0 {
            word(Word { hash: self.hash, gap: self.gap, start: self.start, end: self.end });
            self.hash = OFFSET;
            self.length = 0;
            self.gap = Gap::Space;
        }
    }

    fn wide(&mut self, char: char, at: u64, word: &mut impl FnMut(Word)) {
        if ignored(char) || (char == '’' && self.length > 0) {
            return;
        }
        let mut utf8 = [0; 4];
        if ideographic(char) && char.is_alphanumeric() {
            self.close(word);
            let hash =
                char.encode_utf8(&mut utf8).bytes().fold(OFFSET, |hash, b| (hash ^ u64::from(b)).wrapping_mul(PRIME));
            word(Word { hash, gap: self.gap, start: at, end: at + char.len_utf8() as u64 });
            self.gap = Gap::Space;
            return;
        }
        let mut letters = false;
        for part in folded(char) {
            if !letters && self.length == 0 {
                self.start = at;
            }
            letters = true;
            if self.length < LONGEST_WORD {
                for byte in part.encode_utf8(&mut utf8).bytes() {
                    self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
                }
            }
        }
        if letters {
            self.length = self.length.saturating_add(1);
            self.end = at + char.len_utf8() as u64;
            return;
        }
        self.close(word);
        self.gap = self.gap.max(match char {
            '“' | '”' => Gap::Quote,
            '。' | '！' | '？' => Gap::Stop,
            _ => Gap::Space,
        });
    }
}

const LETTER: u8 = 0x80;
const OTHER: u8 = 0;
const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'"' | b'\'' | b'(' => Gap::Quote as u8,
            b':' => Gap::Colon as u8,
            b';' | b'.' | b'!' | b'?' => Gap::Stop as u8,
            b'\n' | b'\r' => Gap::Line as u8,
            b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'#' | b'*' | b'|' | b'=' | b'~' => Gap::Mark as u8,
            _ => OTHER,
        };
        byte += 1;
    }
    table
}

fn gap(class: u8) -> Gap {
    match class {
        1 => Gap::Quote,
        2 => Gap::Colon,
        3 => Gap::Stop,
        4 => Gap::Line,
        5 => Gap::Mark,
        _ => Gap::Space,
    }
}

/// The letters and digits that a character outside ASCII stands for.
pub(super) fn folded(char: char) -> impl Iterator<Item = char> {
    std::iter::once(char)
        .nfkd()
        .filter(|part| !ignored(*part))
        .flat_map(char::to_lowercase)
        .filter(|low| !ignored(*low))
        .map(|low| lookalike(low).unwrap_or(low))
        .filter(|low| low.is_alphanumeric())
}

/// Characters that nobody sees, and combining marks.
pub(super) fn ignored(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}')
}

fn ideographic(char: char) -> bool {
    matches!(char,
        '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The Latin letter that a letter of another script looks like.
pub(super) fn lookalike(char: char) -> Option<char> {
    Some(match char {
        'а' | 'α' | 'ɑ' => 'a',
        'в' | 'β' => 'b',
        'с' => 'c',
        'ԁ' => 'd',
        'е' | 'ε' => 'e',
        'ɡ' => 'g',
        'н' | 'һ' => 'h',
        'і' | 'ι' | 'ı' | 'ɩ' => 'i',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' | 'ǀ' => 'l',
        'м' => 'm',
        'η' => 'n',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' => 'u',
        'ν' => 'v',
        'ω' | 'ѡ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        _ => return None,
    })
}
