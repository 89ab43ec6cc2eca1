//! What can go wrong in a worker, and the errors of the user's own code as they cross the wire.

use std::{any::Any, fmt, time::Duration};

use nx_types::{Code, ErrorCode, Problem, json::JsonError};
use serde_json::Value;

use crate::frames::StepError;

/// An error of the SDK: what a call of [`Ctx`](crate::Ctx) or [`Worker::run`](crate::Worker::run) returns.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The step failed for good: its attempts are used up, the error is not retryable, or a person denied it.
    #[error("step `{step}` failed: {}: {}", error.name, error.message)]
    Step {
        /// The step's name.
        step: Box<str>,
        /// The error of the last attempt.
        error: Box<StepError>,
    },
    /// The server cancelled the run: let the error pass, so that compensation may begin.
    #[error("the run was cancelled: {reason}")]
    Cancelled {
        /// Why.
        reason: Box<str>,
    },
    /// The server did not accept the call; nothing was recorded.
    #[error("the server refused step `{step}`: {}", problem.detail)]
    Refused {
        /// The step's name.
        step: Box<str>,
        /// Why.
        problem: Box<Problem>,
    },
    /// A value can't enter the record.
    #[error("the value of {what} can't be recorded")]
    Value {
        /// Whose value.
        what: Box<str>,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// A recorded value does not fit the type that the code expects.
    #[error(
        "the value of {what} does not fit the type that the code expects: {reason}; keep the old shape readable or rename the step"
    )]
    Shape {
        /// Whose value.
        what: Box<str>,
        /// What serde said.
        reason: Box<str>,
    },
    /// The worker is declared wrongly, or used against its rules.
    #[error("{reason}")]
    Usage {
        /// What is wrong, with the fix.
        reason: Box<str>,
    },
    /// The server could not be reached.
    #[error("can't connect to the server: {reason}; is it running? {url}")]
    Connect {
        /// The address.
        url: Box<str>,
        /// What happened.
        reason: Box<str>,
    },
    /// The server closed the connection and does not want this worker back.
    #[error("the server turned the worker away: {}", problem.detail)]
    TurnedAway {
        /// Why.
        problem: Box<Problem>,
    },
    /// The server sent what the protocol does not allow.
    #[error("the server broke the worker protocol: {reason}")]
    Protocol {
        /// What it sent.
        reason: Box<str>,
    },
    /// A large value could not be uploaded or fetched.
    #[error("a large value could not be {action}: {reason}")]
    Blob {
        /// `uploaded` or `fetched`.
        action: &'static str,
        /// What happened.
        reason: Box<str>,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// The server refused a request of a [`Client`](crate::Client).
    #[error("the server answers {status}: {}", problem.detail)]
    Api {
        /// The HTTP status.
        status: u16,
        /// Why.
        problem: Box<Problem>,
    },
}

/// Why a value can't enter the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// It is not I-JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It holds NaN or an infinity.
    #[error("`{number}` at `{pointer}` has no JSON form; send null or a string")]
    NotFinite {
        /// The number.
        number: &'static str,
        /// JSON pointer to it.
        pointer: String,
    },
    /// Its form is that of a reference to a blob.
    #[error("an object with the single key `$blob` is reserved; add a key or rename it")]
    Reserved,
    /// serde could not write it.
    #[error("{0}")]
    Serialize(String),
}

impl Error {
    pub(crate) fn usage(reason: impl Into<Box<str>>) -> Self {
        Self::Usage { reason: reason.into() }
    }

    /// The error of the user's code, if a step failed with one.
    pub fn step_error(&self) -> Option<&StepError> {
        match self {
            Self::Step { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// Whether a step failed with an error of the given name.
    pub fn is(&self, name: &str) -> bool {
        self.step_error().is_some_and(|error| error.name == name)
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        match self {
            Self::Step { .. } => Code::new("NX-SDK-0001"),
            Self::Cancelled { .. } => Code::new("NX-SDK-0002"),
            Self::Refused { problem, .. } | Self::Api { problem, .. } => problem.code.clone(),
            Self::Value { .. } => Code::new("NX-SDK-0003"),
            Self::Shape { .. } => Code::new("NX-SDK-0004"),
            Self::Usage { .. } => Code::new("NX-SDK-0005"),
            Self::Connect { .. } => Code::new("NX-SDK-0006"),
            Self::TurnedAway { problem } => problem.code.clone(),
            Self::Protocol { .. } => Code::new("NX-SDK-0007"),
            Self::Blob { .. } => Code::new("NX-SDK-0008"),
        }
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Step { error, .. } => error.retryable.unwrap_or(false),
            Self::Refused { problem, .. } | Self::TurnedAway { problem } | Self::Api { problem, .. } => {
                problem.retryable
            }
            Self::Connect { .. } => true,
            Self::Blob { retryable, .. } => *retryable,
            Self::Cancelled { .. }
            | Self::Value { .. }
            | Self::Shape { .. }
            | Self::Usage { .. }
            | Self::Protocol { .. } => false,
        }
    }
}

/// An error of the user's code: what agents, steps, tools and undo functions return. Any `std::error::Error` becomes
/// one by `?`; its name is then its type's, its message that of the error and its sources.
///
/// Of a step that takes effect `once`, a failure is final unless it is marked retryable, which asserts that nothing
/// happened.
#[derive(Clone, PartialEq)]
pub struct Failure(Box<StepError>);

impl Failure {
    /// A failure by name and message. The name is what `non_retryable` and agents that catch it go by.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(StepError {
            name: name.into(),
            message: message.into(),
            retryable: None,
            retry_after_ms: None,
            details: None,
        }))
    }

    /// Says whether trying again may help; for `once`, that nothing happened.
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// What the other side asked to wait.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after_ms = Some(crate::millis(wait));
        self
    }

    /// More for people: a status, a body.
    pub fn details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// The form that crosses the wire.
    pub fn into_step_error(self) -> StepError {
        *self.0
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name, self.0.message)
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self(Box::new(error))
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        if let Some(ours) = (&error as &dyn Any).downcast_ref::<Error>() {
            return Self::of_sdk(ours);
        }
        let full = std::any::type_name::<E>();
        let name = full.split('<').next().unwrap_or(full).rsplit("::").next().unwrap_or(full);
        Self::new(name, chain(&error))
    }
}

impl Failure {
    fn of_sdk(error: &Error) -> Self {
        match error {
            Error::Step { error, .. } => Self(error.clone()),
            Error::Cancelled { reason } => Self::new("Cancelled", reason.to_string()).retryable(false),
            Error::Value { source, .. } => Self::new("ValueRefused", format!("{error}: {source}")).retryable(false),
            other => {
                let problem = Problem::of(other);
                Self::new("Neuraxis", problem.to_string()).retryable(problem.retryable)
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}
