//! What controllers report: one condition `Ready`, with a reason for machines and a message for people.

use nx_types::Namespace;
use serde_json::{Value, json};

use crate::{Error, store::Store};

/// How a resource fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) ready: bool,
    /// One word, for machines.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Ready {
    pub(crate) fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: true, reason, message: message.into() }
    }

    pub(crate) fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: false, reason, message: message.into() }
    }
}

/// Stores the condition of one generation. The same again records nothing; a resource that is gone needs none.
pub(crate) async fn report(
    store: &Store,
    namespace: &Namespace,
    kind: &str,
    name: &str,
    generation: u64,
    ready: &Ready,
) -> Result<(), Error> {
    let current = match store.get(namespace, kind, name).await {
        Ok(resource) => resource.status,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(err) => return Err(err),
    };
    let was = current.pointer("/conditions/0");
    let flag = if ready.ready { "True" } else { "False" };
    let part = |name: &str| was.and_then(|was| was.get(name)).and_then(Value::as_str);
    let since = match part("since") {
        Some(since) if part("status") == Some(flag) && part("reason") == Some(ready.reason) => since.to_owned(),
        _ => store.journal().env().now().to_string(),
    };
    let status = json!({
        "observedGeneration": generation,
        "conditions": [
            { "type": "Ready", "status": flag, "reason": ready.reason, "message": ready.message, "since": since },
        ],
    });
    match store.set_status(namespace, kind, name, status).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(err) => Err(err),
    }
}
