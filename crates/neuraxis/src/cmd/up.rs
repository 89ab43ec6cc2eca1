//! `up`: the server, wired from its parts.

use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use nx_api::{Declare, Options as ApiOptions, Parts, Server, Tls};
use nx_control::Handle as Control;
use nx_journal::{Filter, Journal, MasterKeySource, Options as JournalOptions, Subscription, verify::Notary};
use nx_runs::{
    engine::RunKey,
    kinds::Declared,
    service::{Options as RunsOptions, Service as Runs},
};
use nx_types::{Env, Namespace, Resource, Seq};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[cfg(feature = "examples")]
use super::example;
use super::resources;
use crate::cli::UpArgs;

/// Shortest time between two checkpoints signed while the log grows.
const CHECKPOINT_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// Most warnings about policies that are given at once.
const MAX_WARNINGS: usize = 20;

/// Time between two sweeps for unnamed blobs.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_hours(1);
/// How long a blob may stay unnamed.
const UNNAMED_FOR: nx_types::Duration = nx_types::Duration::from_secs(24 * 3600);

/// A server that serves.
#[derive(Debug)]
pub(super) struct Running {
    /// Its address.
    pub(super) url: String,
    /// Stops it.
    pub(super) stop: CancellationToken,
    pub(super) control: Control,
    pub(super) runs: nx_runs::Handle,
    pub(super) journal: Journal,
    pub(super) tasks: TaskTracker,
    notary: Arc<Notary>,
    log: tokio::task::JoinHandle<Result<(), nx_journal::Error>>,
}

pub(super) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.example {
        anyhow::ensure!(cfg!(feature = "examples"), "this binary was built without examples");
        anyhow::ensure!(name == "parcels", "no example `{name}`; there is `parcels`");
    }
    let running = start(&args).await?;
    println!("ready {}", running.url);
    std::io::stdout().flush()?;
    #[cfg(feature = "examples")]
    let example = match args.example {
        Some(_) => Some(example::start(&running, &args).await.context("the example cannot start")?),
        None => None,
    };
    tokio::select! {
        biased;
        () = signalled() => {}
        () = running.stop.cancelled() => {}
    }
    #[cfg(feature = "examples")]
    if let Some(example) = example {
        example.shutdown().await;
    }
    running.finish().await?;
    Ok(ExitCode::SUCCESS)
}

/// Ends when the process is asked to stop.
pub(super) async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Opens the log, the runs and the resources, and serves them.
pub(super) async fn start(args: &UpArgs) -> anyhow::Result<Running> {
    let env = Env::system();
    let (journal, log) = Journal::open(journal_options(&args.data, args.master_key.as_deref()), env.clone())?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let log = tasks.spawn(log.run());
    let notary = Arc::new(Notary::open(&args.data, journal.origin(), &env)?);
    let key = run_key(&args.data, journal.head(), &env)?;
    let mut options = RunsOptions::new(key);
    options.limits.constant_label = args.constant_label.then(|| nx_types::Label::untrusted("constant").into());
    let (runs, runs_service) = Runs::open(journal.clone(), options)?;
    let (control_service, control) = nx_control::start(journal.clone(), control_options(args));
    let (models_service, models) = nx_models::open(journal.clone(), models_options()?);

    let mut options = ApiOptions::new(args.data.join("keys").join("admin.token"));
    options.listen = args.listen;
    options.insecure_http = args.insecure_http;
    options.require_token = args.require_token;
    options.tls = args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| Tls { cert, key });
    let (declaring, wanted) = mpsc::channel(16);
    let parts = Parts {
        journal: journal.clone(),
        runs: runs.clone(),
        control: control.clone(),
        models: models.clone(),
        notary: Arc::clone(&notary),
        declaring,
    };
    let server = Server::bind(options, parts, env.clone()).await?;
    let url = server.url();

    let ended = |name: &'static str, stop: CancellationToken| {
        move |result: Result<(), String>| {
            if let Err(error) = result {
                eprintln!("neuraxis: {name} stopped: {error}");
            }
            stop.cancel();
        }
    };
    let runs_stop = runs_service.stop();
    let end = ended("runs", stop.clone());
    tasks.spawn(async move { end(runs_service.run().await.map_err(|error| error.to_string())) });
    let end = ended("resources", stop.clone());
    let token = stop.clone();
    tasks.spawn(async move { end(control_service.run(token).await.map_err(|error| error.to_string())) });
    let declaring = Declaring::begin(journal.clone(), control.clone(), (runs.clone(), models), wanted).await?;
    tasks.spawn(models_service.run(stop.clone()));
    tasks.spawn(server.run(stop.clone()));
    let end = ended("declarations", stop.clone());
    let declaring = declaring.run(stop.clone());
    tasks.spawn(async move { end(declaring.await.map_err(|error| format!("{error:#}"))) });
    let (signer, signed, token) = (Arc::clone(&notary), journal.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            result = signer.run(signed, CHECKPOINT_EVERY) => drop(result),
        }
    });
    tasks.spawn(sweep(journal.clone(), stop.clone()));
    let token = stop.clone();
    tasks.spawn(async move {
        token.cancelled().await;
        runs_stop.cancel();
    });
    Ok(Running { url, stop, control, runs, journal, tasks, notary, log })
}

impl Running {
    /// Applies the manifests of a text in the default namespace.
    pub(super) async fn apply(&self, text: &str) -> anyhow::Result<()> {
        let options = nx_control::ApplyOptions { dry_run: false, by: "example".to_owned() };
        let manifests = self.control.parse(text)?;
        self.control.apply(&Namespace::default(), &manifests, &options).await?;
        Ok(())
    }

