//! Resources and their kinds.

use std::collections::BTreeSet;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use nx_control::{Applied, ApplyOptions, Outcome};
use nx_journal::Filter;
use nx_types::{Namespace, Seq, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::{EventBody, namespace};
use crate::{
    Error, ProblemBody, Shared, auth,
    extract::{Json, Path, Query},
    input,
    views::{
        resources::{Manifest, ResourceBody, ResourcesBody},
        words,
    },
};

/// Most manifests of one request.
const MAX_MANIFESTS: usize = 256;
/// Most events that a description shows.
const DESCRIBED_EVENTS: usize = 10;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(kinds))
        .routes(routes!(kind))
        .routes(routes!(apply))
        .routes(routes!(list))
        .routes(routes!(get, delete))
}

/// A kind.
#[derive(Debug, Serialize, ToSchema)]
struct KindBody {
    /// The name in manifests.
    kind: &'static str,
    /// The name in commands and paths.
    plural: &'static str,
    /// What it is.
    about: &'static str,
    /// The smallest manifest, YAML.
    example: &'static str,
}

/// The kinds.
#[derive(Debug, Serialize, ToSchema)]
struct KindsBody {
    /// Each kind.
    items: Vec<KindBody>,
}

/// Lists the kinds of resources.
#[utoipa::path(get, path = "/api/kinds", tag = "resources", responses((status = 200, body = KindsBody),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn kinds(State(shared): State<Shared>, _: auth::Viewer) -> Result<Json<KindsBody>, Error> {
    let items = shared.control.registry().kinds().map(|kind| KindBody {
        kind: kind.kind,
        plural: kind.plural,
        about: kind.about,
        example: kind.example,
    });
    Ok(Json(KindsBody { items: items.collect() }))
}

/// A kind's JSON Schema (2020-12), for editors.
#[utoipa::path(get, path = "/api/kinds/{kind}/schema", tag = "resources",
    params(("kind" = String, Path, description = "The kind or its plural")),
    responses((status = 200, body = Object, description = "A JSON Schema"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn kind(State(shared): State<Shared>, _: auth::Viewer, Path(kind): Path<String>) -> Result<Response, Error> {
    Ok(axum::Json(shared.control.registry().schema(&kind)?).into_response())
}

/// Manifests to apply.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    /// The manifests.
    #[schema(value_type = Vec<Manifest>, min_items = 1, max_items = 256)]
    manifests: Vec<Value>,
    /// Check and compare, change nothing.
    #[serde(default)]
    dry_run: bool,
    /// The namespace of manifests that name none; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

words! {
    /// What became of a resource.
    OutcomeBody from Outcome { Created, Updated, Unchanged }
}

/// What became of a manifest.
#[derive(Debug, Serialize, ToSchema)]
struct AppliedBody {
    /// The kind.
    kind: String,
    /// The name.
    name: String,
    /// What changed.
    change: OutcomeBody,
    /// What changed, as unified text.
    diff: String,
    /// The resource as it is now (or would be, in a dry run), secret values left out.
    resource: ResourceBody,
}

impl From<Applied> for AppliedBody {
    fn from(applied: Applied) -> Self {
        Self {
            kind: applied.resource.kind.clone(),
            name: applied.resource.metadata.name.clone(),
            change: applied.outcome.into(),
            diff: applied.diff.text,
            resource: applied.resource.into(),
        }
    }
}

/// What became of the manifests.
#[derive(Debug, Serialize, ToSchema)]
struct AppliedAllBody {
    /// In the order of the request.
    items: Vec<AppliedBody>,
}

/// Creates or changes resources, all or none.
#[utoipa::path(post, path = "/api/apply", tag = "resources", request_body = ApplyBody,
    responses((status = 200, body = AppliedAllBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn apply(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Json(body): Json<ApplyBody>,
) -> Result<Json<AppliedAllBody>, Error> {
    if body.manifests.is_empty() || body.manifests.len() > MAX_MANIFESTS {
        return Err(Error::Request(format!("1 to {MAX_MANIFESTS} manifests are taken, not {}", body.manifests.len())));
    }
    let options = ApplyOptions { dry_run: body.dry_run, by: principal.name };
    let namespace = namespace(body.namespace.as_deref())?;
    let applied = shared.control.apply(&namespace, &body.manifests, &options).await?;
    if !options.dry_run {
        let changed: BTreeSet<&Namespace> =
            applied.iter().map(|applied| &applied.resource.metadata.namespace).collect();
        for namespace in changed {
            shared.declare(namespace).await;
        }
    }
    Ok(Json(AppliedAllBody { items: applied.into_iter().map(AppliedBody::from).collect() }))
}

/// Where a list goes on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// Continue here, as the previous page's `next` says.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    cursor: Option<String>,
    /// Most resources; 100 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Lists resources of a kind.
#[utoipa::path(get, path = "/api/resources/{kind}", tag = "resources",
    params(("kind" = String, Path, description = "The kind or its plural"), ListQuery),
    responses((status = 200, body = ResourcesBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(kind): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ResourcesBody>, Error> {
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    let namespace = namespace(query.namespace.as_deref())?;
    let page = shared.control.list(&namespace, Some(&kind), query.cursor.as_deref(), limit).await?;
    Ok(Json(page.into()))
}

/// How to show a resource.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// With the latest events about it.
    events: Option<bool>,
}

/// A resource as it is shown.
#[derive(Debug, Serialize, ToSchema)]
struct DescribedBody {
    #[serde(flatten)]
    resource: ResourceBody,
    /// The latest events about it, newest first, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    events: Option<Vec<EventBody>>,
}

/// Shows a resource; secret values are left out.
#[utoipa::path(get, path = "/api/resources/{kind}/{name}", tag = "resources",
    params(("kind" = String, Path, description = "The kind or its plural"), ("name" = String, Path, description = "The name"), GetQuery),
    responses((status = 200, body = DescribedBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn get(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path((kind, name)): Path<(String, String)>,
    Query(query): Query<GetQuery>,
) -> Result<Json<DescribedBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let resource = shared.control.get(&namespace, &kind, &name).await?;
    let subject = Subject::new(&format!("resource/{}/{name}", resource.kind))
        .map_err(|error| Error::Request(error.to_string()))?;
    let mut described = DescribedBody { resource: resource.into(), events: None };
    if query.events == Some(true) {
        let reader = shared.journal.reader();
        let filter = Filter { namespace: Some(namespace), subject: Some(subject), types: Vec::new() };
        let events = shared.blocking(move || Ok(reader.events(Seq(0), 1000, &filter)?)).await?;
        let latest = events.iter().rev().take(DESCRIBED_EVENTS).map(EventBody::of);
        described.events = Some(latest.collect());
    }
    Ok(Json(described))
}

/// In which namespace.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Deletes a resource; of a model, the files and keys of its versions too.
#[utoipa::path(delete, path = "/api/resources/{kind}/{name}", tag = "resources",
    params(("kind" = String, Path, description = "The kind or its plural"), ("name" = String, Path, description = "The name"), DeleteQuery),
    responses((status = 204),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn delete(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path((kind, name)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    if shared.control.registry().kind(&kind)?.kind == "Artifact" {
        // Its versions' files and keys go with it.
        super::models::remove(&shared, &namespace, &name, &principal.name).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let options = ApplyOptions { dry_run: false, by: principal.name };
    shared.control.delete(&namespace, &kind, &name, None, &options).await?;
    shared.declare(&namespace).await;
    Ok(StatusCode::NO_CONTENT)
}
