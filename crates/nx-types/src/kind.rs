//! What a kind of resource is: a schema, a check that fills defaults, an example. Frontiers export descriptors; the
//! binary hands them to the registry.

use std::fmt;

use serde_json::Value;

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
    /// Checks a spec and returns it with defaults filled in.
    pub check: fn(&Value) -> Result<Value, Vec<FieldError>>,
    /// JSON pointers into `spec` of values that are sealed and never printed.
    pub secret: &'static [&'static str],
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
