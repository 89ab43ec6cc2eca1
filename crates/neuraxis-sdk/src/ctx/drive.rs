//! One call from request to terminal answer: executes what the server grants, and nothing it did not.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use nx_types::{ErrorCode as _, Problem};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Ctx, Run};
use crate::{
    Call, Failure,
    error::Error,
    frames::{self, Approve, Body, Effect, Flow, Found, OnChange, Outcome, Retry, StepError, Undo},
    link::{CallOut, Execute, Finished, Link, Out, Reply},
};

pub(super) type Working = Arc<dyn Fn(Call, Option<Value>) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;
pub(super) type Probing = Arc<dyn Fn(Call, Value) -> BoxFuture<'static, Result<Found, Failure>> + Send + Sync>;

/// The first wait before a refused request is made again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a step is told beyond its body.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) was: Option<String>,
    pub(super) on_change: Option<OnChange>,
    pub(super) retry: Option<Retry>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) undo: Option<Undo>,
    pub(super) approve: Option<Approve>,
    pub(super) flow: Option<Box<Flow>>,
}

impl Settings {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// The user's code of a step.
pub(super) struct Work {
    pub(super) effect: Effect,
    pub(super) run: Working,
    pub(super) probe: Option<Probing>,
}

/// Makes a call and returns its recorded value.
pub(super) async fn call(ctx: &Ctx, settings: Settings, body: Body, work: Option<Work>) -> Result<Value, Error> {
    let run = &ctx.run;
    if run.is_cancelled() {
        return Err(run.cancellation());
    }
    let number = run.link.call();
    let name: Box<str> = settings.name.as_str().into();
    let outcome = match &work {
        Some(work) if optimistic(run, work, &settings) => {
            let call = handle(run, number, &name, None);
            Some(attempt(|| (work.run)(call, None), settings.timeout_ms).await)
        }
        _ => None,
    };
    let mut frame = frames::Worker::Step(Box::new(frames::Step {
        call: number,
        run: run.id(),
        inc: run.inc(),
        scope: ctx.scope.path().to_owned(),
        name: settings.name,
        key: settings.key,
        was: settings.was,
        body,
        on_change: settings.on_change,
        retry: settings.retry,
        timeout_ms: settings.timeout_ms,
        undo: settings.undo,
        approve: settings.approve,
        flow: settings.flow,
        outcome,
    }));
    request(run, number, &mut frame, name, work).await
}

/// Replaces the history so far by a state.
pub(super) async fn carry(ctx: &Ctx, state: Value) -> Result<(), Error> {
    let run = &ctx.run;
    if run.is_cancelled() {
        return Err(run.cancellation());
    }
    let number = run.link.call();
    let mut frame = frames::Worker::Carry { call: number, run: run.id(), inc: run.inc(), state };
    request(run, number, &mut frame, "carry".into(), None).await.map(drop)
}

/// Makes a request, again and again under new numbers if the server can't take it now.
async fn request(
    run: &Arc<Run>,
    mut number: u64,
    frame: &mut frames::Worker,
    name: Box<str>,
    work: Option<Work>,
) -> Result<Value, Error> {
    let effect = work.as_ref().map_or(Effect::Code, |work| work.effect);
    let mut text = run.link.seal(run.id(), frame).await?;
    let mut wait = FIRST_WAIT;
    loop {
        let mut answers = Answers { run, number, name: &name, granted: false };
        let reply = answers.request(text, effect).await?;
        let problem = match answers.follow(reply, work.as_ref()).await? {
            Followed::Value(value) => return Ok(value),
            Followed::Refused(problem) => problem,
        };
        if !problem.retryable {
            return Err(Error::Refused { step: name, problem: Box::new(problem) });
        }
        tracing::debug!(step = %name, %problem, "asks again");
        if answers.granted {
            run.give_back();
            return dropped().await;
        }
        tokio::select! {
            biased;
            () = run.cancelled() => return Err(run.cancellation()),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        number = run.link.call();
        match frame {
            frames::Worker::Step(step) => step.call = number,
            frames::Worker::Carry { call, .. } => *call = number,
            _ => {}
        }
        text = run.link.seal(run.id(), frame).await?;
    }
}

fn optimistic(run: &Run, work: &Work, settings: &Settings) -> bool {
    let guarded = settings.approve.is_some() || settings.flow.as_ref().is_some_and(|flow| !flow.sinks.is_empty());
    matches!(work.effect, Effect::Code | Effect::Read) && !guarded && run.is_live()
}

fn handle(run: &Run, number: u64, name: &str, grant: Option<&Execute>) -> Call {
    Call {
        link: run.link.clone(),
        run: run.id(),
        inc: run.inc(),
        call: Some(number),
        grant: grant.map(|grant| grant.grant),
        idempotency_key: grant.and_then(|grant| grant.idempotency_key.as_deref().map(Arc::from)),
        name: Arc::from(name),
    }
}

/// Executes the user's code once: its error, its panic and its timeout are outcomes.
pub(crate) async fn attempt<F>(work: impl FnOnce() -> F, timeout_ms: Option<u64>) -> Outcome
where
    F: Future<Output = Result<Value, Failure>>,
{
    let work = AssertUnwindSafe(async move { work().await }).catch_unwind();
    let ended = match timeout_ms {
        None => work.await,
        Some(ms) => match tokio::time::timeout(Duration::from_millis(ms), work).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                let message = format!("the attempt took longer than {ms} ms");
                return Outcome::Error(Failure::new("Timeout", message).into_step_error());
            }
        },
    };
    match ended {
        Ok(Ok(value)) => Outcome::Ok(value),
        Ok(Err(failure)) => Outcome::Error(failure.into_step_error()),
        Err(panic) => Outcome::Error(panicked(&*panic)),
    }
}

