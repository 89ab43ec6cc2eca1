//! What each frame of the server makes the worker do.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use nx_types::RunId;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::connection::{Active, Connection, End};
use crate::{
    Call, Ctx, Failure,
    ctx::{
        Run,
        drive::{attempt, pack, panicked},
    },
    error::Error,
    frames::{self, Effect, Found, Grant, Outcome, Server, Start, StepError},
    link::{Execute, Finished, Link, Out, Reply},
};

/// A tool or undo request of the server.
struct Request {
    call: u64,
    run: RunId,
    grant: Grant,
    idempotency_key: Option<String>,
    timeout_ms: Option<u64>,
    /// The tool or function, for people.
    name: String,
}

impl Connection<'_> {
    pub(super) fn dispatch(&mut self, frame: Server) -> Result<(), End> {
        match frame {
            Server::Result { call, value, live, reused: _ } => self.deliver(call, Reply::Result { value, live }),
            Server::Error { call, error, reused: _ } => self.deliver(call, Reply::Error(error)),
            Server::Refused { call: Some(call), problem } => self.deliver(call, Reply::Refused(problem)),
            Server::Refused { call: None, problem } => {
                tracing::warn!(%problem, "the server refused a frame");
            }
            Server::Execute { call, grant, idempotency_key, args, timeout_ms } => {
                self.deliver(call, Reply::Execute(Execute { grant, idempotency_key, args, timeout_ms }));
            }
            Server::Probe { call, grant, idempotency_key, args } => {
                self.deliver(call, Reply::Probe { idempotency_key, args, grant });
            }
            Server::Wait { call, why, .. } => tracing::debug!(call, ?why, "waits"),
            Server::Start(start) => self.start(*start),
            Server::Cancel { run, inc, reason } => self.cancel(run, inc, reason),
            Server::Closed { run, inc, state } => self.closed(run, inc, &state),
            Server::LateTaken { run, grant } => {
                self.session.late.remove(&(run, grant));
            }
            Server::Tool { call, run, grant, toolset, tool, args, idempotency_key, timeout_ms } => {
                let function = self.session.offers.tool(&toolset, &tool);
                let name = format!("{toolset}/{tool}");
                let what = format!("tool `{name}`");
                let args = Args { args, result: None };
                self.request(Request { call, run, grant, idempotency_key, timeout_ms, name }, function, &what, args);
            }
            Server::Undo { call, run, grant, agent: _, function: name, args, result, idempotency_key } => {
                let what = format!("function `{name}`");
                let function = self.session.offers.function(&name);
                let idempotency_key = Some(idempotency_key);
                let request = Request { call, run, grant, idempotency_key, timeout_ms: None, name };
                self.request(request, function, &what, Args { args, result: Some(result) });
            }
            Server::Goodbye { problem, retry_ms } => return Err(End::Goodbye { problem, retry_ms }),
            Server::Welcome(_) => return Err(End::Lost("the server said welcome twice".to_owned())),
        }
        Ok(())
    }

    /// Hands an answer to the agent that waits for it; a terminal one frees the call and its credit.
    pub(super) fn deliver(&mut self, call: u64, reply: Reply) {
        let Some(slot) = self.slots.get_mut(&call) else {
            tracing::debug!(call, "an answer came for a call that is closed");
            return;
        };
        let terminal = matches!(reply, Reply::Result { .. } | Reply::Error(_) | Reply::Refused(_));
        if let Reply::Execute(Execute { grant, .. }) = &reply
            && slot.effect != Effect::Code
        {
            self.session.executing.insert((slot.run, *grant));
        }
        slot.told = None;
        let waiting = slot.reply.take();
        let unheard = match waiting {
            Some(waiting) => waiting.send(reply).err(),
            None if slot.abandoned => Some(reply),
            None => {
                slot.early = Some(reply);
                return;
            }
        };
        if let Some(unheard) = unheard {
            slot.abandoned = true;
            let run = slot.run;
            self.abandoned(call, run, &unheard);
        }
        if terminal {
            self.slots.remove(&call);
            self.credit += 1;
        }
    }

    /// The agent no longer waits for a call (it dropped the future): nothing is executed.
    fn abandoned(&mut self, call: u64, run: RunId, reply: &Reply) {
        match reply {
            Reply::Execute(Execute { grant, .. }) => {
                self.session.executing.remove(&(run, *grant));
                let error = Failure::new("Abandoned", "the agent no longer waits for this step").retryable(false);
                let outcome = Outcome::Error(error.into_step_error());
                self.push(&frames::Worker::Done { call, outcome });
            }
            Reply::Probe { .. } => self.push(&frames::Worker::Probed { call, found: Found::Unknown }),
            Reply::Result { .. } | Reply::Error(_) | Reply::Refused(_) => {}
        }
    }

    fn start(&mut self, start: Start) {
        let (id, inc) = (start.run, start.inc);
        if let Some(older) = self.runs.remove(&id) {
            older.gone.cancel();
            self.forget(id);
        }
        let function = self.session.offers.agent(&start.agent);
        let full = self.runs.len() >= self.session.options.runs as usize;
        let Some(function) = function.filter(|_| !full && !self.release.is_cancelled()) else {
            tracing::warn!(run = %id, agent = %start.agent, "gives the run back: unknown agent, full or stopping");
            self.push(&frames::Worker::Release { run: id, inc });
            return;
        };
        tracing::debug!(run = %id, inc, recorded = start.recorded, "starts");
        let run = Arc::new(Run::new(self.link.clone(), start, self.release.child_token()));
        let gone = CancellationToken::new();
        let life = Life { run: run.clone(), gone: gone.clone(), cancel_grace: self.session.options.cancel_grace };
        self.session.agents.spawn(life.live(function));
        self.runs.insert(id, Active { run, gone });
    }

    fn cancel(&mut self, run: RunId, inc: u32, reason: String) {
        match self.runs.get(&run).filter(|active| active.run.inc() == inc) {
            Some(active) => active.run.cancel(reason),
            None => self.push(&frames::Worker::Stopped { run, inc }),
        }
    }

    fn closed(&mut self, run: RunId, inc: u32, state: &str) {
        if self.runs.get(&run).is_some_and(|active| active.run.inc() <= inc) {
            tracing::debug!(%run, inc, state, "closed");
            if let Some(active) = self.runs.remove(&run) {
                active.gone.cancel();
            }
            if !matches!(state, "completed" | "failed" | "cancelled") {
                self.tell_late(run);
            }
            self.forget(run);
        }
    }

    /// Outcomes that were sent and may have crossed the end of the incarnation.
    fn tell_late(&mut self, run: RunId) {
        let slots = self.slots.values_mut().filter(|slot| slot.run == run);
        let told: BTreeMap<Grant, Outcome> = slots.filter_map(|slot| slot.told.take()).collect();
        for (grant, outcome) in told {
            self.session.late.insert((run, grant), outcome.clone());
            self.push(&frames::Worker::Late { run, grant, outcome });
        }
    }

    /// Frees the calls of a run that is over here.
    fn forget(&mut self, run: RunId) {
        let before = self.slots.len();
        self.slots.retain(|_, slot| slot.run != run);
        self.credit += before - self.slots.len();
    }

    /// Executes a tool or undo function in a task that outlives the connection.
    fn request(&mut self, request: Request, function: Option<ToolFn>, name: &str, args: Args) {
        let refusal = match &function {
            None => Some(Failure::new("Unknown", format!("this worker serves no {name}")).retryable(true)),
            Some(_) if self.tools >= self.session.options.tools || self.release.is_cancelled() => {
                Some(Failure::new("Busy", "the worker executes as many tools as it may").retryable(true))
            }
            Some(_) => None,
        };
        let (Some(function), None) = (function, &refusal) else {
            let error = refusal.map_or_else(|| StepError::from(Failure::new("Unknown", name)), StepError::from);
            self.push(&frames::Worker::ToolDone { call: request.call, outcome: Outcome::Error(error) });
            return;
        };
        self.tools += 1;
        self.session.executing.insert((request.run, request.grant));
        self.session.host.executions.spawn(execute(self.link.clone(), request, function, args));
    }
}

