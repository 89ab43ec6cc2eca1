//! The same over TLS: it answers, closes in good order, and waits for no handshake for long.

use std::{path::Path, sync::Arc, time::Duration};

use nx_api::Tls;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::support::{Stage, rest};

fn connector(authority: &Path) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config).into()
}

#[tokio::test]
async fn a_server_with_a_certificate() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../neuraxis-sdk/tests/it/tls");
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |options| {
        options.tls = Some(Tls { cert: files.join("cert.pem"), key: files.join("key.pem") });
        options.patience.handshake = Duration::from_millis(100);
        options.connections = 1;
    })
    .await;
    // The only connection is held by one that says nothing, until it is given up.
    let mut silent = stage.connect().await;
    assert_eq!(rest(&mut silent).await.status, 0);
    let mut plain = stage.connect().await;
    plain.write_all(stage.request("GET", "/healthz", None, None).as_bytes()).await.expect("sent");
    assert_eq!(rest(&mut plain).await.status, 0, "no word in the clear");

    let tcp = stage.connect().await;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector(&files.join("ca.pem")).connect(name, tcp).await.expect("a handshake");
    let request = stage.request("GET", "/api/openapi.json", None, None);
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an answer that ends with a TLS goodbye");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with('}'), "{text}");
    stage.close().await;
}
