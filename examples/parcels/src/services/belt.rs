//! The conveyor, simulated: a drive that runs or stands. Its controller takes commands as real ones do: each is carried
//! out and counted, none is recognised as a repetition.
//!
//! - `POST /belt/stop` and `POST /belt/start`, with the sender's `Command-Id`.
//! - `GET /belt?command=ID` tells the state, and whether a command was ever carried out.

use std::{net::SocketAddr, path::Path};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use nx_types::Env;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::{
    Life,
    http::{broken, header, refuse},
};
use crate::{Error, database::Database};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS commands (
        number INTEGER PRIMARY KEY, verb TEXT NOT NULL, command TEXT NOT NULL, at_us INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS commands_by_id ON commands (command);
";

/// The drive as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belt {
    /// The belt's name.
    pub belt: String,
    /// Whether it runs.
    pub running: bool,
    /// Commands to stop that were carried out.
    pub stops: u64,
    /// How often the command asked for was carried out; absent if none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried_out: Option<u64>,
}

#[derive(Debug, Clone)]
struct App {
    database: Database,
    env: Env,
}

/// Starts the controller on its database file.
pub(crate) async fn start(file: &Path, env: Env, wanted: Option<u16>, life: Life<'_>) -> Result<SocketAddr, Error> {
    let app = App { database: Database::open(file, SCHEMA)?, env };
    let router = Router::new()
        .route("/belt", get(show))
        .route("/belt/stop", post(stop_belt))
        .route("/belt/start", post(start_belt))
        .with_state(app);
    super::http::serve("belt", wanted, router, life).await
}

async fn stop_belt(State(app): State<App>, headers: HeaderMap) -> Response {
    command(app, &headers, "stop").await
}

async fn start_belt(State(app): State<App>, headers: HeaderMap) -> Response {
    command(app, &headers, "start").await
}

async fn command(app: App, headers: &HeaderMap, verb: &'static str) -> Response {
    let Some(command) = header(headers, "command-id").map(str::to_owned) else {
        return refuse(StatusCode::BAD_REQUEST, "header `Command-Id` of 1 to 255 characters is required");
    };
    let now = app.env.now().as_micros();
    let done = app.database.with(move |db| {
        db.execute("INSERT INTO commands (verb, command, at_us) VALUES (?1, ?2, ?3)", params![verb, command, now])?;
        state(db, None)
    });
    match done.await {
        Ok(belt) => Json(belt).into_response(),
        Err(error) => broken(&error),
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    command: Option<String>,
}

async fn show(State(app): State<App>, Query(asked): Query<Asked>) -> Response {
    match app.database.with(move |db| state(db, asked.command.as_deref())).await {
        Ok(belt) => Json(belt).into_response(),
        Err(error) => broken(&error),
    }
}

fn state(db: &Connection, command: Option<&str>) -> rusqlite::Result<Belt> {
    let last: Option<String> =
        db.query_row("SELECT verb FROM commands ORDER BY number DESC LIMIT 1", [], |row| row.get(0)).optional()?;
    let stops: i64 = db.query_row("SELECT count(*) FROM commands WHERE verb = 'stop'", [], |row| row.get(0))?;
    let carried_out = match command {
        Some(command) => Some(db.query_row("SELECT count(*) FROM commands WHERE command = ?1", [command], |row| {
            row.get::<_, i64>(0).map(i64::unsigned_abs)
        })?),
        None => None,
    };
    Ok(Belt {
        belt: "conveyor-1".to_owned(),
        running: last.as_deref() != Some("stop"),
        stops: stops.unsigned_abs(),
        carried_out,
    })
}
