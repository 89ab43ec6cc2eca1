//! Values from outside: checked to be I-JSON within their bound; `{"$blob": ID}` is fetched.

use neuraxis_sdk::frames::{Body, Outcome, Step};
use nx_types::BlobId;
use serde_json::Value;

use super::{
    Engine,
    frames_in::{clip, value_error},
};
use crate::error::Error;

impl Engine {
    /// Checks a value; a reference to an uploaded one is replaced by it.
    pub(super) fn ingest(&self, value: Value) -> Result<Value, Error> {
        let value = match reference(&value)? {
            Some(blob) => self.uploaded(&blob)?,
            None => value,
        };
        check(&value)?;
        Ok(value)
    }

    fn uploaded(&self, blob: &BlobId) -> Result<Value, Error> {
        let bytes = self.reader.blob(blob)?;
        let bytes = bytes.ok_or_else(|| Error::value(format!("no blob `{blob}` is known; upload it first")))?;
        if bytes.len() > self.limits.value_bytes {
            let max = self.limits.value_bytes;
            return Err(Error::value(format!("it has {} bytes, over the bound of {max}", bytes.len())));
        }
        serde_json::from_slice(&bytes).map_err(|error| Error::value(format!("blob `{blob}` is not JSON: {error}")))
    }

    pub(super) fn ingest_outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Ok(value) => match self.ingest(value) {
                Ok(value) => Outcome::Ok(value),
                Err(error) => Outcome::Error(value_error(&error)),
            },
            Outcome::Error(error) => Outcome::Error(clip(error)),
        }
    }

    pub(super) fn ingest_step(&self, step: &mut Step) -> Result<(), Error> {
        let args = match &mut step.body {
            Body::Code { args, .. }
            | Body::Tool { args }
            | Body::Approval { args }
            | Body::Infer { args }
            | Body::Emit { args } => Some(args),
            Body::Child { input, .. } => Some(input),
            Body::Sleep { .. } | Body::Signal { .. } | Body::Now | Body::Random | Body::Uuid => None,
        };
        if let Some(args) = args {
            *args = self.ingest(std::mem::take(args))?;
        }
        step.outcome = step.outcome.take().map(|outcome| self.ingest_outcome(outcome));
        Ok(())
    }
}

/// Checks a value that a surface hands in: I-JSON, and not of the reserved form.
pub(crate) fn check(value: &Value) -> Result<(), Error> {
    if reference(value)?.is_some() {
        return Err(Error::value("an object with the one key `$blob` is reserved; rename the key"));
    }
    nx_types::json::check(value).map_err(|error| Error::value(error.to_string()))
}

/// The blob that a value of the form `{"$blob": ID}` refers to.
fn reference(value: &Value) -> Result<Option<BlobId>, Error> {
    let Value::Object(fields) = value else { return Ok(None) };
    match fields.get("$blob") {
        Some(Value::String(id)) if fields.len() == 1 => Ok(Some(id.parse()?)),
        _ => Ok(None),
    }
}
