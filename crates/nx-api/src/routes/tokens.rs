//! Tokens: who may do what.

use std::collections::BTreeSet;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Error, ProblemBody, Shared, auth,
    auth::Token,
    extract::{Json, Path},
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// The tokens, without their secrets.
#[derive(Debug, Serialize, ToSchema)]
struct TokensBody {
    /// The tokens, by name.
    items: Vec<Token>,
}

/// Lists tokens.
#[utoipa::path(get, path = "/api/tokens", tag = "tokens", responses((status = 200, body = TokensBody),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(State(shared): State<Shared>, _: auth::Admin) -> Result<Json<TokensBody>, Error> {
    Ok(Json(TokensBody { items: auth::list(&shared).await? }))
}

/// A new token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// The principal's name; a token of this name is replaced.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,62}$")]
    name: String,
    /// `admin`, `operator`, `viewer`, `worker`, and names of roles that approvals ask.
    #[schema(value_type = Vec<TokenName>, min_items = 1, max_items = 16)]
    roles: BTreeSet<String>,
}

/// A name of a principal or a role.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 63, pattern = "^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,62}$")]
#[expect(dead_code, reason = "stands for the form of a text in the description")]
struct TokenName(String);

/// A token's secret; it is shown once.
#[derive(Debug, Serialize, ToSchema)]
struct SecretBody {
    /// The principal's name.
    name: String,
    /// The secret.
    token: String,
}

fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
}

/// Makes a token.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 200, body = SecretBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn create(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Json(body): Json<NewToken>,
) -> Result<Json<SecretBody>, Error> {
    if !is_name(&body.name) || body.roles.is_empty() || body.roles.len() > 16 || !body.roles.iter().all(|r| is_name(r))
    {
        return Err(Error::Request(
            "name and roles have 1 to 63 letters, digits, `.`, `_`, `@` or `-`; 1 to 16 roles".to_owned(),
        ));
    }
    let token = auth::create(&shared, &body.name, body.roles, &principal.name).await?;
    Ok(Json(SecretBody { name: body.name, token }))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/api/tokens/{name}", tag = "tokens", params(("name" = String, Path, description = "The principal's name")),
    responses((status = 204), (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn revoke(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(name): Path<String>,
) -> Result<axum::http::StatusCode, Error> {
    if auth::revoke(&shared, &name, &principal.name).await? {
        Ok(axum::http::StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound(format!("token `{name}`")))
    }
}
