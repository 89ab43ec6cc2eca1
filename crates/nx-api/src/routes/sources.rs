//! Events from outside, into a source.

use axum::{extract::State, http::HeaderMap};
use nx_control::Ingest;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, MAX_BODY_BYTES, ProblemBody, Shared, auth,
    extract::{Json, Path, Query, Raw},
    views::resources::IngestedAllBody,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(ingest))
}

/// In which namespace.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct IngestQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Takes events: a JSON body, a CloudEvent (structured or binary), or a batch of them. Durable when answered.
#[utoipa::path(post, path = "/api/sources/{name}/events", tag = "sources",
    params(("name" = String, Path, description = "The source"), IngestQuery),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/cloudevents+json"), (Vec<serde_json::Value> = "application/cloudevents-batch+json"))),
    responses((status = 200, body = IngestedAllBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn ingest(
    State(shared): State<Shared>,
    _: auth::Operator,
    Path(name): Path<String>,
    Query(query): Query<IngestQuery>,
    headers: HeaderMap,
    Raw(body): Raw<MAX_BODY_BYTES>,
) -> Result<Json<IngestedAllBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    // Only what an event may say: the caller's token and cookies go no further.
    let of_event = |name: &str| matches!(name, "content-type" | "idempotency-key") || name.starts_with("ce-");
    let headers = headers
        .iter()
        .filter(|(name, _)| of_event(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let items = shared.control.ingest(&namespace, &name, Ingest { headers, body: body.to_vec() }).await?;
    Ok(Json(items.into()))
}
