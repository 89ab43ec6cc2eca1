//! What the surfaces hold: cheap to clone, asynchronous, typed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nx_guard::call::Scores;
use nx_journal::{Journal, Reader};
use nx_types::{ApprovalId, BlobId, Namespace, RunId, Subject, Timestamp};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{
    ApprovalFilter, ApprovalView, BulkRetried, Connection, DecisionFilter, DecisionView, ForkRequest, Inbound,
    ModelAnswer, Options, Outbound, Page, Paged, Peer, PolicyDiff, RuleProposal, Ruling, RunFilter, RunSummary,
    RunView, RunWatch, SessionRequest, SignalRequest, StartRequest, Started, StepsPage, WhyNode, WorkerView, decisions,
    inlet::Inlet, lists, policies, show, transport::Addressed, watch::Watchers,
};
use crate::{
    engine::{Input, Request, Response, SessionId, Ticket},
    error::Error,
    kinds::Declared,
    machine::{Guarded, Reported},
    why,
};

/// What the handle and the driver share: where answers and frames go.
#[derive(Debug, Default)]
pub(super) struct Shared {
    numbers: AtomicU64,
    pub(super) watchers: Arc<Watchers>,
    replies: Mutex<HashMap<Ticket, oneshot::Sender<Result<Response, Error>>>>,
    outbound: Mutex<HashMap<SessionId, mpsc::Sender<Vec<Addressed>>>>,
}

impl Shared {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn reply(&self, ticket: Ticket, answer: Result<Response, Error>) {
        let waiting = self.replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        if let Some(waiting) = waiting {
            // The asker may have gone; the answer is recorded either way.
            drop(waiting.send(answer));
        }
    }

    pub(super) fn outbound(&self, session: SessionId) -> Option<mpsc::Sender<Vec<Addressed>>> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner).remove(&session)
    }
}

/// Everything that can be asked of runs.
#[derive(Debug, Clone)]
pub struct Handle {
    journal: Journal,
    inlet: Arc<Inlet>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    outbound_batches: usize,
    shown_whole: u64,
}

impl Handle {
    pub(super) fn new(journal: Journal, inlet: Arc<Inlet>, options: &Options, tasks: TaskTracker) -> Self {
        let outbound_batches = options.outbound_batches.max(1);
        let shown_whole = options.shown_whole;
        Self { journal, inlet, shared: Arc::default(), tasks, outbound_batches, shown_whole }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    async fn ask(&self, request: Request) -> Result<Response, Error> {
        let ticket = Ticket(self.shared.number());
        let (sender, answer) = oneshot::channel();
        self.shared.replies.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, sender);
        let sent = self.inlet.send(Input::Request { ticket, request: Box::new(request) }).await;
        if let Err(error) = sent {
            self.shared.replies.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
            return Err(error);
        }
        answer.await.map_err(|_dropped| Error::Closed)?
    }

    async fn done(&self, request: Request) -> Result<(), Error> {
        self.ask(request).await.map(drop)
    }

