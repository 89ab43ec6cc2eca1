//! The guard: sessions of programs that are not ours ask before they act; decisions are listed and explained.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use neuraxis_sdk::frames::{Outcome as Done, StepError};
use nx_guard::{
    call::Scores,
    decision::{Outcome, Reason},
    detect::{Budget, Detectors, Message, Screened, ScreenedFinding, Thresholds},
    guard::SUSPECT,
    origin::Planned,
    tool::Tool,
};
use nx_runs::{
    machine::{GuardSession, Guarded, Reported},
    service::{DecisionFilter, Page, SessionRequest},
};
use nx_types::{Duration, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, ProblemBody, Shared, auth,
    extract::{Json, Path, Query},
    input,
    views::{
        forms::{MessageForm, PlannedForm, ToolForm},
        guard::{DecisionBody, DecisionsBody},
    },
};

/// Most tools of a session, and most calls of its plan.
const MAX_TOOLS: usize = 1024;
/// Most roles of a principal.
const MAX_ROLES: usize = 64;
/// Most messages that are screened at once.
const MAX_MESSAGES: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(check))
        .routes(routes!(observe))
        .routes(routes!(output))
        .routes(routes!(close))
        .routes(routes!(screen))
        .routes(routes!(decisions))
        .routes(routes!(explain))
}

/// A program that is not ours, and what it is to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OpenBody {
    /// The program's name.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    agent: String,
    /// The person that it acts for.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    principal: String,
    /// That person's roles, as policies know them.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 64)]
    roles: BTreeSet<String>,
    /// What the person asks for: the one text that is trusted. Any JSON.
    prompt: Value,
    /// A plan made from the prompt alone, before anything else was seen.
    #[serde(default, deserialize_with = "input::optional_objects")]
    #[schema(value_type = Option<Vec<PlannedForm>>, max_items = 1024)]
    plan: Option<Vec<Planned>>,
    /// The program's tools.
    #[schema(value_type = Vec<ToolForm>, max_items = 1024)]
    tools: Vec<Value>,
    /// Longest time that the session may be open, a day at most; for example `1h`.
    #[schema(value_type = Option<String>, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    deadline: Option<Duration>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// The session.
#[derive(Debug, Serialize, ToSchema)]
struct OpenedBody {
    /// Its id: it is a run, and `runs show`, `why` and `explain` know it.
    session: String,
}

/// Opens a session. Each call of a tool is to be checked first and its result observed afterwards.
#[utoipa::path(post, path = "/api/guard/sessions", tag = "guard", request_body = OpenBody,
    responses((status = 200, body = OpenedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn open(
    State(shared): State<Shared>,
    auth::Operator(by): auth::Operator,
    Json(body): Json<OpenBody>,
) -> Result<Json<OpenedBody>, Error> {
    let counts = [
        ("tools", body.tools.len(), MAX_TOOLS),
        ("planned calls", body.plan.as_ref().map_or(0, Vec::len), MAX_TOOLS),
        ("roles", body.roles.len(), MAX_ROLES),
    ];
    if let Some((what, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
        return Err(Error::Request(format!("{count} {what}; at most {most} are taken")));
    }
    let tools: Result<Vec<Arc<Tool>>, nx_guard::Error> =
        body.tools.iter().map(|tool| Tool::parse(tool).map(Arc::new)).collect();
    let session = GuardSession {
        principal: body.principal,
        roles: body.roles,
        tools: tools.map_err(nx_runs::Error::from)?,
        plan: body.plan,
    };
    let request = SessionRequest {
        namespace: namespace(body.namespace.as_deref())?,
        agent: body.agent,
        prompt: body.prompt,
        session,
        by: by.name,
        deadline: body.deadline.map(|deadline| shared.env.now() + deadline),
    };
    Ok(Json(OpenedBody { session: shared.runs.open_session(request).await?.to_string() }))
}

/// Which session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct SessionPath {
    /// The session, as it was opened.
    #[param(pattern = "^r_[0-9a-hjkmnp-tv-z]{16}$")]
    session: String,
}

/// The namespace of a session.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// A call that is about to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GuardCheckBody {
    /// The tool.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    tool: String,
    /// The exact arguments. `{"$ref": "TOOL/POINTER"}` stands for what an earlier result of the tool holds there.
    #[serde(default)]
    args: Value,
}

/// What the guard says.
#[derive(Debug, Serialize, ToSchema)]
struct VerdictBody {
    /// `allow`, `ask` or `deny`.
    #[schema(pattern = "^(allow|ask|deny)$")]
    decision: String,
    /// The decision's name, for `explain`.
    id: String,
    /// Why, the strictest clause first.
    reasons: Vec<ReasonBody>,
    /// With `ask`: the approval to wait for. Check again once it is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
    /// The arguments with references substituted, where there were any: call the tool with these.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
}

/// A clause that spoke.
#[derive(Debug, Serialize, ToSchema)]
struct ReasonBody {
    /// The policy with its revision.
    policy: String,
    /// The clause.
    clause: String,
    /// `ask` or `deny`.
    outcome: String,
    /// What it says.
    text: String,
    /// The places in the arguments that mattered.
    pointers: Vec<String>,
}

fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::Allow => "allow",
        Outcome::Ask => "ask",
        Outcome::Deny => "deny",
    }
    .to_owned()
}

