//! The routes, a file per part; each handler carries its OpenAPI description.

mod approvals;
mod audit;
mod describe;
mod guard;
mod health;
mod infer;
pub(crate) mod journal;
mod models;
mod policies;
mod resources;
mod runs;
mod sources;
mod tokens;
mod why;
mod workers;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{Error, MAX_BODY_BYTES, Shared, body, console, site, views::runs::RunEventBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Neuraxis",
        description = "A nervous system for AI in production: durable runs, approvals, resources and one log.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(RunEventBody)),
    modifiers(&Bearer),
    security((), ("bearer" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn described() -> OpenApiRouter<Shared> {
    let mut router = operations();
    describe::complete(router.get_openapi_mut());
    router
}

fn operations() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(health::routes())
        .merge(runs::routes())
        .merge(approvals::routes())
        .merge(guard::routes())
        .merge(policies::routes())
        .merge(why::routes())
        .merge(journal::routes())
        .merge(audit::routes())
        .merge(resources::routes())
        .merge(sources::routes())
        .merge(models::routes())
        .merge(infer::routes())
        .merge(tokens::routes())
        .merge(workers::routes())
}

/// The API's description, OpenAPI 3.1.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// All routes.
pub(crate) fn router(shared: Shared) -> Router {
    let (router, document) = described().split_for_parts();
    let document = std::sync::Arc::new(document);
    router
        .route(
            "/api/openapi.json",
            get(move || std::future::ready(axum::Json(document.as_ref().clone()).into_response())),
        )
        .merge(workers::socket())
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(shared.clone(), body::pace))
        .layer(middleware::from_fn_with_state(shared.clone(), site::check))
        .with_state(shared)
}

async fn missing(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let reads = method == axum::http::Method::GET || method == axum::http::Method::HEAD;
    if reads && !uri.path().starts_with("/api/") && !uri.path().starts_with("/v1/") {
        return console::serve(uri.path());
    }
    Error::NotFound(format!("`{}` here; the paths are listed at /api/openapi.json", uri.path())).into_response()
}

async fn wrong_method() -> Error {
    Error::Method
}
