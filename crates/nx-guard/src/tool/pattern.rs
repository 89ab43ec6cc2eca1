//! Patterns over JSON pointers: `recipients`, `/items/*/iban`. A pattern covers what it names and everything under it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most parts of a pattern.
const MAX_PARTS: usize = 96;

/// A place in a JSON value, with `*` for any one part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Any,
    Name(String),
}

impl Pattern {
    /// Reads `name` (a member of the root) or a pointer (RFC 6901) with `*` parts.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.strip_prefix('/') {
            Some(rest) => rest,
            None if text.is_empty() => return Ok(Self { parts: Vec::new() }),
            None => text,
        };
        let parts: Vec<Part> = rest
            .split('/')
            .map(|part| match part {
                "*" => Part::Any,
                name => Part::Name(name.replace("~1", "/").replace("~0", "~")),
            })
            .collect();
        if parts.len() > MAX_PARTS {
            return Err(format!("a place has more than {MAX_PARTS} parts"));
        }
        Ok(Self { parts })
    }

    /// Whether the leaf at `path` is the place named, or lies under it.
    pub fn covers(&self, path: &[String]) -> bool {
        self.parts.len() <= path.len()
            && self.parts.iter().zip(path).all(|(part, name)| match part {
                Part::Any => true,
                Part::Name(wanted) => wanted == name,
            })
    }

    /// Calls `found` with the unescaped path of each place in `value` that it names.
    pub(crate) fn places(&self, value: &Value, found: &mut dyn FnMut(&[String])) {
        fn walk(value: &Value, parts: &[Part], path: &mut Vec<String>, found: &mut dyn FnMut(&[String])) {
            let Some((part, rest)) = parts.split_first() else { return found(path) };
            let mut into = |name: &str, value: &Value| {
                path.push(name.to_owned());
                walk(value, rest, path, found);
                path.pop();
            };
            match (part, value) {
                (Part::Any, Value::Object(fields)) => fields.iter().for_each(|(name, value)| into(name, value)),
                (Part::Any, Value::Array(items)) => {
                    items.iter().enumerate().for_each(|(place, value)| into(&place.to_string(), value));
                }
                (Part::Name(name), Value::Object(fields)) => {
                    if let Some(value) = fields.get(name) {
                        into(name, value);
                    }
                }
                (Part::Name(name), Value::Array(items)) => {
                    if let Some(value) = name.parse::<usize>().ok().and_then(|place| items.get(place)) {
                        into(name, value);
                    }
                }
                _ => {}
            }
        }
        walk(value, &self.parts, &mut Vec::new(), found);
    }

    /// The member of the root that it names, if it names one.
    pub fn root(&self) -> Option<&str> {
        match self.parts.first() {
            Some(Part::Name(name)) => Some(name),
            Some(Part::Any) | None => None,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern
            .parts
            .iter()
            .map(|part| match part {
                Part::Any => "/*".to_owned(),
                Part::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            })
            .collect()
    }
}
