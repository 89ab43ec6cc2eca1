//! What a kind of resource is: a schema, a check that fills defaults, an example. Frontiers export descriptors; the
//! binary hands them to the registry.
//!
//! A kind's spec is a plain Rust struct: derive serde's traits (with `deny_unknown_fields`) and schemars'
//! `JsonSchema`, implement [`Spec`], and [`KindDescriptor::of`] makes the rest. No kind is defined here.

mod formats;
mod nearest;
mod shape;

use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use nearest::nearest;
pub use shape::check_shape;

use crate::json;

/// A kind of resource.
#[derive(Clone)]
pub struct KindDescriptor {
    /// The name in manifests: `Reflex`.
    pub kind: &'static str,
    /// The name in commands and paths: `reflexes`.
    pub plural: &'static str,
    /// One sentence for `neuraxis help KIND`.
    pub about: &'static str,
    /// A minimal manifest in YAML, printed by `neuraxis init KIND`.
    pub example: &'static str,
    /// The JSON Schema (2020-12) of `spec`.
    pub schema: fn() -> Value,
    /// Checks a spec and returns it with defaults filled in. Pointers of errors start with `/spec`.
    pub check: fn(&Value) -> Result<Value, Vec<FieldError>>,
    /// JSON pointers into `spec` of values that are sealed and never printed. The segment `*` stands for every
    /// member; of an object or array that a pointer names, every scalar within is secret.
    pub secret: &'static [&'static str],
}

impl KindDescriptor {
    /// The descriptor of a kind whose spec is `T`.
    pub const fn of<T: Spec>(
        kind: &'static str,
        plural: &'static str,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        Self { kind, plural, about, example, schema: schema_of::<T>, check: check_spec::<T>, secret: &[] }
    }

    /// The same with secret values at these pointers.
    #[must_use]
    pub const fn with_secret(mut self, secret: &'static [&'static str]) -> Self {
        self.secret = secret;
        self
    }
}

impl fmt::Debug for KindDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindDescriptor").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What is wrong with a field of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at `{pointer}`")]
pub struct FieldError {
    /// JSON pointer from the resource's root.
    pub pointer: String,
    /// What is wrong, and the fix when we know it.
    pub message: String,
}

impl FieldError {
    /// An error at a pointer.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// The typed spec of a kind. `#[serde(deny_unknown_fields)]` belongs on each of its structs; `#[serde(default)]` on
/// what may be left out; doc comments become the schema's descriptions and so the text of `neuraxis help KIND`.
pub trait Spec: JsonSchema + Serialize + DeserializeOwned {
    /// What no schema says: rules across fields, expressions that must compile. Pointers start with `/spec`.
    fn validate(&self) -> Vec<FieldError> {
        Vec::new()
    }
}

/// The JSON Schema (2020-12) of a spec.
pub fn schema_of<T: JsonSchema>() -> Value {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// Checks a spec, all errors at once, and returns it with its defaults filled in.
pub fn check_spec<T: Spec>(spec: &Value) -> Result<Value, Vec<FieldError>> {
    let typed = parse_spec::<T>(spec)?;
    serde_json::to_value(&typed).map_err(|err| vec![FieldError::new("/spec", err.to_string())])
}

/// Checks a spec, all errors at once, and returns it typed.
pub fn parse_spec<T: Spec>(spec: &Value) -> Result<T, Vec<FieldError>> {
    if let Err(err) = json::check(spec) {
        return Err(vec![FieldError::new("/spec", err.to_string())]);
    }
    // `spec:` with nothing below it is an empty spec.
    let empty = Value::Object(serde_json::Map::new());
    let spec = if spec.is_null() { &empty } else { spec };
    let errors = check_shape(&schema_of::<T>(), spec, "/spec");
    if !errors.is_empty() {
        return Err(errors);
    }
    let typed: T =
        serde_json::from_value(spec.clone()).map_err(|err| vec![FieldError::new("/spec", err.to_string())])?;
    let errors = typed.validate();
    if errors.is_empty() { Ok(typed) } else { Err(errors) }
}

#[cfg(test)]
mod tests;
