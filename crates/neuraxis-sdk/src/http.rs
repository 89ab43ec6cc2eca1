//! Plain HTTP/1.1 beside the WebSocket, one request a connection.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::net::{Address, Stream};

/// Longest body of an answer in bytes.
pub(crate) const MAX_BODY_BYTES: u64 = 64 << 20;
/// Longest head of an answer in bytes.
const MAX_HEAD_BYTES: u64 = 16 << 10;

/// The server, and who asks it.
pub(crate) struct Http {
    address: Address,
    token: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(address: Address, token: Option<String>) -> Self {
        Self { address, token }
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> String {
        self.address.authority()
    }

    /// Sends a JSON body, or none, and reads the answer.
    pub(crate) async fn request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
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
        let limit = length.unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES);
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
        if body.len() as u64 + size > MAX_BODY_BYTES {
            return Err(broken("the answer is longer than an answer may be"));
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
