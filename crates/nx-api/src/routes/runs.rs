//! Runs: start, look, follow, cancel, signal, fork, retry.

use std::time::Duration as StdDuration;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response, sse},
};
use nx_journal::Filter;
use nx_runs::service::{ForkRequest, Page, RunFilter, RunStatus, SignalRequest, StartRequest, StepsPage};
use nx_types::{Duration, Namespace, RunId, Subject, TraceParent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, ProblemBody, Shared, auth,
    extract::{Json, Path, Query},
    input,
    views::runs::{RetriedBody, RunBody, RunEventBody, RunsBody},
};

/// Longest time that a request may wait for news of a run.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// What ends a run. Who waits for the end alone is not woken by each step.
const ENDS: [&str; 3] = ["run.completed", "run.failed", "run.cancelled"];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, start))
        .routes(routes!(retry_all))
        .routes(routes!(get))
        .routes(routes!(follow))
        .routes(routes!(cancel))
        .routes(routes!(signal))
        .routes(routes!(fork))
        .routes(routes!(retry))
}

/// A run to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartBody {
    /// The agent.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    agent: String,
    /// Its input, any JSON.
    #[serde(default)]
    input: Value,
    /// The same agent and key is the same run.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[schema(min_length = 1, max_length = 256)]
    key: Option<String>,
    /// Longest time that the run may take, for example `10m`.
    #[schema(value_type = Option<String>, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    deadline: Option<Duration>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// What was started.
#[derive(Debug, Serialize, ToSchema)]
struct StartedBody {
    /// The run.
    run: String,
    /// The key was known: an earlier request started this run.
    existing: bool,
}

impl From<nx_runs::service::Started> for StartedBody {
    fn from(started: nx_runs::service::Started) -> Self {
        Self { run: started.run.to_string(), existing: started.existing }
    }
}

/// Starts a run, or finds the one with the key.
#[utoipa::path(post, path = "/api/runs", tag = "runs", request_body = StartBody,
    responses((status = 200, body = StartedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn start(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    headers: HeaderMap,
    Json(body): Json<StartBody>,
) -> Result<Json<StartedBody>, Error> {
    let trace = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<TraceParent>().ok());
    let request = StartRequest {
        namespace: namespace(body.namespace.as_deref())?,
        key: body.key,
        deadline: body.deadline.map(|deadline| shared.env.now() + deadline),
        by: principal.name,
        trace,
        ..StartRequest::new(body.agent, body.input)
    };
    Ok(Json(shared.runs.start(request).await?.into()))
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this status.
    #[param(pattern = "^(queued|running|waiting|compensating|completed|failed|cancelled)$")]
    status: Option<String>,
    /// Only this agent.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    agent: Option<String>,
    /// Only those that need a person, for this reason or `any`.
    #[param(pattern = "^(any|failed|in_doubt|ask|approval)$")]
    inbox: Option<String>,
    /// Only the run with this key.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    key: Option<String>,
    /// Only those that ended with an error of this name.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    error: Option<String>,
    /// Most runs; 50 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Continue here, as the previous page's `next` says.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    cursor: Option<String>,
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

fn word<T: serde::de::DeserializeOwned>(what: &str, text: String) -> Result<T, Error> {
    serde_json::from_value(Value::from(text)).map_err(|error| Error::Request(format!("{what}: {error}")))
}

/// Lists runs, newest first.
#[utoipa::path(get, path = "/api/runs", tag = "runs", params(ListQuery),
    responses((status = 200, body = RunsBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<ListQuery>,
) -> Result<Json<RunsBody>, Error> {
    let filter = RunFilter {
        needs_person: query.inbox.is_some(),
        status: query.status.map(|status| word::<RunStatus>("status", status)).transpose()?,
        agent: query.agent,
        inbox: query.inbox.filter(|inbox| inbox != "any").map(|inbox| word("inbox", inbox)).transpose()?,
        key: query.key,
        error: query.error,
    };
    let page = Page { cursor: query.cursor, limit: query.limit.map(|limit| limit.clamp(1, 1000)) };
    let found = shared.runs.list(namespace(query.namespace.as_deref())?, filter, page).await?;
    Ok(Json(found.into()))
}

/// How to show a run.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ShowQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// Steps with a greater ordinal only, `0` for the first ones; the newest when left out.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 0, maximum = 9007199254740992u64)]
    after: Option<u64>,
    /// Most steps; 1000 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Wait up to this long, for example `20s`, until the run has more than `since` events or, without `since`, is over.
    #[param(value_type = Option<String>, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    wait: Option<Duration>,
    /// How many of the run's events the caller knows.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 0, maximum = 9007199254740992u64)]
    since: Option<u64>,
}

/// Shows a run with its steps.
#[utoipa::path(get, path = "/api/runs/{run}", tag = "runs",
    params(("run" = String, Path, description = "The run's id, or the first letters of it", min_length = 1, max_length = 64), ShowQuery),
    responses((status = 200, body = RunBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 410, body = ProblemBody, content_type = "application/problem+json")))]
