//! Changes of resources as they happen, from any place in the log.

use nx_journal::{Event, Filter, Subscription};
use nx_types::{Namespace, Seq, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::Error;

/// A change of a resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The event's place in the log.
    pub seq: Seq,
    /// `resource.applied`, `resource.deleted` or `resource.status`.
    #[serde(rename = "type")]
    pub event: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// When it was recorded.
    pub time: Timestamp,
    /// The event's content, without secret values; null if it was erased.
    pub data: Value,
}

/// Follows changes. It holds nothing but its position: a slow reader costs no memory and loses nothing.
#[derive(Debug)]
pub struct Watch {
    subscription: Subscription,
    kind: Option<&'static str>,
}

impl Watch {
    pub(crate) fn filter(namespace: &Namespace) -> Filter {
        let types = vec!["resource.".to_owned()];
        Filter { namespace: Some(namespace.clone()), types, ..Filter::default() }
    }

    pub(crate) fn new(subscription: Subscription, kind: Option<&'static str>) -> Self {
        Self { subscription, kind }
    }

    /// The next changes, at least one; waits for them. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<Change>, Error> {
        loop {
            let events = self.subscription.next().await?;
            let wanted = |change: &Change| self.kind.is_none_or(|kind| kind == change.kind);
            let changes: Vec<Change> = events.iter().filter_map(change).filter(wanted).collect();
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

fn change(event: &Event) -> Option<Change> {
    let (kind, name) = event.header.subject.as_str().strip_prefix("resource/")?.split_once('/')?;
    Some(Change {
        seq: event.seq(),
        event: event.header.kind.to_string(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        time: event.header.recorded,
        data: event.data.bytes().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default(),
    })
}