/// The error that a panic of the user's code makes.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> StepError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Failure::new("Panic", message).retryable(false).into_step_error()
}

/// Uploads a large result, for as long as it takes: what it tells of has happened.
pub(crate) async fn pack(link: &Link, run: nx_types::RunId, outcome: Outcome) -> Outcome {
    let Outcome::Ok(mut value) = outcome else { return outcome };
    loop {
        match link.host.blobs.pack(run, &mut value).await {
            Ok(()) => return Outcome::Ok(value),
            Err(error) if error.retryable() => {
                tracing::warn!(%run, %error, "a large result waits to be uploaded");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Outcome::Error(Failure::from(error).into_step_error()),
        }
    }
}

/// Where the answers of one call arrive.
struct Answers<'a> {
    run: &'a Arc<Run>,
    number: u64,
    name: &'a str,
    /// The server has granted an execution.
    granted: bool,
}

enum Followed {
    Value(Value),
    Refused(Problem),
}

impl Answers<'_> {
    async fn request(&self, text: String, effect: Effect) -> Result<Reply, Error> {
        let (reply, answer) = oneshot::channel();
        let out = CallOut { call: self.number, run: self.run.id(), effect, text, reply };
        if self.run.link.calls.send(out).await.is_err() {
            return dropped().await;
        }
        self.answer(answer).await
    }

    async fn answer(&self, answer: oneshot::Receiver<Reply>) -> Result<Reply, Error> {
        tokio::select! {
            biased;
            reply = answer => match reply {
                Ok(reply) => Ok(reply),
                Err(_gone) => dropped().await,
            },
            () = self.run.cancelled() => Err(self.run.cancellation()),
        }
    }

    async fn follow(&mut self, mut reply: Reply, work: Option<&Work>) -> Result<Followed, Error> {
        loop {
            reply = match (reply, work) {
                (Reply::Result { value, live }, _) => {
                    if live {
                        self.run.set_live();
                    }
                    return self.run.link.open(self.run.id(), value).await.map(Followed::Value);
                }
                (Reply::Error(error), _) => {
                    return Err(Error::Step { step: self.name.into(), error: Box::new(error) });
                }
                (Reply::Refused(problem), _) => {
                    return Ok(Followed::Refused(problem));
                }
                (Reply::Execute(grant), Some(work)) => {
                    self.granted = true;
                    self.execute(grant, work).await?
                }
                (Reply::Probe { idempotency_key, args, grant }, Some(work)) => {
                    let found = self.probe(idempotency_key, args, grant, work).await;
                    self.respond(frames::Worker::Probed { call: self.number, found }).await?
                }
                (Reply::Execute(_) | Reply::Probe { .. }, None) => {
                    let reason = format!("it granted step `{}`, which the server itself performs", self.name);
                    return Err(Error::Protocol { reason: reason.into_boxed_str() });
                }
            };
        }
    }

    /// Code is executed within the agent and ends with it; anything else goes on should the agent be dropped.
    async fn execute(&self, grant: Execute, work: &Work) -> Result<Reply, Error> {
        let call = handle(self.run, self.number, self.name, Some(&grant));
        let args = match grant.args {
            Some(args) => Some(self.run.link.open(self.run.id(), args).await?),
            None => None,
        };
        if work.effect == Effect::Code {
            let outcome = attempt(|| (work.run)(call, args), grant.timeout_ms).await;
            return self.respond(frames::Worker::Done { call: self.number, outcome }).await;
        }
        let (reply, answer) = oneshot::channel();
        let (link, run, number) = (self.run.link.clone(), self.run.id(), self.number);
        let work = work.run.clone();
        let within = self.run.executions.token();
        self.run.link.host.executions.spawn(async move {
            let outcome = attempt(|| (work)(call, args), grant.timeout_ms).await;
            let outcome = pack(&link, run, outcome).await;
            let finished =
                Finished { epoch: link.epoch, call: number, run, grant: grant.grant, outcome, reply: Some(reply) };
            if link.host.out.send(Out::Finished(finished)).await.is_err() {
                tracing::warn!(%run, "an outcome was lost: the worker has stopped");
            }
            drop(within);
        });
        self.answer(answer).await
    }

    async fn probe(&self, idempotency_key: Option<String>, args: Value, grant: frames::Grant, work: &Work) -> Found {
        let Some(probe) = &work.probe else { return Found::Unknown };
        let call = Call {
            idempotency_key: idempotency_key.as_deref().map(Arc::from),
            grant: Some(grant),
            ..handle(self.run, self.number, self.name, None)
        };
        let probed = async {
            let args = self.run.link.open(self.run.id(), args).await?;
            probe(call, args).await
        };
        match AssertUnwindSafe(probed).catch_unwind().await {
            Ok(Ok(found)) => found,
            Ok(Err(failure)) => {
                tracing::warn!(step = %self.name, %failure, "the probe failed: a person is asked");
                Found::Unknown
            }
            Err(_panic) => {
                tracing::warn!(step = %self.name, "the probe panicked: a person is asked");
                Found::Unknown
            }
        }
    }

    async fn respond(&self, mut frame: frames::Worker) -> Result<Reply, Error> {
        let text = self.run.link.seal(self.run.id(), &mut frame).await?;
        let (reply, answer) = oneshot::channel();
        let out = Out::Answer { epoch: self.run.link.epoch, call: self.number, text, reply };
        if self.run.link.host.out.send(out).await.is_err() {
            return dropped().await;
        }
        self.answer(answer).await
    }
}

/// The connection is gone: the agent is about to be dropped, and must not run on.
async fn dropped<T>() -> T {
    std::future::pending().await
}
