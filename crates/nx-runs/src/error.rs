//! The one error of this crate.

use nx_types::{ApprovalId, Code, Digest, ErrorCode, IdError, Problem, RunId};

/// What can go wrong with runs.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such run.
    #[error("no run `{id}` is known in namespace `{namespace}`; `neuraxis runs list` shows those that are")]
    RunUnknown {
        /// The id or prefix as given, cut to 64 characters.
        id: String,
        /// The namespace.
        namespace: String,
    },
    /// A prefix fits several ids.
    #[error("`{prefix}` is the start of several ids ({examples}); give more letters")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// Some of them.
        examples: String,
    },
    /// Not an id at all.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The run's state does not allow the request.
    #[error("run `{run}` is {status}; {fix}")]
    WrongStatus {
        /// The run.
        run: RunId,
        /// Its status.
        status: &'static str,
        /// What would be possible.
        fix: &'static str,
    },
    /// No such approval.
    #[error("no approval `{id}` is known in namespace `{namespace}`; `neuraxis approvals list` shows those that wait")]
    ApprovalUnknown {
        /// The id or prefix as given.
        id: String,
        /// The namespace.
        namespace: String,
    },
    /// The approval has been decided, withdrawn or has expired.
    #[error("approval `{id}` is {status}: a decision serves once")]
    ApprovalOver {
        /// The approval.
        id: ApprovalId,
        /// How it ended.
        status: String,
    },
    /// The decision was taken on other arguments than those that would be executed.
    #[error(
        "the decision on `{id}` is bound to arguments {seen}, but they are {actual} now; look again and decide anew"
    )]
    ApprovalChanged {
        /// The approval.
        id: ApprovalId,
        /// The hash that the decider saw.
        seen: Digest,
        /// The hash of the arguments.
        actual: Digest,
    },
    /// The person may not decide this.
    #[error("`{by}` may not decide on `{id}`: it waits for `{who}`")]
    NotYours {
        /// The approval.
        id: ApprovalId,
        /// The person.
        by: String,
        /// Who may.
        who: String,
    },
    /// The decision does not fit the question.
    #[error("invalid decision: {rule}")]
    InvalidDecision {
        /// The rule, with the fix.
        rule: String,
    },
    /// A request breaks a rule.
    #[error("invalid request: {rule}")]
    Invalid {
        /// The rule, with the fix.
        rule: String,
    },
    /// A frame cannot be read, or is out of order.
    #[error("malformed frame: {detail}")]
    Frame {
        /// What is wrong.
        detail: String,
    },
    /// The server ends a connection that is dead or replaced.
    #[error("the connection is over: {reason}; connect again")]
    HungUp {
        /// Why.
        reason: &'static str,
    },
    /// A frame over the bound.
    #[error("frame of {bytes} bytes is over the bound of {max}; send values over 256 KiB as blobs")]
    FrameTooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The worker speaks no version that this server knows.
    #[error(
        "no protocol version in common: the worker speaks {worker:?}, this server speaks [1]; upgrade the older one"
    )]
    Protocol {
        /// The worker's versions.
        worker: Vec<u32>,
    },
    /// The incarnation is over; another one has the run.
    #[error("incarnation {inc} of run `{run}` is over: incarnation {current} has it")]
    Fenced {
        /// The run.
        run: RunId,
        /// The incarnation of the request.
        inc: u32,
        /// The present one.
        current: u32,
    },
    /// A bound of [`crate::Options`] is reached.
    #[error("{what} has reached its bound of {max}; {fix}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        max: u64,
        /// The fix.
        fix: &'static str,
    },
    /// A recorded event cannot be read.
    #[error("event {version} of run `{run}` cannot be read: {detail}")]
    Record {
        /// The run.
        run: RunId,
        /// The event's place in the run.
        version: u64,
        /// What is wrong.
        detail: String,
    },
    /// The run's data was erased.
    #[error("the data of run `{run}` was erased; only its headers remain")]
    Erased {
        /// The run.
        run: RunId,
    },
    /// A value that may not enter the record.
    #[error("value refused: {detail}")]
    Value {
        /// What is wrong, with the fix.
        detail: String,
    },
    /// The engine has stopped.
    #[error("the run engine is closed")]
    Closed,
    /// Nothing is known of what `why` was asked for.
    #[error(
        "nothing is known of `{target}`; name a run, RUN/STEP, an approval, AGENT/KEY, a subject or a place in the log"
    )]
    TargetUnknown {
        /// What was named.
        target: String,
    },
    /// The guard decided nothing about what was named.
    #[error("nothing was decided about `{target}`; `neuraxis policy decisions` lists what was")]
    Undecided {
        /// What was named.
        target: String,
    },
    /// The run is no session of a foreign program.
    #[error("run `{run}` is no guard session; open one with `POST /api/guard/sessions`")]
    NoSession {
        /// The run.
        run: RunId,
    },
    /// The session is over.
    #[error("guard session `{run}` is over; open another one")]
    SessionOver {
        /// The session.
        run: RunId,
    },
    /// The guard could not decide; that allows nothing.
    #[error("the guard refused: {0}")]
    Guard(Problem),
    /// The log refused.
    #[error("the journal refused: {0}")]
    Journal(Problem),
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(rule: impl Into<String>) -> Self {
        Self::Invalid { rule: rule.into() }
    }

    /// An [`Error::Frame`].
    pub fn frame(detail: impl Into<String>) -> Self {
        Self::Frame { detail: detail.into() }
    }

    /// An [`Error::Value`].
    pub fn value(detail: impl Into<String>) -> Self {
        Self::Value { detail: detail.into() }
    }

    /// Whether the log would refuse the same commit again, whatever else happens. Not so a conflict, which ends when the
    /// run is read again, nor a log that cannot write at all.
    pub(crate) fn is_for_good(&self) -> bool {
        match self {
            Self::Closed | Self::Limit { .. } | Self::HungUp { .. } => false,
            Self::Journal(problem) => {
                let passing = [
                    "NX-JRN-0001", // another event came first
                    "NX-JRN-0002", // another row came first
                    "NX-JRN-0006", // closed
                    "NX-JRN-0011", // damaged
                    "NX-JRN-0012", // taken over by another writer
                    "NX-JRN-0013", // no master key
                    "NX-JRN-0018", // no file access
                    "NX-JRN-0019", // the storage engine failed
                    "NX-JRN-0020", // a simulated crash
                ];
                !problem.retryable && !passing.contains(&problem.code.as_str())
            }
            _ => true,
        }
    }

    /// The problem that this error makes on a wire.
    pub fn problem(&self) -> Problem {
        Problem::of(self)
    }
}

