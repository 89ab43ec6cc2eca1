//! The log: events by place, type and subject; the stream of what comes; erasure; backup; export.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nx_journal::{Data, Event, Filter};
use nx_types::{Namespace, Seq, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Error, ProblemBody, Shared, archive, auth,
    extract::{Json, Path, Query},
    input, stream,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(export))
        .routes(routes!(doctor))
        .routes(routes!(follow))
        .routes(routes!(erase))
        .routes(routes!(retain))
        .routes(routes!(backup))
}

/// An event with its data.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EventBody {
    /// The place in the log.
    seq: u64,
    /// The event's id, a UUID version 7.
    id: String,
    /// The namespace.
    namespace: String,
    /// What happened.
    #[serde(rename = "type")]
    kind: String,
    /// The version of the data's schema.
    schema: u16,
    /// What it is about.
    subject: String,
    /// The place among its subject's events, from 1.
    version: u64,
    /// When it happened (RFC 3339).
    time: String,
    /// When it was committed (RFC 3339).
    recorded: String,
    /// The label's id, if it is not the trusted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// The place of the event that it followed from, if that is in this log.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<u64>,
    /// Blobs that the data refers to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<String>,
    /// The data; absent once erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    /// The data was erased: only the header remains.
    erased: bool,
}

impl EventBody {
    pub(crate) fn of(event: &Event) -> Self {
        let header = &event.header;
        let (data, erased) = match &event.data {
            Data::Open(bytes) => (Some(json_or_text(bytes)), false),
            Data::Erased => (None, true),
        };
        Self {
            seq: header.seq.0,
            id: header.id.to_string(),
            namespace: header.namespace.to_string(),
            kind: header.kind.to_string(),
            schema: header.schema,
            subject: header.subject.to_string(),
            version: header.version,
            time: header.occurred.to_string(),
            recorded: header.recorded.to_string(),
            label: header.label.map(|label| label.to_string()),
            cause: match header.causation {
                nx_types::Causation::Local(seq) => Some(seq.0),
                nx_types::Causation::None | nx_types::Causation::Foreign(_) => None,
            },
            blobs: header.blobs.iter().map(ToString::to_string).collect(),
            data,
            erased,
        }
    }
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_err| Value::from(String::from_utf8_lossy(bytes).into_owned()))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// The first place.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 0, maximum = 9007199254740992u64)]
    from: Option<u64>,
    /// Only types that start so; several, separated by commas.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only this subject.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    subject: Option<String>,
    /// Only this namespace.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// Most events; 100 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl EventsQuery {
    fn filter(&self) -> Result<Filter, Error> {
        let wrong = |error: nx_types::IdError| Error::Request(error.to_string());
        Ok(Filter {
            namespace: self.namespace.as_deref().map(Namespace::new).transpose().map_err(wrong)?,
            types: self.kind.iter().flat_map(|kinds| kinds.split(',')).map(str::to_owned).collect(),
            subject: self.subject.as_deref().map(Subject::new).transpose().map_err(wrong)?,
        })
    }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
struct EventsBody {
    /// The events.
    items: Vec<EventBody>,
    /// Pass as `from` to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// The log's next place.
    head: u64,
}

/// Events in order.
#[utoipa::path(get, path = "/api/events", tag = "journal", params(EventsQuery),
    responses((status = 200, body = EventsBody),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventsBody>, Error> {
    let filter = query.filter()?;
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    let head = shared.journal.head();
    let reader = shared.journal.reader();
    let from = query.from.map(Seq).unwrap_or_default();
    let (events, next) = shared.blocking(move || Ok(reader.scan(from, limit, &filter, SCAN_BUDGET)?)).await?;
    let next = (next < head).then_some(next.0);
    Ok(Json(EventsBody { items: events.iter().map(EventBody::of).collect(), next, head: head.0 }))
}

/// One event.
#[utoipa::path(get, path = "/api/events/{seq}", tag = "journal",
    params(("seq" = u64, Path, description = "The place in the log", maximum = 9007199254740992u64)),
    responses((status = 200, body = EventBody),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn get(State(shared): State<Shared>, _: auth::Viewer, Path(seq): Path<u64>) -> Result<Json<EventBody>, Error> {
    let reader = shared.journal.reader();
    let event = shared.blocking(move || Ok(reader.event(Seq(seq))?)).await?;
    event.map(|event| Json(EventBody::of(&event))).ok_or_else(|| Error::NotFound(format!("event {seq}")))
}

/// Events as they come, as server-sent events whose ids are places in the log; resumes after `Last-Event-ID`.
#[utoipa::path(get, path = "/api/events/stream", tag = "journal", params(EventsQuery),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "The data of each event is an `EventBody`"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn follow(
    State(shared): State<Shared>,
    revocations: auth::Revocations,
    auth::Viewer(principal): auth::Viewer,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let from = stream::start(&shared, &headers, query.from)?;
    Ok(stream::events(&shared, from, query.filter()?, revocations.of(principal)))
}

/// Most events that one request looks at; a page may be empty and still have a next one.
const SCAN_BUDGET: u64 = 100_000;

/// What to erase.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EraseBody {
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// The data subject: a run's is `run/r_…`.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    data_subject: String,
    /// Why, for the record.
    #[serde(deserialize_with = "input::needed_reason")]
    #[schema(max_length = 1024)]
    reason: String,
}