impl From<Reason> for ReasonBody {
    fn from(reason: Reason) -> Self {
        let Reason { policy, clause, outcome, text, pointers, .. } = reason;
        Self { policy, clause, outcome: word(outcome), text, pointers }
    }
}

impl VerdictBody {
    fn new(session: RunId, asked: &Value, guarded: Guarded) -> Self {
        let Guarded { outcome, step, approval, refused, verdict } = guarded;
        let args = verdict.as_ref().filter(|verdict| *verdict.args != *asked).map(|verdict| (*verdict.args).clone());
        let refused = refused.map(|text| ReasonBody {
            policy: "approval".to_owned(),
            clause: "denied".to_owned(),
            outcome: word(Outcome::Deny),
            text,
            pointers: Vec::new(),
        });
        let reasons = verdict.map(|verdict| verdict.decision.reasons).unwrap_or_default();
        Self {
            decision: word(outcome),
            id: format!("{session}/{step}"),
            reasons: refused.into_iter().chain(reasons.into_iter().map(ReasonBody::from)).collect(),
            approval: approval.map(|id| id.to_string()),
            args,
        }
    }
}

async fn report(
    shared: &Shared,
    query: &InQuery,
    session: &str,
    reported: Reported,
    scores: Scores,
) -> Result<(RunId, Option<Guarded>), Error> {
    let session: RunId = session.parse().map_err(|error: nx_types::IdError| Error::Request(error.to_string()))?;
    let namespace = namespace(query.namespace.as_deref())?;
    Ok((session, shared.runs.report(namespace, session, reported, scores).await?))
}

fn verdict(session: RunId, asked: &Value, guarded: Option<Guarded>) -> Result<Json<VerdictBody>, Error> {
    let guarded = guarded.ok_or(nx_runs::Error::Closed)?;
    Ok(Json(VerdictBody::new(session, asked, guarded)))
}

