//! References in arguments, `{"$ref": "shop/find_order/0/iban"}`: the engine puts in what stands there.

use serde_json::Value;

use super::context::Context;
use crate::Error;

/// A reference that was followed.
pub(super) struct Reference {
    /// Where in the arguments.
    pub(super) at: Vec<String>,
    /// The source of the value that it points into.
    pub(super) source: String,
    /// The unescaped parts of the pointer in that value.
    pub(super) path: Vec<String>,
}

impl Context {
    /// The arguments with each reference replaced by what stands there.
    pub(super) fn substitute(&self, args: &Value, depth: usize) -> Result<(Value, Vec<Reference>), Error> {
        let mut found = Vec::new();
        let args = self.put_in(args, &mut Vec::new(), &mut found, depth)?;
        Ok((args, found))
    }

    fn put_in(
        &self,
        value: &Value,
        path: &mut Vec<String>,
        found: &mut Vec<Reference>,
        depth: usize,
    ) -> Result<Value, Error> {
        if path.len() > depth {
            return Err(Error::TooLarge { what: "a value's depth", found: path.len(), most: depth });
        }
        match value {
            Value::Object(fields) => {
                if let (1, Some(Value::String(reference))) = (fields.len(), fields.get("$ref")) {
                    let (source, pointer, value) = self.follow(reference)?;
                    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
                    found.push(Reference { at: path.clone(), source: source.to_owned(), path: parts.collect() });
                    return Ok(value.clone());
                }
                let mut out = serde_json::Map::new();
                for (name, field) in fields {
                    path.push(name.clone());
                    out.insert(name.clone(), self.put_in(field, path, found, depth)?);
                    path.pop();
                }
                Ok(Value::Object(out))
            }
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (place, item) in items.iter().enumerate() {
                    path.push(place.to_string());
                    out.push(self.put_in(item, path, found, depth)?);
                    path.pop();
                }
                Ok(Value::Array(out))
            }
            other => Ok(other.clone()),
        }
    }

    /// The longest source that the reference starts with, the pointer that is left, and the value there.
    fn follow<'a>(&'a self, reference: &'a str) -> Result<(&'a str, &'a str, &'a Value), Error> {
        let ends = reference.match_indices('/').map(|(at, _)| at).chain([reference.len()]);
        let mut ends: Vec<usize> = ends.collect();
        ends.reverse();
        ends.into_iter()
            .find_map(|at| {
                let (source, pointer) = (reference.get(..at)?, reference.get(at..)?);
                Some((source, pointer, self.latest(source)?.value.pointer(pointer)?))
            })
            .ok_or_else(|| Error::Reference { reference: reference.chars().take(256).collect() })
    }
}
