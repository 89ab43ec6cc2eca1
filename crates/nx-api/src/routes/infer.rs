//! Models are asked.

use std::collections::BTreeMap;

use axum::{
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, header},
};
use nx_models::{InferRequest, Sample, Samples, StreamRequest, form};
use nx_types::{Duration, Seq};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, MAX_INFER_BYTES, ProblemBody, Shared, auth,
    extract::{Json, Path, Query, Raw},
    input,
    views::models::InferenceBody,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(infer)).layer(DefaultBodyLimit::max(MAX_INFER_BYTES))
}

/// How a model is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InferQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// What it is about, `parcel/P88`: the decision's subject, and whose data its input is. `model/NAME` when left out.
    #[serde(default, deserialize_with = "input::optional_name")]
    #[param(min_length = 1, max_length = 256)]
    subject: Option<String>,
    /// The place of the event that it follows from; the answer carries its label on.
    #[serde(default, deserialize_with = "input::place")]
    #[param(maximum = 9007199254740992u64)]
    cause: Option<u64>,
    /// Milliseconds that it may take, a minute at most; the model's own deadline when left out.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 1, maximum = 60000)]
    deadline_ms: Option<u64>,
    /// Of a model with states: the stream that it goes on with, by a name of the caller's. The first request begins it.
    #[param(min_length = 1, max_length = 128)]
    stream: Option<String>,
    /// It is the last one of its stream.
    #[serde(default)]
    last: bool,
}

/// What a model is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InferBody {
    /// What is given for each input, by its name.
    #[serde(deserialize_with = "input::object")]
    inputs: BTreeMap<String, SampleForm>,
}

/// What is given for an input: one of `image`, `bytes`, `pixels`, `tensor`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SampleForm {
    /// A picture, PNG or JPEG, in base64.
    #[schema(nullable = false)]
    image: Option<String>,
    /// A file's bytes, in base64.
    #[schema(nullable = false)]
    bytes: Option<String>,
    /// Pixels.
    #[schema(nullable = false)]
    pixels: Option<PixelsForm>,
    /// Numbers: nested lists, or a flat one with `shape`.
    #[schema(nullable = false, value_type = Option<Vec<Value>>)]
    tensor: Option<Value>,
    /// The shape of a flat `tensor`.
    #[schema(nullable = false, max_items = 8)]
    shape: Option<Vec<usize>>,
}

/// Pixels: rows from the top, channels together, a byte each.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PixelsForm {
    /// Pixels of a row.
    #[schema(minimum = 1, maximum = 32768)]
    width: usize,
    /// Rows.
    #[schema(minimum = 1, maximum = 32768)]
    height: usize,
    /// 1 (grey), 3 (red, green, blue) or 4 (with alpha).
    #[schema(minimum = 1, maximum = 4)]
    channels: usize,
    /// The bytes, in base64.
    data: String,
}

/// Asks a model: `NAME`, `NAME@ALIAS` or `NAME@VERSION`. The body is JSON, or for a model of one input a picture or a file as
/// it is. The decision is durable when it is answered.
#[utoipa::path(post, path = "/api/infer/{model}", tag = "models",
    params(("model" = String, Path, description = "The model: `NAME`, `NAME@ALIAS`, `NAME@VERSION`"), InferQuery),
    request_body(content((InferBody = "application/json"), (String = "image/png"), (String = "image/jpeg"), (String = "application/octet-stream"))),
    responses((status = 200, body = InferenceBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, body = ProblemBody, content_type = "application/problem+json"),
    (status = 500, body = ProblemBody, content_type = "application/problem+json"),
    (status = 504, body = ProblemBody, content_type = "application/problem+json")))]
async fn infer(
    State(shared): State<Shared>,
    auth::Operator(principal): auth::Operator,
    Path(model): Path<String>,
    Query(query): Query<InferQuery>,
    headers: HeaderMap,
    Raw(body): Raw<MAX_INFER_BYTES>,
) -> Result<Json<InferenceBody>, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let samples = match kind.as_str() {
        "application/json" => shared.blocking(move || json_samples(&body)).await?,
        "application/octet-stream" | "image/png" | "image/jpeg" => Samples::from([(String::new(), Sample::Body(body))]),
        _ => {
            return Err(Error::MediaType(
                "`application/json`, `image/png`, `image/jpeg` or `application/octet-stream`",
            ));
        }
    };
    let deadline = match query.deadline_ms {
        Some(ms @ 1..=60_000) => Some(Duration::from_millis(ms)),
        Some(ms) => return Err(Error::Request(format!("deadline_ms {ms} is not within 1 to 60000"))),
        None => None,
    };
    let stream = match (query.stream, query.last) {
        (Some(key), last) => Some(StreamRequest { key, last }),
        (None, true) => return Err(Error::Request("`last` goes with `stream`".to_owned())),
        (None, false) => None,
    };
    let request = InferRequest {
        namespace: namespace(query.namespace.as_deref())?,
        model: model.parse()?,
        samples,
        deadline,
        subject: query.subject,
        cause: query.cause.map(Seq),
        stream,
        by: principal.name,
    };
    Ok(Json(shared.models.infer(request).await?.into()))
}

fn json_samples(body: &[u8]) -> Result<Samples, Error> {
    // A struct would take its fields from a list too, by their places.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::Request("the body must be a JSON object".to_owned()));
    }
    let body: InferBody = serde_json::from_slice(body).map_err(|error| Error::Request(error.to_string()))?;
    let forms = body.inputs.into_iter().map(|(name, form)| (name, form.into())).collect();
    form::samples(forms).map_err(|error| Error::Request(error.to_string()))
}

impl From<SampleForm> for form::SampleForm {
    fn from(form: SampleForm) -> Self {
        let SampleForm { image, bytes, pixels, tensor, shape } = form;
        let pixels = pixels.map(|PixelsForm { width, height, channels, data }| form::PixelsForm {
            width,
            height,
            channels,
            data,
        });
        Self { image, bytes, pixels, tensor, shape }
    }
}
