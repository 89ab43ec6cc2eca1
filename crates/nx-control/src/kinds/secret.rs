//! `Secret`: values that other resources refer to by name.

use std::collections::BTreeMap;

use nx_types::{FieldError, json::escape, kind::Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most bytes of one value.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Most values of one secret.
const MAX_VALUES: usize = 64;

/// The spec of a `Secret`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// The values by name. They are sealed, and printed as `(sealed)`; applying `(sealed)` keeps the stored value.
    pub values: BTreeMap<String, String>,
}

impl std::fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretSpec").field("values", &self.values.keys()).finish()
    }
}

impl Spec for SecretSpec {
    fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.values.is_empty() || self.values.len() > MAX_VALUES {
            errors.push(FieldError::new("/spec/values", format!("must hold 1 to {MAX_VALUES} values")));
        }
        for (name, value) in &self.values {
            let place = format!("/spec/values/{}", escape(name));
            let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            if name.is_empty() || name.len() > 63 || !name.bytes().all(fine) {
                errors.push(FieldError::new(&place, "its name must be 1 to 63 letters, digits, `_`, `-` or `.`"));
            }
            if value.len() > MAX_VALUE_BYTES {
                errors.push(FieldError::new(place, format!("has more than {MAX_VALUE_BYTES} bytes")));
            }
        }
        errors
    }
}
