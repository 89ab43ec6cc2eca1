//! Errors as they leave by HTTP: RFC 9457 problems that carry our code.

use axum::{
    Json,
    extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nx_types::{Code, ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::TooSlow;

/// What can go wrong at the surface, and the errors of the parts that it serves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token, or one that is not known.
    #[error(
        "this server wants a token that it knows: send `Authorization: Bearer TOKEN`; the command line takes NEURAXIS_TOKEN"
    )]
    Unauthenticated,
    /// The token's roles do not suffice.
    #[error("`{who}` lacks the role `{role}` for this")]
    Forbidden {
        /// The principal.
        who: String,
        /// The role that would do.
        role: String,
    },
    /// The request has the wrong form.
    #[error("{0}")]
    Request(String),
    /// The body has the wrong media type.
    #[error("the body must be {0}")]
    MediaType(&'static str),
    /// The body is too large.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Nothing is here.
    #[error("there is no {0}")]
    NotFound(String),
    /// The method does not fit the path.
    #[error("the path does not know this method")]
    Method,
    /// A page of another site asks.
    #[error("requests from other sites are refused: `{0}` is not this server")]
    Site(String),
    /// A proxy forwarded a request to a server that takes everyone for its own user.
    #[error(
        "a proxy forwarded this request (`{0}`), and this server takes whoever reaches it for its own user; start it with --require-token"
    )]
    Forwarded(&'static str),
    /// The body came too slowly.
    #[error("the body came too slowly")]
    TooSlow,
    /// The log does not take work.
    #[error("the log does not take work; the server's own log says why")]
    NotReady,
    /// The address may not be served as asked.
    #[error(
        "`{0}` is not a loopback address: give --tls-cert and --tls-key, or --insecure-http if something else encrypts"
    )]
    Exposed(std::net::SocketAddr),
    /// The certificate or key cannot be used.
    #[error("cannot use the certificate or key: {0}")]
    Tls(String),
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`; if another server has it, choose another by --listen")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the surface cannot be read or written.
    #[error("cannot read or write `{path}`: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The log refused.
    #[error(transparent)]
    Journal(#[from] nx_journal::Error),
    /// The runs refused.
    #[error(transparent)]
    Runs(#[from] nx_runs::Error),
    /// The resources refused.
    #[error(transparent)]
    Control(#[from] nx_control::Error),
    /// The models refused.
    #[error(transparent)]
    Models(#[from] nx_models::Error),
    /// One archive is made at a time.
    #[error("another backup or export is being made; try again when it is done")]
    ArchiveBusy,
    /// One model is uploaded at a time.
    #[error("another model is being uploaded; try again when it is done")]
    UploadBusy,
    /// A blocking task was lost.
    #[error("the server is shutting down")]
    Stopping,
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Unauthenticated => "NX-API-0001",
            Self::Forbidden { .. } => "NX-API-0002",
            Self::Request(_) => "NX-API-0003",
            Self::MediaType(_) => "NX-API-0004",
            Self::TooLarge { .. } => "NX-API-0005",
            Self::NotFound(_) => "NX-API-0006",
            Self::Method => "NX-API-0007",
            Self::Site(_) => "NX-API-0008",
            Self::Exposed(_) => "NX-API-0009",
            Self::Tls(_) => "NX-API-0010",
            Self::Listen { .. } => "NX-API-0011",
            Self::File { .. } => "NX-API-0012",
            Self::Stopping => "NX-API-0013",
            Self::ArchiveBusy => "NX-API-0014",
            Self::TooSlow => "NX-API-0015",
            Self::Forwarded(_) => "NX-API-0016",
            Self::NotReady => "NX-API-0017",
            Self::UploadBusy => "NX-API-0018",
            Self::Journal(error) => return error.code(),
            // What the log says is more to the point than that it refused.
            Self::Runs(nx_runs::Error::Journal(problem)) => return problem.code.clone(),
            Self::Runs(error) => return error.code(),
            Self::Control(error) => return error.code(),
            Self::Models(error) => return error.code(),
        })
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Journal(error) => error.retryable(),
            Self::Runs(error) => error.retryable(),
            Self::Control(error) => error.retryable(),
            Self::Models(error) => error.retryable(),
            Self::Stopping | Self::UploadBusy | Self::ArchiveBusy | Self::TooSlow | Self::NotReady => true,
            _ => false,
        }
    }
}

/// The body of an error (RFC 9457).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// The code as a URI; `docs/errors` explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and the fix when we know it.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::Site(_) | Self::Forwarded(_) => StatusCode::FORBIDDEN,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Stopping | Self::ArchiveBusy | Self::UploadBusy | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Exposed(_) | Self::Tls(_) | Self::Listen { .. } | Self::File { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Journal(error) => crate::status::of_journal(error),
            Self::Runs(error) => crate::status::of_runs(error),
            Self::Control(error) => crate::status::of_control(error),
            Self::Models(error) => crate::status::of_models(error),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(code = %self.code(), error = %Problem::of(&self).detail, "request failed");
        }
        let problem = Problem::of(&self);
        let body = ProblemBody {
            kind: format!("urn:neuraxis:error:{}", problem.code),
            title: status.canonical_reason().unwrap_or("error").to_owned(),
            status: status.as_u16(),
            detail: problem.detail,
            code: problem.code.as_str().to_owned(),
            retryable: problem.retryable,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            _ if TooSlow::is_behind(&rejection) => Self::TooSlow,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::MediaType("`application/json`"),
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge { limit: crate::MAX_BODY_BYTES },
            _ => Self::Request(rejection.body_text()),
        }
    }
}

impl Error {
    /// A body of bytes that cannot be had, of at most `limit` of them.
    pub(crate) fn of_body(rejection: &BytesRejection, limit: usize) -> Self {
        match rejection.status() {
            _ if TooSlow::is_behind(rejection) => Self::TooSlow,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge { limit },
            _ => Self::Request(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Error {
    fn from(rejection: QueryRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}

impl From<PathRejection> for Error {
    fn from(rejection: PathRejection) -> Self {
        Self::Request(rejection.body_text())
    }
}
