//! The leaves of a JSON value, in order, within bounds.

use serde_json::Value;

use crate::Error;

/// One leaf: a string, number or boolean. Null and the empty string say nothing and are none. The name of a member that is no
/// plain word (`ann@example.org`) is data, and a leaf as well, at the member's place.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The unescaped parts of its pointer.
    pub path: Vec<String>,
    /// The value, as text.
    pub text: String,
    /// Its number, where it is a number or text that reads as one.
    pub number: Option<String>,
}

impl Leaf {
    /// Its place (RFC 6901).
    pub fn pointer(&self) -> String {
        self.path.iter().flat_map(|part| ["/".to_owned(), part.replace('~', "~0").replace('/', "~1")]).collect()
    }
}

/// All leaves of `value`, at most `most`, at most `depth` levels down; a member `$ref` alone is left out.
pub fn leaves(value: &Value, most: usize, depth: usize) -> Result<Vec<Leaf>, Error> {
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), &mut found, (most, depth))?;
    Ok(found)
}

fn walk(value: &Value, path: &mut Vec<String>, found: &mut Vec<Leaf>, most: (usize, usize)) -> Result<(), Error> {
    if path.len() > most.1 {
        return Err(Error::TooLarge { what: "a value's depth", found: path.len(), most: most.1 });
    }
    match value {
        Value::Null => Ok(()),
        Value::Bool(yes) => put(yes.to_string(), false, path, found, most.0),
        Value::Number(number) => put(number.to_string(), true, path, found, most.0),
        Value::String(text) if text.is_empty() => Ok(()),
        Value::String(text) => put(text.clone(), true, path, found, most.0),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                path.push(place.to_string());
                walk(item, path, found, most)?;
                path.pop();
            }
            Ok(())
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                path.push(name.clone());
                if !is_plain(name) {
                    put(name.clone(), true, path, found, most.0)?;
                }
                walk(field, path, found, most)?;
                path.pop();
            }
            Ok(())
        }
    }
}

fn put(text: String, counts: bool, path: &[String], found: &mut Vec<Leaf>, most: usize) -> Result<(), Error> {
    if found.len() >= most {
        return Err(Error::TooLarge { what: "a value's leaves", found: found.len() + 1, most });
    }
    let number = if counts { super::text::number(text.trim()) } else { None };
    found.push(Leaf { path: path.to_vec(), text, number });
    Ok(())
}

/// Whether a member's name is one that a programmer chose.
fn is_plain(name: &str) -> bool {
    name.is_empty()
        || (name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'))
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$')))
}
