//! What a tool declares: its effect, the trust of its output, its sinks. It decides nothing.

mod extract;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

pub use extract::{Extract, Shape};
use nx_types::{Label, SharedLabel};
pub use pattern::Pattern;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error,
    detect::Detectors,
    guard::SUSPECT,
    label::{Labelled, escaped},
};

/// Longest name of a tool, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest description that is kept, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;
/// Most patterns in one list.
pub const MAX_PATTERNS: usize = 256;

/// A tool as declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tool {
    /// Its name: `send_email`, `pay/refund`.
    pub name: String,
    /// What it does, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The JSON Schema of its arguments.
    #[serde(default, alias = "input_schema")]
    pub input_schema: Value,
    /// What calling it does to the world. Undeclared, it is the worst.
    #[serde(default)]
    pub effect: Effect,
    /// How far its output may be trusted. Undeclared, not at all.
    #[serde(default)]
    pub output: Output,
    /// Arguments that nothing untrusted may choose. Absent: every argument of a tool with an effect, none of a `read`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sinks: Option<Vec<Pattern>>,
}

/// What a call does to the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing.
    Read,
    /// Something that repeating does not repeat.
    Idempotent,
    /// Something that happens again with each call.
    #[default]
    Once,
}

impl Effect {
    /// The name as declared.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Once => "once",
        }
    }
}

/// Whether somebody trustworthy vouches for a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// The service vouches for it.
    Trusted,
    /// Anyone may have written it.
    #[default]
    Untrusted,
}

/// What a tool says of its output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Output {
    /// The trust of what no pattern names.
    pub trust: Trust,
    /// Places that the service vouches for, with everything under them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<Pattern>,
    /// Places that it does not vouch for; these win over `trusted`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untrusted: Vec<Pattern>,
    /// Who may read it; `None` is anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers: Option<BTreeSet<String>>,
    /// What it may be used for; `None` is anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purposes: Option<BTreeSet<String>>,
    /// The tool reads untrusted text and gives back so little, in a shape so narrow, that it may be trusted: a quarantined
    /// extraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
}

/// The two ways to write an output: a word, or the whole.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Word(Trust),
    Whole(Box<Whole>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    trust: Trust,
    #[serde(default)]
    trusted: Vec<Pattern>,
    #[serde(default)]
    untrusted: Vec<Pattern>,
    #[serde(default)]
    readers: Option<BTreeSet<String>>,
    #[serde(default)]
    purposes: Option<BTreeSet<String>>,
    #[serde(default)]
    extract: Option<Extract>,
}

impl From<Written> for Output {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(trust) => Self { trust, ..Self::default() },
            Written::Whole(whole) => Self {
                trust: whole.trust,
                trusted: whole.trusted,
                untrusted: whole.untrusted,
                readers: whole.readers,
                purposes: whole.purposes,
                extract: whole.extract,
            },
        }
    }
}

impl Output {
    /// An output that is trusted as a whole.
    pub fn trusted() -> Self {
        Self { trust: Trust::Trusted, ..Self::default() }
    }

    /// The trust of the leaf at `path` (the unescaped parts of its pointer).
    pub fn trust_at(&self, path: &[String]) -> Trust {
        let named = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(path));
        if named(&self.untrusted) {
            Trust::Untrusted
        } else if named(&self.trusted) {
            Trust::Trusted
        } else {
            self.trust
        }
    }

    /// The labels of a value that the tool gave back: `source` vouches for what it says it does. In a suspect value it vouches
    /// for no record that the injection detector points at; where that can't be told, for nothing.
    pub fn labels(&self, source: &str, value: &Value, suspect: bool) -> Labelled {
        let label = |mut label: Label| {
            label.readers.clone_from(&self.readers);
            label.purposes.clone_from(&self.purposes);
            SharedLabel::new(label)
        };
        let [vouched, heard] = [label(Label::from_source(source)), label(Label::untrusted(source))];
        let suspects = match (suspect, suspect.then(|| Detectors::embedded().suspects(value, SUSPECT)).flatten()) {
            (true, None) => return Labelled::uniform(heard),
            (_, suspects) => suspects.unwrap_or_default(),
        };
        let vouches = |path: &[String]| !suspects.iter().any(|record| path.starts_with(record));
        let mut labels = Labelled::uniform(if self.trust == Trust::Trusted { vouched.clone() } else { heard.clone() });
        // The later wins: what is not vouched for stays so under whatever is.
        for (patterns, label) in [(&self.trusted, &vouched), (&self.untrusted, &heard)] {
            for pattern in patterns {
                pattern.places(value, &mut |path| {
                    let label = if vouches(path) { label } else { &heard };
                    labels.put(path.iter().map(|part| escaped(part)).collect(), label.clone());
                });
            }
        }
        for record in &suspects {
            labels.put(record.iter().map(|part| escaped(part)).collect(), heard.clone());
        }
        labels.tidy();
        labels
    }
}

