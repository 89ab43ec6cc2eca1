//! The task that owns the engine: takes in what has queued up, hands out commits, and sends what has become durable.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use nx_journal::{Commit, Journal};
use nx_types::{Env, Subject, Timestamp};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Options, handle::Shared, inlet::Inlet, transport::Addressed};
use crate::{
    engine::{Engine, Input, Output, SessionId, Token, record},
    error::Error,
};

/// Inputs taken in before commits and frames go out.
const BATCH: usize = 1024;
/// A clock that is set forward is noticed within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Driver {
    engine: Engine,
    journal: Journal,
    env: Env,
    inlet: Arc<Inlet>,
    inputs: mpsc::Receiver<Input>,
    shared: Arc<Shared>,
    options: Options,
    tasks: TaskTracker,
    outbound: HashMap<SessionId, mpsc::Sender<Vec<Addressed>>>,
    batches: BTreeMap<SessionId, Vec<Addressed>>,
    /// Commits that wait for a blob of an earlier one of the same subject, in order.
    behind_blobs: HashMap<Subject, VecDeque<(Token, Commit)>>,
}

impl Driver {
    pub(super) fn new(
        engine: Engine,
        journal: Journal,
        (inlet, inputs): (Arc<Inlet>, mpsc::Receiver<Input>),
        shared: Arc<Shared>,
        options: Options,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            engine,
            env: journal.env().clone(),
            journal,
            inlet,
            inputs,
            shared,
            options,
            tasks,
            outbound: HashMap::new(),
            batches: BTreeMap::new(),
            behind_blobs: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut inputs = Vec::with_capacity(BATCH);
        loop {
            self.step(&mut inputs);
            let room = self.engine.in_flight() < self.options.commits_in_flight;
            let inlet = self.inlet.clone();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.shut_down().await,
                () = inlet.notify.notified() => {}
                received = self.inputs.recv_many(&mut inputs, BATCH), if room => {
                    if received == 0 {
                        return self.shut_down().await;
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let until = self.engine.wake().map(|at| at.since(self.env.now()).to_std());
        // A clock that is set back must not make the engine sleep through a deadline.
        now + until.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    /// One round: answers of the log first, then inputs, then what is due; then everything goes out.
    fn step(&mut self, inputs: &mut Vec<Input>) {
        let now = self.env.now();
        self.take_pending(now);
        for input in inputs.drain(..) {
            if let Input::Connected { session, .. } = &input
                && let Some(sender) = self.shared.outbound(*session)
            {
                self.outbound.insert(*session, sender);
            }
            self.engine.handle(input, now);
        }
        self.engine.tick(now);
        self.put_out();
    }

    fn take_pending(&mut self, now: Timestamp) {
        let pending = self.inlet.take();
        for (token, outcome) in pending.commits {
            let recorded = outcome.is_ok() && self.shared.watchers.any();
            let runs = if recorded { self.engine.runs_of(token) } else { Vec::new() };
            self.engine.committed(token, outcome);
            for run in runs {
                self.shared.watchers.tell(run);
            }
        }
        for session in pending.hangups {
            self.engine.handle(Input::Disconnected { session }, now);
            self.outbound.remove(&session);
        }
        for (token, commit) in pending.with_blobs {
            self.blob_ready(token, commit);
        }
    }

    fn put_out(&mut self) {
        for output in self.engine.drain() {
            match output {
                Output::Commit { token, commit } => self.commit(token, commit),
                Output::Send { session, frame, about } => {
                    self.batches.entry(session).or_default().push(Addressed { frame, about });
                }
                Output::Close { session } => {
                    self.flush(session);
                    self.outbound.remove(&session);
                }
                Output::Reply { ticket, answer } => self.shared.reply(ticket, answer),
            }
        }
        while let Some(session) = self.batches.keys().next().copied() {
            self.flush(session);
        }
    }

    /// Hands a session its frames. One that does not read them is closed: memory has a bound.
    fn flush(&mut self, session: SessionId) {
        let Some(batch) = self.batches.remove(&session) else { return };
        let Some(outbound) = self.outbound.get(&session) else { return };
        if outbound.try_send(batch).is_err() {
            tracing::warn!(session = session.0, "a worker does not read; its connection is closed");
            self.outbound.remove(&session);
            self.inlet.hang_up(session);
        }
    }

    fn commit(&mut self, token: Token, commit: Commit) {
        let subject = commit.events.first().map(|event| event.subject.clone());
        if let Some(subject) = subject {
            if let Some(queue) = self.behind_blobs.get_mut(&subject) {
                queue.push_back((token, commit));
                return;
            }
            let max = self.journal.options().max_event_bytes;
            if commit.events.iter().any(|event| event.data.len() > max) {
                self.behind_blobs.insert(subject, VecDeque::new());
                self.put_blobs(token, commit, max);
                return;
            }
        }
        self.submit(token, commit);
    }

    /// Submits a commit. The log's queue is longer than [`Options::commits_in_flight`]; should others have filled it, the
    /// commit is refused and the engine takes the run up again later.
    fn submit(&self, token: Token, commit: Commit) {
        let inlet = self.inlet.clone();
        let done = Box::new(move |outcome| inlet.committed(token, outcome));
        if let Err(error) = self.journal.submit(commit, done) {
            self.inlet.committed(token, Err(error));
        }
    }

    /// Moves large data into blobs, then goes on with the commit.
    fn put_blobs(&self, token: Token, mut commit: Commit, max: usize) {
        let (journal, inlet) = (self.journal.clone(), self.inlet.clone());
        self.tasks.spawn(async move {
            for event in commit.events.iter_mut().filter(|event| event.data.len() > max) {
                let data = std::mem::take(&mut event.data);
                let subject = event.data_subject.clone().unwrap_or_else(|| event.subject.to_string());
                match journal.put_blob(event.namespace.clone(), subject, data).await {
                    Ok(blob) => {
                        event.data = record::outside(blob);
                        event.blobs.push(blob);
                    }
                    Err(error) => {
                        inlet.blobs_put(token, Err((commit, error)));
                        return;
                    }
                }
            }
            inlet.blobs_put(token, Ok(commit));
        });
    }

    fn blob_ready(&mut self, token: Token, commit: Result<Commit, (Commit, nx_journal::Error)>) {
        let subject = match &commit {
            Ok(commit) | Err((commit, _)) => commit.events.first().map(|event| event.subject.clone()),
        };
        match commit {
            Ok(commit) => self.submit(token, commit),
            Err((_, error)) => self.engine.committed(token, Err(error)),
        }
        let waiting = subject.and_then(|subject| self.behind_blobs.remove(&subject));
        for (token, commit) in waiting.into_iter().flatten() {
            self.commit(token, commit);
        }
    }

    /// Workers are sent away with a date to come back, and commits in flight are awaited.
    async fn shut_down(mut self) -> Result<(), Error> {
        let now = self.env.now();
        self.engine.shut_down(now);
        self.put_out();
        let end = Instant::now() + self.options.shutdown_grace.to_std();
        while self.engine.in_flight() > 0 {
            let inlet = self.inlet.clone();
            tokio::select! {
                biased;
                () = inlet.notify.notified() => {}
                () = sleep_until(end) => {
                    tracing::warn!(commits = self.engine.in_flight(), "stopped with commits in flight");
                    break;
                }
            }
            let now = self.env.now();
            self.take_pending(now);
            self.put_out();
        }
        self.shared.watchers.close();
        Ok(())
    }
}
