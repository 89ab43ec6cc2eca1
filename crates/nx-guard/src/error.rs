//! What can go wrong here. Nothing of it ever allows a call.

use nx_types::{Code, ErrorCode};
use thiserror::Error;

/// Errors of the guard.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A policy's text does not parse or does not fit the schema.
    #[error("policy `{policy}`: {reason}")]
    Policy {
        /// The policy's name.
        policy: String,
        /// What is wrong, with the place and the fix.
        reason: String,
    },
    /// A tool's declaration is wrong.
    #[error("tool `{tool}`: {reason}")]
    Tool {
        /// The tool's name.
        tool: String,
        /// What is wrong, with the fix.
        reason: String,
    },
    /// The tool is not declared.
    #[error("tool `{tool}` is not declared; declare it, or check the name{nearest}")]
    ToolUnknown {
        /// The tool's name.
        tool: String,
        /// A hint that names the nearest one; may be empty.
        nearest: String,
    },
    /// A value is too large to be looked at.
    #[error("{what} has {found}, more than the {most} that the guard looks at; send less, or by reference")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How much was found.
        found: usize,
        /// How much may be.
        most: usize,
    },
    /// A reference in the arguments points nowhere.
    #[error("reference `{reference}` points at nothing that this run has seen; name a step and a place in its result")]
    Reference {
        /// The reference as given.
        reference: String,
    },
    /// Labels that do not fit together.
    #[error("{reason}")]
    Label {
        /// What is wrong, with the fix.
        reason: String,
    },
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        match self {
            Self::Policy { .. } => Code::new("NX-GRD-0001"),
            Self::Tool { .. } => Code::new("NX-GRD-0002"),
            Self::ToolUnknown { .. } => Code::new("NX-GRD-0003"),
            Self::TooLarge { .. } => Code::new("NX-GRD-0004"),
            Self::Reference { .. } => Code::new("NX-GRD-0005"),
            Self::Label { .. } => Code::new("NX-GRD-0006"),
        }
    }

    fn retryable(&self) -> bool {
        false
    }
}
