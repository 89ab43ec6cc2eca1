//! What a worker is told at its start, and the builders of what a step is told: retry policies, approvals.

use std::time::Duration;

use crate::{
    frames::{Approve, Effect, Escalate, Retry, Undo},
    millis,
};

/// How a worker connects and how much it takes on. [`Options::new`] gives the documented defaults.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The server: `http://127.0.0.1:7700` (or `https`, `ws`, `wss`); a path is ignored.
    pub url: String,
    /// The token, if the server asks for one.
    pub token: Option<String>,
    /// The worker's name in lists; a random part is added per process. Default `worker`.
    pub name: String,
    /// The namespace; the server's `default` when left out.
    pub namespace: Option<String>,
    /// Runs executed at once. Default 64.
    pub runs: u32,
    /// Tool and undo calls executed at once; more are answered with a retryable error. Default 256.
    pub tools: usize,
    /// First wait before a new connection attempt; doubles each time. Default 100 ms.
    pub reconnect_min: Duration,
    /// Longest wait before a new connection attempt. Default 5 s.
    pub reconnect_max: Duration,
    /// Longest time to connect and be welcomed. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a cancelled agent may take to unwind before it is dropped. Default 10 s.
    pub cancel_grace: Duration,
    /// How long granted executions may take to end when the worker shuts down. Default 10 s.
    pub shutdown_grace: Duration,
    /// Frames that may wait to be sent; beyond it, agents wait. Default 1,024.
    pub queue: usize,
    /// More certificate authorities to trust, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Where randomness comes from.
    pub env: nx_types::Env,
}

impl Options {
    /// The defaults, for the server at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            name: "worker".to_owned(),
            namespace: None,
            runs: 64,
            tools: 256,
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(10),
            queue: 1024,
            ca_pem: None,
            env: nx_types::Env::system(),
        }
    }

    /// Connects with this token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Is listed under this name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Works for this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Executes this many runs at once.
    pub fn runs(mut self, runs: u32) -> Self {
        self.runs = runs;
        self
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("url", &self.url).field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a tool is declared.
#[derive(Debug, Clone)]
pub struct Tool {
    pub(crate) name: String,
    pub(crate) effect: Effect,
    pub(crate) undo: Option<String>,
    pub(crate) probe: Option<String>,
}

impl Tool {
    fn new(name: impl Into<String>, effect: Effect) -> Self {
        Self { name: name.into(), effect, undo: None, probe: None }
    }

    /// A tool that reads the outside.
    pub fn read(name: impl Into<String>) -> Self {
        Self::new(name, Effect::Read)
    }

    /// A tool that changes the outside and honours idempotency keys.
    pub fn idempotent(name: impl Into<String>) -> Self {
        Self::new(name, Effect::Idempotent)
    }

    /// A tool that changes the outside each time.
    pub fn once(name: impl Into<String>) -> Self {
        Self::new(name, Effect::Once)
    }

    /// The tool of the same toolset that undoes it; called with [`UndoArgs`](crate::UndoArgs).
    pub fn undo(mut self, tool: impl Into<String>) -> Self {
        self.undo = Some(tool.into());
        self
    }

    /// The tool of the same toolset that tells whether a call took place; it returns a [`Found`](crate::Found).
    pub fn probe(mut self, tool: impl Into<String>) -> Self {
        self.probe = Some(tool.into());
        self
    }
}

impl Approve {
    /// Asks this role or person.
    pub fn by(who: impl Into<String>) -> Self {
        Self {
            who: who.into(),
            within_ms: None,
            escalate: Vec::new(),
            quorum: None,
            edit: false,
            over: std::collections::BTreeMap::new(),
            message: None,
        }
    }

    /// How long they have; then the next in the chain is asked, in the end the step fails.
    pub fn within(mut self, time: Duration) -> Self {
        self.within_ms = Some(millis(time));
        self
    }

    /// Who is asked next, and how long they have.
    pub fn then(mut self, who: impl Into<String>, within: Option<Duration>) -> Self {
        self.escalate.push(Escalate { who: who.into(), within_ms: within.map(millis) });
        self
    }

    /// How many different people must agree.
    pub fn quorum(mut self, people: u32) -> Self {
        self.quorum = Some(people);
        self
    }

    /// Lets the decider change the arguments.
    pub fn editable(mut self) -> Self {
        self.edit = true;
        self
    }

    /// Asks only if this argument is greater than the number (or is missing).
    pub fn over(mut self, argument: impl Into<String>, limit: f64) -> Self {
        self.over.insert(argument.into(), limit);
        self
    }

    /// What the person is told.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

impl Retry {
    /// The default policy with this many attempts in all.
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..Self::default() }
    }

    /// First wait, growth and longest wait.
    pub fn backoff(mut self, initial: Duration, factor: f64, max: Duration) -> Self {
        self.initial_ms = millis(initial);
        self.factor = factor;
        self.max_ms = millis(max);
        self
    }

    /// An error of this name ends the step at once.
    pub fn not_on(mut self, name: impl Into<String>) -> Self {
        self.non_retryable.push(name.into());
        self
    }
}

impl From<&str> for Undo {
    /// `toolset/tool` is a tool, anything else a function of the worker.
    fn from(name: &str) -> Self {
        if name.contains('/') { Self::Tool(name.to_owned()) } else { Self::Function(name.to_owned()) }
    }
}
