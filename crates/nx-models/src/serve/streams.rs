//! Streams: what a version whose model has states carries from one request of a stream to its next. It is held in memory, for
//! as long as somebody goes on asking, and moves on only with an answer whose decision is durable.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nx_infer::Tensor;
use tokio::time::Instant;

use crate::Error;

/// Bytes of a stream's state at most: one that grows with each step would never end.
const MAX_STATE_BYTES: u64 = 4 << 20;

/// A stream between two requests.
#[derive(Debug)]
struct Stream {
    state: Option<Vec<Tensor>>,
    step: u64,
    used: Instant,
    busy: bool,
}

/// The streams of a version.
#[derive(Debug)]
pub(crate) struct Streams {
    model: String,
    most: usize,
    idle: Duration,
    open: Mutex<BTreeMap<String, Stream>>,
}

/// A request's turn in its stream. Dropped without [`Turn::keep`], it leaves the stream as it was.
#[derive(Debug)]
pub(crate) struct Turn {
    streams: Arc<Streams>,
    key: String,
    state: Option<Vec<Tensor>>,
    next: Option<Vec<Tensor>>,
    step: u64,
    last: bool,
}

impl Streams {
    pub(crate) fn new(model: String, most: usize, idle: Duration) -> Self {
        Self { model, most, idle, open: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stream>> {
        // Whatever a panicking thread left there is a map of whole entries.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stream, or goes on with it. One request of a stream is answered at a time: they follow one another.
    pub(crate) fn enter(self: &Arc<Self>, key: &str, last: bool) -> Result<Turn, Error> {
        let mut open = self.lock();
        let now = Instant::now();
        open.retain(|_, stream| stream.busy || now - stream.used < self.idle);
        if !open.contains_key(key) && open.len() >= self.most {
            return Err(Error::StreamsFull { model: self.model.clone(), most: self.most });
        }
        let stream = open.entry(key.to_owned()).or_insert(Stream { state: None, step: 0, used: now, busy: false });
        if stream.busy {
            return Err(Error::StreamBusy { key: key.to_owned() });
        }
        stream.busy = true;
        let (state, step) = (stream.state.clone(), stream.step + 1);
        Ok(Turn { streams: self.clone(), key: key.to_owned(), state, next: None, step, last })
    }
}

impl Turn {
    /// The state to begin with; the model's first one in a new stream.
    pub(crate) fn state(&self) -> Option<&[Tensor]> {
        self.state.as_deref()
    }

    /// What the run has made of it.
    pub(crate) fn ran(&mut self, state: &[Tensor]) -> Result<(), Error> {
        let bytes = state.iter().map(|tensor| tensor.bytes() as u64).sum::<u64>();
        if bytes > MAX_STATE_BYTES {
            return Err(Error::TooLarge { what: "the state of the stream", bytes, max: MAX_STATE_BYTES });
        }
        self.next = Some(state.to_vec());
        Ok(())
    }

    /// Which request of the stream it is, from 1.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    /// The stream's name.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The answer stands: the stream moves on, or ends.
    pub(crate) fn keep(mut self) {
        let next = self.next.take();
        let mut open = self.streams.lock();
        if self.last {
            open.remove(&self.key);
        } else if let (Some(stream), Some(next)) = (open.get_mut(&self.key), next) {
            stream.state = Some(next);
            stream.step = self.step;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        let Some(stream) = open.get_mut(&self.key) else { return };
        stream.busy = false;
        stream.used = Instant::now();
        if stream.step == 0 {
            // It never began.
            open.remove(&self.key);
        }
    }
}
