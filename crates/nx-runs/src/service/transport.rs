//! A worker's connection, seen from whoever carries it: texts in, batches of texts out. The carrier knows no frame.

use std::sync::Arc;

use neuraxis_sdk::frames::{self, MAX_FRAME_BYTES};
use nx_types::Problem;
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

/// The end that gives what the worker is to get.
#[derive(Debug)]
pub struct Outbound {
    batches: mpsc::Receiver<Vec<frames::Server>>,
}

impl Outbound {
    pub(super) fn new(batches: mpsc::Receiver<Vec<frames::Server>>) -> Self {
        Self { batches }
    }

    /// The next texts, to be written and then flushed once. `None`: the engine has closed the connection.
    pub async fn texts(&mut self) -> Option<Vec<String>> {
        let frames = self.frames().await?;
        Some(frames.iter().filter_map(|frame| serde_json::to_string(frame).ok()).collect())
    }

    /// The next frames as they are (a worker within the process).
    pub async fn frames(&mut self) -> Option<Vec<frames::Server>> {
        self.batches.recv().await
    }
}
