//! Where one leaf of the arguments came from.

use nx_types::Label;

use super::{
    context::{Context, Planned},
    index::SHORT,
    leaves::Leaf,
    reference::Reference,
    text,
    verbs::name_words,
};
use crate::{
    decision::{Evidence, MAX_EVIDENCE, Origin, Standing},
    guard::REQUEST,
    tool::Tool,
};

/// What was found of a leaf.
pub(super) struct Found {
    standing: Standing,
    label: Label,
    evidence: Vec<Evidence>,
}

impl Found {
    pub(super) fn into_label(self) -> Label {
        self.label
    }

    pub(super) fn into_origin(mut self, pointer: String, sink: bool) -> Origin {
        self.evidence.truncate(MAX_EVIDENCE);
        let Label { sources, readers, .. } = self.label;
        Origin { pointer, standing: self.standing, sources, sink, readers, evidence: self.evidence }
    }
}

impl Context {
    /// What the sealed plan says of the leaf.
    pub(super) fn planned(&self, tool: &Tool, leaf: &Leaf) -> Option<Found> {
        let plan = self.plan.as_ref()?;
        let fixed = |step: &Planned| {
            let (name, rest) = leaf.path.split_first()?;
            rest.iter()
                .try_fold(step.args.get(name)?, |value, part| match value {
                    serde_json::Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                    value => value.get(part),
                })
                .map(|value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
        };
        plan.iter()
            .filter(|step| step.tool == tool.name)
            .any(|step| fixed(step).is_some_and(|text| text == leaf.text))
            .then(|| Self::said("plan"))
    }

    /// What a reference says of the leaf: the value is exactly what stands there, as trusted as it is there.
    pub(super) fn referenced(&self, reference: &Reference, leaf: &Leaf) -> Found {
        let under = leaf.path.get(reference.at.len()..).unwrap_or_default();
        let path: Vec<String> = reference.path.iter().chain(under).cloned().collect();
        let Some(entry) = self.latest(&reference.source) else { return self.unknown("reference") };
        let label = (**entry.labels.leaf(&path)).clone();
        let standing = if label.is_trusted() { Standing::Reference } else { Standing::Untrusted };
        let pointer = Leaf { path, text: String::new(), number: None }.pointer();
        let evidence =
            Evidence { source: entry.source.clone(), event: entry.event, pointer, how: "reference".to_owned() };
        Found { standing, label, evidence: vec![evidence] }
    }

    /// What matching says of the leaf. For a quantity, an id of the same digits vouches for nothing.
    pub(super) fn attribute(&self, leaf: &Leaf, quantity: bool) -> Found {
        let text = text::strict(&leaf.text);
        let number = leaf.number.as_deref();
        let mut words = text::tokens(&text);
        words.retain(|token| !text::is_stop(token));
        match self.requested(&text, number, &words) {
            Some(found) => self.named_besides(leaf, found),
            None => self.elsewhere(leaf, (&text, number, &words), quantity),
        }
    }

    fn requested(&self, text: &str, number: Option<&str>, words: &[String]) -> Option<Found> {
        let request = &self.request;
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        if digits && !number.is_some_and(|number| request.has_number(number)) {
            return None;
        }
        if request.has_text(text) {
            return Some(Self::said("value"));
        }
        if request.has_dates(text) {
            return Some(Self::said("date"));
        }
        match number {
            Some(number) => request.has_number(number).then(|| Self::said("number")),
            None => {
                let all = says_something(words) && words.iter().all(|word| request.has_token(word));
                (all && !self.blind && self.heard.naming(&text::loose(text)).is_none()).then(|| Self::said("words"))
            }
        }
    }

    /// The request says it. What an untrusted text designates by the same few digits is another thing that happens to be
    /// called so; of what it says besides, a note is kept.
    fn named_besides(&self, leaf: &Leaf, mut found: Found) -> Found {
        let text = text::loose(&leaf.text);
        let Some(id) = self.heard.naming(&text) else { return found };
        found.evidence.push(self.evidence(id, "phrase"));
        if text.len() < SHORT {
            found.standing = Standing::Ambiguous;
            if let Some(label) = self.label_of(id) {
                found.label = found.label.join(label);
            }
        }
        found
    }

    fn elsewhere(&self, leaf: &Leaf, (text, number, words): (&str, Option<&str>, &[String]), quantity: bool) -> Found {
        let mut vouching = self.vouched.find(text, number);
        if quantity {
            vouching.retain(|id| !self.is_id(*id));
        }
        if !vouching.is_empty() {
            return self.vouched_for(leaf, &vouching, number);
        }
        if let Some(number) = number {
            return match self.heard.token(number) {
                Some(id) => self.heard_at(&[(id, "number")]),
                None => self.unknown("context"),
            };
        }
        let mut good: Vec<u32> = Vec::new();
        let mut rest: Vec<&String> = Vec::new();
        for word in words {
            if let Some(id) = self.vouched.token(word) {
                if !good.contains(&id) {
                    good.push(id);
                }
            } else if !self.request.has_token(word) {
                rest.push(word);
            }
        }
        if says_something(words) && rest.is_empty() {
            return self.composed(leaf, &good);
        }
        if rest.is_empty() {
            rest.extend(words);
        }
        let heard: Vec<(u32, &str)> =
            rest.iter().filter_map(|word| self.heard.token(&text::loose(word))).map(|id| (id, "words")).collect();
        if heard.is_empty() { self.unknown("context") } else { self.heard_at(&heard) }
    }

    /// A trusted source vouches for the value; an untrusted one may name it all the same.
    fn vouched_for(&self, leaf: &Leaf, vouching: &[u32], number: Option<&str>) -> Found {
        let how = if number.is_some() { "number" } else { "value" };
        let mut found = self.gather(Standing::Trusted, vouching.iter().map(|id| (*id, how)));
        self.unless_named(leaf, &mut found);
        found
    }

    /// All its words are of the request or of vouched values. Put together by an untrusted text, it is that text's.
    fn composed(&self, leaf: &Leaf, parts: &[u32]) -> Found {
        let mut found = self.gather(Standing::Trusted, parts.iter().map(|id| (*id, "words")));
        found.label = found.label.join(&Label::from_source(REQUEST));
        self.unless_named(leaf, &mut found);
        found
    }

    fn unless_named(&self, leaf: &Leaf, found: &mut Found) {
        if self.blind {
            found.standing = Standing::Ambiguous;
            found.label = found.label.join(&self.joined);
            return;
        }
        if let Some(id) = self.heard.naming(&text::loose(&leaf.text)) {
            found.standing = Standing::Ambiguous;
            found.evidence.truncate(MAX_EVIDENCE - 1);
            found.evidence.push(self.evidence(id, "phrase"));
            if let Some(label) = self.label_of(id) {
                found.label = found.label.join(label);
            }
        }
    }

    fn heard_at(&self, places: &[(u32, &str)]) -> Found {
        self.gather(Standing::Untrusted, places.iter().copied())
    }

    fn gather<'a>(&self, standing: Standing, places: impl Iterator<Item = (u32, &'a str)>) -> Found {
        let mut found = Found { standing, label: Label::default(), evidence: Vec::new() };
        for (id, how) in places {
            if let Some(label) = self.label_of(id) {
                found.label = found.label.join(label);
            }
            let evidence = self.evidence(id, how);
            if found.evidence.len() < MAX_EVIDENCE && !found.evidence.contains(&evidence) {
                found.evidence.push(evidence);
            }
        }
        found
    }

    fn said(how: &str) -> Found {
        let evidence =
            Evidence { source: REQUEST.to_owned(), event: None, pointer: String::new(), how: how.to_owned() };
        Found { standing: Standing::Request, label: Label::from_source(REQUEST), evidence: vec![evidence] }
    }

    /// It stands nowhere: it may come from all that the context holds.
    fn unknown(&self, how: &str) -> Found {
        let standing = if self.untrusted { Standing::Context } else { Standing::Own };
        let evidence =
            Evidence { source: "context".to_owned(), event: None, pointer: String::new(), how: how.to_owned() };
        Found { standing, label: (*self.joined).clone(), evidence: vec![evidence] }
    }
}

/// Whether the words can make a value together: at least one is a word, a date or a time. Digits and single letters
/// alone could spell any account.
fn says_something(words: &[String]) -> bool {
    words.iter().any(|word| {
        word.chars().filter(|c| c.is_alphabetic()).count() >= 3 || (word.len() > 4 && word.contains(['-', ':']))
    })
}

/// Whether an argument says how much: the tool declares it as `number`, or its name says so.
pub(super) fn is_quantity(tool: &Tool, path: &[String]) -> bool {
    let Some(name) = path.first() else { return false };
    let is_number = |schema: &serde_json::Value| schema.get("type").and_then(|name| name.as_str()) == Some("number");
    let schema = tool.input_schema.get("properties").and_then(|properties| properties.get(name));
    let declared = schema.is_some_and(|schema| {
        let branches = ["anyOf", "oneOf"].iter().filter_map(|union| schema.get(union)?.as_array()).flatten();
        is_number(schema) || branches.chain(schema.get("items")).any(is_number)
    });
    let says_so = |word: &String| matches!(word.as_str(), "amount" | "cents" | "price" | "quantity" | "sum" | "total");
    declared || name_words(name).iter().any(says_so)
}
