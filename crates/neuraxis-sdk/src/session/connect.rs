//! From nothing to `welcome`.

use futures_util::{SinkExt as _, StreamExt as _};
use nx_types::{Code, Problem};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, StatusCode, header},
        protocol::WebSocketConfig,
    },
};

use crate::{
    error::Error,
    frames::{self, Hello, MAX_FRAME_BYTES, PATH, SUBPROTOCOL, Welcome},
    net::{Address, Stream},
    options::Options,
};

pub(crate) type Socket = WebSocketStream<Stream>;

/// Bytes gathered before they are written, and the most of one batch besides one frame of any length.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Connects, says hello and waits for the welcome.
pub(crate) async fn connect(options: &Options, address: &Address, hello: Hello) -> Result<(Socket, Welcome), Error> {
    match tokio::time::timeout(options.connect_timeout, open(options, address, hello)).await {
        Ok(done) => done,
        Err(_elapsed) => Err(lost(options, &format!("no welcome within {} ms", options.connect_timeout.as_millis()))),
    }
}

fn lost(options: &Options, reason: &dyn std::fmt::Display) -> Error {
    Error::Connect { url: options.url.as_str().into(), reason: reason.to_string().into_boxed_str() }
}

async fn open(options: &Options, address: &Address, hello: Hello) -> Result<(Socket, Welcome), Error> {
    let stream = address.connect().await.map_err(|error| lost(options, &error))?;
    let url = format!("{}://{}{PATH}", address.scheme(), address.authority());
    let mut request = url.into_client_request().map_err(|error| Error::usage(format!("bad address: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Some(token) = &options.token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_err| Error::usage("the token holds characters that no HTTP header may hold"))?;
        headers.insert(header::AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .write_buffer_size(4 * MAX_FRAME_BYTES)
        .max_write_buffer_size(8 * MAX_FRAME_BYTES)
        .max_message_size(Some(2 * MAX_FRAME_BYTES))
        .max_frame_size(Some(2 * MAX_FRAME_BYTES));
    let (mut socket, _response) =
        client_async_with_config(request, stream, Some(config)).await.map_err(|error| refused(options, &error))?;
    let text = serde_json::to_string(&frames::Worker::Hello(hello))
        .map_err(|error| Error::Protocol { reason: error.to_string().into_boxed_str() })?;
    if text.len() > MAX_FRAME_BYTES {
        return Err(Error::usage("the worker offers more than fits into one frame; split it into several workers"));
    }
    socket.send(Message::text(text)).await.map_err(|error| lost(options, &error))?;
    loop {
        let message = match socket.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(lost(options, &error)),
            None => return Err(lost(options, &"the server closed the connection")),
        };
        match message {
            Message::Text(text) => return welcome(&text).map(|welcome| (socket, welcome)),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return Err(lost(options, &"the server closed the connection")),
        }
    }
}

fn welcome(text: &str) -> Result<Welcome, Error> {
    match serde_json::from_str(text) {
        Ok(frames::Server::Welcome(welcome)) if welcome.protocol == frames::PROTOCOL => Ok(welcome),
        Ok(frames::Server::Welcome(welcome)) => {
            Err(Error::Protocol { reason: format!("it chose version {}", welcome.protocol).into_boxed_str() })
        }
        Ok(frames::Server::Goodbye { problem, retry_ms }) => {
            let problem = Problem { retryable: retry_ms.is_some(), ..problem };
            Err(Error::TurnedAway { problem: Box::new(problem) })
        }
        Ok(_) => Err(Error::Protocol { reason: "its first frame is no welcome".into() }),
        Err(error) => Err(Error::Protocol { reason: error.to_string().into_boxed_str() }),
    }
}

/// An answer to the upgrade that is no upgrade: a wrong token is final, all else is tried again.
fn refused(options: &Options, error: &tungstenite::Error) -> Error {
    let tungstenite::Error::Http(response) = error else { return lost(options, error) };
    let status = response.status();
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return lost(options, &format!("HTTP {status} at {PATH}"));
    }
    let problem = response.body().as_deref().and_then(|body| serde_json::from_slice::<Problem>(body).ok());
    let problem = problem.unwrap_or_else(|| Problem {
        code: Code::new("NX-SDK-0006"),
        detail: format!("HTTP {status}; check the token"),
        retryable: false,
    });
    Error::TurnedAway { problem: Box::new(problem) }
}
