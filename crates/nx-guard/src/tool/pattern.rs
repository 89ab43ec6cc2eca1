//! Patterns over JSON pointers: `recipients`, `/items/*/iban`. A pattern covers what it names and everything under it.

use serde::{Deserialize, Serialize};

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