impl Tool {
    /// A function of trusted code: nothing of it is a sink unless it says so.
    pub fn of(name: &str, output: Output) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            input_schema: Value::Null,
            effect: Effect::Read,
            output,
            sinks: Some(Vec::new()),
        }
    }

    /// Reads a declaration.
    pub fn parse(value: &Value) -> Result<Self, Error> {
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        let tool = Self::deserialize(value).map_err(|error| Error::Tool {
            tool: shorten(name),
            reason: format!("its declaration does not fit: {error}"),
        })?;
        tool.checked()
    }

    /// Checks the bounds.
    pub fn checked(self) -> Result<Self, Error> {
        let wrong = |reason: String| Err(Error::Tool { tool: shorten(&self.name), reason });
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES || self.name.chars().any(char::is_control) {
            return wrong(format!("its name must have 1 to {MAX_NAME_BYTES} bytes and no control characters"));
        }
        if self.description.len() > MAX_DESCRIPTION_BYTES {
            return wrong(format!("its description is longer than {MAX_DESCRIPTION_BYTES} bytes; shorten it"));
        }
        if !(self.input_schema.is_object() || self.input_schema.is_null()) {
            return wrong("`inputSchema` must be a JSON Schema object".to_owned());
        }
        let lists = [&self.output.trusted, &self.output.untrusted].into_iter().chain(self.sinks.as_ref());
        if lists.into_iter().any(|list| list.len() > MAX_PATTERNS) {
            return wrong(format!("a list of places has more than {MAX_PATTERNS}; use patterns with `*`"));
        }
        Ok(self)
    }

    /// Whether the leaf of the arguments at `path` is one that nothing untrusted may choose.
    pub fn is_sink(&self, path: &[String]) -> bool {
        match &self.sinks {
            Some(sinks) => sinks.iter().any(|sink| sink.covers(path)),
            None => self.effect != Effect::Read,
        }
    }
}

/// A name fit for a message.
fn shorten(name: &str) -> String {
    name.chars().take(MAX_NAME_BYTES).collect()
}

/// The tools of a run, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    by_name: BTreeMap<String, Tool>,
}

impl Tools {
    /// Gathers declarations; a name declared twice is an error.
    pub fn new(tools: impl IntoIterator<Item = Tool>) -> Result<Self, Error> {
        let mut by_name = BTreeMap::new();
        for tool in tools {
            let tool = tool.checked()?;
            if let Some(before) = by_name.insert(tool.name.clone(), tool) {
                return Err(Error::Tool { tool: before.name, reason: "it is declared twice; keep one".to_owned() });
            }
        }
        Ok(Self { by_name })
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Result<&Tool, Error> {
        self.by_name.get(name).ok_or_else(|| {
            let near = self.by_name.keys().find(|known| known.eq_ignore_ascii_case(name) || ends_alike(known, name));
            let nearest = near.map(|near| format!("; there is `{near}`")).unwrap_or_default();
            Error::ToolUnknown { tool: shorten(name), nearest }
        })
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.by_name.values()
    }
}

/// Whether two names differ only in what stands before the last `/`.
fn ends_alike(a: &str, b: &str) -> bool {
    a.rsplit('/').next() == b.rsplit('/').next()
}