async fn get(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(run): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Result<Json<RunBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let run = shared.runs.resolve_run(namespace.clone(), run).await?;
    let page = StepsPage { after: query.after, limit: query.limit.unwrap_or(1000).clamp(1, 1000) };
    let wait = query.wait.unwrap_or(Duration::ZERO).min(MAX_WAIT).to_std();
    let end = tokio::time::Instant::now() + wait;
    let types = if query.since.is_some() { Vec::new() } else { ENDS.map(str::to_owned).to_vec() };
    loop {
        // Subscribed before the look, so that nothing between look and wait is missed.
        let (namespace, types) = (namespace.clone(), types.clone());
        let filter = Filter { namespace: Some(namespace.clone()), subject: Some(Subject::run(run)), types };
        let mut news = shared.journal.subscribe(shared.journal.head(), filter);
        let view = shared.runs.show(namespace, run, page).await?;
        let enough = view.summary.status.is_over() || query.since.is_some_and(|since| view.version > since);
        if enough || tokio::time::Instant::now() >= end {
            return Ok(Json(view.into()));
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Err(Error::Stopping),
            _ = tokio::time::timeout_at(end, news.next()) => {}
        }
    }
}

/// Where a run's events start.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FollowQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// Only events with a greater place in the run.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 0, maximum = 9007199254740992u64)]
    after: Option<u64>,
}

/// A run's events as they come, as server-sent events whose ids are places in the run; resumes after `Last-Event-ID`.
#[utoipa::path(get, path = "/api/runs/{run}/events", tag = "runs",
    params(("run" = String, Path, description = "The run's id, or the first letters of it"), FollowQuery),
    responses((status = 200, body = String, content_type = "text/event-stream", description = "The data of each event is a `RunEventBody`"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn follow(
    State(shared): State<Shared>,
    revocations: auth::Revocations,
    auth::Viewer(principal): auth::Viewer,
    Path(run): Path<String>,
    Query(query): Query<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (namespace, run) = target(&shared, query.namespace.as_deref(), run).await?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let mut watch = shared.runs.watch(namespace, run, last.or(query.after).unwrap_or(0));
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<sse::Event, std::convert::Infallible>>(64);
    let stop = shared.stop.clone();
    let revoked = revocations.of(principal);
    shared.tasks.spawn(async move {
        tokio::pin!(revoked);
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                () = &mut revoked => return,
                batch = watch.next() => batch,
            };
            let Ok(batch) = batch else { return };
            for event in batch {
                let item = sse::Event::default().id(event.version.to_string()).event(&event.kind);
                let Ok(body) = serde_json::to_string(&RunEventBody::from(event)) else { return };
                let item = item.data(body);
                if sender.send(Ok(item)).await.is_err() {
                    return;
                }
            }
        }
    });
    let alive = sse::KeepAlive::new().interval(StdDuration::from_secs(15));
    Ok(sse::Sse::new(ReceiverStream::new(receiver)).keep_alive(alive).into_response())
}

async fn target(shared: &Shared, name: Option<&str>, run: String) -> Result<(Namespace, RunId), Error> {
    let namespace = namespace(name)?;
    let run = shared.runs.resolve_run(namespace.clone(), run).await?;
    Ok((namespace, run))
}

/// Why a run is cancelled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    /// Why, for the record.
    #[serde(default, deserialize_with = "input::reason")]
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// What a request was recorded for.
#[derive(Debug, Serialize, ToSchema)]
struct RecordedBody {
    /// The run.
    run: String,
}

impl RecordedBody {
    fn of(run: RunId) -> Json<Self> {
        Json(Self { run: run.to_string() })
    }
}

