//! The frames of the worker protocol, version 1: JSON texts over one WebSocket that the worker opens. The prose with
//! the rules of order and the conformance vectors is `docs/worker-protocol.md`.
//!
//! Every frame a worker sends that carries a `call` gets exactly one terminal answer with the same `call`
//! ([`Server::Result`], [`Server::Error`] or [`Server::Refused`]); [`Server::Execute`], [`Server::Probe`] and
//! [`Server::Wait`] come in between. A worker keeps at most `welcome.credit` calls without a terminal answer.

mod wire;

use std::collections::BTreeMap;

use nx_types::{ApprovalId, Problem, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The protocol's version.
pub const PROTOCOL: u32 = 1;
/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "neuraxis.worker.v1";
/// Where a server accepts workers.
pub const PATH: &str = "/api/workers/connect";
/// Longest frame in bytes; larger values travel as blobs.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// The kinds of frames that a server sends. A worker passes over others.
pub const SERVER_KINDS: [&str; 14] = [
    "welcome",
    "start",
    "result",
    "error",
    "refused",
    "execute",
    "probe",
    "wait",
    "tool",
    "undo",
    "cancel",
    "closed",
    "late_taken",
    "goodbye",
];
/// A value larger than this many bytes is sent as `{"$blob": ID}` after an upload.
pub const MAX_INLINE_BYTES: usize = 256 << 10;

/// A frame from worker to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case", deny_unknown_fields)]
pub enum Worker {
    /// The first frame of a connection.
    Hello(Hello),
    /// Asks for a step of a run: the server answers from the record, or grants its execution, or performs it itself.
    Step(Box<Step>),
    /// The outcome of a granted execution.
    Done {
        /// The call that was granted.
        call: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// The answer of a probe.
    Probed {
        /// The call that was asked to probe.
        call: u64,
        /// What the probe found.
        found: Found,
    },
    /// The outcome of an execution that was granted on an earlier connection.
    Late {
        /// The run.
        run: RunId,
        /// The grant as `execute` named it.
        grant: Grant,
        /// What came of it.
        outcome: Outcome,
    },
    /// A run or a step is alive. Extends the lease of the connection's work.
    Heartbeat {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// The call being executed, if one is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<u64>,
        /// The step, tool or function that says so; the agent itself when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Progress for people; at most 1 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Value>,
    },
    /// Replaces the run's history so far by a state: the next incarnation starts from it.
    Carry {
        /// The call.
        call: u64,
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// The state to start from.
        state: Value,
    },
    /// The agent returned.
    Complete {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// What it returned.
        result: Value,
    },
    /// The agent raised an error.
    Fail {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// The error.
        error: StepError,
    },
    /// The agent stopped because the server cancelled it; compensation may begin.
    Stopped {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
    },
    /// The worker gives a run back unfinished (it is shutting down); the server starts it elsewhere.
    Release {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
    },
    /// The outcome of a [`Server::Tool`] or [`Server::Undo`] request.
    ToolDone {
        /// The server's call.
        call: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// A line logged while a step or run executed. Bounded: 4 KiB of text.
    Log {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// The call during which it was logged, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<u64>,
        /// The step, tool or function that logs; the agent itself when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// `debug`, `info`, `warning` or `error`.
        level: String,
        /// The text.
        message: String,
    },
}

/// Who connects, and what it can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Protocol versions that the worker speaks.
    pub protocol: Vec<u32>,
    /// The SDK: name and version.
    pub sdk: String,
    /// The worker process: random, the same over reconnections.
    pub worker: String,
    /// The namespace; `default` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Agents that it can execute.
    #[serde(default)]
    pub agents: Vec<AgentOffer>,
    /// Toolsets that it serves.
    #[serde(default)]
    pub toolsets: Vec<ToolsetOffer>,
    /// How many runs it executes at once.
    pub runs: u32,
    /// Executions granted on an earlier connection that still go on here; their outcomes come as `late`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executing: Vec<Executing>,
}

/// An agent that a worker can execute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentOffer {
    /// The name.
    pub name: String,
    /// The code's version; informs `runs show`, routes nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A toolset that a worker serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolsetOffer {
    /// The name.
    pub name: String,
    /// The tools' names. Their effects stand in the Toolset resource; without one, in these declarations.
    pub tools: Vec<ToolOffer>,
}

/// A tool as its worker declares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolOffer {
    /// The name.
    pub name: String,
    /// What calling it does to the world.
    #[serde(default)]
    pub effect: Effect,
    /// The tool of the same toolset that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// The tool of the same toolset that tells whether a call took place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// An execution that outlived its connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executing {
    /// The run.
    pub run: RunId,
    /// The grant.
    pub grant: Grant,
}

/// What an execution does to the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Computes; nothing outside changes.
    #[default]
    Code,
    /// Reads the outside.
    Read,
    /// Changes the outside; repeating with the same idempotency key changes nothing more.
    Idempotent,
    /// Changes the outside each time.
    Once,
}

