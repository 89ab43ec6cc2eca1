//! Secret values of specs: taken out before anything is stored or shown, kept in a row of their own. What remains is
//! `(sealed)`; events carry salted digests, which tell that a value changed and nothing else.

use std::collections::BTreeMap;

use nx_types::{FieldError, Rng, json::escape};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hash;

/// What is printed for a sealed value, and what keeps the stored value when it is applied.
pub const SEALED: &str = "(sealed)";
/// What a diff prints for a value that would change.
const SEALED_CHANGED: &str = "(sealed, changed)";

/// The secret values of one resource, by JSON pointer below `spec`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Random, so that digests of equal values differ from resource to resource.
    salt: String,
    /// The values.
    pub(crate) values: BTreeMap<String, Value>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("values", &self.values.keys()).finish_non_exhaustive()
    }
}

impl Sealed {
    /// Takes the values that the patterns name out of a spec. Where the spec says `(sealed)` the stored value stays.
    pub(crate) fn take(
        spec: &mut Value,
        patterns: &[&str],
        stored: &Self,
        rng: &dyn Rng,
    ) -> Result<Self, Vec<FieldError>> {
        let mut values = BTreeMap::new();
        for pattern in patterns {
            let segments: Vec<&str> = pattern.split('/').skip(1).collect();
            take(spec, &segments, "", &mut values);
        }
        let mut errors = Vec::new();
        for (pointer, value) in &mut values {
            if value == SEALED {
                match stored.values.get(pointer) {
                    Some(kept) => *value = kept.clone(),
                    None => {
                        let message = format!("there is no stored value that `{SEALED}` could keep; give the value");
                        errors.push(FieldError::new(format!("/spec{pointer}"), message));
                    }
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let salt = if stored.salt.is_empty() { hash::hex(&rng.next_u64().to_le_bytes()) } else { stored.salt.clone() };
        Ok(Self { salt, values })
    }

    /// A digest per value: SHA-256 over salt, pointer and value, its first 8 bytes.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        let digest = |(pointer, value): (&String, &Value)| {
            let text = format!("{}\0{pointer}\0{value}", self.salt);
            (pointer.clone(), hash::sha256(text.as_bytes(), 8))
        };
        self.values.iter().map(digest).collect()
    }

    /// The spec as a diff shows it: values that differ from the stored ones are marked.
    pub(crate) fn mark_changes(&self, spec: &mut Value, stored: &Self) {
        for (pointer, value) in &self.values {
            if stored.values.get(pointer) != Some(value)
                && let Some(place) = spec.pointer_mut(pointer)
            {
                *place = Value::from(SEALED_CHANGED);
            }
        }
    }
}

fn take(value: &mut Value, segments: &[&str], pointer: &str, found: &mut BTreeMap<String, Value>) {
    let Some((segment, rest)) = segments.split_first() else { return take_all(value, pointer, found) };
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut().filter(|(name, _)| *segment == "*" || *name == segment) {
                take(field, rest, &format!("{pointer}/{}", escape(name)), found);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                if *segment == "*" || *segment == place.to_string() {
                    take(item, rest, &format!("{pointer}/{place}"), found);
                }
            }
        }
        _ => {}
    }
}

fn take_all(value: &mut Value, pointer: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, field) in fields {
                take_all(field, &format!("{pointer}/{}", escape(name)), found);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                take_all(item, &format!("{pointer}/{place}"), found);
            }
        }
        scalar => {
            found.insert(pointer.to_owned(), std::mem::replace(scalar, Value::from(SEALED)));
        }
    }
}

#[cfg(test)]
mod tests {
    use nx_types::env::SeededRng;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_leave_the_spec() {
        let rng = SeededRng::new(1);
        let patterns = ["/values", "/list/*/key"];
        let mut spec =
            json!({ "values": { "a/b": "one", "n": 5 }, "list": [{ "key": "two", "open": 1 }], "open": "x" });
        let sealed = Sealed::take(&mut spec, &patterns, &Sealed::default(), &rng).expect("takes");
        assert_eq!(
            spec,
            json!({ "values": { "a/b": SEALED, "n": SEALED }, "list": [{ "key": SEALED, "open": 1 }], "open": "x" })
        );
        assert_eq!(sealed.values.keys().collect::<Vec<_>>(), ["/list/0/key", "/values/a~1b", "/values/n"]);
        assert!(!format!("{sealed:?}").contains("one"));
        // Applied as printed, it is the same.
        let again = Sealed::take(&mut spec.clone(), &patterns, &sealed, &rng).expect("keeps");
        assert_eq!(again, sealed);
        assert_eq!(again.digests(), sealed.digests());
        let mut changed = json!({ "values": { "a/b": SEALED, "n": "new" } });
        let changed_values = Sealed::take(&mut changed, &patterns, &sealed, &rng).expect("takes");
        changed_values.mark_changes(&mut changed, &sealed);
        assert_eq!(changed, json!({ "values": { "a/b": SEALED, "n": SEALED_CHANGED } }));
        let errors =
            Sealed::take(&mut json!({ "values": { "new": SEALED } }), &patterns, &sealed, &rng).expect_err("has none");
        assert_eq!(errors[0].pointer, "/spec/values/new");
    }
}
