//! One connection from welcome to loss: the loop that moves frames, with credit, liveness and shutdown.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use nx_types::{Problem, RunId};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::{
    Session,
    connect::{BATCH_BYTES, Socket},
};
use crate::{
    ctx::Run,
    frames::{self, Effect, Grant, Outcome, Welcome},
    link::{CallOut, Finished, Link, Out, Reply},
};

/// Frames taken from a queue, or read, before the other side has its turn.
const TURN: usize = 256;

/// Outcomes of tools kept to be told again: nothing says that the server has taken them.
const TOLD: usize = 256;

/// How a connection ended.
pub(super) enum End {
    Shutdown,
    Lost(String),
    Goodbye { problem: Problem, retry_ms: Option<u64> },
}

/// A call without a terminal answer.
pub(super) struct Slot {
    pub(super) run: RunId,
    pub(super) effect: Effect,
    /// Who waits for the next answer.
    pub(super) reply: Option<oneshot::Sender<Reply>>,
    /// The outcome that was sent, until the server has answered to it.
    pub(super) told: Option<(Grant, Outcome)>,
    /// An answer that came while an execution went on.
    pub(super) early: Option<Reply>,
    /// The agent no longer waits for the call.
    pub(super) abandoned: bool,
}

/// A run being executed.
pub(super) struct Active {
    pub(super) run: Arc<Run>,
    /// Drops the agent silently.
    pub(super) gone: CancellationToken,
}

pub(super) struct Connection<'a> {
    pub(super) session: &'a mut Session,
    socket: Socket,
    pub(super) link: Arc<Link>,
    calls: mpsc::Receiver<CallOut>,
    pub(super) slots: HashMap<u64, Slot>,
    pub(super) runs: HashMap<RunId, Active>,
    pub(super) tools: usize,
    pub(super) credit: usize,
    /// Texts to be written with the next flush.
    pub(super) out: Vec<String>,
    dirty: bool,
    lease: Duration,
    heard: Instant,
    /// Agents are dropped and their runs given back.
    pub(super) release: CancellationToken,
}

enum Io {
    Flushed(Result<(), tungstenite::Error>),
    Read(Option<Result<Message, tungstenite::Error>>),
}

impl<'a> Connection<'a> {
    pub(super) fn new(session: &'a mut Session, socket: Socket, welcome: &Welcome) -> Self {
        let queue = session.options.queue.max(1);
        let (calls_sender, calls) = mpsc::channel(queue);
        let link = Link {
            epoch: session.epoch,
            max_frame_bytes: welcome.max_frame_bytes,
            next_call: AtomicU64::new(1),
            left_out: AtomicU64::new(0),
            calls: calls_sender,
            host: session.host.clone(),
        };
        let mut connection = Self {
            session,
            socket,
            link: Arc::new(link),
            calls,
            slots: HashMap::new(),
            runs: HashMap::new(),
            tools: 0,
            credit: welcome.credit.max(1) as usize,
            out: Vec::new(),
            dirty: false,
            lease: Duration::from_millis(welcome.lease_ms.max(300)),
            heard: Instant::now(),
            release: CancellationToken::new(),
        };
        for ((run, grant), outcome) in connection.session.late.clone() {
            connection.push(&frames::Worker::Late { run, grant, outcome });
        }
        connection
    }