    async fn started(&self, request: Request) -> Result<Started, Error> {
        match self.ask(request).await? {
            Response::Started(started) => Ok(started),
            _ => Err(Error::Closed),
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let reader = self.journal.reader();
        self.tasks.spawn_blocking(move || read(&reader)).await.map_err(|_panic| Error::Closed)?
    }

    /// Starts a run; with a key, or finds the one that has it. Durable when it returns.
    pub async fn start(&self, request: StartRequest) -> Result<Started, Error> {
        self.started(Request::Start(request)).await
    }

    /// Hands a model's answer to the step that waits for it. Durable when it returns.
    pub(super) async fn answered(&self, answer: ModelAnswer) -> Result<(), Error> {
        self.done(Request::Answered(Box::new(answer))).await
    }

    /// Cancels a run: its agent is stopped, completed steps are undone in reverse.
    pub async fn cancel(&self, namespace: Namespace, run: RunId, by: String, reason: String) -> Result<(), Error> {
        self.done(Request::Cancel { namespace, run, by, reason }).await
    }

    /// Sends a signal.
    pub async fn signal(&self, namespace: Namespace, run: RunId, signal: SignalRequest) -> Result<(), Error> {
        self.done(Request::Signal { namespace, run, signal }).await
    }

    /// Re-opens a failed run: recorded steps keep, the failed one is tried again.
    pub async fn retry(&self, namespace: Namespace, run: RunId, by: String) -> Result<(), Error> {
        self.done(Request::Retry { namespace, run, by }).await
    }

    /// Re-opens all failed runs that the filter shows, at most `limit` of them (1,000 in one call at most).
    pub async fn bulk_retry(
        &self,
        namespace: Namespace,
        filter: RunFilter,
        limit: usize,
        by: String,
    ) -> Result<BulkRetried, Error> {
        let filter = RunFilter { status: Some(super::RunStatus::Failed), ..filter };
        let page = Page { cursor: None, limit: Some(limit) };
        let runs = self.list(namespace.clone(), filter, page).await?;
        let mut done = BulkRetried::default();
        for run in runs.items {
            match self.retry(namespace.clone(), run.id, by.clone()).await {
                Ok(()) => done.retried.push(run.id),
                Err(error) => done.skipped.push((run.id, error.problem())),
            }
        }
        Ok(done)
    }

    /// Forks a run.
    pub async fn fork(&self, namespace: Namespace, fork: ForkRequest) -> Result<Started, Error> {
        self.started(Request::Fork { namespace, fork }).await
    }

    /// Decides on an approval, and shows it as it stands then.
    pub async fn decide(&self, namespace: Namespace, id: ApprovalId, ruling: Ruling) -> Result<ApprovalView, Error> {
        self.done(Request::Decide { namespace: namespace.clone(), approval: id, ruling }).await?;
        self.approval(namespace, id).await
    }

    /// Opens the session of a program that is not ours.
    pub async fn open_session(&self, request: SessionRequest) -> Result<RunId, Error> {
        self.started(Request::OpenSession(Box::new(request))).await.map(|started| started.run)
    }

    /// A session's program asks or reports. `scores` are what detectors say of what it reports.
    pub async fn report(
        &self,
        namespace: Namespace,
        run: RunId,
        reported: Reported,
        scores: Scores,
    ) -> Result<Option<Guarded>, Error> {
        let reported = Box::new(reported);
        match self.ask(Request::Report { namespace, run, reported, scores }).await? {
            Response::Guarded(guarded) => Ok(Some(*guarded)),
            _ => Ok(None),
        }
    }

    /// What the guard decided about a call, and why: the newest decision of a step (`r_…/3`), a run, an approval, or what
    /// else [`Handle::why`] finds.
    /// With what is declared today it says what would change the outcome.
    pub async fn decision(
        &self,
        namespace: Namespace,
        target: String,
        declared: Option<Arc<Declared>>,
    ) -> Result<DecisionView, Error> {
        let find = move |reader: &Reader| {
            let policies = declared.as_ref().map(|declared| declared.policies()).transpose()?;
            decisions::find(reader, &namespace, &target, policies)
        };
        self.read(find).await
    }

    /// What the policies `after` would decide about calls that were recorded under `before`, and that those decide
    /// otherwise.
    pub async fn policy_diff(
        &self,
        namespace: Namespace,
        before: Declared,
        after: Declared,
        since: Option<Timestamp>,
    ) -> Result<PolicyDiff, Error> {
        self.read(move |reader| policies::diff_of(reader, &namespace, (before.policies()?, after.policies()?), since))
            .await
    }

    /// The narrowest rule that would have answered the question of a decision, and what else it would have let through.
    pub async fn propose_rule(
        &self,
        namespace: Namespace,
        target: String,
        declared: Arc<Declared>,
        reason: String,
        since: Option<Timestamp>,
    ) -> Result<RuleProposal, Error> {
        self.read(move |reader| policies::propose(reader, &namespace, (&declared, &target), (&reason, since))).await
    }

    /// Decisions, newest first.
    pub async fn decisions(
        &self,
        namespace: Namespace,
        filter: DecisionFilter,
        page: Page,
    ) -> Result<Paged<DecisionView>, Error> {
        self.read(move |reader| decisions::list(reader, &namespace, &filter, &page)).await
    }

    /// The connected workers.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, Error> {
        match self.ask(Request::Workers).await? {
            Response::Workers(workers) => Ok(workers),
            _ => Err(Error::Closed),
        }
    }

    /// Tells the engine all that is declared in a namespace (kinds Agent and Toolset), replacing what it knew.
    pub async fn declare(&self, namespace: Namespace, declared: Declared) -> Result<(), Error> {
        self.inlet.send(Input::Declared { namespace, declared }).await
    }