    /// Stops every part, signs a last checkpoint and closes the log.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.tasks.close();
        self.notary.sign(&self.journal).await?;
        self.journal.close().await;
        self.log.await.context("the log's task was lost")??;
        self.tasks.wait().await;
        Ok(())
    }
}

/// The log's options: the master key is the given one, or the directory's own.
pub(super) fn journal_options(data: &Path, master_key: Option<&str>) -> JournalOptions {
    let mut options = JournalOptions::new(data);
    // A model's file is one blob.
    options.max_blob_bytes = options.max_blob_bytes.max(nx_api::MAX_MODEL_BYTES);
    if let Some(key) = master_key {
        options.master = MasterKeySource::Env(key.trim().to_owned().into());
    }
    options
}

fn models_options() -> anyhow::Result<nx_models::Options> {
    Ok(nx_models::Options { engines: super::engines::here()?, ..nx_models::Options::default() })
}

fn control_options(args: &UpArgs) -> nx_control::Options {
    let mut options = nx_control::Options::new(resources::kinds());
    #[cfg(feature = "examples")]
    options.embedded.extend(parcels::embedded().map(|(name, bytes)| (name.to_owned(), bytes)));
    options.file_roots.clone_from(&args.files);
    options
}

/// The secret under which idempotency keys are derived; made on first start. A log that has events gets no new one: its
/// calls in flight would be made again under other keys.
fn run_key(data: &Path, head: Seq, env: &Env) -> anyhow::Result<RunKey> {
    let path = data.join("keys").join("run.key");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let bytes: [u8; 32] =
                bytes.try_into().ok().with_context(|| format!("`{}` must hold 32 bytes", path.display()))?;
            Ok(RunKey::new(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            anyhow::ensure!(
                head <= Seq(1),
                "`{0}` is missing, and calls in flight would be repeated under other keys; copy it from the log that was \
                 backed up, or, if it is lost and none can be in flight, make a new one: head -c 32 /dev/urandom > {0}",
                path.display()
            );
            let key = RunKey::random(env.rng());
            let new = path.with_extension("new");
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(key.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(data.join("keys"))?.sync_all()?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Removes blobs that no event came to name: an upload whose frame never followed.
async fn sweep(journal: Journal, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = journal.gc(UNNAMED_FOR).await {
            tracing::warn!(%error, "unnamed blobs could not be removed; the next sweep tries again");
        }
    }
}

/// Hands what is declared of agents and toolsets to the runs, and of artifacts to the models.
struct Declaring {
    control: Control,
    runs: nx_runs::Handle,
    models: nx_models::Handle,
    changes: Subscription,
    /// Who waits until the runs know what was changed.
    wanted: mpsc::Receiver<Declare>,
    /// Warnings about policies that were given, by namespace.
    told: HashMap<Namespace, HashSet<String>>,
}

impl Declaring {
    /// What is declared now, in all namespaces: to be awaited before workers are let in, whose runs it bounds.
    async fn begin(
        journal: Journal,
        control: Control,
        (runs, models): (nx_runs::Handle, nx_models::Handle),
        wanted: mpsc::Receiver<Declare>,
    ) -> anyhow::Result<Self> {
        let filter = Filter { types: vec!["resource.".to_owned()], ..Filter::default() };
        let changes = journal.subscribe(journal.head(), filter);
        let mut declaring = Self { control, runs, models, changes, wanted, told: HashMap::new() };
        for namespace in declaring.control.namespaces().await? {
            declaring.declare(namespace).await?;
        }
        Ok(declaring)
    }

    /// What changes from then on.
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let mut changed: Vec<Namespace> = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some((namespace, known)) = self.wanted.recv() => {
                    self.declare(namespace).await?;
                    // Whoever asked may have gone.
                    known.send(()).unwrap_or_default();
                    continue;
                }
                events = self.changes.next() => events?.into_iter().map(|event| event.header.namespace).collect(),
            };
            changed.sort();
            changed.dedup();
            for namespace in changed {
                self.declare(namespace).await?;
            }
        }
    }

    async fn declare(&mut self, namespace: Namespace) -> anyhow::Result<()> {
        self.models.declare(&namespace, &self.all(&namespace, &["Artifact"]).await?);
        let declared = self.all(&namespace, &["Agent", "Toolset", "Policy"]).await?;
        // Compiling many policies takes a while.
        let declared = tokio::task::spawn_blocking(move || Declared::of(&declared)).await?;
        self.warn(&namespace, declared.warnings());
        self.runs.declare(namespace, declared).await?;
        Ok(())
    }

    /// Every resource of these kinds.
    async fn all(&self, namespace: &Namespace, kinds: &[&str]) -> anyhow::Result<Vec<Resource>> {
        let mut found = Vec::new();
        for kind in kinds {
            let mut after: Option<String> = None;
            loop {
                let page = self.control.list(namespace, Some(kind), after.as_deref(), 500).await?;
                found.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Says what is doubtful about policies and was not so before.
    fn warn(&mut self, namespace: &Namespace, warnings: &[String]) {
        let told = self.told.insert(namespace.clone(), warnings.iter().cloned().collect()).unwrap_or_default();
        let fresh: Vec<&String> = warnings.iter().filter(|warning| !told.contains(*warning)).collect();
        for warning in fresh.iter().take(MAX_WARNINGS) {
            tracing::warn!(%namespace, "{warning}");
        }
        if let Some(more) = fresh.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
            tracing::warn!(%namespace, more, "there are more such warnings");
        }
    }
}
