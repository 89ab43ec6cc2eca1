//! The resource store: state rows of the log, changed together with the event that says so.
//!
//! Rows of kind `resource` (key `Kind/name`) hold what was applied, `resource_status` what controllers report,
//! `resource_secret` secret values. A resource's `resourceVersion` is the place of the event that last changed it.

mod apply;
mod read;
mod row;

use nx_journal::{Journal, Reader};
use nx_types::{EventType, Namespace, Subject};
use serde_json::Value;

use crate::{Error, registry::Registry};

pub use apply::{Applied, ApplyOptions, Deleted, Outcome};
pub use read::Page;
pub(crate) use read::all;

pub(crate) const RESOURCE: &str = "resource";
pub(crate) const STATUS: &str = "resource_status";
pub(crate) const SECRET: &str = "resource_secret";
/// Rows of this kind, in the default namespace, name the namespaces that hold resources.
pub(crate) const NAMESPACE: &str = "namespace";

/// How often a change that met another one is tried again.
const ATTEMPTS: usize = 4;

/// Resources over a log.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    journal: Journal,
    registry: std::sync::Arc<Registry>,
}

impl Store {
    pub(crate) fn new(journal: Journal, registry: std::sync::Arc<Registry>) -> Self {
        Self { journal, registry }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs blocking reads where they do not hold up the async runtime.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let reader = self.journal.reader();
        tokio::task::spawn_blocking(move || read(&reader)).await.map_err(|_err| Error::Stopped)?
    }
}

/// The key of a resource's rows.
pub(crate) fn row_key(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

/// The subject of a resource's events.
pub(crate) fn subject(kind: &str, name: &str) -> Result<Subject, Error> {
    let text = format!("resource/{kind}/{name}");
    Subject::new(&text).map_err(|err| Error::damaged(format!("resource `{kind}/{name}`"), err))
}

/// An event type of this crate; the texts are fixed and valid.
pub(crate) fn event_type(text: &'static str) -> Result<EventType, Error> {
    EventType::new(text).map_err(|err| Error::damaged(format!("event type `{text}`"), err))
}

pub(crate) fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The namespaces that hold resources.
pub(crate) fn namespaces(reader: &Reader) -> Result<Vec<Namespace>, Error> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let rows = reader.state_scan(&Namespace::default(), NAMESPACE, after.as_deref(), 1000)?;
        for row in &rows {
            found.push(Namespace::new(&row.key).map_err(|err| Error::damaged("the list of namespaces", err))?);
        }
        match rows.last() {
            Some(last) if rows.len() == 1000 => after = Some(last.key.clone()),
            _ => return Ok(found),
        }
    }
}
