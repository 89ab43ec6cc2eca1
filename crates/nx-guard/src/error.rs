//! What can go wrong here. Nothing of it ever allows a call.

use std::fmt;

use nx_types::{Code, ErrorCode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is wrong with a policy, or may be, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The policy's name.
    pub policy: String,
    /// The clause's `@id`, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// The line of the policy's text, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What is wrong, with the fix.
    pub message: String,
}

impl Fault {
    /// Without the policy's name: `over-limit at 3:12: …`.
    pub fn place_and_message(&self) -> String {
        let clause = self.clause.as_ref().map(|clause| format!("`{clause}` ")).unwrap_or_default();
        format!("{clause}at {}:{}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy `{}` {}", self.policy, self.place_and_message())
    }
}

fn join(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Errors of the guard.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Policies do not parse or do not fit the declared tools; all that is wrong.
    #[error("{}", join(.faults))]
    Policy {
        /// At least one.
        faults: Vec<Fault>,
    },
    /// The policies could not be asked.
    #[error("the policies could not be asked: {reason}")]
    Undecided {
        /// Why.
        reason: String,
    },
    /// No rule can be made of an approval.
    #[error("no rule can be made of this approval: {reason}")]
    NoRule {
        /// Why, with what to do.
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
            Self::Undecided { .. } => Code::new("NX-GRD-0007"),
            Self::NoRule { .. } => Code::new("NX-GRD-0008"),
        }
    }

    fn retryable(&self) -> bool {
        false
    }
}
