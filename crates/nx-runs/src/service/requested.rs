//! Runs that others ask for by an event: `run.requested {agent, input?, key?, deadline?}` on any subject, from a
//! reflex, a schedule, a parcel. Each starts one run, whose key is the event's id unless it names one; the position is
//! kept, and reading an event twice starts nothing twice.

use nx_journal::{Cause, Event, Filter, Journal};
use nx_types::{ErrorCode as _, Seq, SharedLabel, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Handle, StartRequest};
use crate::error::Error;

/// The event type.
pub(super) const REQUESTED: &str = "run.requested";
const CURSOR: &str = "runs.requested";

#[derive(Debug)]
pub(super) struct Requested {
    journal: Journal,
    handle: Handle,
}

/// What the event says.
#[derive(Debug, Deserialize)]
struct Wanted {
    agent: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    deadline: Option<Timestamp>,
    #[serde(default)]
    by: Option<String>,
}

impl Requested {
    pub(super) fn new(journal: Journal, handle: Handle) -> Self {
        Self { journal, handle }
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            result = self.follow() => {
                if let Err(error) = result {
                    tracing::error!(%error, "requests for runs are not read any more");
                }
            }
        }
    }

    async fn follow(&self) -> Result<(), Error> {
        let from = {
            let journal = self.journal.clone();
            self.handle.read(move |_reader| Ok(journal.cursor(CURSOR)?)).await?
        };
        let filter = Filter { types: vec![REQUESTED.to_owned()], ..Filter::default() };
        let mut events = self.journal.subscribe(from.unwrap_or(Seq(0)), filter);
        loop {
            let batch = match events.next().await {
                Ok(batch) => batch,
                Err(nx_journal::Error::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for event in batch {
                self.start(&event).await?;
            }
            self.journal.store_cursor(CURSOR, events.position()).await?;
        }
    }

    /// Starts the run that an event asks for. A request that can never be met is logged and passed over.
    async fn start(&self, event: &Event) -> Result<(), Error> {
        let header = &event.header;
        if header.kind.as_str() != REQUESTED {
            return Ok(());
        }
        let Some(data) = event.data.bytes() else { return Ok(()) };
        let wanted: Wanted = match serde_json::from_slice(data) {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!(seq = header.seq.0, %error, "a request for a run cannot be read");
                return Ok(());
            }
        };
        let label = match header.label {
            Some(id) => {
                let namespace = header.namespace.clone();
                let found = self.handle.read(move |reader| Ok(reader.label(&namespace, &id)?)).await?;
                Some(SharedLabel::new(found.ok_or_else(|| Error::value(format!("label `{id}` is not in the log")))?))
            }
            None => None,
        };
        let mut wait = tokio::time::Duration::from_millis(100);
        loop {
            let request = StartRequest {
                namespace: header.namespace.clone(),
                agent: wanted.agent.clone(),
                input: wanted.input.clone(),
                key: Some(wanted.key.clone().unwrap_or_else(|| header.id.to_string())),
                deadline: wanted.deadline,
                by: wanted.by.clone().unwrap_or_else(|| header.subject.to_string()),
                cause: Cause::Local(header.seq),
                trace: header.trace,
                label: label.clone(),
            };
            match self.handle.start(request).await {
                Ok(_) => return Ok(()),
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) if error.retryable() => {
                    tracing::warn!(seq = header.seq.0, %error, "a requested run has to wait");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(tokio::time::Duration::from_secs(10));
                }
                Err(error) => {
                    tracing::warn!(seq = header.seq.0, %error, "a request for a run cannot be met");
                    return Ok(());
                }
            }
        }
    }
}
