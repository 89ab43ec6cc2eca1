//! A run's labelled leaves with their indexes, and the questions asked of them.

use std::{collections::BTreeSet, sync::Arc};

use nx_types::{Label, SharedLabel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    attribute::is_quantity,
    index::{Heard, Restricted, Vouched},
    leaves::{Leaf, leaves},
    request::Request,
    text,
    verbs::name_words,
};
use crate::{
    Error,
    decision::{Evidence, Origin},
    guard::REQUEST,
    label::{Labelled, escaped},
    tool::{Effect, Tool},
};

/// The event that holds what a run was started with: its first.
const CREATED: u64 = 1;

/// What a context takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of text over all values.
    pub bytes: usize,
    /// Most leaves over all values.
    pub leaves: usize,
    /// Deepest nesting of a value.
    pub depth: usize,
    /// Most bytes of a call's arguments.
    pub argument_bytes: usize,
    /// Most leaves of a call's arguments.
    pub argument_leaves: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, leaves: 1 << 20, depth: 96, argument_bytes: 1 << 20, argument_leaves: 4096 }
    }
}

/// A step of a plan that was made from the trusted request alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The tool that is called.
    pub tool: String,
    /// Arguments that the plan fixes; what it leaves out it says nothing of.
    #[serde(default)]
    pub args: serde_json::Map<String, Value>,
}

/// A value that not everyone may read, in the arguments of a call that brings it further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// The place in the arguments.
    pub pointer: String,
    /// Where the value is from.
    pub evidence: Evidence,
    /// Who may read it.
    pub readers: BTreeSet<String>,
}

/// What is known about a call's arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    /// The arguments with references substituted.
    pub args: Value,
    /// Where each leaf came from, in order.
    pub origins: Vec<Origin>,
    /// Whether the request asks for this kind of action.
    pub asked: bool,
    /// Whether a value that a sink takes stands in the request.
    pub named: bool,
    /// Restricted values that the call would bring to somebody who may not read them.
    pub leaks: Vec<Leak>,
}

/// One value that entered the run.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) source: String,
    pub(super) event: Option<u64>,
    pub(super) value: Arc<Value>,
    pub(super) labels: Labelled,
}

#[derive(Debug, Clone)]
struct Place {
    entry: u32,
    pointer: String,
    label: SharedLabel,
}

/// The labelled leaves of one run.
#[derive(Debug, Clone)]
pub struct Context {
    limits: Limits,
    bytes: usize,
    pub(super) request: Request,
    pub(super) plan: Option<Vec<Planned>>,
    entries: Vec<Entry>,
    places: Vec<Place>,
    pub(super) vouched: Vouched,
    pub(super) heard: Heard,
    restricted: Restricted,
    pub(super) joined: SharedLabel,
    pub(super) untrusted: bool,
    pub(super) blind: bool,
    by_code: bool,
}

impl Context {
    /// A context that holds the trusted request alone.
    pub fn new(request: &Value, limits: Limits) -> Result<Self, Error> {
        Self::labelled(&Arc::new(request.clone()), Labelled::default(), limits)
    }

    /// A context that holds a request of which parts may be untrusted or restricted: the input of a run.
    pub fn labelled(request: &Arc<Value>, labels: Labelled, limits: Limits) -> Result<Self, Error> {
        let mut context = Self {
            limits,
            bytes: 0,
            request: Request::default(),
            plan: None,
            entries: Vec::new(),
            places: Vec::new(),
            vouched: Vouched::default(),
            heard: Heard::default(),
            restricted: Restricted::default(),
            joined: SharedLabel::new(Label::from_source(REQUEST)),
            untrusted: false,
            blind: false,
            by_code: false,
        };
        context.enter(REQUEST, Some(CREATED), request, labels, true)?;
        Ok(context)
    }

    /// The calls of this run are chosen by code, not by a model that reads what the context holds: what is called needs no
    /// asking for.
    #[must_use]
    pub fn driven_by_code(self) -> Self {
        Self { by_code: true, ..self }
    }

    /// Something more that the trusted party says.
    pub fn say(&mut self, request: &Value) -> Result<(), Error> {
        self.enter(REQUEST, None, &Arc::new(request.clone()), Labelled::default(), true)
    }

    /// Seals a plan made from the trusted request alone. Refused once anything untrusted is in the context.
    pub fn seal(&mut self, plan: Vec<Planned>) -> Result<(), Error> {
        if self.untrusted || self.plan.is_some() {
            let tool = plan.into_iter().next().map(|step| step.tool).unwrap_or_default();
            let reason =
                "a plan is sealed once, before anything untrusted is seen; start a new run for another".to_owned();
            return Err(Error::Tool { tool, reason });
        }
        self.plan = Some(plan);
        Ok(())
    }

