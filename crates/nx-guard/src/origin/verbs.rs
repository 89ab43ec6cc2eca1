//! Kinds of action: whether the request asks for what a tool does.
//!
//! The kinds are those of schema.org's `Action` (<https://schema.org/Action>), each with the English words for it. What a tool
//! does, and with what, stands in its name and the first sentence of its description. What a request asks for, stands in its
//! verbs: a word behind `the`, `from` or `not` is none, and what happened (`they sent`) is not asked for.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::text;
use crate::tool::Tool;

/// Kinds of action: verbs, and behind `/` nouns. A word may stand for several kinds.
const KINDS: [&str; 18] = [
    "accept approve confirm endorse / approval confirmation",
    "activate enable start resume open unlock / activation",
    "add append attach include insert join prepend put register enrol enroll subscribe / subscription",
    "assign delegate allocate / assignment",
    "authorize authorise grant allow permit give share / permission",
    "buy order purchase rent hire lease / purchase",
    "cancel abort revoke withdraw unsubscribe / cancellation",
    "create make write compose draft generate produce build add set schedule plan arrange organize organise /",
    "deactivate disable stop suspend pause lock close block / deactivation",
    "delete remove erase discard purge clear drop trash / deletion removal",
    "invite add include / invitation",
    "move relocate reschedule postpone shift delay /",
    "pay transfer refund remit reimburse repay donate tip wire send / payment transfer refund money transaction",
    "publish post upload release deploy / publication",
    "reserve book / reservation booking",
    "run execute launch trigger restart reboot /",
    "send email mail message write text notify inform tell reply respond answer forward / reply",
    "update change modify adjust edit correct fix replace rename set reset amend alter adapt / modification adjustment",
];
/// Words behind which a word is no verb, or names something that is not wanted.
const NO_VERB_BEHIND: &str = "a an the this that these those my our your his her its their each every all any some no both of from by \
    with via in on at for about as per than new old last next first latest recent unread not t never without";
/// Words that say nothing of what a tool acts on, beside stop words.
const GENERIC: &str =
    "given provided specified following details new existing user id all which using content contents";
/// Most bytes of a description that are read.
const MAX_DESCRIPTION_BYTES: usize = 256;

/// The kinds that a word stands for, as bits.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds {
    verb: u32,
    noun: u32,
}

static WORDS: LazyLock<HashMap<&str, Kinds>> = LazyLock::new(|| {
    let mut words: HashMap<&str, Kinds> = HashMap::new();
    for (place, kind) in KINDS.iter().enumerate() {
        let (verbs, nouns) = kind.split_once('/').unwrap_or((kind, ""));
        for verb in verbs.split_whitespace() {
            words.entry(verb).or_default().verb |= 1 << place;
        }
        for noun in nouns.split_whitespace() {
            words.entry(noun).or_default().noun |= 1 << place;
        }
    }
    words
});

/// What a request asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    kinds: u32,
    words: HashSet<String>,
}

impl Asked {
    /// Takes in a text of the request in strict normal form.
    pub(super) fn say(&mut self, said: &str) {
        for (word, before) in words(said) {
            let found = WORDS.get(word).copied().unwrap_or_default();
            self.kinds |= found.noun;
            if !is_of(before, NO_VERB_BEHIND) {
                self.kinds |= found.verb;
                if let Some(base) = word.strip_suffix("ing") {
                    self.kinds |= verb(base).verb;
                }
            }
            self.words.insert(singular(word).to_owned());
        }
    }

    /// Whether the request asks for what the tool does, and speaks of what the tool does it with.
    pub(super) fn covers(&self, tool: &Tool) -> bool {
        let name = tool.name.rsplit('/').next().unwrap_or_default();
        let name = name_words(name);
        let mut kinds = 0;
        let mut things: Vec<&str> = Vec::new();
        for word in &name {
            let found = WORDS.get(word.as_str()).copied().unwrap_or_default();
            kinds |= found.verb | found.noun;
            if found.verb == 0 && is_thing(word) {
                things.push(word);
            }
        }
        if kinds == 0 {
            // What it does has no name here: then the request must have the same.
            return things.iter().any(|thing| self.words.contains(singular(thing)));
        }
        let description = first_sentence(&tool.description);
        for (word, before) in words(&description) {
            let found = verb(word.strip_suffix('s').unwrap_or(word));
            if matches!(before, "" | "and" | "or") {
                kinds |= found.verb;
            } else if !things.is_empty() && is_thing(word) {
                things.push(word);
            }
        }
        self.kinds & kinds != 0
            && (things.is_empty() || things.iter().any(|thing| self.words.contains(singular(thing))))
    }
}

/// The kinds of a verb without its ending: `mak`, `plann`, `send`, `replie`.
fn verb(stem: &str) -> Kinds {
    let found = |word: &str| WORDS.get(word).copied();
    let doubled = || {
        let mut chars = stem.chars();
        (chars.next_back() == chars.clone().next_back()).then_some(chars.as_str()).and_then(found)
    };
    found(stem)
        .or_else(doubled)
        .or_else(|| found(&format!("{stem}e")))
        .or_else(|| found(&format!("{}y", stem.strip_suffix("ie")?)))
        .unwrap_or_default()
}

fn is_of(word: &str, list: &str) -> bool {
    list.split_whitespace().any(|one| one == word)
}

fn is_thing(word: &str) -> bool {
    word.chars().count() > 2 && !text::is_stop(word) && !is_of(word, GENERIC)
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').filter(|stem| stem.len() > 2 && !stem.ends_with('s')).unwrap_or(word)
}

/// The words of a text, each with the one before it in the same sentence.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut before = (0, "");
    text::runs(text).map(move |word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let gap = text.get(before.0..start).unwrap_or_default();
        let last = if gap.contains(['.', '!', '?', ':', ';']) { "" } else { before.1 };
        before = (start + word.len(), word);
        (word, last)
    })
}

/// In strict normal form.
fn first_sentence(description: &str) -> String {
    let mut end = description.len().min(MAX_DESCRIPTION_BYTES);
    while !description.is_char_boundary(end) {
        end -= 1;
    }
    let text = description.get(..end).unwrap_or_default();
    let stop = text
        .match_indices('.')
        .map(|(at, _)| at)
        .find(|at| text.get(at + 1..).is_none_or(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)));
    text::strict(text.get(..stop.unwrap_or(end)).unwrap_or_default())
}

/// The words of a name: `send_email`, `sendEmail`.
pub(super) fn name_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower) {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if let Some(word) = words.last_mut()
            && c.is_alphanumeric()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