/// What was erased.
#[derive(Debug, Serialize, ToSchema)]
struct ErasedBody {
    /// Events whose data is gone.
    events: u64,
    /// State rows that are gone.
    rows: u64,
    /// Blobs that are gone.
    blobs: u64,
}

/// Destroys a data subject's key, data, state and blobs. Headers and proofs stay.
#[utoipa::path(post, path = "/api/erase", tag = "journal", request_body = EraseBody,
    responses((status = 200, body = ErasedBody),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn erase(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Json(body): Json<EraseBody>,
) -> Result<Json<ErasedBody>, Error> {
    let namespace = namespace(body.namespace.as_deref())?;
    let report = shared.journal.erase(namespace, body.data_subject, body.reason, principal.name).await?;
    Ok(Json(ErasedBody { events: report.events, rows: report.rows, blobs: report.blobs }))
}

/// What has lived long enough.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetainBody {
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// Only data subjects that start so, such as `run/`.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    prefix: String,
    /// Those whose newest event is older than this, for example `180d`.
    #[schema(value_type = String, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    older_than: nx_types::Duration,
    /// Most data subjects; 1000 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// What was erased.
#[derive(Debug, Serialize, ToSchema)]
struct RetainedBody {
    /// Data subjects whose keys are gone.
    subjects: u64,
    /// Events whose data is gone.
    events: u64,
    /// Blobs that nothing named.
    unnamed_blobs: u64,
}

/// Erases data subjects that have lived long enough, and blobs that nothing names.
#[utoipa::path(post, path = "/api/retain", tag = "journal", request_body = RetainBody,
    responses((status = 200, body = RetainedBody),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn retain(
    State(shared): State<Shared>,
    _: auth::Admin,
    Json(body): Json<RetainBody>,
) -> Result<Json<RetainedBody>, Error> {
    let policy = nx_journal::RetentionPolicy {
        namespace: Some(namespace(body.namespace.as_deref())?),
        prefix: body.prefix,
        older_than: body.older_than,
        limit: body.limit.unwrap_or(1000),
    };
    let report = shared.journal.retention(policy).await?;
    let unnamed = shared.journal.gc(nx_types::Duration::from_secs(24 * 3600)).await?;
    Ok(Json(RetainedBody { subjects: report.keys.len() as u64, events: report.events, unnamed_blobs: unnamed.removed }))
}

/// The namespace that a request names, or the default one.
pub(crate) fn namespace(name: Option<&str>) -> Result<Namespace, Error> {
    name.map_or_else(
        || Ok(Namespace::default()),
        |name| Namespace::new(name).map_err(|error| Error::Request(error.to_string())),
    )
}

/// Copies the log while it is written: a tar of what `neuraxis restore` reads. `backup.json` comes last.
#[utoipa::path(post, path = "/api/backup", tag = "journal",
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json"),
        (status = 507, body = ProblemBody, content_type = "application/problem+json")))]
async fn backup(State(shared): State<Shared>, _: auth::Admin) -> Result<Response, Error> {
    shared.notary.sign(&shared.journal).await?;
    let (journal, notary) = (shared.journal.clone(), Arc::clone(&shared.notary));
    let make = move |to: &std::path::Path| Ok(nx_journal::archive::backup(&journal, to, notary.key()).map(drop)?);
    archive::streamed(&shared, "neuraxis-backup", nx_journal::archive::MANIFEST, make).await
}

/// What to export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// The first place.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 0, maximum = 9007199254740992u64)]
    from: Option<u64>,
    /// Most events; 1000 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Events as CloudEvents 1.0, one JSON object a line.
#[utoipa::path(get, path = "/api/events/export", tag = "journal", params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn export(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Error> {
    let reader = shared.journal.reader();
    let (from, limit) = (Seq(query.from.unwrap_or(0)), query.limit.unwrap_or(1000).clamp(1, 1000));
    let lines = shared
        .blocking(move || {
            let mut lines = String::new();
            for event in reader.events(from, limit, &Filter::default())? {
                lines.push_str(&nx_journal::archive::to_cloudevent(&event)?);
                lines.push('\n');
            }
            Ok(lines)
        })
        .await?;
    Ok(([(axum::http::header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// What an examination found.
#[derive(Debug, Serialize, ToSchema)]
struct DoctorBody {
    /// Nothing is wrong.
    healthy: bool,
    /// Each thing looked at.
    checks: Vec<CheckBody>,
}

/// One thing looked at.
#[derive(Debug, Serialize, ToSchema)]
struct CheckBody {
    /// What was looked at.
    name: &'static str,
    /// What was seen.
    seen: String,
    /// What is wrong, each with its fix.
    problems: Vec<String>,
}

/// Examines the log: integrity of the database, space, keys.
#[utoipa::path(get, path = "/api/doctor", tag = "journal", responses((status = 200, body = DoctorBody),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn doctor(State(shared): State<Shared>, _: auth::Operator) -> Result<Json<DoctorBody>, Error> {
    let report = shared.journal.doctor().await?;
    let healthy = report.is_healthy();
    let body = |check: nx_journal::Check| CheckBody { name: check.name, seen: check.seen, problems: check.problems };
    Ok(Json(DoctorBody { healthy, checks: report.checks.into_iter().map(body).collect() }))
}