    /// A value enters: the result of a tool, an event, a model's answer over untrusted text. What is too large to be taken in
    /// leaves the context blind.
    pub fn add(&mut self, source: &str, event: Option<u64>, value: &Arc<Value>, labels: Labelled) -> Result<(), Error> {
        let entered = self.enter(source, event, value, labels, false);
        if entered.is_err() {
            self.blind(source);
        }
        entered
    }

    fn enter(
        &mut self,
        source: &str,
        event: Option<u64>,
        value: &Arc<Value>,
        labels: Labelled,
        said: bool,
    ) -> Result<(), Error> {
        let found = self.take_in(value)?;
        let entry = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let mut asked = Vec::new();
        for leaf in found {
            let label = labels.leaf(&leaf.path).clone();
            let id = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            self.places.push(Place { entry, pointer: leaf.pointer(), label: label.clone() });
            if label.readers.is_some() {
                self.restricted.add(id, &leaf);
            }
            if !label.is_trusted() {
                self.untrusted = true;
                self.heard.add(id, &leaf);
            } else if said {
                asked.push(leaf);
            } else {
                self.vouched.add(id, &leaf);
            }
            if self.joined != label {
                self.joined = self.joined.join(&label);
            }
        }
        if said {
            self.request.say(&asked);
        }
        self.entries.push(Entry { source: source.to_owned(), event, value: value.clone(), labels });
        Ok(())
    }

    /// The labels of a value that the run made of what it holds: each leaf has the label of what it stands for, and of
    /// everything where that can't be told.
    pub fn labels_of(&self, value: &Value) -> Labelled {
        if !self.untrusted && self.restricted.is_empty() {
            return Labelled::uniform(self.joined.clone());
        }
        let Ok(found) = leaves(value, self.limits.argument_leaves, self.limits.depth) else {
            return Labelled::uniform(self.joined.clone());
        };
        let mut labels = Labelled::uniform(self.joined.clone());
        let mut before: Option<(&Leaf, SharedLabel)> = None;
        for leaf in &found {
            let mut label = SharedLabel::new(self.attribute(leaf, false).into_label());
            // a member's name, and its value
            if let Some((_, named)) = before.filter(|(named, _)| named.path == leaf.path) {
                label = label.join(&named);
            }
            before = Some((leaf, label.clone()));
            if label != self.joined {
                labels.put(leaf.path.iter().map(|part| escaped(part)).collect(), label);
            }
        }
        labels.tidy();
        labels
    }

    /// Whether a trusted value of this source is this one.
    pub fn vouches(&self, source: &str, value: &Value) -> bool {
        let Ok(found) = leaves(value, 1, 0) else { return false };
        found.iter().any(|leaf| {
            let text = text::strict(&leaf.text);
            let ids = self.vouched.find(&text, leaf.number.as_deref());
            ids.iter().any(|id| self.label_of(*id).is_some_and(|label| label.sources.contains(source)))
        })
    }

    /// The model saw something from `source` that the context does not hold: from now on anything may be from there, and
    /// nothing but the request and references stands trusted.
    pub fn blind(&mut self, source: &str) {
        self.untrusted = true;
        self.blind = true;
        self.joined = self.joined.join(&SharedLabel::new(Label::untrusted(source)));
    }

    fn take_in(&mut self, value: &Value) -> Result<Vec<Leaf>, Error> {
        let Limits { bytes: most_bytes, leaves: most_leaves, depth, .. } = self.limits;
        let found = leaves(value, most_leaves.saturating_sub(self.places.len()), depth)?;
        let bytes = self.bytes + found.iter().map(|leaf| leaf.text.len()).sum::<usize>();
        if bytes > most_bytes {
            return Err(Error::TooLarge { what: "the run's text in bytes", found: bytes, most: most_bytes });
        }
        self.bytes = bytes;
        Ok(found)
    }

    /// Whether anything untrusted is in the context.
    pub fn is_untrusted(&self) -> bool {
        self.untrusted
    }

    /// The label of whatever a model makes of all of it.
    pub fn joined(&self) -> &SharedLabel {
        &self.joined
    }

    /// How many leaves it holds.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the request, or the sealed plan, asks for the kind of action that the tool is.
    pub fn asked(&self, tool: &Tool) -> bool {
        let planned = self.plan.as_ref().is_some_and(|plan| plan.iter().any(|step| step.tool == tool.name));
        self.by_code || planned || self.request.asks_for(tool)
    }

