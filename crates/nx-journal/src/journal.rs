//! The handle and the service: commits queue up, one writer thread writes them in groups and acknowledges what is
//! durable.

use std::{sync::Arc, thread, time::Duration};

use nx_types::{BlobId, Env, Namespace, Origin, Seq};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Commit, Core, DoctorReport, ErasureReport, Error, Filter, GcReport, Options, Reader, Receipt, RetentionPolicy,
    Stats, Subscription,
    backend::{Backend, sqlite::SqliteBackend},
    core::{Admin, before},
    tail::{Follower, Tail},
    writer,
};

/// Called on the writer thread with a commit's outcome, after it is durable. It must be cheap and must not block.
pub type Done = Box<dyn FnOnce(Result<Receipt, Error>) + Send>;

pub(crate) enum Message {
    Commit { commit: Commit, done: Done },
    Task(Task),
    Close,
}

/// Work on the writer thread; it hands back what tells the caller, to be called after the head is published.
pub(crate) type Task = Box<dyn FnOnce(&mut dyn Admin) -> Box<dyn FnOnce()> + Send>;

/// A log, open for writing. Cheap to clone; the log closes when [`Journal::close`] is called or the last handle goes.
#[derive(Debug, Clone)]
pub struct Journal {
    queue: mpsc::Sender<Message>,
    head: watch::Receiver<Seq>,
    reader: Reader,
    tail: Arc<Tail>,
    origin: Origin,
    env: Env,
    options: Arc<Options>,
}

/// The writer thread, to be joined at shutdown.
#[derive(Debug)]
pub struct Service {
    thread: thread::JoinHandle<()>,
}

impl Service {
    /// Waits until the log is closed and everything that was queued is written.
    pub async fn run(self) -> Result<(), Error> {
        let joined = tokio::task::spawn_blocking(move || self.join()).await;
        joined.map_err(|_err| Error::Closed)?
    }

    /// As [`Service::run`], blocking.
    pub fn join(self) -> Result<(), Error> {
        self.thread.join().map_err(|_panic| Error::Closed)
    }
}

impl Journal {
    /// Opens the log of a data directory, or creates it. It blocks while the disk works.
    pub fn open(options: Options, env: Env) -> Result<(Self, Service), Error> {
        let backend = SqliteBackend::open(&options)?;
        let core = Core::open(backend, &options, env)?;
        Self::start(core, options)
    }

