//! The API's client: requests, problems as errors, server-sent events.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::cli::ServerArgs;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers.
    #[error("no server answers at {url} ({detail}); start one with `neuraxis up`, or name another with --url")]
    Unreachable {
        /// The address.
        url: String,
        /// The network's word.
        detail: String,
    },
    /// Somebody answers with a certificate that this machine does not trust.
    #[error("the certificate of {url} is not trusted ({detail}); SSL_CERT_FILE names a file of further authorities")]
    Untrusted {
        /// The address.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The server refused.
    #[error("{detail} [{code}]")]
    Problem {
        /// HTTP status.
        status: u16,
        /// The stable code.
        code: String,
        /// What happened.
        detail: String,
    },
}

/// A client of one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    args: ServerArgs,
}

impl Client {
    /// A client; connects on the first request.
    pub(crate) fn new(args: ServerArgs) -> anyhow::Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, args })
    }

    /// The server's address.
    pub(crate) fn url(&self) -> &str {
        self.args.url.trim_end_matches('/')
    }

    /// The namespace of this command.
    pub(crate) fn namespace(&self) -> &str {
        &self.args.namespace
    }

    /// A path of the API, each part encoded: what a person typed stays one part.
    pub(crate) fn path(parts: &[&str]) -> String {
        let encode = |part: &str| -> String {
            // `.` and `..` would be resolved away; nothing is named so.
            let dots = !part.is_empty() && part.bytes().all(|byte| byte == b'.');
            let byte = |byte: u8| match byte {
                b'.' if dots => "%252E".to_owned(),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            };
            part.bytes().map(byte).collect()
        };
        parts.iter().fold("/api".to_owned(), |path, part| path + "/" + &encode(part))
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, String)]) -> anyhow::Result<RequestBuilder> {
        let mut url = reqwest::Url::parse(self.url())
            .and_then(|base| base.join(path))
            .with_context(|| format!("`{}` is not an address; the form is http://HOST:PORT", self.url()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.args.token {
            request = request.bearer_auth(token.trim());
        }
        Ok(request)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| {
            let mut detail = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                detail = cause.to_string();
                source = cause.source();
            }
            let url = self.url().to_owned();
            if detail.contains("peer certificate") {
                Failure::Untrusted { url, detail }
            } else {
                Failure::Unreachable { url, detail }
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap_or_default();
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        Err(Failure::Problem {
            status,
            code: text("code").unwrap_or_else(|| format!("HTTP {status}")),
            detail: text("detail").unwrap_or_else(|| "the server refused without a word".to_owned()),
        }
        .into())
    }

    /// GET, JSON.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let response = self.send(self.request(Method::GET, path, query)?).await?;
        Ok(response.json().await?)
    }

    /// GET, text.
    pub(crate) async fn text(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<String> {
        Ok(self.send(self.request(Method::GET, path, query)?).await?.text().await?)
    }

    /// POST, JSON both ways.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let response = self.send(self.request(Method::POST, path, &[])?.json(body)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        Ok(response.json().await?)
    }

    /// PUT, JSON both ways.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        Ok(self.send(self.request(Method::PUT, path, &[])?.json(body)).await?.json().await?)
    }

    /// POST of bytes; the answer is JSON.
    pub(crate) async fn send_bytes(
        &self,
        path: &str,
        query: &[(&str, String)],
        kind: &str,
        body: reqwest::Body,
    ) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, path, query)?.header(reqwest::header::CONTENT_TYPE, kind).body(body);
        Ok(self.send(request).await?.json().await?)
    }

    /// GET, bytes.
    pub(crate) async fn bytes(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<bytes::Bytes> {
        Ok(self.send(self.request(Method::GET, path, query)?).await?.bytes().await?)
    }

    /// POST without a body; the answer's bytes as they come.
    pub(crate) async fn download(
        &self,
        path: &str,
    ) -> anyhow::Result<impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>>> {
        Ok(self.send(self.request(Method::POST, path, &[])?).await?.bytes_stream())
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<()> {
        self.send(self.request(Method::DELETE, path, query)?).await.map(drop)
    }

    /// Reads server-sent events until `each` says enough or the stream ends; comes back after a lost connection with
    /// the last id, as long as a server answers within `patience`.
    pub(crate) async fn follow(
        &self,
        path: &str,
        query: &[(&str, String)],
        patience: Duration,
        mut each: impl FnMut(Value) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut last: Option<String> = None;
        let mut lost = tokio::time::Instant::now();
        loop {
            let mut request = self.request(Method::GET, path, query)?;
            if let Some(id) = &last {
                request = request.header("last-event-id", id);
            }
            match self.send(request).await {
                Ok(response) => {
                    if self.read(response, &mut last, &mut each).await? {
                        return Ok(());
                    }
                    lost = tokio::time::Instant::now();
                }
                Err(error) => {
                    let gone = matches!(error.downcast_ref(), Some(Failure::Unreachable { .. }));
                    if !gone || lost.elapsed() > patience {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn read(
        &self,
        response: Response,
        last: &mut Option<String>,
        each: &mut impl FnMut(Value) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let mut stream = response.bytes_stream();
        let mut buffer = Vec::new();
        let mut data = String::new();
        while let Some(Ok(chunk)) = stream.next().await {
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches(['\n', '\r']);
                if let Some(id) = line.strip_prefix("id:") {
                    *last = Some(id.trim().to_owned());
                } else if let Some(text) = line.strip_prefix("data:") {
                    data.push_str(text.trim_start());
                } else if line.is_empty() && !data.is_empty() {
                    let value = serde_json::from_str(&data).context("the server sent an event that is not JSON")?;
                    data.clear();
                    if each(value)? {
                        return Ok(true);
                    }
                }
            }
            anyhow::ensure!(buffer.len() <= 16 << 20, "the server sent an event over 16 MiB");
        }
        Ok(false)
    }
}
