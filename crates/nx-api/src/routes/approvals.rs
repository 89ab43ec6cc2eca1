//! Approvals: what waits for a person, and the person's answer.

use axum::extract::State;
use nx_runs::service::{ApprovalFilter, Page, Ruling};
use nx_types::{Digest, RunId};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, Principal, ProblemBody, Shared, auth,
    extract::{Json, Path, Query},
    input,
    views::approvals::{ApprovalBody, ApprovalsBody},
};

const STATUSES: [&str; 7] = ["any", "waiting", "approved", "denied", "ruled", "expired", "withdrawn"];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(decide))
}

/// Which approvals.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this status; those that wait when left out; `any` for all.
    #[param(pattern = "^(any|waiting|approved|denied|ruled|expired|withdrawn)$")]
    status: Option<String>,
    /// Only those that this role or person may decide.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    who: Option<String>,
    /// Only those of this run.
    #[param(pattern = "^r_[0-9a-hjkmnp-tv-z]{16}$")]
    run: Option<String>,
    /// Most approvals; 50 when left out.
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

/// Lists approvals, newest first.
#[utoipa::path(get, path = "/api/approvals", tag = "approvals", params(ListQuery),
    responses((status = 200, body = ApprovalsBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<ListQuery>,
) -> Result<Json<ApprovalsBody>, Error> {
    let wrong = |error: nx_types::IdError| Error::Request(error.to_string());
    let run = query.run.map(|run| run.parse::<RunId>()).transpose().map_err(wrong)?;
    if let Some(status) = query.status.as_deref().filter(|status| !STATUSES.contains(status)) {
        return Err(Error::Request(format!("`{status}` is no status; there are {}", STATUSES.join(" "))));
    }
    let filter = ApprovalFilter { status: query.status, who: query.who, run };
    let page = Page { cursor: query.cursor, limit: query.limit.map(|limit| limit.clamp(1, 1000)) };
    let found = shared.runs.approvals(namespace(query.namespace.as_deref())?, filter, page).await?;
    Ok(Json(found.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Shows an approval with the exact arguments and their hash.
#[utoipa::path(get, path = "/api/approvals/{approval}", tag = "approvals",
    params(("approval" = String, Path, description = "The approval's id, or the first letters of it"), GetQuery),
    responses((status = 200, body = ApprovalBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn get(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(approval): Path<String>,
    Query(query): Query<GetQuery>,
) -> Result<Json<ApprovalBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let id = shared.runs.resolve_approval(namespace.clone(), approval).await?;
    Ok(Json(shared.runs.approval(namespace, id).await?.into()))
}

/// A person's answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DecideBody {
    /// One of the approval's `choices`: `approve`, `deny`; `reuse`, `run`, `complete`, `not_done`, `fail`.
    #[schema(min_length = 1, max_length = 32)]
    decision: String,
    /// The hash of the arguments that the person saw: the decision is bound to it.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
    /// Why, for the record.
    #[serde(default, deserialize_with = "input::reason")]
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Other arguments, if the approval allows it.
    args: Option<Value>,
    /// The value, for `complete`.
    value: Option<Value>,
    /// The step, for `reuse`.
    #[serde(default, deserialize_with = "input::place")]
    #[schema(minimum = 0, maximum = 9007199254740992u64)]
    step: Option<u64>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Decides. The decision serves once, for exactly the arguments whose hash it names.
#[utoipa::path(post, path = "/api/approvals/{approval}/decide", tag = "approvals", request_body = DecideBody,
    params(("approval" = String, Path, description = "The approval's id, or the first letters of it")),
    responses((status = 200, body = ApprovalBody, description = "The approval as it stands now"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn decide(
    State(shared): State<Shared>,
    principal: Principal,
    Path(approval): Path<String>,
    Json(body): Json<DecideBody>,
) -> Result<Json<ApprovalBody>, Error> {
    let namespace = namespace(body.namespace.as_deref())?;
    let id = shared.runs.resolve_approval(namespace.clone(), approval).await?;
    let hash: Digest = body.hash.parse().map_err(|error: nx_types::IdError| Error::Request(error.to_string()))?;
    let mut roles: std::collections::BTreeSet<String> = principal.roles.iter().cloned().collect();
    if principal.is_admin() {
        // An administrator stands in for whoever is asked; the record names the administrator.
        roles.insert("admin".to_owned());
    }
    let ruling = Ruling {
        decision: body.decision,
        hash: Some(hash),
        by: principal.name,
        roles,
        reason: body.reason,
        args: body.args,
        value: body.value,
        step: body.step,
    };
    Ok(Json(shared.runs.decide(namespace, id, ruling).await?.into()))
}
