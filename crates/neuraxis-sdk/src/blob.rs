//! Large values: uploaded and fetched over plain HTTP/1.1 beside the WebSocket, one request a connection.

use std::{io, time::Duration};

use nx_types::RunId;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::{
    error::Error,
    frames::MAX_INLINE_BYTES,
    json::{self, BLOB},
    net::{Address, Stream},
};

/// Longest value in bytes.
const MAX_VALUE_BYTES: u64 = 64 << 20;
/// Longest head of an answer in bytes.
const MAX_HEAD_BYTES: u64 = 16 << 10;
/// Longest time of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts in all; the wait doubles from 100 ms.
const ATTEMPTS: u32 = 7;

/// The server's store of large values.
pub(crate) struct Blobs {
    address: Address,
    token: Option<String>,
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Blobs {
    pub(crate) fn new(address: Address, token: Option<String>) -> Self {
        Self { address, token }
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
            let sent = tokio::time::timeout(TIMEOUT, self.request(method, path, body)).await;
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

    async fn request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = self.address.connect().await?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n",
            self.address.authority(),
            body.len()
        );
        if let Some(token) = &self.token {
            head.push_str("authorization: Bearer ");
            head.push_str(token);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
        read_answer(stream).await
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn read_answer(stream: Stream) -> io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut status = None;
    let mut length = None;
    let mut chunked = false;
    let mut budget = MAX_HEAD_BYTES;
    loop {
        let line = line(&mut reader, &mut budget).await?;
        if line.is_empty() {
            break;
        }
        if status.is_none() {
            let code = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
            status = Some(code.ok_or_else(|| broken("the answer has no status"))?);
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return Err(broken("the answer has a broken header")) };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<u64>().map_err(|_err| broken("the answer's length is no number"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let status = status.ok_or_else(|| broken("the answer is empty"))?;
    let mut body = Vec::new();
    if chunked {
        read_chunks(&mut reader, &mut body).await?;
    } else {
        let limit = length.unwrap_or(MAX_VALUE_BYTES).min(MAX_VALUE_BYTES);
        (&mut reader).take(limit).read_to_end(&mut body).await?;
        if length.is_some_and(|length| body.len() as u64 != length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Answer { status, body })
}

async fn read_chunks(reader: &mut BufReader<Stream>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(reader, &mut 128).await?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_err| broken("the answer has a broken chunk"))?;
        if size == 0 {
            return Ok(());
        }
        if body.len() as u64 + size > MAX_VALUE_BYTES {
            return Err(broken("the answer is longer than a value may be"));
        }
        let before = body.len();
        reader.take(size).read_to_end(body).await?;
        if (body.len() - before) as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line(reader, &mut 2).await?;
    }
}

/// A line without its end; `budget` is what may still be read.
async fn line(reader: &mut BufReader<Stream>, budget: &mut u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = reader.take(*budget).read_until(b'\n', &mut bytes).await? as u64;
    *budget = budget.saturating_sub(read);
    if bytes.pop() != Some(b'\n') {
        return Err(if *budget == 0 {
            broken("the answer's head is too long")
        } else {
            io::ErrorKind::UnexpectedEof.into()
        });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_err| broken("the answer's head is not text"))
}