type ToolFn = Arc<dyn Fn(Call, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;
type AgentFn = Arc<dyn Fn(Ctx, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

/// What a tool or undo function is called with, as it arrived.
struct Args {
    args: Value,
    /// Of the step to undo.
    result: Option<Value>,
}

impl Args {
    async fn open(self, link: &Link, run: RunId) -> Result<Value, Error> {
        let args = link.open(run, self.args).await?;
        match self.result {
            None => Ok(args),
            Some(result) => Ok(json!({"args": args, "result": link.open(run, result).await?})),
        }
    }
}

async fn execute(link: Arc<Link>, request: Request, function: ToolFn, args: Args) {
    let Request { call, run, grant, idempotency_key, timeout_ms, name } = request;
    let handle = Call {
        link: link.clone(),
        run,
        inc: 0,
        call: None,
        grant: Some(grant),
        idempotency_key: idempotency_key.as_deref().map(Arc::from),
        name: name.into(),
    };
    let work = async {
        let args = args.open(&link, run).await?;
        function(handle, args).await
    };
    let outcome = attempt(|| work, timeout_ms).await;
    let outcome = pack(&link, run, outcome).await;
    let finished = Finished { epoch: link.epoch, call, run, grant, outcome, reply: None };
    if link.host.out.send(Out::Finished(finished)).await.is_err() {
        tracing::warn!(%run, "an outcome was lost: the worker has stopped");
    }
}

/// One incarnation of an agent, from its top to its last frame.
struct Life {
    run: Arc<Run>,
    gone: CancellationToken,
    cancel_grace: std::time::Duration,
}

enum Ended {
    Returned(Result<Value, StepError>),
    Released,
    Dropped,
}

impl Life {
    async fn live(self, function: AgentFn) {
        let gone = self.gone.clone();
        tokio::select! {
            biased;
            () = gone.cancelled() => {}
            () = self.until_end(function) => {}
        }
    }

    async fn until_end(self, function: AgentFn) {
        let ended = self.agent(function).await;
        self.run.executions.close();
        self.run.executions.wait().await;
        let (run, inc) = (self.run.id(), self.run.inc());
        let frame = match ended {
            Ended::Released => frames::Worker::Release { run, inc },
            _ if self.run.is_cancelled() => frames::Worker::Stopped { run, inc },
            Ended::Returned(Ok(result)) => frames::Worker::Complete { run, inc, result },
            Ended::Returned(Err(error)) => frames::Worker::Fail { run, inc, error },
            Ended::Dropped => frames::Worker::Stopped { run, inc },
        };
        let ctx = Ctx::new(self.run.clone());
        if let Err(error) = ctx.send_end(frame).await {
            let error = StepError::from(Failure::from(error));
            tracing::warn!(%run, message = %error.message, "the run's result can't be sent: the run fails");
            let failed = ctx.send_end(frames::Worker::Fail { run, inc, error }).await;
            if let Err(error) = failed {
                tracing::error!(%run, %error, "the run's end can't be sent");
            }
        }
    }

    async fn agent(&self, function: AgentFn) -> Ended {
        let run = &self.run;
        let agent = async {
            let input = run.link.open(run.id(), run.start.input.clone()).await?;
            function(Ctx::new(run.clone()), input).await
        };
        tokio::select! {
            biased;
            () = run.released() => Ended::Released,
            ended = AssertUnwindSafe(agent).catch_unwind() => Ended::Returned(match ended {
                Ok(Ok(result)) => Ok(result),
                Ok(Err(failure)) => Err(failure.into()),
                Err(panic) => Err(panicked(&*panic)),
            }),
            () = async { run.cancelled().await; tokio::time::sleep(self.cancel_grace).await } => {
                tracing::warn!(run = %run.id(), "the cancelled agent did not stop in time: it is dropped");
                Ended::Dropped
            }
        }
    }
}

impl From<Failure> for StepError {
    fn from(failure: Failure) -> Self {
        failure.into_step_error()
    }
}
