//! Serves HTTP, SSE and WebSocket: the API with its OpenAPI description, sign-in, the worker endpoint, the console.
//!
//! What is *not* here: business rules. A handler parses, asks a frontier's handle, and shapes the answer. No other
//! crate serves HTTP.

mod archive;
mod auth;
mod body;
mod connection;
mod console;
mod error;
mod extract;
mod input;
mod routes;
mod serve;
mod site;
mod status;
mod stream;
mod upload;
mod views;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use nx_journal::{Journal, verify::Notary};
use nx_types::{Env, Namespace};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use auth::{ADMIN, OPERATOR, Principal, Token, VIEWER, WORKER};
pub use error::{Error, ProblemBody};
pub use routes::openapi;
pub use serve::Server;

/// Largest body of a request in bytes, but for blobs.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// Largest blob that a worker may upload in bytes.
pub const MAX_BLOB_BYTES: usize = 64 << 20;

/// Largest model that may be uploaded in bytes.
pub const MAX_MODEL_BYTES: usize = 512 << 20;
/// Largest body of a request for an inference in bytes.
pub const MAX_INFER_BYTES: usize = 32 << 20;

/// What can be set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 picks a free one. Default 127.0.0.1:7700.
    pub listen: SocketAddr,
    /// Certificate chain and private key (PEM). Off loopback they are needed, unless `insecure_http`.
    pub tls: Option<Tls>,
    /// Serve plain HTTP off loopback: something in front encrypts. Tokens are needed all the same.
    pub insecure_http: bool,
    /// Want a token on loopback too.
    pub require_token: bool,
    /// Where the first administrator's token is written (mode 0600) when tokens are needed and none exists.
    pub admin_token: PathBuf,
    /// Most connections at once. Default 1024.
    pub connections: usize,
    /// How long clients may take.
    pub patience: Patience,
}

/// How long a client may take before its connection is closed: a slow one holds one of the connections.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// For the head of a request, from the end of the one before on. Default 30 s.
    pub head: Duration,
    /// For a request's body, beside one second for each 16 KiB that came. Default 30 s.
    pub body: Duration,
    /// For taking anything of what is sent. Default 120 s.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            stall: Duration::from_mins(2),
        }
    }
}

impl Options {
    /// Loopback, port 7700.
    pub fn new(admin_token: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            tls: None,
            insecure_http: false,
            require_token: false,
            admin_token: admin_token.into(),
            connections: 1024,
            patience: Patience::default(),
        }
    }
}

/// Files of a certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The handles of the parts that are served.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The log.
    pub journal: Journal,
    /// Runs and workers.
    pub runs: nx_runs::Handle,
    /// Resources and sources.
    pub control: nx_control::Handle,
    /// Models.
    pub models: nx_models::Handle,
    /// Signs checkpoints.
    pub notary: Arc<Notary>,
    /// Hands what is declared in a namespace to the runs and the models, and answers when they have it: what `apply` changes counts when
    /// it returns.
    pub declaring: mpsc::Sender<Declare>,
}

/// A namespace whose declarations changed, and whom to tell once the runs know.
pub type Declare = (Namespace, oneshot::Sender<()>);

/// What every handler sees. Each request clones it several times.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Surface>);

impl std::ops::Deref for Shared {
    type Target = Surface;

    fn deref(&self) -> &Surface {
        &self.0
    }
}

/// The parts, and what belongs to this server alone.
#[derive(Debug)]
pub(crate) struct Surface {
    journal: Journal,
    runs: nx_runs::Handle,
    control: nx_control::Handle,
    models: nx_models::Handle,
    notary: Arc<Notary>,
    declaring: mpsc::Sender<Declare>,
    env: Env,
    require_token: bool,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// One archive at a time.
    archives: Arc<Semaphore>,
    /// One upload of a model at a time: it is held in memory.
    uploads: Arc<Semaphore>,
    /// Names of tokens as they are revoked.
    revocations: broadcast::Sender<Arc<str>>,
    /// For a request's body.
    body_patience: Duration,
}

impl Shared {
    /// Waits until the runs know what is declared now.
    async fn declare(&self, namespace: &Namespace) {
        let (sender, known) = oneshot::channel();
        // Where nobody declares, nobody waits for it.
        if self.declaring.send((namespace.clone(), sender)).await.is_ok() {
            drop(known.await);
        }
    }

    /// Runs a blocking read away from the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(_) => Err(Error::Stopping),
        }
    }
}
