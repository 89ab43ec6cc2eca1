//! What is said of every operation alike: a name of its own, the refusals that any of them may answer, and words for
//! each answer.

use axum::http::StatusCode;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, path::Operation};

/// The server is shutting down, or the log takes no work for a while.
const NOT_NOW: (&str, &str) = ("503", "No work is taken now: the server is shutting down, or the log is busy");
/// The log has no room for what would be written.
const NO_ROOM: (&str, &str) = ("507", "The log has no room");

/// Completes the description.
pub(super) fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        if let Some(operation) = &mut item.get {
            describe(operation, &[NOT_NOW]);
        }
        for operation in [&mut item.post, &mut item.put, &mut item.delete].into_iter().flatten() {
            describe(operation, &[NOT_NOW, NO_ROOM]);
        }
    }
}

fn describe(operation: &mut Operation, refusals: &[(&str, &str)]) {
    // Handlers of several parts have the same name: `runs_list`, `approvals_list`.
    let tag = operation.tags.iter().flatten().next();
    if let (Some(tag), Some(name)) = (tag, &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}_{name}"));
    }
    let answers = &mut operation.responses.responses;
    for (status, words) in refusals {
        answers.entry((*status).to_owned()).or_insert_with(|| problem(words).into());
    }
    for (status, answer) in answers {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            let known = status.parse().ok().and_then(|status: StatusCode| status.canonical_reason());
            known.unwrap_or("Answer").clone_into(&mut answer.description);
        }
    }
}

fn problem(words: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemBody"))).build();
    ResponseBuilder::new().description(words).content("application/problem+json", content).build()
}
