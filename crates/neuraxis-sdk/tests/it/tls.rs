//! `wss://`: certificates are checked against the authorities that the worker trusts. Those of `tls/` are the test's own.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use neuraxis_sdk::{
    CancellationToken, Error, Options, Worker,
    frames::{SUBPROTOCOL, Server as ServerFrame},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
    },
};

use crate::server::{run, welcome};

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config).into()
}

#[tokio::test]
async fn a_trusted_server_is_talked_to_and_another_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());

    let mut options = Options::new(url.as_str());
    options.reconnect_min = std::time::Duration::from_millis(1);
    let stranger = run(Worker::new(options.clone()));
    let (stream, _from) = listener.accept().await.unwrap();
    assert!(acceptor().accept(stream).await.is_err(), "the worker knows no such authority");
    stranger.stop().await;

    options.ca_pem = Some(include_bytes!("tls/ca.pem").to_vec());
    let running = run(Worker::new(options));
    let mut socket = loop {
        let (stream, _from) = listener.accept().await.unwrap();
        let Ok(stream) = acceptor().accept(stream).await else { continue };
        #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
        let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        };
        break accept_hdr_async(stream, choose).await.unwrap();
    };
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(text))) if text.contains(r#""t":"hello""#)));
    let frame = serde_json::to_string(&ServerFrame::Welcome(welcome())).unwrap();
    socket.send(Message::text(frame)).await.unwrap();
    running.shutdown.cancel();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)) | Err(_)) | None));
    running.end().await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused() {
    let mut options = Options::new("https://localhost:1");
    options.ca_pem = Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec());
    let ended = Worker::new(options).run(CancellationToken::new()).await;
    assert!(matches!(&ended, Err(Error::Usage { .. })), "{ended:?}");
}
