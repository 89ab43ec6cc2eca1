//! What can go wrong here. A model's file is from outside: whatever it holds, the answer is one of these.

use std::path::PathBuf;

use nx_types::{Code, ErrorCode};
use thiserror::Error;

/// Errors of models and engines.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a well-formed model.
    #[error("the model is not well formed: {place}: {reason}")]
    Model {
        /// Where in the file: a message, a node, a tensor.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// Something is larger than the limits allow.
    #[error("{what}: {found} is more than the limit of {most}; raise the limit if the file is trusted")]
    Limit {
        /// What is too large.
        what: String,
        /// How much was found, or at least how much.
        found: u64,
        /// How much may be.
        most: u64,
    },
    /// Data beside the model's file is refused.
    #[error("external data of tensor `{tensor}`: {reason}")]
    External {
        /// The tensor whose data lies elsewhere.
        tensor: String,
        /// Why it is refused, with what to do.
        reason: String,
    },
    /// The engine cannot run this model.
    #[error("engine `{engine}` cannot run this model: {reason}")]
    Unsupported {
        /// The engine.
        engine: &'static str,
        /// Which operator, type or shape, and why.
        reason: String,
    },
    /// The engine failed while it loaded or ran.
    #[error("engine `{engine}` failed: {reason}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it said.
        reason: String,
    },
    /// The library of ONNX Runtime was not found, or does not load.
    #[error("the library of ONNX Runtime: {reason}")]
    Library {
        /// Where it was looked for and what was wrong.
        reason: String,
    },
    /// A tensor that does not fit.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// The input, output or initialiser.
        name: String,
        /// What does not fit, with what would.
        reason: String,
    },
    /// The manifest is wrong.
    #[error("model manifest: `{field}` {reason}")]
    Manifest {
        /// The field, by its path.
        field: String,
        /// What is wrong, with the fix.
        reason: String,
    },
    /// A step before or after the model cannot work on what it was given.
    #[error("`{step}` {reason}")]
    Process {
        /// The step.
        step: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of data holds something else than what is read.
    #[error("the data: {reason}; in `{}`", .path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, with what would be right.
        reason: String,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No engine of this name is in the build.
    #[error("no engine `{name}` here; there is {known}")]
    NoEngine {
        /// The name asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The model cannot be made smaller in this way.
    #[error("`{step}` cannot be done: {reason}")]
    Compress {
        /// The transformation.
        step: &'static str,
        /// Why.
        reason: String,
    },
}

impl Error {
    pub(crate) fn model(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Model { place: place.into(), reason: reason.into() }
    }

    pub(crate) fn tensor(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), reason: reason.into() }
    }

    pub(crate) fn limit(what: impl Into<String>, found: u64, most: u64) -> Self {
        Self::Limit { what: what.into(), found, most }
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        match self {
            Self::Model { .. } => Code::new("NX-INF-0001"),
            Self::Limit { .. } => Code::new("NX-INF-0002"),
            Self::External { .. } => Code::new("NX-INF-0003"),
            Self::Unsupported { .. } => Code::new("NX-INF-0004"),
            Self::Engine { .. } => Code::new("NX-INF-0005"),
            Self::Library { .. } => Code::new("NX-INF-0006"),
            Self::Tensor { .. } => Code::new("NX-INF-0007"),
            Self::Manifest { .. } => Code::new("NX-INF-0008"),
            Self::Process { .. } => Code::new("NX-INF-0009"),
            Self::Read { .. } => Code::new("NX-INF-0010"),
            Self::NoEngine { .. } => Code::new("NX-INF-0011"),
            Self::Compress { .. } => Code::new("NX-INF-0012"),
            Self::Data { .. } => Code::new("NX-INF-0013"),
            Self::Write { .. } => Code::new("NX-INF-0014"),
        }
    }

    fn retryable(&self) -> bool {
        false
    }
}