    /// Opens a worker's connection. The first frame must be `hello`.
    pub async fn connect(&self, peer: Peer) -> Result<Connection, Error> {
        let session = SessionId(self.shared.number());
        let (sender, batches) = mpsc::channel(self.outbound_batches);
        self.shared.outbound.lock().unwrap_or_else(PoisonError::into_inner).insert(session, sender);
        let connected = self.inlet.send(Input::Connected { session, peer }).await;
        if let Err(error) = connected {
            drop(self.shared.outbound(session));
            return Err(error);
        }
        let inbound = Inbound::new(session, self.inlet.clone());
        Ok(Connection { inbound, outbound: Outbound::new(batches, self.journal.clone()) })
    }

    /// Keeps a worker's large value (JSON bytes): what `{"$blob": ID}` in a frame stands for.
    pub async fn put_value(&self, namespace: Namespace, run: RunId, bytes: Vec<u8>) -> Result<BlobId, Error> {
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| Error::value(error.to_string()))?;
        nx_types::json::check(&value).map_err(|error| Error::value(error.to_string()))?;
        drop(value);
        let subject = Subject::run(run);
        Ok(self.journal.put_blob(namespace, subject.as_str().to_owned(), bytes).await?)
    }

    /// A large value that the server sent to a worker as `{"$blob": ID}`.
    pub async fn value(&self, id: BlobId) -> Result<Vec<u8>, Error> {
        self.read(move |reader| {
            let found = reader.blob(&id)?;
            found.ok_or_else(|| Error::value(format!("no blob `{id}` is known")))
        })
        .await
    }

    /// A run with its newest thousand steps.
    pub async fn get(&self, namespace: Namespace, run: RunId) -> Result<RunView, Error> {
        self.show(namespace, run, StepsPage::default()).await
    }

    /// A run with a page of its steps.
    pub async fn show(&self, namespace: Namespace, run: RunId, page: StepsPage) -> Result<RunView, Error> {
        let whole = self.shown_whole;
        let of = namespace.clone();
        let mut view = self.read(move |reader| show::run(reader, (&of, run), page, whole)).await?;
        if view.summary.status == super::RunStatus::Running {
            // What is not recorded is with the engine alone; once that has stopped, nothing is executed any more.
            if let Ok(Response::Progress(progress)) = self.ask(Request::Progress { namespace, run }).await {
                view.progress = progress;
            }
        }
        Ok(view)
    }

    /// Runs, newest first.
    pub async fn list(&self, namespace: Namespace, filter: RunFilter, page: Page) -> Result<Paged<RunSummary>, Error> {
        self.read(move |reader| lists::runs(reader, &namespace, &filter, &page)).await
    }

    /// The run whose id starts so (with or without `r_`), if it is the only one.
    pub async fn resolve_run(&self, namespace: Namespace, prefix: String) -> Result<RunId, Error> {
        self.read(move |reader| lists::resolve_run(reader, &namespace, &prefix)).await
    }

    /// The approval whose id starts so (with or without `a_`), if it is the only one.
    pub async fn resolve_approval(&self, namespace: Namespace, prefix: String) -> Result<ApprovalId, Error> {
        self.read(move |reader| lists::resolve_approval(reader, &namespace, &prefix)).await
    }

    /// Approvals, newest first.
    pub async fn approvals(
        &self,
        namespace: Namespace,
        filter: ApprovalFilter,
        page: Page,
    ) -> Result<Paged<ApprovalView>, Error> {
        self.read(move |reader| lists::approvals(reader, &namespace, &filter, &page)).await
    }

    /// An approval.
    pub async fn approval(&self, namespace: Namespace, id: ApprovalId) -> Result<ApprovalView, Error> {
        self.read(move |reader| lists::approval(reader, &namespace, id)).await
    }

    /// Why something happened: its causes, and theirs. The target is a run, an approval, `RUN/STEP`, a run's key as
    /// `AGENT/KEY`, an event's seq, or a subject.
    pub async fn why(&self, namespace: Namespace, target: String) -> Result<WhyNode, Error> {
        self.read(move |reader| why::why(reader, &namespace, &target)).await
    }

    /// The events of a run after its event number `after`, decoded, first those recorded, then each new one.
    pub fn watch(&self, namespace: Namespace, run: RunId, after: u64) -> RunWatch {
        RunWatch::new(self.clone(), self.shared.watchers.clone(), self.journal.clone(), (namespace, run, after))
    }
}
