//! Reading resources: one, a page of them, their secret values, what would change.

use nx_journal::Reader;
use nx_types::{Namespace, Resource};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{RESOURCE, Store, row, row_key};
use crate::Error;

/// Most resources of one page.
const MAX_PAGE: usize = 500;

/// Some of the resources, in order of kind and name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// The resources.
    pub items: Vec<Resource>,
    /// Where the next page starts: hand it in as `after`. `None` at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Store {
    pub(crate) async fn get(&self, namespace: &Namespace, kind: &str, name: &str) -> Result<Resource, Error> {
        let kind = self.registry().kind(kind)?.kind;
        let (namespace, name) = (namespace.clone(), name.to_owned());
        self.read(move |reader| get(reader, &namespace, kind, &name)).await
    }

    pub(crate) async fn list(
        &self,
        namespace: &Namespace,
        kind: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        let prefix = kind.map(|kind| self.registry().kind(kind)).transpose()?.map(|kind| format!("{}/", kind.kind));
        let (namespace, after) = (namespace.clone(), after.map(str::to_owned));
        self.read(move |reader| list(reader, &namespace, prefix.as_deref(), after.as_deref(), limit)).await
    }

    /// A secret value, for those who act on the resource. It is never shown to a user.
    pub(crate) async fn secret(
        &self,
        namespace: &Namespace,
        kind: &str,
        name: &str,
        pointer: &str,
    ) -> Result<Zeroizing<String>, Error> {
        let kind = self.registry().kind(kind)?.kind;
        let (namespace, name, pointer) = (namespace.clone(), name.to_owned(), pointer.to_owned());
        self.read(move |reader| {
            get(reader, &namespace, kind, &name)?;
            let (mut sealed, _) = row::sealed(reader, &namespace, kind, &name)?;
            match sealed.values.remove(&pointer) {
                Some(Value::String(text)) => Ok(Zeroizing::new(text)),
                Some(other) => Ok(Zeroizing::new(other.to_string())),
                None => Err(Error::NoSuchValue { resource: row_key(kind, &name), key: pointer }),
            }
        })
        .await
    }
}

pub(crate) fn get(reader: &Reader, namespace: &Namespace, kind: &str, name: &str) -> Result<Resource, Error> {
    let stored = row::find(reader, namespace, kind, name)?.ok_or_else(|| Error::NotFound {
        kind: kind.to_owned(),
        name: name.chars().take(64).collect(),
        namespace: namespace.to_string(),
    })?;
    let status = row::status(reader, namespace, &row_key(kind, name))?;
    Ok(stored.resource(namespace, kind, name, status))
}

pub(crate) fn list(
    reader: &Reader,
    namespace: &Namespace,
    prefix: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, MAX_PAGE);
    let start = match (after, prefix) {
        (Some(after), Some(prefix)) if after < prefix => Some(prefix),
        (None, prefix) => prefix,
        (after, _) => after,
    };
    let rows = reader.state_scan(namespace, RESOURCE, start, limit + 1)?;
    let mut page = Page { items: Vec::new(), next: None };
    for row in rows.iter().take_while(|row| prefix.is_none_or(|prefix| row.key.starts_with(prefix))) {
        if page.items.len() == limit {
            page.next = page.items.last().map(|last| row_key(&last.kind, &last.metadata.name));
            break;
        }
        let Some((kind, name)) = row.key.split_once('/') else {
            return Err(Error::damaged(format!("state row `resource/{}`", row.key), "its key is not `Kind/name`"));
        };
        let status = row::status(reader, namespace, &row.key)?;
        page.items.push(row::stored(row)?.resource(namespace, kind, name, status));
    }
    Ok(page)
}

/// Every resource of a kind in a namespace.
pub(crate) fn all(reader: &Reader, namespace: &Namespace, kind: &str) -> Result<Vec<Resource>, Error> {
    let prefix = format!("{kind}/");
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = list(reader, namespace, Some(&prefix), after.as_deref(), MAX_PAGE)?;
        found.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
