//! The builder of a step: code of this worker whose outcome is recorded.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Ctx,
    drive::{self, Settings, Work},
};
use crate::{
    Call, Failure,
    error::Error,
    frames::{Approve, Body, Effect, Found, OnChange, Retry, Undo},
    json, millis,
};

/// Builder methods that steps, tools and children share.
macro_rules! settings {
    ($($method:ident),*) => { $(settings!(@ $method);)* };
    (@ key) => {
        /// The caller's own key: identifies the step whatever its place. Without one the occurrences of the name count.
        pub fn key(mut self, key: impl Into<String>) -> Self {
            self.settings.key = Some(key.into());
            self
        }
    };
    (@ was) => {
        /// The name the step had before it was renamed.
        pub fn was(mut self, name: impl Into<String>) -> Self {
            self.settings.was = Some(name.into());
            self
        }
    };
    (@ on_change) => {
        /// What to do when the record at this place has other arguments. By effect when not said: `ask` for `once`,
        /// `rerun` for the rest.
        pub fn on_change(mut self, policy: OnChange) -> Self {
            self.settings.on_change = Some(policy);
            self
        }
    };
    (@ retries) => {
        /// Tries again up to this many times after the first attempt failed.
        pub fn retries(mut self, retries: u32) -> Self {
            self.settings.retry.get_or_insert_default().attempts = retries.saturating_add(1);
            self
        }
    };
    (@ retry) => {
        /// The retry policy.
        pub fn retry(mut self, policy: Retry) -> Self {
            self.settings.retry = Some(policy);
            self
        }
    };
    (@ timeout) => {
        /// Longest time of one attempt.
        pub fn timeout(mut self, time: Duration) -> Self {
            self.settings.timeout_ms = Some(millis(time));
            self
        }
    };
    (@ undo) => {
        /// What undoes it when the run fails or is cancelled: `"toolset/tool"`, or a function of this worker.
        pub fn undo(mut self, undo: impl Into<Undo>) -> Self {
            self.settings.undo = Some(undo.into());
            self
        }
    };
    (@ approve) => {
        /// Whom to ask before it is executed.
        pub fn approve(mut self, approve: Approve) -> Self {
            self.settings.approve = Some(approve);
            self
        }
    };
}
pub(super) use settings;

type Probe<A> = Arc<dyn Fn(Call, A) -> BoxFuture<'static, Result<Found, Failure>> + Send + Sync>;

/// A step about to be made; [`Step::run`] makes it.
#[must_use = "a step does nothing until `run` is awaited"]
pub struct Step<A> {
    ctx: Ctx,
    settings: Settings,
    args: A,
    effect: Effect,
    key_window_ms: Option<u64>,
    probe: Option<Probe<A>>,
}

impl Step<()> {
    pub(super) fn new(ctx: Ctx, name: String) -> Self {
        let settings = Settings { name, ..Settings::default() };
        Self { ctx, settings, args: (), effect: Effect::Code, key_window_ms: None, probe: None }
    }

    /// The arguments: recorded, hashed, and handed to the function. What the function uses and may differ from run to
    /// run belongs here.
    pub fn args<A: Serialize + DeserializeOwned + Clone + Send + Sync + 'static>(self, args: A) -> Step<A> {
        let Self { ctx, settings, effect, key_window_ms, .. } = self;
        Step { ctx, settings, args, effect, key_window_ms, probe: None }
    }
}

impl<A: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Step<A> {
    settings!(key, was, on_change, retries, retry, timeout, undo, approve);

    /// It reads the outside.
    pub fn read(mut self) -> Self {
        self.effect = Effect::Read;
        self
    }

    /// It changes the outside; with the same idempotency key ([`Call::idempotency_key`]) nothing more.
    pub fn idempotent(mut self) -> Self {
        self.effect = Effect::Idempotent;
        self
    }

    /// It changes the outside each time: never executed again unless it is known not to have happened.
    pub fn once(mut self) -> Self {
        self.effect = Effect::Once;
        self
    }

    /// The effect, if it is not fixed.
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Somebody vouches for its result: the guard trusts it. Without this the result of a step that reads or changes the
    /// outside is trusted by nobody, that of any other as far as what went into the run.
    pub fn trusted(self) -> Self {
        self.output(Value::from("trusted"))
    }

    /// How far its result may be trusted, as a Toolset declares it of a tool: `"untrusted"`, or by place.
    pub fn output(mut self, output: Value) -> Self {
        self.settings.flow.get_or_insert_default().output = Some(output);
        self
    }

    /// It reads untrusted text and gives back so little, in this shape (a JSON Schema of yes or no, words of a list, numbers,
    /// dates, ids of a trusted source), that it may be trusted.
    pub fn extract(self, schema: Value) -> Self {
        let one = |name: &str, value: Value| Value::Object([(name.to_owned(), value)].into_iter().collect());
        self.output(one("extract", one("schema", schema)))
    }

    /// Arguments that nothing untrusted may choose: policies are asked before it is executed.
    pub fn sinks(mut self, arguments: &[&str]) -> Self {
        let names = arguments.iter().map(|name| (*name).to_owned());
        self.settings.flow.get_or_insert_default().sinks.extend(names);
        self
    }

    /// How long the outside honours an idempotency key; for ever when not said.
    pub fn key_window(mut self, time: Duration) -> Self {
        self.key_window_ms = Some(millis(time));
        self
    }

    /// Tells whether a call took place, when the worker was lost while it was executed. An error counts as
    /// [`Found::Unknown`]: a person is asked.
    pub fn probe<F, Fut>(mut self, probe: F) -> Self
    where
        F: Fn(Call, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Found, Failure>> + Send + 'static,
    {
        self.probe = Some(Arc::new(move |call, args| probe(call, args).boxed()));
        self
    }

    /// Makes the step: returns the recorded result, or executes the function and records what it returns. The function
    /// may be called several times (retries) and must not use the [`Ctx`].
    pub async fn run<T, F, Fut>(self, function: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(Call, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let Self { ctx, settings, args, effect, key_window_ms, probe } = self;
        let what = format!("step `{}`", settings.name);
        let body = Body::Code { effect, args: json::encode(&args, &what)?, probe: probe.is_some(), key_window_ms };
        let work = Work {
            effect,
            run: Arc::new(move |call, edited| {
                let args = match edited {
                    None => args.clone(),
                    Some(edited) => match json::decode(edited, "the edited arguments") {
                        Ok(args) => args,
                        Err(error) => return std::future::ready(Err(error.into())).boxed(),
                    },
                };
                let result = function(call, args);
                async move { Ok(json::encode(&result.await?, "the step's result")?) }.boxed()
            }),
            probe: probe.map(|probe| -> drive::Probing {
                Arc::new(move |call, args: Value| match json::decode(args, "the arguments in doubt") {
                    Ok(args) => probe(call, args),
                    Err(error) => std::future::ready(Err(error.into())).boxed(),
                })
            }),
        };
        let value = drive::call(&ctx, settings, body, Some(work)).await?;
        json::decode(value, &what)
    }
}

impl<A> fmt::Debug for Step<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.settings.name).field("effect", &self.effect).finish_non_exhaustive()
    }
}
