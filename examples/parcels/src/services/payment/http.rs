//! The payment service's HTTP side: validation, faults, answers.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tokio_util::sync::CancellationToken;

use super::store::{Booking, RefundRequest, Store};
use crate::services::{
    faults::{Fault, Faults},
    http::{broken, header, refuse},
    iban,
    listener::Reset,
};

const MAX_CENTS: i64 = 10_000_000;

#[derive(Debug, Clone)]
struct App {
    store: Store,
    faults: Faults,
    stop: CancellationToken,
}

pub(super) fn router(store: Store, faults: Faults, stop: CancellationToken) -> Router {
    Router::new()
        .route("/refunds", post(refund))
        .route("/refunds/{key}", get(find))
        .route("/refunds/{key}/cancel", post(cancel))
        .route("/stats", get(stats))
        .with_state(App { store, faults, stop })
}

async fn refund(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Reset>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(key) = header(&headers, "idempotency-key") else {
        return refuse(StatusCode::BAD_REQUEST, "header `Idempotency-Key` of 1 to 255 characters is required");
    };
    let request: RefundRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("malformed body: {error}")),
    };
    if request.order.is_empty() || request.order.len() > 64 || !(1..=MAX_CENTS).contains(&request.cents) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "`order` must be named and `cents` be 1 to 10000000");
    }
    if !iban::is_valid(&request.iban) {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "`iban` is not an account number");
    }
    match answer(&app, key, request, &connection).await {
        Ok(answer) => answer,
        Err(error) => broken(&error),
    }
}

async fn answer(app: &App, key: &str, request: RefundRequest, connection: &Reset) -> Result<Response, crate::Error> {
    let (id, attempt) = app.store.arrived(key, &request.order).await?;
    let fault = app.faults.draw(&request.order, attempt);
    if let Some(fault) = fault {
        app.store.faulted(id, fault.name()).await?;
    }
    match fault {
        Some(Fault::Unavailable) => {
            return Ok(later(app, StatusCode::SERVICE_UNAVAILABLE, "the booking system is not available"));
        }
        Some(Fault::TooMany) => return Ok(later(app, StatusCode::TOO_MANY_REQUESTS, "too many requests")),
        Some(Fault::ResetBefore) => return Ok(reset(connection)),
        Some(Fault::Slow) => {
            tokio::select! {
                biased;
                () = app.stop.cancelled() => {}
                () = tokio::time::sleep(app.faults.slow.to_std()) => {}
            }
        }
        Some(Fault::ResetAfter | Fault::ErrorAfter) | None => {}
    }
    let booking = app.store.book(key, request).await?;
    Ok(match (fault, booking) {
        (Some(Fault::ResetAfter), _) => reset(connection),
        (Some(Fault::ErrorAfter), _) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "lost track of the booking"),
        (_, Booking::New(refund)) => (StatusCode::CREATED, Json(refund)).into_response(),
        (_, Booking::Replayed(refund)) => {
            (StatusCode::CREATED, [("idempotent-replayed", "true")], Json(refund)).into_response()
        }
        (_, Booking::Conflict) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "the idempotency key was used for another request")
        }
    })
}

fn later(app: &App, status: StatusCode, message: &str) -> Response {
    let mut response = refuse(status, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(app.faults.retry_after_s));
    response
}

fn reset(connection: &Reset) -> Response {
    connection.arm();
    // Never leaves: the armed connection breaks at the first byte written.
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

async fn find(State(app): State<App>, Path(key): Path<String>) -> Response {
    match app.store.refund(&key).await {
        Ok(Some(refund)) => Json(refund).into_response(),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no refund was booked under this key"),
        Err(error) => broken(&error),
    }
}

async fn cancel(State(app): State<App>, Path(key): Path<String>) -> Response {
    match app.store.cancel(&key).await {
        Ok(Some(refund)) => Json(refund).into_response(),
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no refund was booked under this key"),
        Err(error) => broken(&error),
    }
}

async fn stats(State(app): State<App>) -> Response {
    match app.store.stats().await {
        Ok(stats) => Json(stats).into_response(),
        Err(error) => broken(&error),
    }
}
