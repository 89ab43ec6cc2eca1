//! The component: options, the service that runs the controllers, the handle that everybody else holds.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use nx_journal::{Journal, Subscription};
use nx_types::{Duration, KindDescriptor, Namespace, Resource, Seq};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

use crate::{
    Error,
    diff::Diff,
    manifest, reflex,
    registry::Registry,
    source::{self, Ingest, Ingested},
    store::{Applied, ApplyOptions, Deleted, Page, Store},
    watch::Watch,
};

/// How the control plane is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Every kind that there is, this crate's own ([`crate::kinds()`]) included.
    pub kinds: Vec<KindDescriptor>,
    /// Bounds of manifests.
    pub manifests: manifest::Limits,
    /// Folders whose files may be replayed. None, when empty.
    pub file_roots: Vec<PathBuf>,
    /// Files within the binary, by the name after `embedded:`.
    pub embedded: BTreeMap<String, &'static [u8]>,
    /// Most bytes of one request to a source.
    pub max_body_bytes: usize,
    /// How long a replay waits before it looks for a missing file again.
    pub retry: Duration,
}

impl Options {
    /// The defaults for these kinds.
    pub fn new(kinds: Vec<KindDescriptor>) -> Self {
        Self {
            kinds,
            manifests: manifest::Limits::default(),
            file_roots: Vec::new(),
            embedded: BTreeMap::new(),
            max_body_bytes: 1 << 20,
            retry: Duration::from_secs(5),
        }
    }
}

/// Sets the control plane up over a log. Nothing happens by itself before [`Service::run`].
pub fn start(journal: Journal, options: Options) -> (Service, Handle) {
    let registry = Arc::new(Registry::new(options.kinds.iter().cloned()));
    let store = Store::new(journal, registry);
    let options = Arc::new(options);
    let handle = Handle { store: store.clone(), options: options.clone(), sources: Arc::default() };
    (Service { store, options }, handle)
}

/// The controllers: reflexes and replays.
#[derive(Debug)]
pub struct Service {
    store: Store,
    options: Arc<Options>,
}

impl Service {
    /// Runs until it is told to stop or the log closes; every task has ended when it returns. The first error of a
    /// controller stops the others and is returned.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let stop = stop.child_token();
        let tasks = TaskTracker::new();
        let reflexes = tasks.spawn(guard(stop.clone(), reflex::service::run(self.store.clone(), stop.clone())));
        let replays = source::service::run(self.store, self.options, stop.clone(), tasks.clone());
        let replays = tasks.spawn(guard(stop, replays));
        tasks.close();
        let (reflexes, replays) = (reflexes.await, replays.await);
        tasks.wait().await;
        reflexes.map_err(|_err| Error::Stopped)??;
        replays.map_err(|_err| Error::Stopped)?
    }
}

async fn guard(stop: CancellationToken, work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let _stop_others = stop.drop_guard();
    work.await
}

/// The control plane, for everybody who applies, reads or feeds it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    store: Store,
    options: Arc<Options>,
    sources: Arc<source::ingest::Sources>,
}

impl Handle {
    /// The kinds: schemas, examples, help.
    pub fn registry(&self) -> &Registry {
        self.store.registry()
    }

    /// Reads the documents of a YAML or JSON text.
    pub fn parse(&self, text: &str) -> Result<Vec<Value>, Error> {
        manifest::parse(text, &self.options.manifests)
    }

    /// Applies manifests: all of them in one commit, or none.
    pub async fn apply(
        &self,
        namespace: &Namespace,
        manifests: &[Value],
        options: &ApplyOptions,
    ) -> Result<Vec<Applied>, Error> {
        self.store.apply(namespace, manifests, options).await
    }

    /// What applying a manifest would change.
    pub async fn diff(&self, namespace: &Namespace, manifest: &Value) -> Result<Diff, Error> {
        let options = ApplyOptions { dry_run: true, by: String::new() };
        let applied = self.store.apply(namespace, std::slice::from_ref(manifest), &options).await?;
        Ok(applied.into_iter().next().map(|applied| applied.diff).unwrap_or_default())
    }

    /// A resource, with its status, without secret values.
    pub async fn get(&self, namespace: &Namespace, kind: &str, name: &str) -> Result<Resource, Error> {
        self.store.get(namespace, kind, name).await
    }

    /// A page of at most `limit` (and 500) resources of a kind, or of every kind, behind `after`.
    pub async fn list(
        &self,
        namespace: &Namespace,
        kind: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.store.list(namespace, kind, after, limit).await
    }

    /// The namespaces that hold or held resources.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.store.read(crate::store::namespaces).await
    }

    /// Deletes a resource; with a `resource_version` only if it is still that one. Secret values and their key are
    /// erased from the disk.
    pub async fn delete(
        &self,
        namespace: &Namespace,
        kind: &str,
        name: &str,
        resource_version: Option<u64>,
        options: &ApplyOptions,
    ) -> Result<Deleted, Error> {
        self.store.delete(namespace, kind, name, resource_version, options).await
    }

    /// Stores what a controller reports about a resource.
    pub async fn set_status(&self, namespace: &Namespace, kind: &str, name: &str, status: Value) -> Result<(), Error> {
        self.store.set_status(namespace, kind, name, status).await
    }

    /// A value of a `Secret`, for those who act with it. It must never be shown or written down.
    pub async fn secret(&self, namespace: &Namespace, name: &str, key: &str) -> Result<Zeroizing<String>, Error> {
        let pointer = format!("/values/{}", nx_types::json::escape(key));
        self.store.secret(namespace, "Secret", name, &pointer).await
    }

    /// A sealed value of any resource, by its JSON pointer below `spec`.
    pub async fn sealed_value(
        &self,
        namespace: &Namespace,
        kind: &str,
        name: &str,
        pointer: &str,
    ) -> Result<Zeroizing<String>, Error> {
        self.store.secret(namespace, kind, name, pointer).await
    }

    /// Records what was sent to a source over HTTP.
    pub async fn ingest(&self, namespace: &Namespace, source: &str, request: Ingest) -> Result<Vec<Ingested>, Error> {
        let max_body_bytes = self.options.max_body_bytes;
        source::ingest::ingest(&self.store, &self.sources, max_body_bytes, namespace, source, request).await
    }

    /// Changes of resources from a place in the log on; from now on without one.
    pub fn watch(&self, namespace: &Namespace, kind: Option<&str>, from: Option<Seq>) -> Result<Watch, Error> {
        let kind = kind.map(|kind| self.registry().kind(kind)).transpose()?.map(|kind| kind.kind);
        let journal = self.store.journal();
        let filter = Watch::filter(namespace);
        let subscription: Subscription = journal.subscribe(from.unwrap_or_else(|| journal.head()), filter);
        Ok(Watch::new(subscription, kind))
    }
}
