//! Large values: uploaded and fetched over HTTP beside the WebSocket.

use std::{io, time::Duration};

use nx_types::RunId;
use serde_json::Value;

use crate::{
    error::Error,
    frames::MAX_INLINE_BYTES,
    http::{Answer, Http, MAX_BODY_BYTES as MAX_VALUE_BYTES},
    json::{self, BLOB},
    net::Address,
};

/// Longest time of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts in all; the wait doubles from 100 ms.
const ATTEMPTS: u32 = 7;

/// The server's store of large values.
pub(crate) struct Blobs {
    http: Http,
}

impl Blobs {
    pub(crate) fn new(address: Address, token: Option<String>) -> Self {
        Self { http: Http::new(address, token) }
    }

    /// Uploads the value and puts a reference in its place, if it is large.
    pub(crate) async fn pack(&self, run: RunId, value: &mut Value) -> Result<(), Error> {
        let text = value.to_string();
        if text.len() <= MAX_INLINE_BYTES {
            return Ok(());
        }
        if text.len() as u64 > MAX_VALUE_BYTES {
            let reason = format!("{} bytes are more than {MAX_VALUE_BYTES}; keep it in a store of yours", text.len());
            return Err(Error::Blob { action: "uploaded", reason: reason.into_boxed_str(), retryable: false });
        }
        let answer = self.send("uploaded", "PUT", &format!("/api/workers/blobs/{run}"), text.as_bytes()).await?;
        let reference: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if json::blob_of(&reference).is_none() {
            let reason = "the server's answer is no reference to a blob".into();
            return Err(Error::Blob { action: "uploaded", reason, retryable: false });
        }
        *value = reference;
        Ok(())
    }

    /// The value that a reference stands for.
    pub(crate) async fn fetch(&self, run: RunId, id: &str) -> Result<Value, Error> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            let reason = format!("`{BLOB}` of the form `{id}` is none of ours").into_boxed_str();
            return Err(Error::Blob { action: "fetched", reason, retryable: false });
        }
        let answer = self.send("fetched", "GET", &format!("/api/workers/blobs/{run}/{id}"), &[]).await?;
        serde_json::from_slice(&answer.body).map_err(|error| Error::Blob {
            action: "fetched",
            reason: error.to_string().into_boxed_str(),
            retryable: false,
        })
    }

    async fn send(&self, action: &'static str, method: &str, path: &str, body: &[u8]) -> Result<Answer, Error> {
        let mut wait = Duration::from_millis(100);
        let mut attempt = 1;
        loop {
            let sent = tokio::time::timeout(TIMEOUT, self.http.request(method, path, body)).await;
            let (reason, retryable) = match sent {
                Ok(Ok(answer)) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(Ok(answer)) => {
                    let text = String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>();
                    (format!("HTTP {}: {text}", answer.status), answer.status >= 500 || answer.status == 429)
                }
                Ok(Err(error)) => (error.to_string(), error.kind() != io::ErrorKind::InvalidData),
                Err(_elapsed) => (format!("no answer within {} s", TIMEOUT.as_secs()), true),
            };
            if !retryable || attempt >= ATTEMPTS {
                return Err(Error::Blob { action, reason: reason.into_boxed_str(), retryable });
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
            attempt += 1;
        }
    }
}
