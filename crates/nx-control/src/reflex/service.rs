//! Drives the engine: reads the log as it grows, writes what comes out, remembers the position.

use std::time::Duration;

use nx_journal::{Commit, Error as JournalError, Filter, Journal};
use nx_types::{ErrorCode as _, Seq};
use tokio_util::sync::CancellationToken;

use super::engine::{CURSOR, Engine, Outcome};
use crate::{Error, status, store::Store};

/// How often the position is stored although no reflex fired.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How far it must have moved to be worth a write.
const SAVE_DISTANCE: u64 = 4096;
/// How long a refused write waits before it is tried again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Runs until it is told to stop or the log closes.
pub(crate) async fn run(store: Store, stop: CancellationToken) -> Result<(), Error> {
    match Driver::start(store, stop).await {
        Ok(driver) => driver.run().await,
        Err(Error::Journal(JournalError::Closed)) => Ok(()),
        Err(err) => Err(err),
    }
}

struct Driver {
    store: Store,
    stop: CancellationToken,
    engine: Option<Engine>,
    /// The position as stored.
    saved: Seq,
}

impl Driver {
    async fn start(store: Store, stop: CancellationToken) -> Result<Self, Error> {
        let journal = store.journal().clone();
        let stored = store.read(|reader| Ok(reader.cursor(CURSOR)?)).await?;
        let position = match stored {
            Some(position) => position,
            None => {
                let head = journal.head();
                journal.store_cursor(CURSOR, head).await?;
                head
            }
        };
        let max_event_bytes = journal.options().max_event_bytes;
        let reader = journal.reader();
        let (engine, outcome) = blocking(move || Engine::load(reader, position, max_event_bytes)).await?;
        let driver = Self { store, stop, engine: Some(engine), saved: position };
        driver.report(&outcome).await;
        Ok(driver)
    }

    async fn run(mut self) -> Result<(), Error> {
        loop {
            let result = self.follow().await;
            match result {
                Ok(true) => {}
                Ok(false) | Err(Error::Journal(JournalError::Closed)) => return Ok(()),
                Err(err) => return Err(err),
            }
        }
    }

    /// Follows the log with one set of types; `false` when it is over.
    async fn follow(&mut self) -> Result<bool, Error> {
        let Some(engine) = &self.engine else { return Err(Error::Stopped) };
        let filter = Filter { types: engine.types(), ..Filter::default() };
        let mut subscription = self.store.journal().subscribe(engine.position, filter);
        loop {
            let events = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                events = subscription.next() => Some(events?),
                () = tokio::time::sleep(SAVE_EVERY) => Some(Vec::new()),
            };
            let stopping = events.is_none();
            let events = events.unwrap_or_default();
            let engine = self.engine.take().ok_or(Error::Stopped)?;
            let (mut engine, outcome) = blocking(move || {
                let mut engine = engine;
                let outcome = engine.process(&events)?;
                Ok((engine, outcome))
            })
            .await?;
            if !outcome.again {
                // Everything up to here was looked at, wanted or not.
                engine.position = engine.position.max(subscription.position());
            }
            let position = engine.position;
            self.engine = Some(engine);
            self.write(&outcome, position, stopping).await?;
            self.report(&outcome).await;
            if stopping {
                return Ok(false);
            }
            if outcome.again {
                return Ok(true);
            }
        }
    }

    /// Writes actions and position in one commit. What the disk refuses for now is tried again until it is written.
    async fn write(&mut self, outcome: &Outcome, position: Seq, stopping: bool) -> Result<(), Error> {
        let moved = position.0.saturating_sub(self.saved.0);
        if outcome.events.is_empty() && moved < if stopping { 1 } else { SAVE_DISTANCE } {
            return Ok(());
        }
        match commit(self.store.journal(), outcome.commit(position), &self.stop).await {
            Ok(()) => {}
            Err(err @ (JournalError::TooLarge { .. } | JournalError::Invalid { .. })) => {
                tracing::error!(error = %err, "the log refused what reflexes wanted");
                let refused = outcome.refused(position, &err.to_string())?;
                commit(self.store.journal(), refused, &self.stop).await?;
            }
            Err(err) => return Err(err.into()),
        }
        self.saved = position;
        Ok(())
    }

    /// Conditions are not part of the record of what happened: a failure to store one is logged and passed over.
    async fn report(&self, outcome: &Outcome) {
        for (namespace, name, generation, ready) in &outcome.conditions {
            let reported = status::report(&self.store, namespace, "Reflex", name, *generation, ready).await;
            if let Err(err) = reported {
                tracing::warn!(error = %err, reflex = %name, "cannot store a reflex's status");
            }
        }
    }
}

/// Writes a commit, again and again while that may help. When told to stop, it stops trying.
pub(crate) async fn commit(journal: &Journal, commit: Commit, stop: &CancellationToken) -> Result<(), JournalError> {
    let (mut pause, longest) = BACKOFF;
    loop {
        match journal.commit(commit.clone()).await {
            Ok(_) => return Ok(()),
            Err(err) if err.retryable() => {
                tracing::warn!(error = %err, "the log is not writable for now");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(err),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(longest);
            }
            Err(err) => return Err(err),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_err| Error::Stopped)?
}
