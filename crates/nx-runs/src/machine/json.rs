//! I-JSON, checked on the way in. Almost every value passes, so the walk that can name the place of a fault is taken
//! only when there is one.

use nx_types::json::{MAX_DEPTH, MAX_SAFE_INTEGER};
use serde_json::Value;

use crate::Error;

/// Refuses what may not enter the record.
pub(super) fn check(value: &Value) -> Result<(), Error> {
    if passes(value, 0) {
        return Ok(());
    }
    nx_types::json::check(value).map_err(|error| Error::value(error.to_string()))
}

fn passes(value: &Value, depth: usize) -> bool {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number <= MAX_SAFE_INTEGER,
            (None, Some(number)) => number.unsigned_abs() <= MAX_SAFE_INTEGER,
            (None, None) => true,
        },
        Value::Array(items) => depth < MAX_DEPTH && items.iter().all(|item| passes(item, depth + 1)),
        Value::Object(fields) => depth < MAX_DEPTH && fields.values().all(|field| passes(field, depth + 1)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_walks_agree() {
        let mut deep = json!(1);
        for _ in 0..=MAX_DEPTH {
            deep = json!([deep]);
        }
        let shallow = deep.get(0).cloned().unwrap_or_default();
        for value in [json!({"a": [1, -1, 0.5, "x"]}), json!([1u64 << 53]), json!([(1u64 << 53) + 1]), deep, shallow] {
            assert_eq!(passes(&value, 0), nx_types::json::check(&value).is_ok(), "{value}");
        }
    }
}
