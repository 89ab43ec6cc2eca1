//! Audit: checkpoints, proofs, verification, tiles.

use axum::{extract::State, response::Response};
use nx_journal::{
    tlog::CHECKPOINT_PATH,
    verify::{Audit, Report, VerifyOptions},
};
use nx_types::Seq;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Error, ProblemBody, Shared, archive, auth,
    extract::{Json, Path},
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(key))
        .routes(routes!(checkpoint))
        .routes(routes!(proof))
        .routes(routes!(verify))
        .routes(routes!(tiles))
}

impl Shared {
    fn audit(&self) -> Audit {
        Audit::new(self.journal.reader(), Some(self.notary.key().clone()))
    }
}

/// The public key that signs checkpoints.
#[derive(Debug, Serialize, ToSchema)]
struct KeyBody {
    /// `name+id+base64` (C2SP signed-note).
    key: String,
}

/// The public key that signs checkpoints.
#[utoipa::path(get, path = "/api/audit/key", tag = "audit", responses((status = 200, body = KeyBody),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn key(State(shared): State<Shared>, _: auth::Viewer) -> Result<Json<KeyBody>, Error> {
    Ok(Json(KeyBody { key: shared.notary.key().to_string() }))
}

/// A signed checkpoint.
#[derive(Debug, Serialize, ToSchema)]
struct CheckpointBody {
    /// The signed note (C2SP tlog-checkpoint).
    checkpoint: String,
}

/// Signs the log's size and root. Keep the answer elsewhere.
#[utoipa::path(post, path = "/api/audit/checkpoint", tag = "audit", responses((status = 200, body = CheckpointBody),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn checkpoint(State(shared): State<Shared>, _: auth::Operator) -> Result<Json<CheckpointBody>, Error> {
    Ok(Json(CheckpointBody { checkpoint: shared.notary.sign(&shared.journal).await? }))
}

/// A proof that an event stands in the log.
#[derive(Debug, Serialize, ToSchema)]
struct ProofBody {
    /// The proof in the form that `audit verify` and other C2SP tools read.
    proof: String,
}

/// Proves that an event stands in the log, against the newest checkpoint.
#[utoipa::path(get, path = "/api/audit/proof/{seq}", tag = "audit",
    params(("seq" = u64, Path, description = "The event's place", maximum = 9007199254740992u64)),
    responses((status = 200, body = ProofBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn proof(State(shared): State<Shared>, _: auth::Viewer, Path(seq): Path<u64>) -> Result<Json<ProofBody>, Error> {
    let head = shared.journal.head();
    if Seq(seq) >= head {
        return Err(Error::NotFound(format!("event {seq}; the log's next place is {head}")));
    }
    shared.notary.sign(&shared.journal).await?;
    let audit = shared.audit();
    let proof = shared.blocking(move || Ok(audit.prove(Seq(seq))?)).await?;
    Ok(Json(ProofBody { proof: proof.encode() }))
}

/// What to verify beside the log itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    /// Checkpoints that were kept elsewhere.
    #[serde(default)]
    #[schema(max_items = 64)]
    checkpoints: Vec<String>,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportBody {
    /// Nothing is wrong.
    intact: bool,
    /// Events looked at.
    events: u64,
    /// Events whose data was erased.
    erased: u64,
    /// Tiles looked at.
    tiles: u64,
    /// Signed checkpoints that hold.
    checkpoints: u64,
    /// State rows looked at.
    state_rows: u64,
    /// Blobs looked at.
    blobs: u64,
    /// The root over all events.
    root: Option<String>,
    /// What is wrong, each with its place.
    findings: Vec<String>,
    /// Findings that are not listed.
    more: u64,
}

impl From<Report> for ReportBody {
    fn from(report: Report) -> Self {
        Self {
            intact: report.is_intact(),
            events: report.events,
            erased: report.erased,
            tiles: report.tiles,
            checkpoints: report.checkpoints,
            state_rows: report.state_rows,
            blobs: report.blobs,
            root: report.root.map(|root| root.to_string()),
            findings: report.findings.iter().map(ToString::to_string).collect(),
            more: report.more,
        }
    }
}

/// Checks every record, the tree, checkpoints, blobs and state rows.
#[utoipa::path(post, path = "/api/audit/verify", tag = "audit", request_body = VerifyBody,
    responses((status = 200, body = ReportBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn verify(
    State(shared): State<Shared>,
    _: auth::Operator,
    Json(body): Json<VerifyBody>,
) -> Result<Json<ReportBody>, Error> {
    let audit = shared.audit();
    let checkpoints = body.checkpoints.into_iter().map(String::into_bytes).collect();
    let options = VerifyOptions { checkpoints, blobs: true, max_held: None };
    let report = shared.blocking(move || Ok(audit.verify(&options)?)).await?;
    Ok(Json(report.into()))
}

/// The tree as C2SP tlog-tiles with entry bundles, as a tar. The newest checkpoint comes last.
#[utoipa::path(post, path = "/api/audit/tiles", tag = "audit",
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
    (status = 507, body = ProblemBody, content_type = "application/problem+json")))]
async fn tiles(State(shared): State<Shared>, _: auth::Admin) -> Result<Response, Error> {
    shared.notary.sign(&shared.journal).await?;
    let audit = shared.audit();
    archive::streamed(&shared, "neuraxis-tiles", CHECKPOINT_PATH, move |to| Ok(audit.export(to).map(drop)?)).await
}
