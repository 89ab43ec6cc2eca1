//! Large values travel beside the WebSocket.

use std::{collections::BTreeMap, sync::Arc};

use neuraxis_sdk::{Ctx, Worker};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::server::{RUN, Server, run};

type Store = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Answers one request as a server would: an upload by its reference, a fetch in chunks.
async fn serve(mut stream: TcpStream, store: Store) {
    let mut bytes = Vec::new();
    let end = loop {
        stream.read_buf(&mut bytes).await.unwrap();
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    assert!(head.contains("authorization: Bearer secret"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let prefix = format!("/api/workers/blobs/{RUN}");
    let mut store = store.lock().await;
    if head.starts_with("PUT") {
        assert!(head.starts_with(&format!("PUT {prefix} HTTP/1.1\r\n")), "{head}");
        let id = format!("{:04x}", store.len());
        let body = json!({"$blob": id}).to_string();
        store.insert(id, bytes[end..].to_vec());
        let answer = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
    let id = head.split(['/', ' ']).nth(6).unwrap().to_owned();
    let Some(value) = store.get(&id) else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone").await.unwrap();
        return;
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for chunk in value.chunks(100_000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        stream.write_all(chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
}

async fn serve_blobs(listener: TcpListener, store: Store) {
    while let Ok((stream, _from)) = listener.accept().await {
        serve(stream, store.clone()).await;
    }
}

#[tokio::test]
async fn large_values_are_uploaded_and_fetched() {
    let server = Server::bind().await;
    let store = Store::default();
    let worker = Worker::new(server.options().token("secret")).agent("grow", |ctx: Ctx, text: String| async move {
        let longer: String =
            ctx.step("twice").args(text).run(|_, text: String| async move { Ok(text.repeat(2)) }).await?;
        let missing = ctx.signal::<Value>("missing").await;
        assert!(missing.expect_err("there is none").to_string().contains("HTTP 404"));
        Ok(longer.repeat(3))
    });
    let running = run(worker);
    let mut peer = server.welcome().await;
    let tasks = tokio_util::task::TaskTracker::new();
    let blobs = tasks.spawn(serve_blobs(server.listener, store.clone()));

    let text = "x".repeat(300_000);
    store.lock().await.insert("ff".to_owned(), json!(text).to_string().into_bytes());
    peer.start("grow", json!({"$blob": "ff"}), true).await;
    let step = peer.json().await;
    assert_eq!(step["args"], json!({"$blob": "0002"}));
    let outcome = step["outcome"]["ok"]["$blob"].as_str().unwrap().to_owned();
    assert_eq!(store.lock().await[&outcome].len(), 600_002);
    let call = step["call"].as_u64().unwrap();
    peer.result(call, json!({"$blob": outcome})).await;
    let signal = peer.step().await;
    peer.result(signal.call, json!({"$blob": "0badb10b"})).await;
    let result = peer.completed().await;
    assert_eq!(store.lock().await[result["$blob"].as_str().unwrap()].len(), 1_800_002);
    running.stop().await;
    blobs.abort();
}
