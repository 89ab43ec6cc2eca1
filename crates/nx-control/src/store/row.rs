//! What stands in the rows, and how a resource is put together from them.

use std::collections::BTreeMap;

use nx_journal::{Reader, StateRow};
use nx_types::{Metadata, Namespace, Resource, Timestamp, resource::API_VERSION};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{RESOURCE, SECRET, STATUS, row_key};
use crate::{Error, sealed::Sealed};

/// A row of kind `resource`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResourceRow {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) generation: u64,
    pub(crate) created: Timestamp,
    pub(crate) spec: Value,
}

/// What is stored about one resource.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The row's version, for preconditions.
    pub(crate) version: u64,
    /// The place of the event that last changed it: `resourceVersion`.
    pub(crate) seq: u64,
    pub(crate) row: ResourceRow,
}

impl Stored {
    pub(crate) fn resource(&self, namespace: &Namespace, kind: &str, name: &str, status: Value) -> Resource {
        let metadata = Metadata {
            name: name.to_owned(),
            namespace: namespace.clone(),
            annotations: self.row.annotations.clone(),
            generation: Some(self.row.generation),
            resource_version: Some(self.seq),
            created: Some(self.row.created),
        };
        let (api_version, kind) = (API_VERSION.to_owned(), kind.to_owned());
        Resource { api_version, kind, metadata, spec: self.row.spec.clone(), status }
    }
}

pub(crate) fn decode<T: DeserializeOwned>(row: &StateRow, kind: &str) -> Result<T, Error> {
    serde_json::from_slice(&row.bytes).map_err(|err| Error::damaged(format!("state row `{kind}/{}`", row.key), err))
}

pub(crate) fn stored(row: &StateRow) -> Result<Stored, Error> {
    Ok(Stored { version: row.version, seq: row.seq.0, row: decode(row, RESOURCE)? })
}

pub(crate) fn find(reader: &Reader, namespace: &Namespace, kind: &str, name: &str) -> Result<Option<Stored>, Error> {
    let row = reader.state(namespace, RESOURCE, &row_key(kind, name))?;
    row.as_ref().map(stored).transpose()
}

pub(crate) fn status(reader: &Reader, namespace: &Namespace, key: &str) -> Result<Value, Error> {
    match reader.state(namespace, STATUS, key)? {
        Some(row) => decode(&row, STATUS),
        None => Ok(Value::Null),
    }
}

/// The sealed values and the version of their row.
pub(crate) fn sealed(reader: &Reader, namespace: &Namespace, kind: &str, name: &str) -> Result<(Sealed, u64), Error> {
    match reader.state(namespace, SECRET, &row_key(kind, name))? {
        Some(row) => Ok((decode(&row, SECRET)?, row.version)),
        None => Ok((Sealed::default(), 0)),
    }
}
