//! The carrier's webhook receiver: takes notices about parcels over HTTP, counts and keeps each.
//!
//! - `POST /webhooks/parcels` with `Idempotency-Key` and a JSON object. Each request is counted; a key that was seen
//!   before changes nothing more.
//! - `GET /stats` counts.

use std::{net::SocketAddr, path::Path};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use nx_types::Env;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Life,
    http::{broken, header, object, refuse},
};
use crate::{Error, database::Database};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS notices (
        key TEXT PRIMARY KEY, body TEXT NOT NULL, requests INTEGER NOT NULL, at_us INTEGER NOT NULL) WITHOUT ROWID;
";

/// Counts since the file was created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests taken.
    pub requests: u64,
    /// Different notices among them.
    pub notices: u64,
}

#[derive(Debug, Clone)]
struct App {
    database: Database,
    env: Env,
}

/// Starts the service on its database file.
pub(crate) async fn start(file: &Path, env: Env, wanted: Option<u16>, life: Life<'_>) -> Result<SocketAddr, Error> {
    let app = App { database: Database::open(file, SCHEMA)?, env };
    let router = Router::new().route("/webhooks/parcels", post(notice)).route("/stats", get(stats)).with_state(app);
    super::http::serve("logistics", wanted, router, life).await
}

async fn notice(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(key) = header(&headers, "idempotency-key").map(str::to_owned) else {
        return refuse(StatusCode::BAD_REQUEST, "header `Idempotency-Key` of 1 to 255 characters is required");
    };
    let Some(body) = object(&body).filter(|body| body.get("parcel").is_some_and(|parcel| parcel.is_string())) else {
        return refuse(StatusCode::BAD_REQUEST, "the body must be a JSON object with a `parcel`");
    };
    let now = app.env.now().as_micros();
    let kept = app.database.with(move |db| {
        db.query_row(
            "INSERT INTO notices VALUES (?1, ?2, 1, ?3)
             ON CONFLICT (key) DO UPDATE SET requests = requests + 1 RETURNING requests",
            params![key, body.to_string(), now],
            |row| row.get::<_, i64>(0),
        )
    });
    match kept.await {
        Ok(requests) => (StatusCode::ACCEPTED, Json(json!({ "accepted": true, "new": requests == 1 }))).into_response(),
        Err(error) => broken(&error),
    }
}

async fn stats(State(app): State<App>) -> Response {
    let counted = app.database.with(|db| {
        db.query_row("SELECT coalesce(sum(requests), 0), count(*) FROM notices", [], |row| {
            let count = |n| row.get::<_, i64>(n).map(i64::unsigned_abs);
            Ok(Stats { requests: count(0)?, notices: count(1)? })
        })
    });
    match counted.await {
        Ok(stats) => Json(stats).into_response(),
        Err(error) => broken(&error),
    }
}
