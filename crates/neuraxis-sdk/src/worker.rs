//! What a worker offers: agents, tools, undo functions; and the process that executes them.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    Call, Ctx, Failure, Options, Tool,
    error::Error,
    frames::{AgentOffer, ToolOffer, ToolsetOffer},
    json, session,
};

type AgentFn = Arc<dyn Fn(Ctx, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;
type ToolFn = Arc<dyn Fn(Call, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

/// What an undo function or an undo tool is called with: the step's arguments and its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoArgs<A = Value, R = Value> {
    /// The arguments of the step to undo.
    pub args: A,
    /// The result of the step to undo.
    pub result: R,
}

/// A worker: declare what it offers, then [`Worker::run`] it.
pub struct Worker {
    options: Options,
    offers: Offers,
}

#[derive(Default)]
pub(crate) struct Offers {
    agents: BTreeMap<String, (AgentFn, Option<String>)>,
    toolsets: BTreeMap<String, BTreeMap<String, (Tool, ToolFn)>>,
    functions: BTreeMap<String, ToolFn>,
    mistakes: Vec<String>,
}

impl Worker {
    /// A worker that offers nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, offers: Offers::default() }
    }

    /// Offers an agent: an async function of the run's context and input. It is entered from its top on each
    /// incarnation; what it does to the world belongs in steps.
    pub fn agent<I, O, F, Fut>(self, name: &str, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        self.agent_version(name, None, function)
    }

    /// Like [`Worker::agent`], with the version of the code for `runs show`.
    pub fn agent_version<I, O, F, Fut>(mut self, name: &str, version: Option<&str>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(Ctx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let function: AgentFn = Arc::new(move |ctx, input| match json::decode(input, "the agent's input") {
            Ok(input) => {
                let result = function(ctx, input);
                async move { Ok(json::encode(&result.await?, "the agent's result")?) }.boxed()
            }
            Err(error) => std::future::ready(Err(error.into())).boxed(),
        });
        if self.offers.agents.insert(name.to_owned(), (function, version.map(str::to_owned))).is_some() {
            self.offers.mistakes.push(format!("agent `{name}` is declared twice; rename one"));
        }
        self
    }

    /// Serves a tool of a toolset: an async function of the call and its arguments.
    pub fn tool<A, T, F, Fut>(mut self, toolset: &str, tool: Tool, function: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: Fn(Call, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let name = tool.name.clone();
        let function = erase(function, "the tool's arguments");
        let tools = self.offers.toolsets.entry(toolset.to_owned()).or_default();
        if tools.insert(name.clone(), (tool, function)).is_some() {
            self.offers.mistakes.push(format!("tool `{toolset}/{name}` is declared twice; rename one"));
        }
        self
    }

    /// Offers an undo function: called with [`UndoArgs`] when a run whose step named it fails or is cancelled. It
    /// honours the call's idempotency key, for it may be called again.
    pub fn function<A, T, F, Fut>(mut self, name: &str, function: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: Fn(Call, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        if self.offers.functions.insert(name.to_owned(), erase(function, "the undo function's arguments")).is_some() {
            self.offers.mistakes.push(format!("function `{name}` is declared twice; rename one"));
        }
        self
    }

    /// Connects and executes until `shutdown`: reconnects for as long as it takes, keeps granted executions over lost
    /// connections, and gives its runs back at the end. Returns an error only if the declarations are wrong, or the
    /// server turns the worker away for good.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        if let Some(mistake) = self.offers.mistakes.first() {
            return Err(Error::usage(mistake.as_str()));
        }
        Box::pin(session::run(self.options, Arc::new(self.offers), shutdown)).await
    }
}

fn erase<A, T, F, Fut>(function: F, what: &'static str) -> ToolFn
where
    A: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
    F: Fn(Call, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
{
    Arc::new(move |call, args| match json::decode(args, what) {
        Ok(args) => {
            let result = function(call, args);
            async move { Ok(json::encode(&result.await?, "the result")?) }.boxed()
        }
        Err(error) => std::future::ready(Err(error.into())).boxed(),
    })
}

impl Offers {
    pub(crate) fn agent(&self, name: &str) -> Option<AgentFn> {
        self.agents.get(name).map(|(function, _)| function.clone())
    }

    pub(crate) fn tool(&self, toolset: &str, tool: &str) -> Option<ToolFn> {
        self.toolsets.get(toolset)?.get(tool).map(|(_, function)| function.clone())
    }

    pub(crate) fn function(&self, name: &str) -> Option<ToolFn> {
        self.functions.get(name).cloned()
    }

    pub(crate) fn agent_offers(&self) -> Vec<AgentOffer> {
        self.agents
            .iter()
            .map(|(name, (_, version))| AgentOffer { name: name.clone(), version: version.clone() })
            .collect()
    }

    pub(crate) fn toolset_offers(&self) -> Vec<ToolsetOffer> {
        let offer = |(tool, _): &(Tool, ToolFn)| ToolOffer {
            name: tool.name.clone(),
            effect: tool.effect,
            undo: tool.undo.clone(),
            probe: tool.probe.clone(),
        };
        self.toolsets
            .iter()
            .map(|(name, tools)| ToolsetOffer { name: name.clone(), tools: tools.values().map(offer).collect() })
            .collect()
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("options", &self.options)
            .field("agents", &self.offers.agents.keys())
            .field("toolsets", &self.offers.toolsets.keys())
            .finish_non_exhaustive()
    }
}
