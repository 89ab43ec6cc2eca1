//! Models: pulled, shown, their aliases swapped and rolled back, deleted.

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use nx_control::ApplyOptions;
use nx_models::{ArtifactSpec, DecisionFilter, Reference, Upload, Which};
use nx_types::{Namespace, Seq};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::journal::namespace;
use crate::{
    Error, ProblemBody, Shared, auth,
    extract::{Json, Path, Query},
    input, upload,
    views::models::{ModelBody, ModelDecisionsBody, ModelsBody, PulledBody, RecordBody},
};

/// How often a change that met another one is tried again.
const ATTEMPTS: usize = 4;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, delete))
        .routes(routes!(pull))
        .routes(routes!(version, delete_version))
        .routes(routes!(file))
        .routes(routes!(decisions))
        .routes(routes!(decision_input))
        .routes(routes!(alias, delete_alias))
        .routes(routes!(rollback))
}

/// In which namespace.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Lists models with their versions and aliases.
#[utoipa::path(get, path = "/api/models", tag = "models", params(InQuery),
    responses((status = 200, body = ModelsBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json")))]
async fn list(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Query(query): Query<InQuery>,
) -> Result<Json<ModelsBody>, Error> {
    Ok(Json(shared.models.list(&namespace(query.namespace.as_deref())?).into()))
}

/// Shows a model.
#[utoipa::path(get, path = "/api/models/{name}", tag = "models",
    params(("name" = String, Path, description = "The model"), InQuery),
    responses((status = 200, body = ModelBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn show(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(name): Path<String>,
    Query(query): Query<InQuery>,
) -> Result<Json<ModelBody>, Error> {
    Ok(Json(shared.models.show(&namespace(query.namespace.as_deref())?, &name)?.into()))
}

/// Where a version comes from, and what is done with it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PullQuery {
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
    /// The SHA-256 that the file must have, hexadecimal.
    #[param(min_length = 64, max_length = 71)]
    sha256: Option<String>,
    /// Its licence, an SPDX expression; needed where the manifest does not say it.
    #[param(min_length = 1, max_length = 1024)]
    licence: Option<String>,
    /// Where it is from: a file's name or a URL.
    #[param(min_length = 1, max_length = 1024)]
    source: Option<String>,
    /// The model that it was made from: `NAME`, `NAME@ALIAS` or `NAME@VERSION`. Needs `method`.
    from: Option<String>,
    /// How it was made from that: `static-int8`, `fine-tuned`.
    #[param(min_length = 1, max_length = 64)]
    method: Option<String>,
    /// An alias that is to point to it. The first version is `live` in any case.
    alias: Option<String>,
}

/// The form that carries a model.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form in the description; its parts are read as they come")]
struct ModelForm {
    /// The manifest, YAML or JSON; made from the model's own inputs and outputs when left out.
    #[schema(nullable = false)]
    manifest: Option<String>,
    /// The ONNX file, 512 MiB at most.
    #[schema(format = Binary)]
    model: String,
}

/// Adds a version of a model: `curl -F manifest=@digits.yaml -F model=@digits.onnx`. It is checked before it is stored: its
/// hash, its form, its manifest, and that an engine loads it.
#[utoipa::path(post, path = "/api/models/{name}/versions", tag = "models",
    params(("name" = String, Path, description = "The model"), PullQuery),
    request_body(content = ModelForm, content_type = "multipart/form-data"),
    responses((status = 200, body = PulledBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 408, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json")))]
async fn pull(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(name): Path<String>,
    Query(query): Query<PullQuery>,
    request: Request,
) -> Result<Json<PulledBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let _one = shared.uploads.try_acquire().map_err(|_busy| Error::UploadBusy)?;
    let from = match (&query.from, &query.method) {
        (None, None) => None,
        (Some(from), Some(method)) => Some(shared.models.parent(&namespace, &from.parse()?, method)?),
        _ => return Err(Error::Request("`from` and `method` go together".to_owned())),
    };
    let upload::Parts { manifest, model } = upload::read(request).await?;
    let manifest = match manifest {
        Some(text) => Some(manifest_of(&shared, &text)?),
        None => None,
    };
    let upload = Upload {
        namespace: namespace.clone(),
        name: name.clone(),
        bytes: model,
        manifest,
        licence: query.licence,
        source: query.source,
        from,
        sha256: query.sha256,
        by: principal.name.clone(),
    };
    let record = shared.models.add(upload).await?;
    let listed = record.listed();
    let add = |spec: &mut ArtifactSpec| spec.add(&name, listed.clone(), query.alias.as_deref());
    let model = change(&shared, &namespace, &name, &principal.name, true, add).await?;
    Ok(Json(PulledBody { version: record.version, engines: record.engines, model }))
}

fn manifest_of(shared: &Shared, text: &str) -> Result<nx_models::Manifest, Error> {
    let documents = shared.control.parse(text)?;
    match documents.as_slice() {
        [one] => serde_json::from_value(one.clone()).map_err(|error| Error::Request(format!("the manifest: {error}"))),
        several => Err(Error::Request(format!("the manifest is one document, not {}", several.len()))),
    }
}

/// Changes an artifact's spec, on what it is at that moment.
async fn change(
    shared: &Shared,
    namespace: &Namespace,
    name: &str,
    by: &str,
    create: bool,
    edit: impl Fn(&mut ArtifactSpec) -> Result<(), nx_models::Error>,
) -> Result<ModelBody, Error> {
    let options = ApplyOptions { dry_run: false, by: by.to_owned() };
    for attempt in 1.. {
        let (mut spec, metadata) = match shared.control.get(namespace, "Artifact", name).await {
            Ok(resource) => {
                let spec: ArtifactSpec = serde_json::from_value(resource.spec)
                    .map_err(|error| Error::Request(format!("artifact `{name}` is of another release: {error}")))?;
                let version = resource.metadata.resource_version;
                (spec, json!({"name": name, "annotations": resource.metadata.annotations, "resourceVersion": version}))
            }
            Err(nx_control::Error::NotFound { .. }) if create => {
                (ArtifactSpec::default(), json!({"name": name, "resourceVersion": 0}))
            }
            Err(nx_control::Error::NotFound { .. }) => {
                shared.models.show(namespace, name)?;
                return Err(nx_models::Error::Changed { name: name.to_owned() }.into());
            }
            Err(error) => return Err(error.into()),
        };
        edit(&mut spec)?;
        let spec = serde_json::to_value(spec).map_err(|error| Error::Request(error.to_string()))?;
        let manifest = json!({"apiVersion": "neuraxis/v1", "kind": "Artifact", "metadata": metadata, "spec": spec});
        match shared.control.apply(namespace, &[manifest], &options).await {
            Ok(_) => break,
            Err(nx_control::Error::Conflict { .. }) if attempt < ATTEMPTS => {}
            Err(nx_control::Error::Conflict { .. }) => {
                return Err(nx_models::Error::Changed { name: name.to_owned() }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    shared.declare(namespace).await;
    Ok(shared.models.show(namespace, name)?.into())
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct VersionPath {
    /// The model.
    name: String,
    /// The version's number, or an alias.
    version: String,
}

impl VersionPath {
    fn reference(&self) -> Result<Reference, Error> {
        Ok(format!("{}@{}", self.name, self.version).parse()?)
    }
}

/// Shows what is stored of a version: its manifest above all.
#[utoipa::path(get, path = "/api/models/{name}/versions/{version}", tag = "models", params(VersionPath, InQuery),
    responses((status = 200, body = RecordBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 500, body = ProblemBody, content_type = "application/problem+json")))]
async fn version(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(path): Path<VersionPath>,
    Query(query): Query<InQuery>,
) -> Result<Json<RecordBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    Ok(Json(shared.models.record(&namespace, &path.reference()?).await?.into()))
}

/// A version's file, checked against its hash.
#[utoipa::path(get, path = "/api/models/{name}/versions/{version}/file", tag = "models", params(VersionPath, InQuery),
    responses((status = 200, description = "The ONNX file", content_type = "application/octet-stream"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 500, body = ProblemBody, content_type = "application/problem+json")))]
async fn file(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(path): Path<VersionPath>,
    Query(query): Query<InQuery>,
) -> Result<Response, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let bytes = shared.models.file(&namespace, &path.reference()?).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

/// Which decisions are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DecisionsQuery {
    /// Only this version's.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 1, maximum = 9007199254740992u64)]
    version: Option<u64>,
    /// Only those that are less sure than this.
    #[param(minimum = 0)]
    below: Option<f64>,
    /// Most decisions; 50 when left out.
    #[serde(default, deserialize_with = "input::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Continue here, as the previous page's `next` says.
    #[serde(default, deserialize_with = "input::place")]
    #[param(minimum = 0, maximum = 9007199254740992u64)]
    cursor: Option<u64>,
    /// The namespace; `default` when left out.
    #[param(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// What a model decided, the newest first: its answer, how sure it was, from which input.
#[utoipa::path(get, path = "/api/models/{name}/decisions", tag = "models",
    params(("name" = String, Path, description = "The model"), DecisionsQuery),
    responses((status = 200, body = ModelDecisionsBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn decisions(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(name): Path<String>,
    Query(query): Query<DecisionsQuery>,
) -> Result<Json<ModelDecisionsBody>, Error> {
    let DecisionsQuery { version, below, limit, cursor, namespace: wanted } = query;
    if version == Some(0) {
        return Err(Error::Request("version 0 is none; versions count from 1".to_owned()));
    }
    if below.is_some_and(|below| below.is_nan() || below < 0.0) {
        return Err(Error::Request("`below` must be a number from 0".to_owned()));
    }
    let version = version.map(|version| u32::try_from(version).unwrap_or(u32::MAX));
    let filter = DecisionFilter { version, below, before: cursor.map(Seq), limit };
    Ok(Json(shared.models.decisions(&namespace(wanted.as_deref())?, &name, filter).await?.into()))
}

/// Which input of which decision.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct InputPath {
    /// The model.
    name: String,
    /// The decision's place in the log.
    #[param(minimum = 0)]
    decision: u64,
    /// The input's place among the decision's inputs, from 0.
    #[param(minimum = 0, maximum = 64)]
    input: usize,
}

/// An input of a decision, as it was given: a picture, a file's bytes, pixels, or JSON.
#[utoipa::path(get, path = "/api/models/{name}/decisions/{decision}/inputs/{input}", tag = "models", params(InputPath, InQuery),
    responses((status = 200, description = "The input", content((String = "image/png"), (String = "image/jpeg"), (String = "application/json"), (String = "application/octet-stream"))),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json")))]
async fn decision_input(
    State(shared): State<Shared>,
    _: auth::Viewer,
    Path(path): Path<InputPath>,
    Query(query): Query<InQuery>,
) -> Result<Response, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let found = shared.models.input(&namespace, &path.name, Seq(path.decision), path.input).await?;
    let missing = || Error::NotFound(format!("input {} of decision {}", path.input, path.decision));
    let (media, bytes) = found.ok_or_else(missing)?;
    // What a browser makes something of is said only where the bytes were found to be that.
    let media = match media.as_str() {
        "image/png" => "image/png",
        "image/jpeg" => "image/jpeg",
        "application/json" => "application/json",
        _ => "application/octet-stream",
    };
    Ok(([(header::CONTENT_TYPE, media)], bytes).into_response())
}

/// Deletes a version to which no alias points: its file and its key too.
#[utoipa::path(delete, path = "/api/models/{name}/versions/{version}", tag = "models", params(VersionPath, InQuery),
    responses((status = 200, body = ModelBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn delete_version(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(path): Path<VersionPath>,
    Query(query): Query<InQuery>,
) -> Result<Json<ModelBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let Reference { name, which } = path.reference()?;
    let Which::Version(version) = which else {
        return Err(Error::Request("a version is deleted by its number; an alias has a path of its own".to_owned()));
    };
    let remove = |spec: &mut ArtifactSpec| spec.remove(&name, version);
    let model = change(&shared, &namespace, &name, &principal.name, false, remove).await?;
    shared.models.erase(&namespace, &name, version, &principal.name).await?;
    Ok(Json(model))
}

/// Deletes a model, all versions' files and keys too. What it decided stays in the log.
#[utoipa::path(delete, path = "/api/models/{name}", tag = "models",
    params(("name" = String, Path, description = "The model"), InQuery),
    responses((status = 204),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn delete(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(name): Path<String>,
    Query(query): Query<InQuery>,
) -> Result<StatusCode, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    remove(&shared, &namespace, &name, &principal.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an artifact, by whatever way it was asked: the resource, and of each version file, row and key. Broken off in the
/// midst of it and asked for again, it goes on.
pub(super) async fn remove(shared: &Shared, namespace: &Namespace, name: &str, by: &str) -> Result<(), Error> {
    let versions = shared.models.stored(namespace, name).await?;
    if versions.is_empty() {
        shared.models.show(namespace, name)?;
    }
    let options = ApplyOptions { dry_run: false, by: by.to_owned() };
    match shared.control.delete(namespace, "Artifact", name, None, &options).await {
        Ok(_) => {}
        Err(nx_control::Error::NotFound { .. }) if !versions.is_empty() => {}
        Err(error) => return Err(error.into()),
    }
    shared.declare(namespace).await;
    for version in versions {
        shared.models.erase(namespace, name, version, by).await?;
    }
    Ok(())
}

/// Which alias.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct AliasPath {
    /// The model.
    name: String,
    /// The alias, such as `live`.
    alias: String,
}

/// Where an alias is to point.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AliasBody {
    /// The version.
    #[schema(minimum = 1)]
    version: u32,
    /// The namespace; `default` when left out.
    #[schema(pattern = "^[a-z][a-z0-9-]{0,62}$")]
    namespace: Option<String>,
}

/// Points an alias to a version. What is being answered goes on; the next request gets the new version.
#[utoipa::path(put, path = "/api/models/{name}/aliases/{alias}", tag = "models", params(AliasPath), request_body = AliasBody,
    responses((status = 200, body = ModelBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
    (status = 500, body = ProblemBody, content_type = "application/problem+json"),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, body = ProblemBody, content_type = "application/problem+json")))]
async fn alias(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(AliasPath { name, alias }): Path<AliasPath>,
    Json(body): Json<AliasBody>,
) -> Result<Json<ModelBody>, Error> {
    let namespace = namespace(body.namespace.as_deref())?;
    // Loaded before anybody is sent there, so that nobody waits for it, and one that does not load is never pointed to.
    let target = Reference { name: name.clone(), which: Which::Version(body.version) };
    shared.models.warm(&namespace, &target).await?;
    let point = |spec: &mut ArtifactSpec| spec.point(&name, &alias, body.version);
    Ok(Json(change(&shared, &namespace, &name, &principal.name, false, point).await?))
}

/// Removes an alias.
#[utoipa::path(delete, path = "/api/models/{name}/aliases/{alias}", tag = "models", params(AliasPath, InQuery),
    responses((status = 200, body = ModelBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn delete_alias(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(AliasPath { name, alias }): Path<AliasPath>,
    Query(query): Query<InQuery>,
) -> Result<Json<ModelBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let remove = |spec: &mut ArtifactSpec| spec.remove_alias(&name, &alias);
    Ok(Json(change(&shared, &namespace, &name, &principal.name, false, remove).await?))
}

/// Points an alias to where it pointed before; done twice, it goes back twice.
#[utoipa::path(post, path = "/api/models/{name}/aliases/{alias}/rollback", tag = "models", params(AliasPath, InQuery),
    responses((status = 200, body = ModelBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 401, body = ProblemBody, content_type = "application/problem+json"),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json")))]
async fn rollback(
    State(shared): State<Shared>,
    auth::Admin(principal): auth::Admin,
    Path(AliasPath { name, alias }): Path<AliasPath>,
    Query(query): Query<InQuery>,
) -> Result<Json<ModelBody>, Error> {
    let namespace = namespace(query.namespace.as_deref())?;
    let back = |spec: &mut ArtifactSpec| spec.rollback(&name, &alias).map(drop);
    Ok(Json(change(&shared, &namespace, &name, &principal.name, false, back).await?))
}