    /// Moves frames until the connection ends; then drops what belongs to it.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> End {
        let end = match self.serve(shutdown).await {
            Ok(()) => {
                self.close().await;
                End::Shutdown
            }
            Err(end) => end,
        };
        self.runs.values().for_each(|active| active.gone.cancel());
        let unanswered = self.slots.into_values().filter_map(|slot| Some((slot.run, slot.told?)));
        self.session.late.extend(unanswered.map(|(run, (grant, outcome))| ((run, grant), outcome)));
        self.session.late.extend(self.session.told.drain(..));
        end
    }

    async fn serve(&mut self, shutdown: &CancellationToken) -> Result<(), End> {
        let mut tick = tokio::time::interval(self.lease / 3);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut calls, mut outs) = (Vec::with_capacity(TURN), Vec::with_capacity(TURN));
        loop {
            self.write()?;
            let draining = self.release.is_cancelled();
            let open = !self.dirty;
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !draining => return self.drain().await,
                io = next_io(&mut self.socket, self.dirty) => self.io(io)?,
                _n = self.session.out.recv_many(&mut outs, TURN), if open => {}
                _n = self.calls.recv_many(&mut calls, self.credit.min(TURN)), if open && self.credit > 0 => {}
                _now = tick.tick() => self.alive()?,
            }
            self.fill(&mut outs, &mut calls);
        }
    }

    /// Gathers what else is ready, so that one flush carries many frames.
    fn fill(&mut self, outs: &mut Vec<Out>, calls: &mut Vec<CallOut>) {
        if !self.dirty {
            while outs.len() < TURN
                && let Ok(out) = self.session.out.try_recv()
            {
                outs.push(out);
            }
            while calls.len() < self.credit.min(TURN)
                && let Ok(call) = self.calls.try_recv()
            {
                calls.push(call);
            }
        }
        for out in outs.drain(..) {
            self.outgoing(out);
        }
        for call in calls.drain(..) {
            self.credit = self.credit.saturating_sub(1);
            let CallOut { call, run, effect, text, reply } = call;
            self.slots
                .insert(call, Slot { run, effect, reply: Some(reply), told: None, early: None, abandoned: false });
            self.out.push(text);
        }
    }

    /// Hands gathered texts to the socket's buffer; the flush goes on beside reading.
    fn write(&mut self) -> Result<(), End> {
        if self.dirty || self.out.is_empty() {
            return Ok(());
        }
        let mut bytes = 0;
        let mut count = 0;
        for text in &mut self.out {
            if bytes > BATCH_BYTES {
                break;
            }
            bytes += text.len();
            count += 1;
            let message = Message::text(std::mem::take(text));
            self.socket.start_send_unpin(message).map_err(|error| End::Lost(error.to_string()))?;
        }
        self.out.drain(..count);
        self.dirty = true;
        Ok(())
    }

    fn io(&mut self, io: Io) -> Result<(), End> {
        match io {
            Io::Flushed(flushed) => {
                flushed.map_err(|error| End::Lost(error.to_string()))?;
                self.dirty = false;
                Ok(())
            }
            Io::Read(message) => {
                self.heard = Instant::now();
                self.message(message)?;
                for _ in 1..TURN {
                    let Some(message) = self.socket.next().now_or_never() else { break };
                    self.message(message)?;
                }
                Ok(())
            }
        }
    }

    fn message(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(frame) => self.dispatch(frame),
                Err(error) if of_a_kind_unknown(&text) => {
                    tracing::debug!(%error, "a frame of an unknown kind was passed over");
                    Ok(())
                }
                Err(error) => Err(End::Lost(format!("the server sent a frame that can't be read: {error}"))),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => Err(End::Lost("the server sent a binary frame".to_owned())),
            Some(Ok(Message::Close(_))) | None => Err(End::Lost("the server closed the connection".to_owned())),
            Some(Err(error)) => Err(End::Lost(error.to_string())),
        }
    }

    /// Checks that the server is alive and shows that the worker is.
    fn alive(&mut self) -> Result<(), End> {
        if self.heard.elapsed() > self.lease {
            return Err(End::Lost(format!("nothing was heard for {} ms", self.lease.as_millis())));
        }
        let ping = Message::Ping(tungstenite::Bytes::new());
        self.socket.start_send_unpin(ping).map_err(|error| End::Lost(error.to_string()))?;
        self.dirty = true;
        Ok(())
    }

    pub(super) fn push(&mut self, frame: &frames::Worker) {
        match serde_json::to_string(frame) {
            Ok(text) => self.out.push(text),
            Err(error) => tracing::error!(%error, "a frame could not be written"),
        }
    }

    /// Sends the outcome of an execution, under its call if that is this connection's, else as late.
    fn settle(&mut self, finished: Finished) {
        let here = finished.epoch == self.link.epoch;
        if finished.reply.is_none() {
            self.tools = self.tools.saturating_sub(usize::from(here));
        }
        match finished {
            Finished { call, run, grant, outcome, reply: None, .. } if here => {
                self.session.executing.remove(&(run, grant));
                if self.session.told.len() >= TOLD {
                    self.session.told.pop_front();
                }
                self.session.told.push_back(((run, grant), outcome.clone()));
                self.push(&frames::Worker::ToolDone { call, outcome });
            }
            Finished { call, run, grant, outcome, reply: Some(reply), .. }
                if here && self.slots.contains_key(&call) =>
            {
                self.session.executing.remove(&(run, grant));
                if let Some(slot) = self.slots.get_mut(&call) {
                    slot.told = Some((grant, outcome.clone()));
                }
                self.answer(call, reply, |connection| connection.push(&frames::Worker::Done { call, outcome }));
            }
            finished => {
                let late = self.session.keep(finished);
                self.push(&late);
            }
        }
    }

    /// What agents and executions send; of an earlier connection only outcomes count.
    fn outgoing(&mut self, out: Out) {
        match out {
            Out::Frame { epoch, text } if epoch == self.link.epoch => self.out.push(text),
            Out::Answer { epoch, call, text, reply } if epoch == self.link.epoch => {
                self.answer(call, reply, |connection| connection.out.push(text));
            }
            Out::Finished(finished) => self.settle(finished),
            Out::Frame { .. } | Out::Answer { .. } => {}
        }
    }

    /// Sends an agent's answer within a call and notes who waits for the next; if the server was faster, its answer
    /// counts and this one is stale.
    fn answer(&mut self, call: u64, reply: oneshot::Sender<Reply>, send: impl FnOnce(&mut Self)) {
        let Some(slot) = self.slots.get_mut(&call) else { return };
        match slot.early.take() {
            None => {
                slot.reply = Some(reply);
                send(self);
            }
            Some(early) => {
                slot.reply = Some(reply);
                self.deliver(call, early);
            }
        }
    }

    /// Stops all agents, gives their runs back once their granted executions have ended, and waits for that.
    async fn drain(&mut self) -> Result<(), End> {
        self.release.cancel();
        self.session.agents.close();
        self.session.host.executions.close();
        let (agents, executions) = (self.session.agents.clone(), self.session.host.executions.clone());
        let ended = async move {
            agents.wait().await;
            executions.wait().await;
        };
        let mut ended = Box::pin(tokio::time::timeout(self.session.options.shutdown_grace, ended));
        let (mut calls, mut outs) = (Vec::new(), Vec::new());
        let mut done = false;
        loop {
            self.write()?;
            let open = !self.dirty;
            if done && open && self.out.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                io = next_io(&mut self.socket, self.dirty) => self.io(io)?,
                _n = self.session.out.recv_many(&mut outs, TURN), if open => {}
                ended = &mut ended, if !done => {
                    done = true;
                    if ended.is_err() {
                        tracing::warn!("granted executions were still going on when the worker stopped");
                    }
                }
            }
            self.fill(&mut outs, &mut calls);
        }
    }

    async fn close(&mut self) {
        let closed = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::debug!("the connection was not closed in good order");
        }
    }
}

/// A later server may say more than this worker understands.
fn of_a_kind_unknown(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Kind {
        t: String,
    }
    serde_json::from_str::<Kind>(text).is_ok_and(|kind| !frames::SERVER_KINDS.contains(&kind.t.as_str()))
}

/// The next thing that the socket does: a finished flush, if one is under way, or a message.
async fn next_io(socket: &mut Socket, dirty: bool) -> Io {
    std::future::poll_fn(|cx| {
        if dirty && let Poll::Ready(flushed) = socket.poll_flush_unpin(cx) {
            return Poll::Ready(Io::Flushed(flushed));
        }
        socket.poll_next_unpin(cx).map(Io::Read)
    })
    .await
}
