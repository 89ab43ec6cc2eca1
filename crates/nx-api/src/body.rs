//! Bodies that come too slowly are given up: whoever sends a byte now and then holds no connection for long.

use std::{fmt, time::Duration};

use axum::{
    BoxError,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use crate::Shared;

/// Slowest rate of a body that is let go on after its first time is over, in bytes a millisecond.
const BYTES_PER_MS: u64 = 16;

/// A body came too slowly.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body came too slowly")
    }
}

impl std::error::Error for TooSlow {}

impl TooSlow {
    /// Whether this is why something failed.
    pub(crate) fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Self>())
    }
}

/// Middleware: bounds how long the request's body may take.
pub(crate) async fn pace(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let request =
        if request.body().is_end_stream() { request } else { request.map(|body| paced(body, shared.body_patience)) };
    next.run(request).await
}

fn paced(body: Body, patience: Duration) -> Body {
    let start = Instant::now();
    Body::from_stream(stream::try_unfold((body.into_data_stream(), 0_u64), move |(mut chunks, taken)| async move {
        let end = start + patience + Duration::from_millis(taken / BYTES_PER_MS);
        match timeout_at(end, chunks.next()).await {
            Err(_elapsed) => Err(BoxError::from(TooSlow)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(error.into()),
            Ok(Some(Ok(chunk))) => {
                let taken = taken.saturating_add(chunk.len() as u64);
                Ok(Some((chunk, (chunks, taken))))
            }
        }
    }))
}
