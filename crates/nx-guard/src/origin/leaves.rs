//! The leaves of a JSON value, in order, within bounds.

use serde_json::Value;

use crate::Error;

/// One leaf: a string, number or boolean. Null and the empty string say nothing and are none.
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
    let text = match value {
        Value::Null => return Ok(()),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => return Ok(()),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                path.push(place.to_string());
                walk(item, path, found, most)?;
                path.pop();
            }
            return Ok(());
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                path.push(name.clone());
                walk(field, path, found, most)?;
                path.pop();
            }
            return Ok(());
        }
    };
    if found.len() >= most.0 {
        return Err(Error::TooLarge { what: "a value's leaves", found: found.len() + 1, most: most.0 });
    }
    let number = if value.is_boolean() { None } else { super::text::number(text.trim()) };
    found.push(Leaf { path: path.clone(), text, number });
    Ok(())
}
