//! A control plane over a log in a folder of its own, which can be stopped and started again.

use std::{collections::BTreeMap, path::Path};

use nx_control::{ApplyOptions, Handle, Options, kinds};
use nx_journal::{Event, Filter, Journal, NewEvent};
use nx_types::{Env, EventType, Namespace, Seq, Subject, Timestamp};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) struct Stage {
    pub(crate) journal: Journal,
    pub(crate) handle: Handle,
    stop: CancellationToken,
    tasks: TaskTracker,
    running: Option<tokio::task::JoinHandle<Result<(), nx_control::Error>>>,
    log: nx_journal::Service,
}

pub(crate) fn default() -> Namespace {
    Namespace::default()
}

pub(crate) fn by(who: &str) -> ApplyOptions {
    ApplyOptions { dry_run: false, by: who.to_owned() }
}

impl Stage {
    /// Opens the log; no controller runs.
    pub(crate) fn quiet(dir: &Path, embedded: &[(&str, &'static str)]) -> Self {
        let (journal, log) = Journal::open(nx_journal::Options::new(dir), Env::system()).expect("the log opens");
        let mut options = Options::new(kinds());
        options.embedded =
            embedded.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes())).collect::<BTreeMap<_, _>>();
        options.file_roots = vec![dir.to_owned()];
        options.retry = nx_types::Duration::from_millis(20);
        let (service, handle) = nx_control::start(journal.clone(), options);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        drop(service);
        Self { journal, handle, stop, tasks, running: None, log }
    }

    /// Opens the log and runs the controllers.
    pub(crate) fn start(dir: &Path, embedded: &[(&str, &'static str)]) -> Self {
        let mut stage = Self::quiet(dir, embedded);
        let mut options = Options::new(kinds());
        options.embedded =
            embedded.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes())).collect::<BTreeMap<_, _>>();
        options.file_roots = vec![dir.to_owned()];
        options.retry = nx_types::Duration::from_millis(20);
        let (service, handle) = nx_control::start(stage.journal.clone(), options);
        stage.handle = handle;
        stage.running = Some(stage.tasks.spawn(service.run(stage.stop.clone())));
        stage
    }

    /// Stops the controllers, then closes the log.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            running.await.expect("the service ends").expect("the service ends well");
        }
        self.tasks.close();
        self.tasks.wait().await;
        let Self { journal, handle, log, .. } = self;
        journal.close().await;
        drop((journal, handle));
        log.run().await.expect("the log closes");
    }

    pub(crate) async fn apply(&self, manifest: &str) {
        let manifests = self.handle.parse(manifest).expect("parses");
        self.handle.apply(&default(), &manifests, &by("test")).await.expect("applies");
    }

    /// Writes an event of the test's own.
    pub(crate) async fn emit(&self, kind: &str, subject: &str, secs: u64, data: &Value) -> Seq {
        let mut event = NewEvent::new(
            default(),
            EventType::new(kind).expect("is a type"),
            Subject::new(subject).expect("is a subject"),
            data.to_string().into_bytes(),
        );
        event.occurred = Some(at(secs));
        self.journal.commit(nx_journal::Commit::of([event])).await.expect("is written").last
    }

    /// Everything in the log.
    pub(crate) fn events(&self, prefix: &str) -> Vec<Event> {
        let filter = Filter { types: vec![prefix.to_owned()], ..Filter::default() };
        self.journal.reader().events(Seq(0), 10_000, &filter).expect("reads")
    }

    /// Waits until that many events of the type are there; gives them.
    pub(crate) async fn wait(&self, prefix: &str, count: usize) -> Vec<Event> {
        let filter = Filter { types: vec![prefix.to_owned()], ..Filter::default() };
        let mut subscription = self.journal.subscribe(Seq(0), filter);
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(subscription.next().await.expect("more come"));
        }
        found
    }

    /// Waits until a resource's condition has the reason.
    pub(crate) async fn wait_reason(&self, kind: &str, name: &str, reason: &str) -> Value {
        let mut head = self.journal.watch_head();
        loop {
            head.borrow_and_update();
            let resource = self.handle.get(&default(), kind, name).await.expect("is there");
            if resource.status.pointer("/conditions/0/reason") == Some(&json!(reason)) {
                return resource.status;
            }
            head.changed().await.expect("the log is open");
        }
    }

    /// Waits until every reflex has seen all events that are there now: a last one passes through them.
    pub(crate) async fn settle(&self) {
        let before = self.events("settled.").len();
        if before == 0 {
            self.apply(
                "{kind: Reflex, metadata: {name: zz-settle}, spec: {on: settle.now, emit: {type: settled.now, data: {}}}}",
            )
            .await;
        }
        self.emit("settle.now", "test", 0, &json!({})).await;
        self.wait("settled.", before + 1).await;
    }
}

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + 1000 * secs.cast_signed())
}

pub(crate) fn data(event: &Event) -> Value {
    serde_json::from_slice(event.data.bytes().expect("is open")).expect("is JSON")
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder can be made")
}
