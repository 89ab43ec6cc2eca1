//! The newest events in memory, so that those who follow the log live need not read them from disk again. Bounded; who
//! falls behind it reads from disk.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{Event, Filter};

const MAX_EVENTS: usize = 8192;
const MAX_BYTES: usize = 4 << 20;
/// Events looked at in one go: the writer waits for no longer than that.
const MAX_LOOK: u64 = 256;

/// The newest events, without a gap. Kept only while somebody follows.
#[derive(Default)]
pub(crate) struct Tail {
    followers: AtomicUsize,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    first: u64,
    events: VecDeque<Event>,
    bytes: usize,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("followers", &self.followers).finish_non_exhaustive()
    }
}

fn bytes_of(event: &Event) -> usize {
    // What a header takes beside the data, roughly.
    512 + event.data.bytes().map_or(0, <[u8]>::len)
}

impl Tail {
    /// Whether anybody follows.
    pub(crate) fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Takes over events that have become durable.
    pub(crate) fn publish(&self, events: &mut Vec<Event>) {
        let Some(first) = events.first().map(|event| event.header.seq.0) else { return };
        let mut ring = self.lock();
        if ring.first + ring.events.len() as u64 != first {
            *ring = Ring { first, ..Ring::default() };
        }
        for event in events.drain(..) {
            ring.bytes += bytes_of(&event);
            ring.events.push_back(event);
        }
        while ring.events.len() > MAX_EVENTS || ring.bytes > MAX_BYTES {
            let Some(event) = ring.events.pop_front() else { break };
            ring.bytes -= bytes_of(&event);
            ring.first += 1;
        }
    }

    /// Forgets everything, as erasing demands.
    pub(crate) fn clear(&self) {
        *self.lock() = Ring::default();
    }

    /// At most `limit` events that the filter wants, from a place on, and the place behind the last one looked at;
    /// `None` if that place is not held.
    pub(crate) fn read(&self, from: u64, head: u64, limit: usize, filter: &Filter) -> Option<(Vec<Event>, u64)> {
        let ring = self.lock();
        let skip = from.checked_sub(ring.first)?;
        let end = (ring.first + ring.events.len() as u64).min(head).min(from + MAX_LOOK);
        if from >= end {
            return None;
        }
        let mut found = Vec::new();
        let mut next = from;
        for event in ring.events.range(usize::try_from(skip).ok()?..).take((end - from) as usize) {
            next += 1;
            if filter.matches(&event.header) {
                found.push(event.clone());
                if found.len() >= limit {
                    break;
                }
            }
        }
        Some((found, next))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the tail alive for one who follows the log.
#[derive(Debug)]
pub(crate) struct Follower(Arc<Tail>);

impl Follower {
    pub(crate) fn new(tail: Arc<Tail>) -> Self {
        tail.followers.fetch_add(1, Ordering::Relaxed);
        Self(tail)
    }

    pub(crate) fn tail(&self) -> &Tail {
        &self.0
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.0.followers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.clear();
        }
    }
}
