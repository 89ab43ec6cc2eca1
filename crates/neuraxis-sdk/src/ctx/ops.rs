//! What the server performs for an agent: tools, child runs, signals, approvals.

use std::{fmt, future::IntoFuture, marker::PhantomData, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Ctx,
    drive::{self, Settings},
    step::settings,
};
use crate::{
    error::Error,
    frames::{Approve, Body, OnChange, Retry, Undo},
    json, millis,
    models::{Inference, Inputs},
};

/// A tool call about to be made; [`ToolStep::call`] makes it.
#[must_use = "a tool is not called until `call` is awaited"]
pub struct ToolStep {
    ctx: Ctx,
    settings: Settings,
    args: Result<Value, Error>,
}

impl ToolStep {
    pub(super) fn new(ctx: Ctx, name: String) -> Self {
        Self { ctx, settings: Settings { name, ..Settings::default() }, args: Ok(Value::Null) }
    }

    settings!(key, was, on_change, retries, retry, timeout, undo, approve);

    /// The arguments.
    pub fn args<A: Serialize>(mut self, args: A) -> Self {
        self.args = json::encode(&args, "the tool's arguments");
        self
    }

    /// Calls the tool and returns its recorded result.
    pub async fn call<T: DeserializeOwned>(self) -> Result<T, Error> {
        let what = format!("tool `{}`", self.settings.name);
        let body = Body::Tool { args: self.args? };
        json::decode(drive::call(&self.ctx, self.settings, body, None).await?, &what)
    }
}

/// A child run about to be awaited: `ctx.child("agent", &input).await`.
#[must_use = "a child run starts when it is awaited"]
pub struct ChildStep<T> {
    ctx: Ctx,
    settings: Settings,
    agent: String,
    input: Result<Value, Error>,
    result: PhantomData<fn() -> T>,
}

impl<T> ChildStep<T> {
    pub(super) fn new(ctx: Ctx, agent: String, input: Result<Value, Error>) -> Self {
        let settings = Settings { name: agent.clone(), ..Settings::default() };
        Self { ctx, settings, agent, input, result: PhantomData }
    }

    settings!(key, was, on_change, timeout);

    /// The step's name, when not the agent's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for ChildStep<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let what = format!("child `{}`", self.settings.name);
            let body = Body::Child { agent: self.agent, input: self.input? };
            json::decode(drive::call(&self.ctx, self.settings, body, None).await?, &what)
        }
        .boxed()
    }
}

/// A model about to be asked: `ctx.infer("digits", Sample::image(png)).await`.
#[must_use = "a model is not asked until the step is awaited"]
pub struct InferStep {
    ctx: Ctx,
    settings: Settings,
    args: Value,
}

impl InferStep {
    pub(super) fn new(ctx: Ctx, model: String, inputs: Inputs) -> Self {
        Self { ctx, settings: Settings { name: model, ..Settings::default() }, args: inputs.into_args() }
    }

    settings!(key, was, on_change);

    /// What it is about, `parcel/P88`: the decision's subject, and whose data its inputs are. The run's when left out.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.with("subject", subject.into().into())
    }

    /// What the decision carries on, for whoever listens to it; 1 KiB at most.
    pub fn context(self, context: Value) -> Self {
        self.with("context", context)
    }

    /// How long the model may take, a minute at most; its own deadline when left out.
    pub fn deadline(self, time: Duration) -> Self {
        self.with("deadline_ms", millis(time).into())
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        if let Value::Object(fields) = &mut self.args {
            fields.insert(field.to_owned(), value);
        }
        self
    }
}

impl IntoFuture for InferStep {
    type Output = Result<Inference, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let what = format!("model `{}`", self.settings.name);
            let body = Body::Infer { args: self.args };
            json::decode(drive::call(&self.ctx, self.settings, body, None).await?, &what)
        }
        .boxed()
    }
}

/// A signal about to be awaited.
#[must_use = "nothing waits until the signal is awaited"]
pub struct SignalStep<T> {
    ctx: Ctx,
    settings: Settings,
    payload: PhantomData<fn() -> T>,
}

impl<T> SignalStep<T> {
    pub(super) fn new(ctx: Ctx, name: String) -> Self {
        Self { ctx, settings: Settings { name, ..Settings::default() }, payload: PhantomData }
    }

    settings!(key, was);

    /// Waits at most this long; then the result is `None`.
    pub fn within(self, time: Duration) -> SignalWithin<T> {
        SignalWithin { signal: self, within_ms: millis(time) }
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for SignalStep<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let what = format!("signal `{}`", self.settings.name);
            let body = Body::Signal { within_ms: None };
            json::decode(drive::call(&self.ctx, self.settings, body, None).await?, &what)
        }
        .boxed()
    }
}

/// A signal about to be awaited for a limited time.
#[must_use = "nothing waits until the signal is awaited"]
pub struct SignalWithin<T> {
    signal: SignalStep<T>,
    within_ms: u64,
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for SignalWithin<T> {
    type Output = Result<Option<T>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let SignalStep { ctx, settings, .. } = self.signal;
            let what = format!("signal `{}`", settings.name);
            let body = Body::Signal { within_ms: Some(self.within_ms) };
            json::decode(drive::call(&ctx, settings, body, None).await?, &what)
        }
        .boxed()
    }
}

/// A question to a person about to be asked.
#[must_use = "nobody is asked until the approval is awaited"]
pub struct ApprovalStep {
    ctx: Ctx,
    settings: Settings,
    args: Result<Value, Error>,
}

impl ApprovalStep {
    pub(super) fn new(ctx: Ctx, name: String, approve: Approve) -> Self {
        let settings = Settings { name, approve: Some(approve), ..Settings::default() };
        Self { ctx, settings, args: Ok(Value::Null) }
    }

    settings!(key, was, on_change);

    /// What the person decides on.
    pub fn args<A: Serialize>(mut self, args: A) -> Self {
        self.args = json::encode(&args, "the approval's arguments");
        self
    }
}

impl IntoFuture for ApprovalStep {
    type Output = Result<Decision, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let what = format!("approval `{}`", self.settings.name);
            let body = Body::Approval { args: self.args? };
            json::decode(drive::call(&self.ctx, self.settings, body, None).await?, &what)
        }
        .boxed()
    }
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// Yes or no.
    pub approved: bool,
    /// Who decided.
    #[serde(default)]
    pub by: Option<Value>,
    /// Why, in their words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The arguments, as edited if they were.
    #[serde(default)]
    pub args: Value,
}

macro_rules! debug {
    ($($name:ident $(<$t:ident>)? => $settings:ident $(. $more:ident)?),* $(,)?) => { $(
        impl$(<$t>)? fmt::Debug for $name$(<$t>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("name", &self.$settings$(.$more)?.name).finish_non_exhaustive()
            }
        }
    )* };
}

debug!(
    ToolStep => settings,
    ChildStep<T> => settings,
    InferStep => settings,
    SignalStep<T> => settings,
    SignalWithin<T> => signal.settings,
    ApprovalStep => settings,
);
