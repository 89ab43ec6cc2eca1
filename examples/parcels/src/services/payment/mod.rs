//! The payment service: refunds over HTTP with `Idempotency-Key`, as payment providers offer them, and with the faults
//! that they have.
//!
//! - `POST /refunds` with `Idempotency-Key` books once per key. The same key with the same body gets the first answer
//!   again (`Idempotent-Replayed: true`), with another body 422.
//! - `POST /refunds/{key}/cancel` takes a booking back; twice is as once.
//! - `GET /refunds/{key}` tells whether a key was booked; `GET /stats` counts.

mod http;
mod store;

pub use store::{Refund, RefundRequest, State, Stats};

use std::{net::SocketAddr, path::Path};

use nx_types::Env;

use super::{Life, faults::Faults};
use crate::Error;

/// Starts the service on its database file.
pub(crate) async fn start(
    file: &Path,
    faults: Faults,
    env: Env,
    wanted: Option<u16>,
    life: Life<'_>,
) -> Result<SocketAddr, Error> {
    let store = store::Store::open(file, env)?;
    let router = http::router(store, faults, life.1.clone());
    super::http::serve("payment", wanted, router, life).await
}
