//! The one error of this crate.

use std::fmt;

use nx_types::{Code, ErrorCode, FieldError};

/// What can go wrong with resources, reflexes and sources.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A manifest is not YAML or JSON, or over a bound.
    #[error("document {document} is not a manifest: {detail}")]
    Manifest {
        /// Its place in the input, from 1.
        document: usize,
        /// What is wrong, with line and column where known.
        detail: String,
    },
    /// A resource breaks its kind's rules; all breaches at once.
    #[error("{resource} is not valid: {}", list(errors))]
    Invalid {
        /// `Kind/name` as far as known.
        resource: String,
        /// Each with a JSON pointer from the resource's root.
        errors: Vec<FieldError>,
    },
    /// No crate registered such a kind.
    #[error("there is no kind `{kind}`; did you mean `{nearest}`? there are {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// The nearest that there is.
        nearest: String,
        /// All of them.
        known: String,
    },
    /// There is no such resource.
    #[error("there is no {kind} `{name}` in namespace `{namespace}`; list them with `neuraxis get {kind}`")]
    NotFound {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// Somebody changed the resource in between.
    #[error("{resource} is at resourceVersion {actual}, not {expected}; get it again, then apply your change to it")]
    Conflict {
        /// `Kind/name`.
        resource: String,
        /// What the caller expected; 0 is absent.
        expected: u64,
        /// What is.
        actual: u64,
    },
    /// Something from outside is over a bound.
    #[error("{what} has {size}, over the bound of {max}")]
    TooLarge {
        /// What it is.
        what: String,
        /// How large it is.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// The source takes no events over HTTP.
    #[error("source `{name}` takes no events over HTTP; give its spec an `http` section")]
    NotHttp {
        /// The source.
        name: String,
    },
    /// What was sent to a source cannot be read.
    #[error("the body is not {what}: {detail}")]
    Body {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The source does not take events of this type.
    #[error("source `{name}` takes no events of type `{kind}`; add it to `types` of its `http` section")]
    TypeRefused {
        /// The source.
        name: String,
        /// The type that was sent.
        kind: String,
    },
    /// An expression of a source or reflex has no value for an event.
    #[error("{what} cannot be made: {detail}")]
    Expression {
        /// What should have been made of it.
        what: String,
        /// Why not.
        detail: String,
    },
    /// A replayed file cannot be read.
    #[error("file `{file}` cannot be replayed: {detail}")]
    Replay {
        /// The file as the spec names it.
        file: String,
        /// What is wrong, with the row where known.
        detail: String,
        /// Whether the file may be there later.
        retryable: bool,
    },
    /// A sealed value is not there.
    #[error("{resource} holds no sealed value `{key}`")]
    NoSuchValue {
        /// `Kind/name`.
        resource: String,
        /// Which value.
        key: String,
    },
    /// What is stored is not what this release writes.
    #[error("{what} is damaged: {detail}; run `neuraxis doctor`")]
    Damaged {
        /// The row or event.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The control plane is shutting down.
    #[error("the control plane is shutting down; retry after its restart")]
    Stopped,
    /// The log refused.
    #[error(transparent)]
    Journal(#[from] nx_journal::Error),
}

fn list(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    pub(crate) fn damaged(what: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::Damaged { what: what.into(), detail: detail.to_string() }
    }

    /// Everything that is wrong with the fields, if that is the error.
    pub fn fields(&self) -> &[FieldError] {
        match self {
            Self::Invalid { errors, .. } => errors,
            _ => &[],
        }
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Manifest { .. } => "NX-CTL-0001",
            Self::Invalid { .. } => "NX-CTL-0002",
            Self::UnknownKind { .. } => "NX-CTL-0003",
            Self::NotFound { .. } => "NX-CTL-0004",
            Self::Conflict { .. } => "NX-CTL-0005",
            Self::TooLarge { .. } => "NX-CTL-0006",
            Self::NotHttp { .. } => "NX-CTL-0007",
            Self::Body { .. } => "NX-CTL-0008",
            Self::TypeRefused { .. } => "NX-CTL-0009",
            Self::Expression { .. } => "NX-CTL-0010",
            Self::Replay { .. } => "NX-CTL-0011",
            Self::NoSuchValue { .. } => "NX-CTL-0012",
            Self::Damaged { .. } => "NX-CTL-0013",
            Self::Stopped => "NX-CTL-0014",
            Self::Journal(inner) => return inner.code(),
        })
    }

    fn retryable(&self) -> bool {
        match self {
            Self::Replay { retryable, .. } => *retryable,
            Self::Stopped => true,
            Self::Journal(inner) => inner.retryable(),
            _ => false,
        }
    }
}