    /// Traces a call's arguments.
    pub fn trace(&self, tool: &Tool, args: &Value) -> Result<Traced, Error> {
        let (args, references) = self.substitute(args, self.limits.depth)?;
        let found = leaves(&args, self.limits.argument_leaves, self.limits.depth)?;
        let bytes = found.iter().map(|leaf| leaf.text.len()).sum::<usize>();
        if bytes > self.limits.argument_bytes {
            let most = self.limits.argument_bytes;
            return Err(Error::TooLarge { what: "the arguments' text in bytes", found: bytes, most });
        }
        let origins: Vec<Origin> = found
            .iter()
            .map(|leaf| {
                let sink = tool.is_sink(&leaf.path);
                let place = references.iter().find(|reference| leaf.path.starts_with(&reference.at));
                let fact = place.map_or_else(
                    || self.planned(tool, leaf).unwrap_or_else(|| self.attribute(leaf, is_quantity(tool, &leaf.path))),
                    |reference| self.referenced(reference, leaf),
                );
                fact.into_origin(leaf.pointer(), sink)
            })
            .collect();
        let named = origins.iter().any(Origin::is_named);
        let leaks = if tool.effect == Effect::Read && !origins.iter().any(|origin| origin.sink) {
            Vec::new()
        } else {
            self.leaks(&found, &origins)
        };
        Ok(Traced { asked: self.asked(tool), named, leaks, origins, args })
    }

    /// Where a text that leaves the run came from.
    pub fn trace_text(&self, text: &str, readers: &BTreeSet<String>) -> Result<Traced, Error> {
        if text.len() > self.limits.argument_bytes {
            let most = self.limits.argument_bytes;
            return Err(Error::TooLarge { what: "the output's text in bytes", found: text.len(), most });
        }
        let leaf = Leaf { path: Vec::new(), text: text.to_owned(), number: text::number(text.trim()) };
        let origins = vec![self.attribute(&leaf, false).into_origin(String::new(), true)];
        let leaks = self.leaked(&leaf).into_iter().filter(|leak| leak.readers.is_disjoint(readers)).collect();
        Ok(Traced { args: Value::String(leaf.text), origins, asked: true, named: false, leaks })
    }

    /// Restricted values in the arguments, unless everyone whom the sinks name may read them.
    fn leaks(&self, found: &[Leaf], origins: &[Origin]) -> Vec<Leak> {
        if self.restricted.is_empty() {
            return Vec::new();
        }
        let to: Vec<&str> =
            (found.iter().zip(origins)).filter(|(_, origin)| origin.sink).map(|(leaf, _)| leaf.text.as_str()).collect();
        let mut leaks: Vec<Leak> = found.iter().flat_map(|leaf| self.leaked(leaf)).collect();
        leaks.retain(|leak| to.is_empty() || !to.iter().all(|name| leak.readers.contains(*name)));
        leaks
    }

    fn leaked(&self, leaf: &Leaf) -> Vec<Leak> {
        let text = text::loose(&leaf.text);
        let within =
            self.restricted.within(&text, crate::decision::MAX_EVIDENCE, |secret| !self.request.contains(secret));
        within
            .into_iter()
            .map(|(_, id)| Leak {
                pointer: leaf.pointer(),
                evidence: self.evidence(id, "value"),
                readers: self.label_of(id).and_then(|label| label.readers.clone()).unwrap_or_default(),
            })
            .collect()
    }

    pub(super) fn entry_of(&self, id: u32) -> Option<&Entry> {
        self.places.get(id as usize).and_then(|place| self.entries.get(place.entry as usize))
    }

    pub(super) fn label_of(&self, id: u32) -> Option<&SharedLabel> {
        self.places.get(id as usize).map(|place| &place.label)
    }

    /// Whether the leaf is called an id where it stands.
    pub(super) fn is_id(&self, id: u32) -> bool {
        let pointer = self.places.get(id as usize).map(|place| place.pointer.as_str()).unwrap_or_default();
        let name = pointer.rsplit('/').find(|part| !part.bytes().all(|byte| byte.is_ascii_digit()));
        name.is_some_and(|name| {
            name_words(name).iter().any(|word| matches!(word.as_str(), "id" | "ids" | "uuid" | "guid"))
        })
    }

    /// What a run was started with may be untrusted, as an event from outside is: then it is no request, and goes by the
    /// name of where it is from.
    pub(super) fn evidence(&self, id: u32, how: &str) -> Evidence {
        let entry = self.entry_of(id);
        let said = entry.is_some_and(|entry| entry.source == REQUEST);
        let label = self.label_of(id).filter(|_| said);
        let from =
            label.and_then(|label| label.sources.iter().find_map(|source| source.strip_prefix(Label::UNTRUSTED)));
        Evidence {
            source: from.or_else(|| entry.map(|entry| entry.source.as_str())).unwrap_or_default().to_owned(),
            event: entry.and_then(|entry| entry.event),
            pointer: self.places.get(id as usize).map(|place| place.pointer.clone()).unwrap_or_default(),
            how: how.to_owned(),
        }
    }

    /// The latest entry of this source.
    pub(super) fn latest(&self, source: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.source == source)
    }
}