    /// Runs an opened log.
    pub fn start<B: Backend + 'static>(core: Core<B>, options: Options) -> Result<(Self, Service), Error> {
        let (queue, commits) = mpsc::channel(options.queue.max(1));
        let (publish, head) = watch::channel(core.head());
        let (reader, tail) = (core.reader(), core.tail());
        let (origin, env) = (core.origin(), core.env().clone());
        let options = Arc::new(options);
        let limits = options.clone();
        let thread = thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || writer::run(core, commits, &publish, &limits))
            .map_err(Error::file("start the writer thread of", &options.dir))?;
        Ok((Self { queue, head, reader, tail, origin, env, options }, Service { thread }))
    }

    /// Writes a commit; returns when it is durable. Waits while the queue is full.
    pub async fn commit(&self, commit: Commit) -> Result<Receipt, Error> {
        let (done, outcome) = oneshot::channel();
        let done: Done = Box::new(move |result| drop(done.send(result)));
        self.queue.send(Message::Commit { commit, done }).await.map_err(|_err| Error::Closed)?;
        outcome.await.map_err(|_err| Error::Closed)?
    }

    /// Queues a commit; `done` is called on the writer thread after the group is durable, in the order of submission.
    /// A full queue is [`Error::Busy`], and then `done` is never called.
    pub fn submit(&self, commit: Commit, done: Done) -> Result<(), Error> {
        self.queue.try_send(Message::Commit { commit, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy { queue: self.options.queue },
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })
    }

    /// A view for reading, with blocking calls.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Events from a place on, first those recorded, then each new one as it becomes durable.
    pub fn subscribe(&self, from: Seq, filter: Filter) -> Subscription {
        let follower = Follower::new(self.tail.clone());
        let batch = self.options.subscription_batch;
        Subscription::new(self.reader.clone(), self.head.clone(), from, filter, (follower, batch))
    }

    /// The next free place: everything before it is durable.
    pub fn head(&self) -> Seq {
        *self.head.borrow()
    }

    /// Follows [`Journal::head`].
    pub fn watch_head(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// The log's identity.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Time and randomness of this log.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// What the log was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A stored reading position: the next seq to read. Blocks as [`Reader`] does.
    pub fn cursor(&self, name: &str) -> Result<Option<Seq>, Error> {
        self.reader.cursor(name)
    }

    /// Stores a reading position.
    pub async fn store_cursor(&self, name: &str, seq: Seq) -> Result<(), Error> {
        let commit = Commit { cursors: vec![(name.to_owned(), seq)], ..Commit::default() };
        self.commit(commit).await.map(drop)
    }

    /// Seals and stores content; durable when it returns. Attach it to an event by [`crate::NewEvent::blobs`], else
    /// garbage collection removes it.
    pub async fn put_blob(&self, namespace: Namespace, data_subject: String, bytes: Vec<u8>) -> Result<BlobId, Error> {
        if bytes.len() > self.options.max_blob_bytes {
            let max = self.options.max_blob_bytes;
            return Err(Error::TooLarge { what: "the blob".to_owned(), bytes: bytes.len(), max });
        }
        let key = {
            let namespace = namespace.clone();
            self.task(move |core| core.blob_key(&namespace, &data_subject)).await?
        };
        let env = self.env.clone();
        let blobs = self.reader.sealed_blobs().clone();
        let (key_id, size) = (key.0, bytes.len() as u64);
        let stored = tokio::task::spawn_blocking(move || crate::core::store_blob(&*blobs, &key, &env, &bytes)).await;
        let id = stored.map_err(|_err| Error::Closed)??;
        self.task(move |core| core.register_blob(id, key_id, size)).await?;
        Ok(id)
    }

    /// A blob's content; `None` if no such blob is known, [`Error::BlobErased`] if its key is gone. Blocks.
    pub fn blob(&self, id: &BlobId) -> Result<Option<Vec<u8>>, Error> {
        self.reader.blob(id)
    }

    /// Destroys a data subject's key and removes everything that it sealed; headers and proofs stay.
    pub async fn erase(
        &self,
        namespace: Namespace,
        data_subject: String,
        reason: String,
        by: String,
    ) -> Result<ErasureReport, Error> {
        let report = self.task(move |core| core.erase(&[(namespace, data_subject)], &reason, &by)).await?;
        self.finish_scrub().await?;
        Ok(report)
    }

    /// Waits until what was erased stands nowhere any more. A long reader holds it up; the log goes on meanwhile.
    async fn finish_scrub(&self) -> Result<(), Error> {
        while !self.task(|core| core.finish_scrub()).await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Erases data subjects that have lived long enough.
    pub async fn retention(&self, policy: RetentionPolicy) -> Result<ErasureReport, Error> {
        /// Keys of one transaction: the writer does other work in between.
        const BATCH: usize = 64;
        let limit = before(self.env.now(), policy.older_than);
        let keys = self.read(move |reader| reader.outlived(&policy, limit)).await?;
        let mut report = ErasureReport::default();
        for batch in keys.chunks(BATCH) {
            let batch = batch.to_vec();
            let part = self.task(move |core| core.erase_old(&batch, limit)).await?;
            report.keys.extend(part.keys);
            report.recorded.extend(part.recorded);
            report.events += part.events;
            report.rows += part.rows;
            report.blobs += part.blobs;
        }
        self.finish_scrub().await?;
        Ok(report)
    }

    /// Removes blobs that no header names and that are older than `older_than`.
    pub async fn gc(&self, older_than: nx_types::Duration) -> Result<GcReport, Error> {
        let now = self.env.now();
        let garbage = self.read(move |reader| reader.garbage(now, older_than)).await?;
        self.task(move |core| core.collect(garbage)).await
    }

    /// Wraps every data key by another master key. The caller puts the new key where the next opening finds it.
    pub async fn rotate_master(&self, master: crate::MasterKeySource) -> Result<u64, Error> {
        let count = self.task(move |core| core.rotate_master(&master)).await?;
        self.finish_scrub().await?;
        Ok(count)
    }

    /// Stores a signed checkpoint of a tree size.
    pub async fn store_checkpoint(&self, size: u64, note: Vec<u8>) -> Result<(), Error> {
        self.task(move |core| core.store_checkpoint(size, &note)).await
    }

    /// Size and root hash of the Merkle tree over everything durable.
    pub async fn tree(&self) -> Result<(u64, nx_types::Digest), Error> {
        self.task(|core| Ok(core.tree())).await
    }

    /// Checks the storage engine's structures, the disk, keys and blobs.
    pub async fn doctor(&self) -> Result<DoctorReport, Error> {
        let reserve = self.options.min_free_bytes;
        self.read(move |reader| reader.examine(reserve)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || read(&reader)).await.map_err(|_err| Error::Closed)?
    }

    /// Figures.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.task(|core| core.stats()).await
    }

    /// As [`Journal::stats`], blocking; not to be called from async code.
    pub fn stats_blocking(&self) -> Result<Stats, Error> {
        let (message, outcome) = task(|core| core.stats());
        self.queue.blocking_send(message).map_err(|_err| Error::Closed)?;
        outcome.blocking_recv().map_err(|_err| Error::Closed)?
    }

    /// Closes the log: what is queued is written, new commits get [`Error::Closed`]. [`Service::run`] then returns.
    pub async fn close(&self) {
        // A send to a closed log fails, and then there is nothing to close.
        drop(self.queue.send(Message::Close).await);
    }

    async fn task<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Admin) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (message, outcome) = task(work);
        self.queue.send(message).await.map_err(|_err| Error::Closed)?;
        outcome.await.map_err(|_err| Error::Closed)?
    }
}

fn task<T: Send + 'static>(
    work: impl FnOnce(&mut dyn Admin) -> Result<T, Error> + Send + 'static,
) -> (Message, oneshot::Receiver<Result<T, Error>>) {
    let (done, outcome) = oneshot::channel();
    let task: Task = Box::new(move |core| {
        let result = work(core);
        Box::new(move || drop(done.send(result)))
    });
    (Message::Task(task), outcome)
}
