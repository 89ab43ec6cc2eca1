//! Toolset `pay`: a client of the HTTP payment service with its idempotency keys. Agent `redirect-and-refund` has the same
//! functions as a step of its own, so that the example shows both; `answer-mail` calls the tool, where policies are asked.

use std::time::Duration;

use neuraxis_sdk::{Call, Failure, Tool, UndoArgs, Worker};
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde_json::json;

use super::Tools;
use crate::services::payment::{Refund, RefundRequest};

pub(super) fn serve(tools: &Tools, worker: Worker) -> Worker {
    let (a, b) = (tools.clone(), tools.clone());
    worker.tool("pay", Tool::idempotent("refund").undo("cancel"), move |call, args| refund(a.clone(), call, args)).tool(
        "pay",
        Tool::idempotent("cancel"),
        move |_call, undo| cancel_refund(b.clone(), undo),
    )
}

/// Books a refund under the call's idempotency key.
pub(crate) async fn refund(tools: Tools, call: Call, args: RefundRequest) -> Result<Refund, Failure> {
    let request = tools
        .http
        .post(format!("{}/refunds", tools.payment))
        .header("Idempotency-Key", call.idempotency_key())
        .json(&args);
    read(request.send().await.map_err(|error| unreachable(&error))?).await
}

/// Takes a refund back. The service knows it by the key it was booked under.
pub(crate) async fn cancel_refund(tools: Tools, undo: UndoArgs<RefundRequest, Refund>) -> Result<Refund, Failure> {
    let request = tools.http.post(format!("{}/refunds/{}/cancel", tools.payment, undo.result.key));
    read(request.send().await.map_err(|error| unreachable(&error))?).await
}

/// The connection broke: perhaps before, perhaps after the service did what it was asked. The idempotency key makes it
/// safe to ask again.
pub(super) fn unreachable(error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Failure::new("Connection", cause.to_string()).retryable(true)
}

/// The answer's body, or the failure that its status stands for.
pub(super) async fn read<T: serde::de::DeserializeOwned>(answer: Response) -> Result<T, Failure> {
    let status = answer.status();
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let body = answer.bytes().await.map_err(|error| unreachable(&error))?;
    if status.is_success() {
        let malformed = |error: serde_json::Error| Failure::new("BadAnswer", error.to_string()).retryable(false);
        return serde_json::from_slice(&body).map_err(malformed);
    }
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = said.get("error").and_then(|said| said.as_str()).unwrap_or("no reason given");
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let failure = Failure::new(format!("Http{}", status.as_u16()), format!("{}: {said}", status.as_u16()))
        .retryable(again)
        .details(json!({ "status": status.as_u16() }));
    Err(match after {
        Some(seconds) => failure.retry_after(Duration::from_secs(seconds)),
        None => failure,
    })
}
