//! Why: causation walked backwards.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, ProblemBody, Shared, auth,
    extract::{Json, Query},
    input,
    views::why::WhyBody,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(why))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhyQuery {
    /// A run (`r_…`), an approval (`a_…`), a step (`refund/A17`), or a place in the log.
    #[serde(deserialize_with = "input::name")]
    #[param(min_length = 1, max_length = 256)]
    of: String,
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// What something followed from, back to its first causes.
#[utoipa::path(get, path = "/api/why", tag = "runs", params(WhyQuery),
    responses((status = 200, body = WhyBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn why(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<WhyQuery>,
) -> Result<Json<WhyBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    Ok(Json(shared.runs.why(namespace, query.of).await?.into()))
}