impl From<nx_journal::Error> for Error {
    fn from(error: nx_journal::Error) -> Self {
        Self::Journal(Problem::of(&error))
    }
}

impl From<nx_guard::Error> for Error {
    fn from(error: nx_guard::Error) -> Self {
        Self::Guard(Problem::of(&error))
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::RunUnknown { .. } => "NX-RUN-0001",
            Self::Ambiguous { .. } => "NX-RUN-0002",
            Self::Id(_) => "NX-RUN-0003",
            Self::WrongStatus { .. } => "NX-RUN-0004",
            Self::ApprovalUnknown { .. } => "NX-RUN-0005",
            Self::ApprovalOver { .. } => "NX-RUN-0006",
            Self::ApprovalChanged { .. } => "NX-RUN-0007",
            Self::NotYours { .. } => "NX-RUN-0008",
            Self::InvalidDecision { .. } => "NX-RUN-0009",
            Self::Invalid { .. } => "NX-RUN-0010",
            Self::Frame { .. } => "NX-RUN-0011",
            Self::FrameTooLarge { .. } => "NX-RUN-0012",
            Self::Protocol { .. } => "NX-RUN-0013",
            Self::Fenced { .. } => "NX-RUN-0014",
            Self::Limit { .. } => "NX-RUN-0015",
            Self::Record { .. } => "NX-RUN-0016",
            Self::Erased { .. } => "NX-RUN-0017",
            Self::Value { .. } => "NX-RUN-0018",
            Self::Closed => "NX-RUN-0019",
            Self::Journal(_) => "NX-RUN-0020",
            Self::HungUp { .. } => "NX-RUN-0021",
            Self::TargetUnknown { .. } => "NX-RUN-0022",
            Self::NoSession { .. } => "NX-RUN-0023",
            Self::SessionOver { .. } => "NX-RUN-0024",
            Self::Guard(_) => "NX-RUN-0025",
            Self::Undecided { .. } => "NX-RUN-0026",
        })
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Limit { .. } | Self::HungUp { .. } => true,
            Self::Journal(problem) => problem.retryable || problem.code.as_str() == "NX-JRN-0001",
            _ => false,
        }
    }
}
