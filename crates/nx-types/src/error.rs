//! What every error of Neuraxis offers: a stable code, whether trying again may help, and the form in which it crosses
//! a wire.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A stable code such as `NX-RUN-0012`; each has a paragraph in `docs/errors.md`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// A code of this release.
    pub const fn new(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Implemented by each crate's error.
pub trait ErrorCode: std::error::Error {
    /// The stable code.
    fn code(&self) -> Code;

    /// Whether the same request may succeed later.
    fn retryable(&self) -> bool;
}

/// An error as it crosses a wire: in a worker frame, or as the body of an HTTP answer (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// The message with its causes, one line.
    pub detail: String,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
}

impl Problem {
    /// The problem that an error makes: its message and those of its sources, joined by `: `.
    pub fn of(error: &dyn ErrorCode) -> Self {
        let mut detail = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            detail.push_str(": ");
            detail.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { code: error.code(), detail, retryable: error.retryable() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}
