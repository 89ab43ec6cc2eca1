//! How agents and executions reach the connection task: bounded queues of texts ready to be sent, and one-shot
//! answers. A link belongs to one connection; what outlives the connection is in [`Host`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nx_types::{Problem, RunId};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    blob::Blobs,
    error::Error,
    frames::{self, Body, Effect, Found, Grant, MAX_INLINE_BYTES, Outcome, StepError},
    json,
};

/// What outlives a connection.
pub(crate) struct Host {
    /// All that is sent but calls, in order: a step's log lines before its outcome, its outcome before the run's end.
    pub(crate) out: mpsc::Sender<Out>,
    pub(crate) executions: TaskTracker,
    pub(crate) blobs: Blobs,
}

/// The outcome of a granted execution, on its way to the server by this connection or a later one.
pub(crate) struct Finished {
    pub(crate) epoch: u64,
    pub(crate) call: u64,
    pub(crate) run: RunId,
    pub(crate) grant: Grant,
    pub(crate) outcome: Outcome,
    /// Who waits for the call's next answer; nobody for a tool or an undo function.
    pub(crate) reply: Option<oneshot::Sender<Reply>>,
}

/// A call on its way to the server; it takes one credit.
pub(crate) struct CallOut {
    pub(crate) call: u64,
    pub(crate) run: RunId,
    pub(crate) effect: Effect,
    pub(crate) text: String,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// Anything else on its way to the server.
pub(crate) enum Out {
    /// A frame that nobody waits for, of a connection.
    Frame { epoch: u64, text: String },
    /// The answer of an agent within a call, with where to send the next one.
    Answer { epoch: u64, call: u64, text: String, reply: oneshot::Sender<Reply> },
    /// The outcome of a granted execution, which outlives its connection.
    Finished(Finished),
}

/// What the server answers to a call.
pub(crate) enum Reply {
    Result { value: Value, live: bool },
    Error(StepError),
    Refused(Problem),
    Execute(Execute),
    Probe { idempotency_key: Option<String>, args: Value, grant: Grant },
}

pub(crate) struct Execute {
    pub(crate) grant: Grant,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) args: Option<Value>,
    pub(crate) timeout_ms: Option<u64>,
}

/// One connection, as agents see it.
pub(crate) struct Link {
    pub(crate) epoch: u64,
    pub(crate) max_frame_bytes: usize,
    pub(crate) next_call: AtomicU64,
    /// Log lines left out since the last one that was sent.
    pub(crate) left_out: AtomicU64,
    pub(crate) calls: mpsc::Sender<CallOut>,
    pub(crate) host: Arc<Host>,
}

impl Link {
    /// A fresh call number.
    pub(crate) fn call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends what may be lost: log lines, heartbeats. A line after lost ones says how many there were.
    pub(crate) fn tell(&self, frame: &mut frames::Worker) {
        let before = self.left_out.swap(0, Ordering::Relaxed);
        if let frames::Worker::Log { message, .. } = frame
            && before > 0
        {
            *message = format!("{message} ({before} lines before this one were left out)");
        }
        let sent = serde_json::to_string(frame)
            .is_ok_and(|text| self.host.out.try_send(Out::Frame { epoch: self.epoch, text }).is_ok());
        if !sent {
            let lost = u64::from(matches!(frame, frames::Worker::Log { .. }));
            self.left_out.fetch_add(before + lost, Ordering::Relaxed);
        }
    }

    /// The text of a frame; large values are uploaded and replaced by references.
    pub(crate) async fn seal(&self, run: RunId, frame: &mut frames::Worker) -> Result<String, Error> {
        let text = write(frame)?;
        if text.len() <= MAX_INLINE_BYTES {
            return Ok(text);
        }
        for value in values_of(frame).into_iter().flatten() {
            self.host.blobs.pack(run, value).await?;
        }
        let text = write(frame)?;
        if text.len() > self.max_frame_bytes {
            return Err(Error::usage(format!(
                "a frame of {} bytes is longer than the server's {}; put less into names and options",
                text.len(),
                self.max_frame_bytes
            )));
        }
        Ok(text)
    }

    /// A value as the server sent it, fetched if it is a reference.
    pub(crate) async fn open(&self, run: RunId, value: Value) -> Result<Value, Error> {
        match json::blob_of(&value) {
            None => Ok(value),
            Some(id) => self.host.blobs.fetch(run, id).await,
        }
    }
}

fn write(frame: &frames::Worker) -> Result<String, Error> {
    serde_json::to_string(frame).map_err(|error| Error::Protocol { reason: error.to_string().into_boxed_str() })
}

/// The values of a frame that may be large.
fn values_of(frame: &mut frames::Worker) -> [Option<&mut Value>; 2] {
    match frame {
        frames::Worker::Step(step) => {
            let outcome = match &mut step.outcome {
                Some(Outcome::Ok(value)) => Some(value),
                _ => None,
            };
            let argument = match &mut step.body {
                Body::Code { args, .. }
                | Body::Tool { args }
                | Body::Approval { args }
                | Body::Infer { args }
                | Body::Emit { args } => Some(args),
                Body::Child { input, .. } => Some(input),
                _ => None,
            };
            [outcome, argument]
        }
        frames::Worker::Done { outcome: Outcome::Ok(value), .. }
        | frames::Worker::Late { outcome: Outcome::Ok(value), .. }
        | frames::Worker::ToolDone { outcome: Outcome::Ok(value), .. }
        | frames::Worker::Probed { found: Found::Done(value), .. }
        | frames::Worker::Carry { state: value, .. }
        | frames::Worker::Complete { result: value, .. } => [Some(value), None],
        _ => [None, None],
    }
}
