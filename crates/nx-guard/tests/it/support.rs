//! What tests share.

use std::sync::Arc;

use nx_guard::{
    Error,
    origin::{Context, Limits},
    tool::Output,
};
use serde_json::{Value, json};

/// A context with this request.
pub(crate) fn context(request: &str) -> Context {
    Context::new(&json!(request), Limits::default()).unwrap()
}

/// Adds what a tool gave back.
pub(crate) fn add(context: &mut Context, source: &str, value: &Value, output: &Output) -> Result<(), Error> {
    context.add(source, None, &Arc::new(value.clone()), output.labels(source, value, false))
}
