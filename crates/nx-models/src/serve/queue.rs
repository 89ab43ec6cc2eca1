//! The way into a version: requests wait here for its threads. Its bound is the permits that requests hold.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{Done, streams::Turn};
use crate::{Error, input::Samples};

/// A request, on its way to a thread.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) samples: Arc<Samples>,
    pub(crate) queued: Instant,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<Done, Error>>,
    /// Its turn in a stream.
    pub(crate) turn: Option<Turn>,
    /// Given back when the request is over.
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Job {
    /// Answers. Whoever asked may have gone.
    pub(crate) fn answer(self, result: Result<Done, Error>) {
        // Its place is free by the time that its answer is there.
        drop(self.permit);
        drop(self.reply.send(result));
    }

    /// Whether nobody waits for it any longer.
    pub(crate) fn is_over(&self) -> bool {
        self.reply.is_closed() || Instant::now() >= self.deadline
    }
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whatever a panicking thread left there is a list of whole requests.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request; false when the queue is closed.
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// The next requests, `most` at most: as many as wait, or as come until the first has waited for `wait` or one of them
    /// has no more time. `None` when the queue is closed and empty.
    pub(crate) fn take(&self, most: usize, wait: Duration) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            let Some(first) = waiting.jobs.front() else {
                if waiting.closed {
                    return None;
                }
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // Half of the time that is left belongs to the run.
            let hurry = waiting.jobs.iter().map(|job| job.queued + (job.deadline - job.queued) / 2).min();
            let until = hurry.unwrap_or(now).min(first.queued + wait);
            if waiting.jobs.len() >= most || waiting.closed || now >= until {
                let count = most.min(waiting.jobs.len());
                return Some(waiting.jobs.drain(..count).collect());
            }
            waiting = self.changed.wait_timeout(waiting, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes no more; what waits is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
