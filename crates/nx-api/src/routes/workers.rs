//! Workers: their WebSocket, their large values, and who is connected.

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::{IntoResponse as _, Response},
    routing::{get, put},
};
use futures_util::{SinkExt as _, StreamExt as _};
use neuraxis_sdk::frames::{MAX_FRAME_BYTES, PATH, SUBPROTOCOL};
use nx_runs::{engine::Peer, service::Connection};
use nx_types::{BlobId, Problem, RunId};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, MAX_BLOB_BYTES, ProblemBody, Shared, auth,
    extract::{Json, Path, Raw},
    views::workers::WorkersBody,
};

/// Frames over the protocol's bound are read up to here, so that `goodbye` can say what is wrong with them. What is longer
/// still ends the connection.
const MAX_READ_BYTES: usize = 4 * MAX_FRAME_BYTES;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The endpoints of the worker protocol; `docs/worker-protocol.md` describes them.
pub(super) fn socket() -> Router<Shared> {
    Router::new()
        .route(PATH, get(connect))
        .route("/api/workers/blobs/{run}", put(upload).layer(DefaultBodyLimit::max(MAX_BLOB_BYTES)))
        .route("/api/workers/blobs/{run}/{id}", get(download))
}

/// Lists connected workers.
#[utoipa::path(get, path = "/api/workers", tag = "workers",
    responses((status = 200, body = WorkersBody),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(State(shared): State<Shared>, _: auth::Viewer) -> Result<Json<WorkersBody>, Error> {
    Ok(Json(shared.runs.workers().await?.into()))
}

async fn connect(
    State(shared): State<Shared>,
    revocations: auth::Revocations,
    auth::Worker(principal): auth::Worker,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Error> {
    let peer = Peer { by: principal.name.clone(), namespace: None, remote: "websocket".to_owned() };
    let tasks = shared.tasks.clone();
    Ok(upgrade.protocols([SUBPROTOCOL]).max_message_size(MAX_READ_BYTES).max_frame_size(MAX_READ_BYTES).on_upgrade(
        move |socket| async move {
            // Tracked, so that shutdown waits for the goodbye.
            drop(tasks.spawn(carry(shared, peer, socket, revocations.of(principal))).await);
        },
    ))
}

/// Carries frames between a socket and the engine until either ends or the token is revoked; knows no frame.
async fn carry(shared: Shared, peer: Peer, socket: WebSocket, revoked: impl Future<Output = ()> + Send) {
    let Ok(Connection { inbound, mut outbound }) = shared.runs.connect(peer).await else { return };
    let (mut sink, mut stream) = socket.split();
    let write = async move {
        while let Some(texts) = outbound.texts().await {
            for text in texts {
                if sink.feed(Message::text(text)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
        let close = CloseFrame { code: axum::extract::ws::close_code::NORMAL, reason: "".into() };
        drop(sink.send(Message::Close(Some(close))).await);
    };
    let read = async move {
        while let Some(message) = stream.next().await {
            let taken = match message {
                Ok(Message::Text(text)) => inbound.text(&text).await,
                Ok(Message::Ping(_) | Message::Pong(_)) => inbound.alive().await,
                Ok(Message::Binary(_)) => {
                    inbound.malformed(Problem::of(&nx_runs::Error::frame("frames are texts, this is binary"))).await
                }
                Ok(Message::Close(_)) | Err(_) => return,
            };
            if taken.is_err() {
                return;
            }
        }
    };
    tokio::pin!(write, read, revoked);
    tokio::select! {
        biased;
        () = &mut revoked => {}
        () = &mut read => {}
        () = &mut write => {}
    }
}

async fn upload(
    State(shared): State<Shared>,
    _: auth::Worker,
    Path(run): Path<RunId>,
    Raw(body): Raw<MAX_BLOB_BYTES>,
) -> Result<Response, Error> {
    let id = shared.runs.put_value(namespace(None)?, run, body.to_vec()).await?;
    Ok(Json(serde_json::json!({"$blob": id.to_string()})).into_response())
}

async fn download(
    State(shared): State<Shared>,
    _: auth::Worker,
    Path((_run, id)): Path<(RunId, BlobId)>,
) -> Result<Response, Error> {
    let bytes = shared.runs.value(id).await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
