//! Listening, TLS, and the server's life.

use std::{collections::BTreeSet, fmt, fs, net::SocketAddr, os::unix::fs::OpenOptionsExt as _, path::Path, sync::Arc};

use nx_types::Env;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, broadcast},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Error, Options, Parts, Patience, Shared, Surface, Tls, auth,
    connection::{self, Host},
};

/// How long it takes until a connection is accepted again after one could not be.
const ACCEPT_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
/// Revocations that may wait for a stream to hear of them.
const REVOCATIONS: usize = 64;

/// A server that listens already.
pub struct Server {
    shared: Shared,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    connections: usize,
    patience: Patience,
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
        let shared = Shared(Arc::new(Surface {
            journal: parts.journal,
            runs: parts.runs,
            control: parts.control,
            models: parts.models,
            uploads: Arc::new(Semaphore::new(1)),
            notary: parts.notary,
            declaring: parts.declaring,
            env,
            require_token: exposed || options.require_token,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            archives: Arc::new(Semaphore::new(1)),
            revocations: broadcast::Sender::new(REVOCATIONS),
            body_patience: options.patience.body,
        }));
        if shared.require_token && auth::list(&shared).await?.is_empty() {
            let roles = BTreeSet::from([auth::ADMIN.to_owned()]);
            let secret = auth::create(&shared, "admin", roles, "first start").await?;
            if let Err(error) = write_secret(&options.admin_token, &secret) {
                // A token that nobody knows would keep the next start from making one.
                auth::revoke(&shared, "admin", "first start").await?;
                return Err(error);
            }
        }
        Ok(Self { shared, listener, acceptor, connections: options.connections, patience: options.patience, address })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `stop`, then lets requests in flight finish.
    pub async fn run(self, stop: CancellationToken) {
        let (tasks, inner) = (self.shared.tasks.clone(), self.shared.stop.clone());
        let host = Arc::new(Host {
            router: crate::routes::router(self.shared),
            acceptor: self.acceptor,
            patience: self.patience,
            stop: inner.clone(),
        });
        tasks.spawn(accept(self.listener, self.connections, host, tasks.clone()));
        stop.cancelled().await;
        inner.cancel();
        tasks.close();
        tasks.wait().await;
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
    // Written anew and moved into place: neither the mode nor the target of what stood there before holds.
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(secret.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .map_err(failed)
}

/// Accepts connections, at most `limit` at once; a handshake never holds up the next connection.
async fn accept(listener: TcpListener, limit: usize, host: Arc<Host>, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(limit));
    loop {
        let accepted = async { (Arc::clone(&slots).acquire_owned().await, listener.accept().await) };
        let (slot, accepted) = tokio::select! {
            biased;
            () = host.stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        let Ok(slot) = slot else { return };
        match accepted {
            Ok((tcp, _peer)) => {
                if tcp.set_nodelay(true).is_ok() {
                    tasks.spawn(connection::serve(Arc::clone(&host), tcp, slot));
                }
            }
            // The peer is gone already, or there are no descriptors: then the next try would fail at once.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