/// Cancels a run; its completed steps are undone in reverse.
#[utoipa::path(post, path = "/api/runs/{run}/cancel", tag = "runs", request_body = CancelBody,
    params(("run" = String, Path, description = "The run's id, or the first letters of it")),
    responses((status = 200, body = RecordedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn cancel(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    Path(run): Path<String>,
    Json(body): Json<CancelBody>,
) -> Result<Json<RecordedBody>, Error> {
    let (namespace, run) = target(&shared, body.namespace.as_deref(), run).await?;
    shared.runs.cancel(namespace, run, principal.name, body.reason.unwrap_or_default()).await?;
    Ok(RecordedBody::of(run))
}

/// A signal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignalBody {
    /// The name that a step waits for, now or later.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// The value that the step gets.
    #[serde(default)]
    payload: Value,
    /// The same id is the same signal.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[schema(min_length = 1, max_length = 256)]
    id: Option<String>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Sends a signal to a run.
#[utoipa::path(post, path = "/api/runs/{run}/signal", tag = "runs", request_body = SignalBody,
    params(("run" = String, Path, description = "The run's id, or the first letters of it")),
    responses((status = 200, body = RecordedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn signal(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    Path(run): Path<String>,
    Json(body): Json<SignalBody>,
) -> Result<Json<RecordedBody>, Error> {
    let (namespace, run) = target(&shared, body.namespace.as_deref(), run).await?;
    let signal = SignalRequest { name: body.name, payload: body.payload, id: body.id, by: principal.name };
    shared.runs.signal(namespace, run, signal).await?;
    Ok(RecordedBody::of(run))
}

/// How to fork.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ForkBody {
    /// The first step that is not reused; all recorded steps are reused when left out.
    #[serde(default, deserialize_with = "input::place")]
    #[schema(minimum = 1, maximum = 9007199254740992u64)]
    at_step: Option<u64>,
    /// Another input.
    input: Option<Value>,
    /// Another result of the step `at_step`.
    result: Option<Value>,
    /// Perform later effects; otherwise they are simulated.
    #[serde(default)]
    live: bool,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Starts a new run from a prefix of another's record.
#[utoipa::path(post, path = "/api/runs/{run}/fork", tag = "runs", request_body = ForkBody,
    params(("run" = String, Path, description = "The run's id, or the first letters of it")),
    responses((status = 200, body = StartedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn fork(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    Path(run): Path<String>,
    Json(body): Json<ForkBody>,
) -> Result<Json<StartedBody>, Error> {
    let (namespace, run) = target(&shared, body.namespace.as_deref(), run).await?;
    if body.at_step == Some(0) {
        return Err(Error::Request("steps count from 1".to_owned()));
    }
    let fork = ForkRequest {
        run,
        at_step: body.at_step,
        input: body.input,
        result: body.result,
        live: body.live,
        by: principal.name,
    };
    Ok(Json(shared.runs.fork(namespace, fork).await?.into()))
}

/// Whose runs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Re-opens a failed run: recorded steps keep, the failed one is tried again.
#[utoipa::path(post, path = "/api/runs/{run}/retry", tag = "runs", request_body = RetryBody,
    params(("run" = String, Path, description = "The run's id, or the first letters of it")),
    responses((status = 200, body = RecordedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn retry(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    Path(run): Path<String>,
    Json(body): Json<RetryBody>,
) -> Result<Json<RecordedBody>, Error> {
    let (namespace, run) = target(&shared, body.namespace.as_deref(), run).await?;
    shared.runs.retry(namespace, run, principal.name).await?;
    Ok(RecordedBody::of(run))
}

/// Which failed runs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryAllBody {
    /// Only this agent's.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[schema(min_length = 1, max_length = 256)]
    agent: Option<String>,
    /// Only those that ended with an error of this name.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[schema(min_length = 1, max_length = 256)]
    error: Option<String>,
    /// Most runs; 1000 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Re-opens failed runs.
#[utoipa::path(post, path = "/api/runs/retry", tag = "runs", request_body = RetryAllBody,
    responses((status = 200, body = RetriedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn retry_all(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    Json(body): Json<RetryAllBody>,
) -> Result<Json<RetriedBody>, Error> {
    let filter = RunFilter { agent: body.agent, error: body.error, ..RunFilter::default() };
    let limit = body.limit.unwrap_or(1000).clamp(1, 1000);
    let done = shared.runs.bulk_retry(namespace(body.namespace.as_deref())?, filter, limit, principal.name).await?;
    Ok(Json(done.into()))
}
