//! Listening, TLS, and the server's life.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::serve::Listener;
use nx_types::Env;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Error, Options, Parts, Shared, Tls, auth};

/// How long a TLS handshake may take.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// A server that listens already.
pub struct Server {
    shared: Shared,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    connections: usize,
    address: SocketAddr,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens, or says why that would be unsafe or is impossible.
    pub async fn bind(options: Options, parts: Parts, env: Env) -> Result<Self, Error> {
        let exposed = !options.listen.ip().is_loopback();
        if exposed && options.tls.is_none() && !options.insecure_http {
            return Err(Error::Exposed(options.listen));
        }
        let acceptor = options.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|source| Error::Listen { address: options.listen, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
        let shared = Shared {
            journal: parts.journal,
            runs: parts.runs,
            control: parts.control,
            notary: parts.notary,
            env,
            require_token: exposed || options.require_token,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            archives: Arc::new(tokio::sync::Semaphore::new(1)),
        };
        if shared.require_token && auth::list(&shared).await?.is_empty() {
            let roles = BTreeSet::from([auth::ADMIN.to_owned()]);
            let secret = auth::create(&shared, "admin", roles, "first start").await?;
            write_secret(&options.admin_token, &secret)?;
        }
        Ok(Self { shared, listener, acceptor, connections: options.connections, address })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `stop`, then lets requests in flight finish.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let (tasks, inner) = (self.shared.tasks.clone(), self.shared.stop.clone());
        let router = crate::routes::router(self.shared);
        let address = self.address;
        let (accepted, connections) = mpsc::channel(64);
        let accept = accept(self.listener, self.acceptor, self.connections, accepted, tasks.clone(), inner.clone());
        tasks.spawn(accept);
        let listener = Accepted { connections, address };
        let shutdown = async move {
            stop.cancelled().await;
            inner.cancel();
        };
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown).await;
        tasks.close();
        tasks.wait().await;
        served.map_err(|source| Error::Listen { address, source })
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let wrong = |error: &dyn std::fmt::Display, path: &Path| Error::Tls(format!("{error}, `{}`", path.display()));
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&error, &tls.cert))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&error, &tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&error, &tls.cert))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn write_secret(path: &Path, secret: &str) -> Result<(), Error> {
    use std::io::Write as _;
    let failed = |source| Error::File { path: path.display().to_string(), source };
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(secret.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Accepts connections, at most `limit` at once; a handshake never holds up the next connection.
async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    limit: usize,
    accepted: mpsc::Sender<Connection>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limit));
    loop {
        let slot = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            stream = TcpListener::accept(&listener) => stream,
        };
        let Ok((tcp, peer)) = stream else {
            // Out of descriptors, or the peer is gone already: the next turn waits for the next connection.
            tokio::task::yield_now().await;
            continue;
        };
        if tcp.set_nodelay(true).is_err() {
            continue;
        }
        let accepted = accepted.clone();
        match acceptor.clone() {
            None => {
                if accepted.send(Connection { stream: Stream::Plain(tcp), peer, _slot: slot }).await.is_err() {
                    return;
                }
            }
            Some(acceptor) => {
                tasks.spawn(async move {
                    if let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                        let connection = Connection { stream: Stream::Tls(Box::new(tls)), peer, _slot: slot };
                        drop(accepted.send(connection).await);
                    }
                });
            }
        }
    }
}

struct Accepted {
    connections: mpsc::Receiver<Connection>,
    address: SocketAddr,
}

impl Listener for Accepted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(connection) => {
                let peer = connection.peer;
                (connection, peer)
            }
            // The acceptor has stopped; graceful shutdown ends this future.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection; dropping it frees its slot.
struct Connection {
    stream: Stream,
    peer: SocketAddr,
    _slot: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
