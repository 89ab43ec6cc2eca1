//! Indexes over a run's leaves: what is asked of them is looked up, never scanned for.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{leaves::Leaf, text};

/// Most leaves whose text is read to answer one question; past this, the answer is the one that trusts less.
const MAX_CANDIDATES: usize = 64;
/// Most bytes read to answer one question, past the first leaf; past this likewise.
const MAX_READ_BYTES: usize = 64 << 10;
/// Most leaves named for one key.
const MAX_NAMED: usize = 4;
/// Letters of the key of a restricted value; shorter values are not looked for.
const SECRET_KEY: usize = 4;
/// Bits that say which keys there are.
const START_BITS: usize = 1 << 16;
/// Shortest text that is looked for as it is; shorter ones are ids and must stand where an id would.
pub(super) const SHORT: usize = 4;

/// Values that a trusted source vouches for.
#[derive(Debug, Clone, Default)]
pub(super) struct Vouched {
    texts: HashMap<String, Vec<u32>>,
    numbers: HashMap<String, Vec<u32>>,
    tokens: HashMap<String, u32>,
}

impl Vouched {
    pub(super) fn add(&mut self, id: u32, leaf: &Leaf) {
        let text = text::strict(&leaf.text);
        for token in text::tokens(&text) {
            self.tokens.entry(token).or_insert(id);
        }
        push(self.texts.entry(text).or_default(), id);
        if let Some(number) = &leaf.number {
            push(self.numbers.entry(number.clone()).or_default(), id);
        }
    }

    /// Leaves that are this text or this number.
    pub(super) fn find(&self, text: &str, number: Option<&str>) -> Vec<u32> {
        let mut found = self.texts.get(text).cloned().unwrap_or_default();
        if let Some(more) = number.and_then(|number| self.numbers.get(number)) {
            for id in more {
                if !found.contains(id) {
                    push(&mut found, *id);
                }
            }
        }
        found
    }

    pub(super) fn token(&self, token: &str) -> Option<u32> {
        self.tokens.get(token).copied()
    }
}

fn push(list: &mut Vec<u32>, id: u32) {
    if list.len() < MAX_NAMED {
        list.push(id);
    }
}

/// Values that nobody vouches for.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    texts: HashMap<u32, String>,
    runs: HashMap<String, Vec<u32>>,
    tokens: HashMap<String, u32>,
    ids: HashMap<String, u32>,
}

impl Heard {
    pub(super) fn add(&mut self, id: u32, leaf: &Leaf) {
        let text = text::loose(&leaf.text);
        let unique: HashSet<&str> = text::runs(&text).collect();
        #[expect(clippy::iter_over_hash_type, reason = "each goes under its own key; the order does not show")]
        for run in unique {
            self.runs.entry(run.to_owned()).or_default().push(id);
        }
        for token in text::tokens(&text) {
            self.tokens.entry(token).or_insert(id);
        }
        for short in designated(&text) {
            self.ids.entry(short).or_insert(id);
        }
        self.texts.insert(id, text);
    }

    pub(super) fn token(&self, token: &str) -> Option<u32> {
        self.tokens.get(token).copied()
    }

    /// A leaf that names the text: that holds it as a whole word or, where it is short, behind `id`, `number` or `#`.
    pub(super) fn naming(&self, text: &str) -> Option<u32> {
        if text.chars().count() < SHORT {
            return text::runs(text).find_map(|run| self.ids.get(run).copied());
        }
        let mut rarest: Option<&Vec<u32>> = None;
        for run in text::runs(text) {
            let list = self.runs.get(run)?;
            if rarest.is_none_or(|before| list.len() < before.len()) {
                rarest = Some(list);
            }
        }
        let list = rarest?;
        let mut bytes = 0;
        for (count, id) in list.iter().enumerate() {
            let whole = self.texts.get(id)?;
            bytes += whole.len();
            if count >= MAX_CANDIDATES || (count > 0 && bytes > MAX_READ_BYTES) || text::has_whole(whole, text) {
                return Some(*id);
            }
        }
        None
    }
}

