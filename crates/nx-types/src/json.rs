//! I-JSON (RFC 7493): what may enter the record. Integers beyond 2^53 lose digits in half of the world's readers, so
//! they are refused with the fix. (NaN and infinities have no JSON form; parsers refuse them already.)

use serde_json::Value;

/// Largest integer that every JSON reader keeps: 2^53.
pub const MAX_SAFE_INTEGER: u64 = 1 << 53;

/// Deepest nesting accepted from outside.
pub const MAX_DEPTH: usize = 96;

/// Why a value is not I-JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// An integer outside ±2^53.
    #[error("integer `{number}` at `{pointer}` is beyond 2^53 and would lose digits; send it as a string")]
    Integer {
        /// The number as written.
        number: String,
        /// JSON pointer to it.
        pointer: String,
    },
    /// Nested too deep.
    #[error("value is nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

/// Checks that a value is I-JSON.
pub fn check(value: &Value) -> Result<(), JsonError> {
    fn walk(value: &Value, path: &mut Vec<String>) -> Result<(), JsonError> {
        if path.len() > MAX_DEPTH {
            return Err(JsonError::Depth);
        }
        match value {
            Value::Number(number) => {
                let safe = match (number.as_u64(), number.as_i64()) {
                    (Some(n), _) => n <= MAX_SAFE_INTEGER,
                    (None, Some(n)) => n.unsigned_abs() <= MAX_SAFE_INTEGER,
                    (None, None) => true,
                };
                if safe {
                    Ok(())
                } else {
                    let pointer = path.iter().flat_map(|part| ["/".to_owned(), escape(part)]).collect();
                    Err(JsonError::Integer { number: number.to_string(), pointer })
                }
            }
            Value::Array(items) => items.iter().enumerate().try_for_each(|(place, item)| {
                path.push(place.to_string());
                let checked = walk(item, path);
                path.pop();
                checked
            }),
            Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
                path.push(name.clone());
                let checked = walk(field, path);
                path.pop();
                checked
            }),
            Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        }
    }
    walk(value, &mut Vec::new())
}

/// Escapes one segment of a JSON pointer (RFC 6901).
pub fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}
