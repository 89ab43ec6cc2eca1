//! Is it alive, is it ready, how is it.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Error, Principal, ProblemBody, Shared, auth, extract::Json};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(server))
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The log accepts work.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn readyz(State(shared): State<Shared>) -> Result<&'static str, Error> {
    // Whoever asks needs no token, so the answer names neither paths nor causes.
    shared.journal.stats().await.map_err(|error| {
        tracing::warn!(%error, "not ready");
        Error::NotReady
    })?;
    Ok("ready\n")
}

/// What serves here.
#[derive(Debug, Serialize, ToSchema)]
struct ServerBody {
    /// The release.
    version: &'static str,
    /// The log's identity.
    origin: String,
    /// How many events the log holds.
    events: u64,
    /// Bytes of the log's database.
    bytes: u64,
    /// Bytes free on its disk.
    free_bytes: u64,
    /// Median time of one durable write, in microseconds; 0 before the first.
    sync_p50_us: u64,
    /// Who the caller is.
    principal: String,
    /// The caller's roles.
    roles: Vec<String>,
}

/// Version, log and caller.
#[utoipa::path(get, path = "/api/server", tag = "health",
    responses((status = 200, body = ServerBody), (status = 401, body = ProblemBody, content_type = "application/problem+json")))]
async fn server(State(shared): State<Shared>, principal: Principal) -> Result<Json<ServerBody>, Error> {
    let origin = shared.journal.origin().to_string();
    let stats = shared.journal.stats().await?;
    Ok(Json(ServerBody {
        version: env!("CARGO_PKG_VERSION"),
        origin,
        events: stats.events,
        bytes: stats.bytes,
        free_bytes: stats.free_bytes,
        sync_p50_us: stats.sync_p50_us,
        principal: principal.name,
        roles: principal.roles.into_iter().collect(),
    }))
}

/// Figures in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String, content_type = "text/plain"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn metrics(State(shared): State<Shared>, _: auth::Viewer) -> Result<Response, Error> {
    use std::fmt::Write as _;
    let stats = shared.journal.stats().await?;
    let workers = shared.runs.workers().await?.len() as u64;
    let figures: [(&str, &str, &str, u64); 6] = [
        ("neuraxis_journal_events_total", "counter", "Events in the log.", stats.events),
        ("neuraxis_journal_bytes", "gauge", "Bytes of the log's database.", stats.bytes),
        ("neuraxis_journal_groups_total", "counter", "Durable writes since start.", stats.groups),
        ("neuraxis_journal_sync_p50_microseconds", "gauge", "Median time of one durable write.", stats.sync_p50_us),
        ("neuraxis_disk_free_bytes", "gauge", "Bytes free on the log's disk.", stats.free_bytes),
        ("neuraxis_workers", "gauge", "Connected workers.", workers),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in figures {
        let written = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        debug_assert!(written.is_ok(), "writing to a string succeeds");
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