/// Short words that stand where an id would: `id 12`, `number: 7`, `#3`, `ids is 9`.
fn designated(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before: [&str; 2] = ["", ""];
    let mut end = 0;
    let [mut gap_before, mut gap_before_that] = ["", ""];
    for run in text::runs(text) {
        let start = run.as_ptr() as usize - text.as_ptr() as usize;
        let gap = text.get(end..start).unwrap_or_default();
        let near = |gap: &str| gap.chars().count() <= 6;
        let is_name = |word: &str| matches!(word, "id" | "ids" | "number");
        let [last, last_but_one] = before;
        let linked = matches!(last, "is" | "of" | "s" | "no") && near(gap_before);
        let here = gap.contains('#')
            || (is_name(last) && near(gap))
            || (linked
                && (is_name(last_but_one) || gap_before.contains('#') || gap_before_that.contains('#'))
                && near(gap));
        if here && run.chars().count() < SHORT {
            found.push(run.to_owned());
        }
        before = [run, last];
        [gap_before, gap_before_that] = [gap, gap_before];
        end = start + run.len();
    }
    found
}

/// Values that not everyone may read.
#[derive(Debug, Clone, Default)]
pub(super) struct Restricted {
    by_start: HashMap<[char; SECRET_KEY], Bucket>,
    /// A bit for each key there is, by its hash: most places of a text start no restricted value.
    starts: Vec<u64>,
}

/// Values that start alike, with the lengths in bytes that they have.
#[derive(Debug, Clone, Default)]
struct Bucket {
    lengths: BTreeSet<usize>,
    texts: HashMap<String, u32>,
}

impl Restricted {
    pub(super) fn add(&mut self, id: u32, leaf: &Leaf) {
        let text = text::loose(&leaf.text);
        if let Some(key) = key(&text).filter(|_| !matches!(text.as_str(), "true" | "false")) {
            self.starts.resize(START_BITS / 64, 0);
            let bit = start_bit(key);
            if let Some(bits) = self.starts.get_mut(bit / 64) {
                *bits |= 1 << (bit % 64);
            }
            let bucket = self.by_start.entry(key).or_default();
            bucket.lengths.insert(text.len());
            bucket.texts.entry(text).or_insert(id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// The restricted values that the text (in loose form) holds, at most `most` that `counts` lets count, each with
    /// its text.
    pub(super) fn within<'a>(&self, text: &'a str, most: usize, counts: impl Fn(&str) -> bool) -> Vec<(&'a str, u32)> {
        let mut found: Vec<(&str, u32)> = Vec::new();
        let mut ahead = text.chars();
        let [Some(a), Some(b), Some(c)] = [ahead.next(), ahead.next(), ahead.next()] else { return found };
        let mut key = ['\0', a, b, c];
        for ((at, _), next) in text.char_indices().zip(ahead) {
            key = [key[1], key[2], key[3], next];
            let bit = start_bit(key);
            if self.starts.get(bit / 64).is_none_or(|bits| bits & (1 << (bit % 64)) == 0) {
                continue;
            }
            let Some(bucket) = self.by_start.get(&key) else { continue };
            let Some(rest) = text.get(at..) else { continue };
            for length in &bucket.lengths {
                let Some(part) = rest.get(..*length) else { continue };
                let Some(id) = bucket.texts.get(part) else { continue };
                if !found.iter().any(|(_, known)| known == id) && counts(part) {
                    found.push((part, *id));
                    if found.len() >= most {
                        return found;
                    }
                }
            }
        }
        found
    }
}

/// Where the key's bit stands.
fn start_bit(key: [char; SECRET_KEY]) -> usize {
    let mixed = key.iter().fold(0_u32, |hash, c| (hash ^ u32::from(*c)).wrapping_mul(0x9e37_79b1).rotate_left(5));
    (mixed >> 8) as usize % START_BITS
}

fn key(text: &str) -> Option<[char; SECRET_KEY]> {
    let mut chars = text.chars();
    let mut next = || chars.next();
    Some([next()?, next()?, next()?, next()?])
}
