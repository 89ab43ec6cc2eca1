//! What a function being executed knows of its call: the idempotency key to hand on, the attempt, signs of life.

use std::{fmt, sync::Arc};

use nx_types::RunId;
use serde::Serialize;

use crate::{
    ctx::Level,
    frames::{self, Grant},
    json,
    link::Link,
};

/// Longest text of a log line in bytes.
const LOG_BYTES: usize = 4000;
/// Longest progress detail in bytes.
const DETAIL_BYTES: usize = 1024;

/// One execution of a step, tool or undo function.
#[derive(Clone)]
pub struct Call {
    pub(crate) link: Arc<Link>,
    pub(crate) run: RunId,
    pub(crate) inc: u32,
    pub(crate) call: Option<u64>,
    pub(crate) grant: Option<Grant>,
    pub(crate) idempotency_key: Option<Arc<str>>,
    /// The step, tool or function, for people.
    pub(crate) name: Arc<str>,
}

impl Call {
    /// The key to hand to the outside, so that a repetition changes nothing more. The same over attempts and
    /// restarts. Empty for effects `code` and `read`, which need none.
    pub fn idempotency_key(&self) -> &str {
        self.idempotency_key.as_deref().unwrap_or_default()
    }

    /// The attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.grant.map_or(1, |grant| grant.attempt)
    }

    /// The run on whose behalf it is executed.
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// Says that it is alive and how far it is; at most 1 KiB of JSON, more is left out.
    pub fn heartbeat<T: Serialize + ?Sized>(&self, detail: &T) {
        let detail = json::encode(detail, "the heartbeat").ok().filter(|value| value.to_string().len() <= DETAIL_BYTES);
        let name = Some(self.name.to_string());
        self.link.tell(&mut frames::Worker::Heartbeat { run: self.run, inc: self.inc, call: self.call, name, detail });
    }

    /// Attaches a line to the step; at most 4 KiB. Lines beyond what the connection takes are left out.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        let of = (self.call, Some(self.name.to_string()));
        self.link.tell(&mut log_frame((self.run, self.inc), of, level, message.into()));
    }
}

/// A line of a run's incarnation, and of what within it: the call and its name, or neither.
pub(crate) fn log_frame(
    (run, inc): (RunId, u32),
    (call, name): (Option<u64>, Option<String>),
    level: Level,
    mut message: String,
) -> frames::Worker {
    message.truncate(message.floor_char_boundary(LOG_BYTES));
    frames::Worker::Log { run, inc, call, name, level: level.as_str().to_owned(), message }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("run", &self.run).field("grant", &self.grant).finish_non_exhaustive()
    }
}
