//! Policies before they count: their tests, what they would have decided, the rule that an approval amounts to.

use std::sync::Arc;

use axum::extract::State;
use nx_control::ApplyOptions;
use nx_runs::kinds::Declared;
use nx_types::{Duration, Namespace, Resource};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, ProblemBody, Shared, auth,
    extract::Json,
    input,
    views::guard::{PolicyDiffBody, RuleBody, TestedBody},
};

/// Most manifests at once.
const MAX_MANIFESTS: usize = 256;
/// Resources read at once.
const PAGE: usize = 500;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(test)).routes(routes!(diff)).routes(routes!(propose))
}

/// What is declared in a namespace for the guard, as if these manifests had been applied.
pub(super) async fn declared(shared: &Shared, namespace: &Namespace, manifests: &[Value]) -> Result<Declared, Error> {
    if manifests.len() > MAX_MANIFESTS {
        return Err(Error::Request(format!("{} manifests; at most {MAX_MANIFESTS} are taken", manifests.len())));
    }
    let mut resources: Vec<Resource> = Vec::new();
    for kind in ["Toolset", "Policy"] {
        let mut after: Option<String> = None;
        loop {
            let page = shared.control.list(namespace, Some(kind), after.as_deref(), PAGE).await?;
            resources.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    if !manifests.is_empty() {
        let options = ApplyOptions { dry_run: true, by: String::new() };
        for applied in shared.control.apply(namespace, manifests, &options).await? {
            let fresh = applied.resource;
            resources.retain(|old| old.kind != fresh.kind || old.metadata.name != fresh.metadata.name);
            resources.push(fresh);
        }
    }
    // Compiling many policies takes a while.
    shared.blocking(move || Ok(Declared::of(&resources))).await
}

/// Policies to test.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestBody {
    /// Manifests of policies and toolsets that are not applied yet, in place of those of the same name.
    #[serde(default)]
    #[schema(value_type = Vec<Object>, max_items = 256)]
    manifests: Vec<Value>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Runs the tests of every policy, each against itself alone.
#[utoipa::path(post, path = "/api/policies/test", tag = "guard", request_body = TestBody,
    responses((status = 200, body = TestedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn test(
    State(shared): State<Shared>,
    _: auth::Operator,
    Json(body): Json<TestBody>,
) -> Result<Json<TestedBody>, Error> {
    let namespace = namespace(body.namespace.as_deref())?;
    let reports = declared(&shared, &namespace, &body.manifests).await?.test_policies()?;
    Ok(Json(reports.into()))
}

/// Policies to compare with those that count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DiffBody {
    /// Manifests of the policies that would be applied.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 256)]
    manifests: Vec<Value>,
    /// Only calls of so long ago at most, for example `7d`.
    #[schema(value_type = Option<String>, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    since: Option<Duration>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Decides recorded calls again: which would be decided otherwise?
#[utoipa::path(post, path = "/api/policies/diff", tag = "guard", request_body = DiffBody,
    responses((status = 200, body = PolicyDiffBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn diff(
    State(shared): State<Shared>,
    _: auth::Operator,
    Json(body): Json<DiffBody>,
) -> Result<Json<PolicyDiffBody>, Error> {
    let namespace = namespace(body.namespace.as_deref())?;
    if body.manifests.is_empty() {
        return Err(Error::Request("no manifests; send those of the policies that would be applied".to_owned()));
    }
    let before = declared(&shared, &namespace, &[]).await?;
    let after = declared(&shared, &namespace, &body.manifests).await?;
    let since = body.since.map(|since| ago(&shared, since));
    Ok(Json(shared.runs.policy_diff(namespace, before, after, since).await?.into()))
}

/// A decision to make a rule of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProposeBody {
    /// The decision that asked: `r_…/3`, or its approval.
    #[serde(deserialize_with = "input::name")]
    #[schema(min_length = 1, max_length = 256)]
    of: String,
    /// Why people want it, for the record.
    #[serde(default, deserialize_with = "input::reason")]
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Hold it against calls of so long ago at most, for example `7d`.
    #[schema(value_type = Option<String>, pattern = "^([0-9]{1,6}(d|h|m|s|ms|us))+$")]
    since: Option<Duration>,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// The narrowest rule that would have answered the question, and which recorded questions it would have let through.
#[utoipa::path(post, path = "/api/policies/propose", tag = "guard", request_body = ProposeBody,
    responses((status = 200, body = RuleBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn propose(
    State(shared): State<Shared>,
    _: auth::Operator,
    Json(body): Json<ProposeBody>,
) -> Result<Json<RuleBody>, Error> {
    let namespace = namespace(body.namespace.as_deref())?;
    let declared = Arc::new(declared(&shared, &namespace, &[]).await?);
    let since = body.since.map(|since| ago(&shared, since));
    let reason = body.reason.unwrap_or_else(|| "approved as a rule".to_owned());
    let found = shared.runs.propose_rule(namespace, body.of, declared, reason, since).await?;
    Ok(Json(found.into()))
}

/// The instant so long ago.
pub(super) fn ago(shared: &Shared, since: Duration) -> nx_types::Timestamp {
    let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    nx_types::Timestamp::from_micros(shared.env.now().as_micros().saturating_sub(micros))
}
