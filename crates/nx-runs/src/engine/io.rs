//! What goes into the engine and what comes out of it.

use neuraxis_sdk::frames;
use nx_guard::call::Scores;
use nx_journal::Commit;
use nx_types::{ApprovalId, Namespace, Problem, RunId};

use super::{
    request::{ForkRequest, ModelAnswer, Ruling, SessionRequest, SignalRequest, StartRequest, Started},
    view::{ProgressView, WorkerView},
};
use crate::{
    error::Error,
    machine::{Guarded, Reported},
};

/// Who opens a connection, as the carrier has established it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The person or token name; stands in `by` of what the worker causes.
    pub by: String,
    /// The only namespace that the token allows; `None` leaves the choice to the worker's `hello`.
    pub namespace: Option<Namespace>,
    /// Where it comes from, for logs.
    pub remote: String,
}

impl Default for Peer {
    fn default() -> Self {
        Self { by: "worker".to_owned(), namespace: None, remote: "in-process".to_owned() }
    }
}

/// A worker's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A commit on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// A request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What happens to the engine.
#[derive(Debug)]
pub enum Input {
    /// A worker has opened a connection.
    Connected {
        /// The connection, never used before.
        session: SessionId,
        /// Who.
        peer: Peer,
    },
    /// A frame came.
    Frame {
        /// The connection.
        session: SessionId,
        /// The frame.
        frame: frames::Worker,
    },
    /// Something else than a frame came.
    Malformed {
        /// The connection.
        session: SessionId,
        /// What is wrong.
        problem: Problem,
    },
    /// The connection shows life.
    Alive {
        /// The connection.
        session: SessionId,
    },
    /// The connection is gone.
    Disconnected {
        /// The connection.
        session: SessionId,
    },
    /// A surface asks for something.
    Request {
        /// Named in [`Output::Reply`].
        ticket: Ticket,
        /// What.
        request: Box<Request>,
    },
    /// The declared Agents and Toolsets of a namespace, all of them.
    Declared {
        /// The namespace.
        namespace: Namespace,
        /// The declarations.
        declared: crate::kinds::Declared,
    },
}

/// What a surface asks for.
#[derive(Debug)]
pub enum Request {
    /// Start a run.
    Start(StartRequest),
    /// Cancel a run.
    Cancel {
        /// The namespace.
        namespace: Namespace,
        /// The run.
        run: RunId,
        /// Who asks.
        by: String,
        /// Why.
        reason: String,
    },
    /// Send a signal.
    Signal {
        /// The namespace.
        namespace: Namespace,
        /// The run.
        run: RunId,
        /// The signal.
        signal: SignalRequest,
    },
    /// A model has answered a step.
    Answered(Box<ModelAnswer>),
    /// Re-open a failed run.
    Retry {
        /// The namespace.
        namespace: Namespace,
        /// The run.
        run: RunId,
        /// Who asks.
        by: String,
    },
    /// Fork a run.
    Fork {
        /// The namespace.
        namespace: Namespace,
        /// What and where.
        fork: ForkRequest,
    },
    /// Decide on an approval.
    Decide {
        /// The namespace.
        namespace: Namespace,
        /// The approval.
        approval: ApprovalId,
        /// The decision.
        ruling: Ruling,
    },
    /// Open the session of a program that is not ours.
    OpenSession(Box<SessionRequest>),
    /// A session's program asks or reports.
    Report {
        /// The namespace.
        namespace: Namespace,
        /// The session.
        run: RunId,
        /// What.
        reported: Box<Reported>,
        /// What detectors say of what it reports.
        scores: Scores,
    },
    /// List the connected workers.
    Workers,
    /// How far a run's executions are.
    Progress {
        /// The namespace.
        namespace: Namespace,
        /// The run.
        run: RunId,
    },
}

/// What a surface gets.
#[derive(Debug)]
pub enum Response {
    /// Of [`Request::Start`] and [`Request::Fork`].
    Started(Started),
    /// It is recorded.
    Done,
    /// Of [`Request::Report`].
    Guarded(Box<Guarded>),
    /// Of [`Request::Workers`].
    Workers(Vec<WorkerView>),
    /// Of [`Request::Progress`].
    Progress(Vec<ProgressView>),
}

/// What the engine wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Hand this to the log and report the outcome to [`super::Engine::committed`].
    Commit {
        /// Named in the report.
        token: Token,
        /// The change.
        commit: Commit,
    },
    /// Send a frame.
    Send {
        /// The connection.
        session: SessionId,
        /// The frame.
        frame: frames::Server,
        /// The run whose values it carries: large ones are stored under its key.
        about: Option<(Namespace, RunId)>,
    },
    /// Close a connection, after what was sent.
    Close {
        /// The connection.
        session: SessionId,
    },
    /// Answer a request.
    Reply {
        /// The request.
        ticket: Ticket,
        /// The answer.
        answer: Result<Response, Error>,
    },
}