/// May this call be made? The answer is in the log before it is given.
#[utoipa::path(post, path = "/api/guard/sessions/{session}/check", tag = "guard", request_body = GuardCheckBody,
    params(SessionPath, InQuery),
    responses((status = 200, body = VerdictBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn check(
    State(shared): State<Shared>,
    _: auth::Operator,
    Path(SessionPath { session }): Path<SessionPath>,
    Query(query): Query<InQuery>,
    Json(body): Json<GuardCheckBody>,
) -> Result<Json<VerdictBody>, Error> {
    let args = Arc::new(body.args);
    let reported = Reported::Check { tool: body.tool, args: args.clone() };
    let (session, guarded) = report(&shared, &query, &session, reported, Scores::default()).await?;
    verdict(session, &args, guarded)
}

/// What came of a call.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ObserveBody {
    /// The tool.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    tool: String,
    /// The arguments that it was called with, as they were checked.
    #[serde(default)]
    args: Value,
    /// What it gave back, any JSON.
    #[serde(default)]
    result: Value,
    /// Its error, in place of a result.
    error: Option<String>,
}

/// How a result was taken in.
#[derive(Debug, Serialize, ToSchema)]
struct ObservedBody {
    /// The step that it stands in.
    id: String,
    /// What detectors say of it, 0 to 100. They decide nothing.
    #[schema(value_type = Object)]
    scores: Scores,
}

/// What came of a call: its values are labelled as the tool declares.
#[utoipa::path(post, path = "/api/guard/sessions/{session}/observe", tag = "guard", request_body = ObserveBody,
    params(SessionPath, InQuery),
    responses((status = 200, body = ObservedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn observe(
    State(shared): State<Shared>,
    _: auth::Operator,
    Path(SessionPath { session }): Path<SessionPath>,
    Query(query): Query<InQuery>,
    Json(mut body): Json<ObserveBody>,
) -> Result<Json<ObservedBody>, Error> {
    let scores = match &body.error {
        Some(text) => look(&shared, Value::String(text.clone())).await?.1,
        None => {
            let (result, scores) = look(&shared, body.result).await?;
            body.result = result;
            scores
        }
    };
    let outcome = match body.error {
        Some(message) => Done::Error(StepError {
            name: "ToolError".to_owned(),
            message,
            retryable: Some(false),
            retry_after_ms: None,
            details: None,
        }),
        None => Done::Ok(body.result),
    };
    let reported = Reported::Observe { tool: body.tool, args: Arc::new(body.args), outcome };
    let (session, guarded) = report(&shared, &query, &session, reported, scores).await?;
    let step = guarded.map(|guarded| guarded.step).unwrap_or_default();
    Ok(Json(ObservedBody { id: format!("{session}/{step}"), scores }))
}

/// Values over this many bytes are looked at on a thread of their own.
const SMALL: usize = 16 << 10;

/// What detectors say of a value, which comes back. What they did not look at counts as suspect.
async fn look(shared: &Shared, value: Value) -> Result<(Value, Scores), Error> {
    let scan = |value: &Value| {
        let report = Detectors::embedded().scan_value(value, Budget::default());
        let unseen = if report.complete { 0 } else { SUSPECT };
        report.scores.unseen(unseen)
    };
    let small = match &value {
        Value::String(text) => text.len() <= SMALL,
        Value::Array(items) => items.len() <= 16,
        Value::Object(fields) => fields.values().all(|field| field.as_str().is_none_or(|text| text.len() <= SMALL / 8)),
        _ => true,
    };
    if small {
        let scores = scan(&value);
        return Ok((value, scores));
    }
    shared
        .blocking(move || {
            let scores = scan(&value);
            Ok((value, scores))
        })
        .await
}

/// A text for the principal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OutputBody {
    /// The text.
    #[schema(max_length = 1048576)]
    text: String,
}

/// May this text go to the principal?
#[utoipa::path(post, path = "/api/guard/sessions/{session}/output", tag = "guard", request_body = OutputBody,
    params(SessionPath, InQuery),
    responses((status = 200, body = VerdictBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn output(
    State(shared): State<Shared>,
    _: auth::Operator,
    Path(SessionPath { session }): Path<SessionPath>,
    Query(query): Query<InQuery>,
    Json(body): Json<OutputBody>,
) -> Result<Json<VerdictBody>, Error> {
    let asked = Value::String(body.text.clone());
    let reported = Reported::Output { text: body.text };
    let (session, guarded) = report(&shared, &query, &session, reported, Scores::default()).await?;
    verdict(session, &asked, guarded)
}

/// Ends a session. Its record stays.
#[utoipa::path(delete, path = "/api/guard/sessions/{session}", tag = "guard",
    params(SessionPath, InQuery),
    responses((status = 204, description = "It is over"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json")))]
async fn close(
    State(shared): State<Shared>,
    _: auth::Operator,
    Path(SessionPath { session }): Path<SessionPath>,
    Query(query): Query<InQuery>,
) -> Result<axum::http::StatusCode, Error> {
    report(&shared, &query, &session, Reported::Close, Scores::default()).await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// Messages to be looked at.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScreenBody {
    /// The messages.
    #[serde(deserialize_with = "input::objects")]
    #[schema(value_type = Vec<MessageForm>, max_items = 1000)]
    messages: Vec<Message>,
    /// Scores from which on a message is flagged.
    #[serde(default, deserialize_with = "input::object")]
    #[schema(required = false)]
    thresholds: ThresholdsBody,
}

/// Scores from which on a message is flagged, 1 to 100.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ThresholdsBody {
    /// For injections; 90 when left out.
    #[serde(default, deserialize_with = "input::score")]
    #[schema(minimum = 1, maximum = 100)]
    injection: Option<u8>,
    /// For personal data; 60 when left out.
    #[serde(default, deserialize_with = "input::score")]
    #[schema(minimum = 1, maximum = 100)]
    pii: Option<u8>,
    /// For secrets; 60 when left out.
    #[serde(default, deserialize_with = "input::score")]
    #[schema(minimum = 1, maximum = 100)]
    secrets: Option<u8>,
}

impl From<ThresholdsBody> for Thresholds {
    fn from(body: ThresholdsBody) -> Self {
        let ThresholdsBody { injection, pii, secrets } = body;
        let shipped = Self::default();
        Self {
            injection: injection.unwrap_or(shipped.injection),
            pii: pii.unwrap_or(shipped.pii),
            secrets: secrets.unwrap_or(shipped.secrets),
        }
    }
}

/// What detectors say of the messages.
#[derive(Debug, Serialize, ToSchema)]
struct ScreenedBody {
    /// A score has reached its threshold, or not all could be looked at.
    flagged: bool,
    /// Which scores have: `injection`, `pii`, `secrets`.
    categories: std::collections::BTreeMap<String, bool>,
    /// The highest scores, 0 to 100.
    #[schema(value_type = Object)]
    scores: Scores,
    /// What was found where: `{message, detector, kind, start, end, score}`; never the text itself.
    #[schema(value_type = Vec<Object>)]
    findings: Vec<ScreenedFinding>,
    /// Whether all was looked at.
    complete: bool,
}

/// Screens texts for injections, personal data and secrets. Nothing is recorded, and nothing is decided.
#[utoipa::path(post, path = "/api/guard/screen", tag = "guard", request_body = ScreenBody,
    responses((status = 200, body = ScreenedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn screen(
    State(shared): State<Shared>,
    _: auth::Operator,
    Json(body): Json<ScreenBody>,
) -> Result<Json<ScreenedBody>, Error> {
    if body.messages.len() > MAX_MESSAGES {
        return Err(Error::Request(format!("{} messages; at most {MAX_MESSAGES} are taken", body.messages.len())));
    }
    let screened = shared
        .blocking(move || Ok(Detectors::embedded().screen(&body.messages, body.thresholds.into(), Budget::default())))
        .await?;
    let Screened { flagged, categories, scores, findings, complete } = screened;
    let categories = categories.into_iter().map(|(name, reached)| (name.to_owned(), reached)).collect();
    Ok(Json(ScreenedBody { flagged, categories, scores, findings, complete }))
}

/// Which decisions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DecisionsQuery {
    /// Only this outcome.
    #[param(pattern = "^(allow|ask|deny)$")]
    outcome: Option<String>,
    /// Only those about this tool.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    call: Option<String>,
    /// Only those of this run or session.
    #[param(pattern = "^r_[0-9a-hjkmnp-tv-z]{16}$")]
    run: Option<String>,
    /// Only those of so long ago at most, for example `7d`.
    #[param(value_type = Option<String>, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    since: Option<Duration>,
    /// Most decisions; 50 when left out.
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

/// Lists what the guard decided, newest first.
#[utoipa::path(get, path = "/api/guard/decisions", tag = "guard", params(DecisionsQuery),
    responses((status = 200, body = DecisionsBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn decisions(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<DecisionsBody>, Error> {
    let run = query.run.map(|run| run.parse::<RunId>()).transpose();
    let outcome = match query.outcome.as_deref() {
        None => None,
        Some("allow") => Some(Outcome::Allow),
        Some("ask") => Some(Outcome::Ask),
        Some("deny") => Some(Outcome::Deny),
        Some(other) => return Err(Error::Request(format!("`{other}` is no outcome; there are allow ask deny"))),
    };
    let filter = DecisionFilter {
        outcome,
        call: query.call,
        run: run.map_err(|error| Error::Request(error.to_string()))?,
        since: query.since.map(|since| super::policies::ago(&shared, since)),
    };
    let page = Page { cursor: query.cursor, limit: query.limit };
    let found = shared.runs.decisions(namespace(query.namespace.as_deref())?, filter, page).await?;
    Ok(Json(found.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    /// A step (`r_…/3`), a run or session (`r_…`: its newest decision), an approval (`a_…`), or a place in the log.
    #[serde(deserialize_with = "input::name")]
    #[param(min_length = 1, max_length = 256)]
    of: String,
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Why the guard decided so, and what would change it.
#[utoipa::path(get, path = "/api/guard/explain", tag = "guard", params(ExplainQuery),
    responses((status = 200, body = DecisionBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn explain(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<DecisionBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let declared = Arc::new(super::policies::declared(&shared, &namespace, &[]).await?);
    let found = shared.runs.decision(namespace, query.of, Some(declared)).await?;
    Ok(Json(found.into()))
}