/// What to do when the record at a step's place has other arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// Fail the run.
    Fail,
    /// Execute again, under the next revision of the idempotency key.
    Rerun,
    /// Ask a person.
    Ask,
}

/// A step request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "wire::Step")]
pub struct Step {
    /// The call, unique within the connection.
    pub call: u64,
    /// The run.
    pub run: RunId,
    /// The incarnation.
    pub inc: u32,
    /// The branch: empty for the agent's own body, else names joined by `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The step's name.
    pub name: String,
    /// The caller's key; without one the occurrence of the name within the scope counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name that the step had before it was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// What the step is.
    #[serde(flatten)]
    pub body: Body,
    /// What to do on changed arguments; by effect when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChange>,
    /// Retry policy; for steps that execute something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Longest time of one attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What undoes it when the run fails or is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// Whom to ask before it is executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// For `code` steps: what the guard may assume of the function, as a Toolset declares it of a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Box<Flow>>,
    /// For code and read steps of a run whose record is used up: the outcome of the first attempt, executed already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A function of the worker's code.
    Code {
        /// What it does to the world.
        #[serde(default)]
        effect: Effect,
        /// The arguments.
        #[serde(default)]
        args: Value,
        /// The worker can tell whether a call took place: [`Server::Probe`] may be sent.
        #[serde(default, skip_serializing_if = "is_false")]
        probe: bool,
        /// How long the outside honours an idempotency key, in milliseconds; for ever when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_window_ms: Option<u64>,
    },
    /// A tool of a toolset, `name` being `toolset/tool`; the server dispatches it.
    Tool {
        /// The arguments.
        #[serde(default)]
        args: Value,
    },
    /// Waits for a length of time.
    Sleep {
        /// Milliseconds.
        ms: u64,
    },
    /// Waits for a signal of the step's name.
    Signal {
        /// Longest wait in milliseconds; then the result is `null`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// Asks a person, guarding no call. `approve` is required; the result is `{approved, by, reason, args}`.
    Approval {
        /// What the person decides on.
        #[serde(default)]
        args: Value,
    },
    /// Another run, whose result is the step's.
    Child {
        /// The agent.
        agent: String,
        /// Its input.
        #[serde(default)]
        input: Value,
    },
    /// A model's answer: `name` is the model (`NAME`, `NAME@ALIAS`, `NAME@VERSION`). The server asks it once and records the
    /// answer.
    Infer {
        /// What it is asked: `input` or `inputs`, and `subject`, `context`, `deadline_ms`.
        #[serde(default)]
        args: Value,
    },
    /// An event for the log: `name` is its type. The result is its place in the log.
    Emit {
        /// The event's data.
        #[serde(default)]
        args: Value,
    },
    /// The instant it is, as Unix milliseconds.
    Now,
    /// A float in [0, 1).
    Random,
    /// A UUID version 4.
    Uuid,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What the guard may assume of a function of the worker's code.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {
    /// How far its result may be trusted: `trusted`, `untrusted`, or the whole form (`docs/guard.md`). Without it the result
    /// of a `code` step is as trusted as what went into the run, that of any other not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Arguments that nothing untrusted may choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<String>,
}

/// How often and how soon to try again. The wait before attempt `n + 1` is `initial · factor^(n−1)`, at most `max`,
/// times a random factor in `[1 − jitter, 1]`; a longer Retry-After wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// First wait in milliseconds.
    pub initial_ms: u64,
    /// Growth of the wait.
    pub factor: f64,
    /// Longest wait in milliseconds.
    pub max_ms: u64,
    /// Share of the wait that is random, 0 to 1.
    pub jitter: f64,
    /// Names of errors that end the step at once.
    pub non_retryable: Vec<String>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, initial_ms: 200, factor: 2.0, max_ms: 30_000, jitter: 0.5, non_retryable: Vec::new() }
    }
}

/// What undoes a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Undo {
    /// A function of the worker's code, called with `{args, result}`.
    Function(String),
    /// A tool, `toolset/tool`, called with `{args, result}`.
    Tool(String),
}

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The role or person who may decide.
    pub who: String,
    /// How long they have, in milliseconds; then the next in `escalate`, in the end the step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// Who is asked next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalate>,
    /// How many different people must agree; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// Whether the decider may change the arguments.
    #[serde(default, skip_serializing_if = "is_false")]
    pub edit: bool,
    /// Ask only if an argument is greater than the given number: `{"cents": 5000}`. All of them count, any suffices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub over: BTreeMap<String, f64>,
    /// What the person is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A rung of the escalation chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalate {
    /// The role or person.
    pub who: String,
    /// How long they have, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
}

/// What came of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The value returned.
    Ok(Value),
    /// The error raised.
    Error(StepError),
}

/// An error of the user's code or of the world it called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepError {
    /// The error's class: `HTTPStatusError`, `ValueError`. Named in `non_retryable`.
    pub name: String,
    /// The message.
    pub message: String,
    /// Whether trying again may help; by `non_retryable` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// What the other side asked to wait (Retry-After), in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// More, for people: a traceback, a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The call took place, with this value.
    Done(Value),
    /// It did not take place.
    NotDone,
    /// The probe cannot tell; a person is asked.
    Unknown,
}

