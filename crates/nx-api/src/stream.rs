//! Server-sent events: the log as it grows, resumable by `Last-Event-ID`.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::HeaderMap,
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use nx_journal::Filter;
use nx_types::Seq;
use tokio_stream::wrappers::ReceiverStream;

use crate::{Error, Shared, routes::journal::EventBody};

/// Where a stream starts: after `Last-Event-ID` if the client comes back, else at `from`, else at the log's end.
pub(crate) fn start(shared: &Shared, headers: &HeaderMap, from: Option<u64>) -> Result<Seq, Error> {
    match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse::<u64>().ok())
            .map(|seq| Seq(seq).next())
            .ok_or_else(|| Error::Request("`Last-Event-ID` must be the number of an event".to_owned())),
        None => Ok(from.map_or_else(|| shared.journal.head(), Seq)),
    }
}

/// Streams the events that match, from a place on, until the client goes, its token is revoked, or the server stops.
pub(crate) fn events(
    shared: &Shared,
    from: Seq,
    filter: Filter,
    revoked: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Event, Infallible>>(64);
    let mut subscription = shared.journal.subscribe(from, filter);
    let stop = shared.stop.clone();
    shared.tasks.spawn(async move {
        tokio::pin!(revoked);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                () = &mut revoked => return,
                batch = subscription.next() => batch,
            };
            let Ok(batch) = batch else { return };
            for event in batch {
                let id = event.header.seq.to_string();
                let kind = event.header.kind.as_str().to_owned();
                let Ok(body) = serde_json::to_string(&EventBody::of(&event)) else { return };
                if sender.send(Ok(Event::default().id(id).event(kind).data(body))).await.is_err() {
                    return;
                }
            }
        }
    });
    Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}
