//! The HTTP client with which the example's tools reach the services.

use std::{sync::Arc, time::Duration};

use crate::Error;

/// Longest wait for an answer. Longer than a slow answer of the payment service.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client for plain HTTP to 127.0.0.1: no proxy of the environment, no certificate trusted.
pub fn http_client() -> Result<reqwest::Client, Error> {
    let failed = |detail: String| Error::Service { service: "http client", detail };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| failed(error.to_string()))
}