/// One permission to execute: the step's ordinal in its run and the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The step's ordinal in the run, from 1.
    pub step: u64,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// A frame from server to worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Server {
    /// Answers `hello`.
    Welcome(Welcome),
    /// Starts or continues a run.
    Start(Box<Start>),
    /// A call's value. Terminal. It is durable.
    Result {
        /// The call.
        call: u64,
        /// The value.
        value: Value,
        /// From the record of an earlier incarnation.
        #[serde(default, skip_serializing_if = "is_false")]
        reused: bool,
        /// The run's record holds nothing unused any more: outcomes of code and read steps may be sent at once.
        #[serde(default, skip_serializing_if = "is_false")]
        live: bool,
    },
    /// A call failed for good. Terminal. It is durable.
    Error {
        /// The call.
        call: u64,
        /// The error.
        error: StepError,
        /// From the record of an earlier incarnation.
        #[serde(default, skip_serializing_if = "is_false")]
        reused: bool,
    },
    /// A call was not accepted. Terminal. Nothing was recorded.
    Refused {
        /// The call, if one was recognised.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<u64>,
        /// Why.
        problem: Problem,
    },
    /// Permission to execute a call once. The outcome comes as `done`.
    Execute {
        /// The call.
        call: u64,
        /// The permission.
        grant: Grant,
        /// The idempotency key to hand on; for effects `idempotent` and `once`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
        /// The arguments as a person edited them; the call's own when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        args: Option<Value>,
        /// Longest time in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// A call is in doubt: did it take place? The answer comes as `probed`.
    Probe {
        /// The call.
        call: u64,
        /// The permission in doubt.
        grant: Grant,
        /// The idempotency key it was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
        /// The arguments it was called with.
        args: Value,
    },
    /// A call waits. Not terminal; for people and idle handling.
    Wait {
        /// The call.
        call: u64,
        /// What for.
        why: Waiting,
        /// Until when, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The approval, if a person is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
    },
    /// Execute a tool that the worker serves; the outcome comes as `tool_done`.
    Tool {
        /// The server's call.
        call: u64,
        /// The run on whose behalf.
        run: RunId,
        /// The permission.
        grant: Grant,
        /// The toolset.
        toolset: String,
        /// The tool.
        tool: String,
        /// The arguments.
        args: Value,
        /// The idempotency key to hand on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency_key: Option<String>,
        /// Longest time in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// Undo a step by a function of the agent's code; the outcome comes as `tool_done`.
    Undo {
        /// The server's call.
        call: u64,
        /// The run.
        run: RunId,
        /// The permission.
        grant: Grant,
        /// The agent whose code holds the function.
        agent: String,
        /// The function.
        function: String,
        /// The arguments of the step to undo.
        args: Value,
        /// The result of the step to undo.
        result: Value,
        /// The idempotency key to hand on.
        idempotency_key: String,
    },
    /// Stop a run at its next await and answer `stopped`.
    Cancel {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// Why.
        reason: String,
    },
    /// The run's end is recorded, or its incarnation is over: drop what belongs to it.
    Closed {
        /// The run.
        run: RunId,
        /// The incarnation.
        inc: u32,
        /// `completed`, `failed`, `cancelled`, `fenced`, `parked`.
        state: String,
    },
    /// A `late` outcome was recorded or is of no use any more: forget it.
    LateTaken {
        /// The run.
        run: RunId,
        /// The grant.
        grant: Grant,
    },
    /// The server closes the connection; `retry_ms` says when to come back.
    Goodbye {
        /// Why.
        problem: Problem,
        /// When to come back, in milliseconds; never when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u64>,
    },
}

/// What the server offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version chosen.
    pub protocol: u32,
    /// The server's version.
    pub server: String,
    /// The connection's name in logs.
    pub session: String,
    /// Longest frame in bytes.
    pub max_frame_bytes: usize,
    /// Most calls without a terminal answer.
    pub credit: u32,
    /// How long work survives without a sign of life, in milliseconds.
    pub lease_ms: u64,
}

/// A run to execute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// The incarnation, from 1.
    pub inc: u32,
    /// The agent.
    pub agent: String,
    /// The run's input.
    pub input: Value,
    /// The state that the run carried, if any: enter the agent from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
    /// The run's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the run ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How many steps the record holds since the last carry.
    pub recorded: u64,
    /// The record holds nothing unused: outcomes of code and read steps may be sent at once.
    pub live: bool,
    /// W3C trace context of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A length of time.
    Sleep,
    /// The next attempt.
    Retry,
    /// A signal.
    Signal,
    /// A person's approval.
    Approval,
    /// A person's ruling on changed or doubtful steps.
    Ask,
    /// Another run.
    Child,
    /// A model's answer.
    Model,
    /// A worker that serves the toolset.
    Tool,
    /// An execution that still goes on elsewhere.
    Elsewhere,
}
