//! The source controller: one replay per `Source` with a file, begun, changed and ended as resources come and go.

use std::{collections::BTreeMap, sync::Arc};

use nx_journal::{Error as JournalError, Event, Filter};
use nx_types::{Namespace, Resource, kind::parse_spec};
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::replay::Replay;
use crate::{
    Error, Options,
    kinds::source::SourceSpec,
    status::{Ready, report},
    store::{self, Store},
};

struct Playing {
    generation: u64,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

struct Controller {
    store: Store,
    options: Arc<Options>,
    stop: CancellationToken,
    tasks: TaskTracker,
    playing: BTreeMap<(Namespace, String), Playing>,
}

/// Runs until it is told to stop or the log closes.
pub(crate) async fn run(
    store: Store,
    options: Arc<Options>,
    stop: CancellationToken,
    tasks: TaskTracker,
) -> Result<(), Error> {
    let mut controller = Controller { store, options, stop, tasks, playing: BTreeMap::new() };
    let result = controller.follow().await;
    for playing in controller.playing.values() {
        playing.stop.cancel();
    }
    match result {
        Err(Error::Journal(JournalError::Closed)) => Ok(()),
        other => other,
    }
}

impl Controller {
    async fn follow(&mut self) -> Result<(), Error> {
        let journal = self.store.journal().clone();
        let types = vec!["resource.applied".to_owned(), "resource.deleted".to_owned()];
        // Subscribed before the first look, so that no change falls between.
        let mut subscription = journal.subscribe(journal.head(), Filter { types, ..Filter::default() });
        let existing = self
            .store
            .read(|reader| {
                let mut found = Vec::new();
                for namespace in store::namespaces(reader)? {
                    found.extend(store::all(reader, &namespace, "Source")?);
                }
                Ok(found)
            })
            .await?;
        for resource in existing {
            self.applied(&resource).await?;
        }
        loop {
            let events = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                events = subscription.next() => events?,
            };
            for event in &events {
                self.changed(event).await?;
            }
        }
    }

    async fn changed(&mut self, event: &Event) -> Result<(), Error> {
        let Some(name) = event.header.subject.as_str().strip_prefix("resource/Source/") else { return Ok(()) };
        let namespace = &event.header.namespace;
        // The event says that something changed; what is stored says what is wanted now.
        match self.store.get(namespace, "Source", name).await {
            Ok(resource) => self.applied(&resource).await,
            Err(Error::NotFound { .. }) => {
                self.end(&(namespace.clone(), name.to_owned())).await;
                Ok(())
            }
            Err(err) => Err(err),
        }
    }

    async fn end(&mut self, key: &(Namespace, String)) {
        if let Some(mut playing) = self.playing.remove(key) {
            playing.stop.cancel();
            if let Some(task) = playing.task.take() {
                // A task that panicked has ended as well.
                drop(task.await);
            }
        }
    }

    async fn applied(&mut self, resource: &Resource) -> Result<(), Error> {
        let (namespace, name) = (resource.metadata.namespace.clone(), resource.metadata.name.clone());
        let generation = resource.metadata.generation.unwrap_or_default();
        let key = (namespace.clone(), name.clone());
        if self.playing.get(&key).is_some_and(|playing| playing.generation == generation) {
            return Ok(());
        }
        self.end(&key).await;
        let spec = match parse_spec::<SourceSpec>(&resource.spec) {
            Ok(spec) => spec,
            Err(errors) => {
                let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                let ready = Ready::no("SpecRefused", message);
                return report(&self.store, &namespace, "Source", &name, generation, &ready).await;
            }
        };
        let stop = self.stop.child_token();
        let task = match spec.file.clone() {
            Some(file) => {
                let (store, options, stop) = (self.store.clone(), self.options.clone(), stop.clone());
                let replay = Replay { store, options, namespace, name, generation, spec, file, stop };
                Some(self.tasks.spawn(replay.run()))
            }
            None => {
                let ready = Ready::yes("Listening", "");
                report(&self.store, &namespace, "Source", &name, generation, &ready).await?;
                None
            }
        };
        self.playing.insert(key, Playing { generation, stop, task });
        Ok(())
    }
}
