//! Clients that are slow, or send too much, hold nothing for long.

use std::time::Duration;

use nx_api::{Options, Patience};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Stage, rest};

const SHORT: Duration = Duration::from_millis(100);

fn impatient(options: &mut Options) {
    options.patience = Patience { handshake: SHORT, head: SHORT, body: SHORT, stall: SHORT };
}

#[tokio::test]
async fn slow_heads_and_bodies_are_given_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |options| {
        impatient(options);
        options.connections = 4;
    })
    .await;
    let host = stage.address;
    // Each takes one of four connections; the next ones only come in since these are closed.
    let mut slow: Vec<(TcpStream, &str, u16)> = Vec::new();
    for turn in 0..4 {
        for (text, status) in [
            (String::new(), 0),
            ("GET /api/ser".to_owned(), 0),
            (format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nx-slow: "), 0),
            (
                format!(
                    "POST /api/runs HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
                     content-length: 1000\r\n\r\n{{\"agent\""
                ),
                408,
            ),
            (
                format!(
                    "POST /api/sources/x/events HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
                     transfer-encoding: chunked\r\n\r\n2\r\n{{\"\r\n"
                ),
                408,
            ),
        ] {
            let mut stream = stage.connect().await;
            stream.write_all(text.as_bytes()).await.expect("sent");
            slow.push((stream, if turn == 0 { "first" } else { "later" }, status));
        }
    }
    for (stream, turn, status) in &mut slow {
        let answer = rest(stream).await;
        assert!(answer.status == *status || (*status == 0 && answer.status == 408), "{turn}: {answer:?}");
        if *status == 408 {
            assert!(answer.body.contains("NX-API-0015"), "{answer:?}");
        }
    }
    assert_eq!(stage.ask("GET", "/healthz", None, None).await.status, 200);
    stage.close().await;
}

#[tokio::test]
async fn heads_and_bodies_have_bounds() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |_| ()).await;
    let host = stage.address;
    let long = "a".repeat(400_000);
    let many = "x-one: 1\r\n".repeat(200);
    for head in [
        format!("GET /{long} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nx-long: {long}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n{many}\r\n"),
    ] {
        let mut stream = stage.connect().await;
        // The server may have enough before all is sent.
        drop(stream.write_all(head.as_bytes()).await);
        let answer = rest(&mut stream).await;
        assert!(matches!(answer.status, 0 | 414 | 431), "{answer:?}");
    }
    for path in ["/api/runs", "/api/sources/x/events"] {
        // As short as may be, so that the server has nothing left to read when it answers.
        let body = serde_json::json!({"agent": "a".repeat(nx_api::MAX_BODY_BYTES)});
        let mut stream = stage.connect().await;
        drop(stream.write_all(stage.request("POST", path, None, Some(&body)).as_bytes()).await);
        let answer = crate::support::head(&mut stream).await;
        assert_eq!(answer.status, 413, "{path}: {answer:?}");
    }
    stage.close().await;
}

#[tokio::test]
async fn whoever_does_not_read_is_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), impatient).await;
    let mut stream = stage.connect().await;
    // Answers that nobody takes: the socket's buffers fill, then the server gives up.
    let request = stage.request("GET", "/api/openapi.json", None, None);
    let asked = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_mins(1), asked).await.expect("the server closes");
    assert_eq!(stage.ask("GET", "/healthz", None, None).await.status, 200);
    stage.close().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |_| ()).await;
    let mut idle = stage.connect().await;
    idle.write_all(stage.request("GET", "/healthz", None, None).as_bytes()).await.expect("sent");
    assert_eq!(crate::support::head(&mut idle).await.status, 200);
    let mut events = stage.connect().await;
    events.write_all(stage.request("GET", "/api/events/stream", None, None).as_bytes()).await.expect("sent");
    assert_eq!(crate::support::head(&mut events).await.status, 200);
    stage.close().await;
    let mut bytes = Vec::new();
    drop(idle.read_to_end(&mut bytes).await);
    drop(events.read_to_end(&mut bytes).await);
}
