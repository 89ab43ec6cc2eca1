//! A worker's connection, seen from whoever carries it: texts in, batches of texts out. The carrier knows no frame.

use std::sync::Arc;

use neuraxis_sdk::frames::{self, MAX_FRAME_BYTES, MAX_INLINE_BYTES};
use nx_journal::Journal;
use nx_types::{Namespace, Problem, RunId, Subject};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::inlet::Inlet;
use crate::{
    engine::{Input, SessionId},
    error::Error,
};

/// Both ends of a worker's connection.
#[derive(Debug)]
pub struct Connection {
    /// From the worker. Dropping it hangs up.
    pub inbound: Inbound,
    /// To the worker. It ends when the engine closes the connection.
    pub outbound: Outbound,
}

/// The end that takes what the worker sends.
#[derive(Debug)]
pub struct Inbound {
    session: SessionId,
    inlet: Arc<Inlet>,
}

impl Inbound {
    pub(super) fn new(session: SessionId, inlet: Arc<Inlet>) -> Self {
        Self { session, inlet }
    }

    /// Takes one text frame. Waits while the engine's queue is full: back pressure on the socket. A malformed frame is
    /// answered by `goodbye` on the other end; only a closed engine is an error here.
    pub async fn text(&self, text: &str) -> Result<(), Error> {
        match parse(text) {
            Ok(frame) => self.frame(frame).await,
            Err(error) => self.malformed(error.problem()).await,
        }
    }

    /// Takes one frame that is parsed already (a worker within the process).
    pub async fn frame(&self, frame: frames::Worker) -> Result<(), Error> {
        self.inlet.send(Input::Frame { session: self.session, frame }).await
    }

    /// The connection lives: a ping or pong came. Renews the lease.
    pub async fn alive(&self) -> Result<(), Error> {
        self.inlet.send(Input::Alive { session: self.session }).await
    }

    /// The carrier refuses what came (a binary message, an oversize text): the engine says `goodbye`.
    pub async fn malformed(&self, problem: Problem) -> Result<(), Error> {
        self.inlet.send(Input::Malformed { session: self.session, problem }).await
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.inlet.hang_up(self.session);
    }
}

/// Reads a worker's frame.
pub fn parse(text: &str) -> Result<frames::Worker, Error> {
    if text.len() > MAX_FRAME_BYTES {
        return Err(Error::FrameTooLarge { bytes: text.len(), max: MAX_FRAME_BYTES });
    }
    serde_json::from_str(text).map_err(|error| Error::frame(error.to_string()))
}

/// A frame on its way to a worker.
#[derive(Debug)]
pub(super) struct Addressed {
    pub(super) frame: frames::Server,
    /// The run whose values it carries.
    pub(super) about: Option<(Namespace, RunId)>,
}

/// The end that gives what the worker is to get.
#[derive(Debug)]
pub struct Outbound {
    batches: mpsc::Receiver<Vec<Addressed>>,
    journal: Journal,
}

impl Outbound {
    pub(super) fn new(batches: mpsc::Receiver<Vec<Addressed>>, journal: Journal) -> Self {
        Self { batches, journal }
    }

    /// The next texts, to be written and then flushed once. `None`: the connection is to be closed.
    pub async fn texts(&mut self) -> Option<Vec<String>> {
        let batch = self.batches.recv().await?;
        let mut texts = Vec::with_capacity(batch.len());
        for addressed in batch {
            let mut text = serde_json::to_string(&addressed.frame).ok()?;
            if text.len() > MAX_INLINE_BYTES
                && let Some(about) = addressed.about
            {
                text = self.outlined(addressed.frame, about).await?;
            }
            texts.push(text);
        }
        Some(texts)
    }

    /// A frame whose large values stand in blobs, which the worker fetches.
    async fn outlined(&self, mut frame: frames::Server, (namespace, run): (Namespace, RunId)) -> Option<String> {
        for value in values(&mut frame) {
            let bytes = serde_json::to_vec(value).ok()?;
            if bytes.len() <= MAX_INLINE_BYTES {
                continue;
            }
            let subject = Subject::run(run).to_string();
            match self.journal.put_blob(namespace.clone(), subject, bytes).await {
                Ok(blob) => *value = json!({ "$blob": blob }),
                Err(error) => {
                    tracing::warn!(%run, %error, "a large value cannot be stored for its worker");
                    return None;
                }
            }
        }
        serde_json::to_string(&frame).ok()
    }

    /// The next frames as they are (a worker within the process).
    pub async fn frames(&mut self) -> Option<Vec<frames::Server>> {
        let batch = self.batches.recv().await?;
        Some(batch.into_iter().map(|addressed| addressed.frame).collect())
    }
}

/// The values of a frame that may be large.
fn values(frame: &mut frames::Server) -> Vec<&mut Value> {
    match frame {
        frames::Server::Start(start) => [&mut start.input].into_iter().chain(&mut start.state).collect(),
        frames::Server::Result { value, .. } => vec![value],
        frames::Server::Execute { args, .. } => args.iter_mut().collect(),
        frames::Server::Probe { args, .. } | frames::Server::Tool { args, .. } => vec![args],
        frames::Server::Undo { args, result, .. } => vec![args, result],
        _ => Vec::new(),
    }
}
