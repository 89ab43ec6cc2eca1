//! What the HTTP services share: serving until told to stop, and JSON answers.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::{
    Life,
    listener::{Listener, Reset},
};
use crate::Error;

/// Largest request body that a service reads.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 10;

/// Serves until `stop`; requests in flight are answered.
pub(crate) async fn serve(
    service: &'static str,
    wanted: Option<u16>,
    router: Router,
    (tasks, stop): Life<'_>,
) -> Result<SocketAddr, Error> {
    let (listener, address) = Listener::bind(service, wanted).await?;
    let router = router.layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES));
    let stop = stop.clone();
    tasks.spawn(async move {
        let service_of = router.into_make_service_with_connect_info::<Reset>();
        let served = axum::serve(listener, service_of).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(service, %error, "service ended");
        }
    });
    Ok(address)
}

/// An answer that says what is wrong with the request.
pub(crate) fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

/// The answer to a request that met an error of the service itself.
pub(crate) fn broken(error: &Error) -> Response {
    tracing::error!(%error, "service failed");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

/// The header's text, if it is present, readable and of a sensible length.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| (1..=255).contains(&text.len()))
}

/// A JSON body of an object.
pub(crate) fn object(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}
