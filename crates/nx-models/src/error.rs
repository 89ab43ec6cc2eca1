//! The one error of this crate.

use std::fmt;

use nx_types::{Code, ErrorCode};

/// What can go wrong with models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No artifact of this name.
    #[error("there is no model `{name}` in namespace `{namespace}`; `neuraxis model list` shows those that there are")]
    UnknownModel {
        /// The name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The artifact has no such version or alias.
    #[error("model `{name}` has no {wanted}; it has {known}")]
    UnknownVersion {
        /// The model.
        name: String,
        /// What was asked for.
        wanted: String,
        /// The versions and aliases that there are.
        known: String,
    },
    /// A name, alias, field or reference has the wrong form.
    #[error("{what} `{text}` {reason}")]
    Invalid {
        /// What it is.
        what: &'static str,
        /// What was given.
        text: String,
        /// What is wrong, with the fix.
        reason: String,
    },
    /// The bytes are not those that were announced.
    #[error("the file has sha256 {actual}, not {expected}; nothing was stored")]
    Checksum {
        /// What was announced.
        expected: String,
        /// What came.
        actual: String,
    },
    /// Something is larger than the options allow.
    #[error("{what} has {bytes} bytes, more than the limit of {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// No engine of this build runs the model.
    #[error("no engine here runs the model: {reasons}")]
    NoEngine {
        /// What each said.
        reasons: String,
    },
    /// What was given for an input cannot be made a tensor.
    #[error("input `{input}` {reason}")]
    Input {
        /// The input.
        input: String,
        /// What is wrong, with what would fit.
        reason: String,
    },
    /// As many requests as the version's queue holds are waiting.
    #[error("`{model}` has {queue} requests waiting, which is its limit; retry later")]
    QueueFull {
        /// The model and its version.
        model: String,
        /// The limit.
        queue: usize,
    },
    /// The deadline passed before the answer.
    #[error("`{model}` did not answer within {deadline_ms} ms; retry with a longer deadline")]
    TooSlow {
        /// The model and its version.
        model: String,
        /// The deadline.
        deadline_ms: u64,
    },
    /// The loaded models leave no room.
    #[error("`{model}` takes about {wanted} bytes; {free} of the {limit} for loaded models are free; retry later")]
    NoMemory {
        /// The model and its version.
        model: String,
        /// What it would take.
        wanted: u64,
        /// What is left.
        free: u64,
        /// The limit.
        limit: u64,
    },
    /// An alias points to the version.
    #[error("alias `{alias}` points to `{model}`; point it elsewhere first")]
    InUse {
        /// The model and its version.
        model: String,
        /// The alias.
        alias: String,
    },
    /// The alias has pointed nowhere before.
    #[error("alias `{alias}` of model `{name}` has no earlier version to go back to")]
    NoEarlier {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
    },
    /// The model answered with a number that JSON does not have.
    #[error("output `{output}` holds {value}, which is no finite number; the model or its input is broken")]
    NotFinite {
        /// The output.
        output: String,
        /// The number.
        value: String,
    },
    /// What is stored is not what was accepted.
    #[error("{what} is damaged: {detail}; pull the model again")]
    Damaged {
        /// The file or row.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Another change came in between.
    #[error("model `{name}` was changed at the same time; look at it and retry")]
    Changed {
        /// The model.
        name: String,
    },
    /// An artifact has as many versions as it may have.
    #[error("model `{name}` has {most} versions, which is the limit; delete one")]
    Full {
        /// The model.
        name: String,
        /// The limit.
        most: usize,
    },
    /// A request of the stream is being answered.
    #[error("stream `{key}` is being answered; its requests follow one another: wait for the answer, then retry")]
    StreamBusy {
        /// The stream.
        key: String,
    },
    /// A version has as many streams as it may have.
    #[error("`{model}` has {most} streams open, which is its limit; end one by `last`, or retry later")]
    StreamsFull {
        /// The model and its version.
        model: String,
        /// The limit.
        most: usize,
    },
    /// The models are shutting down.
    #[error("the server is shutting down; retry after its restart")]
    Stopped,
    /// The model, its manifest or an engine refused.
    #[error(transparent)]
    Infer(#[from] nx_infer::Error),
    /// The log refused.
    #[error(transparent)]
    Journal(#[from] nx_journal::Error),
}

impl Error {
    pub(crate) fn damaged(what: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::Damaged { what: what.into(), detail: detail.to_string() }
    }

    pub(crate) fn input(input: &str, reason: impl Into<String>) -> Self {
        Self::Input { input: input.to_owned(), reason: reason.into() }
    }

    /// A text from outside, cut so that it fits a message.
    pub(crate) fn invalid(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { what, text: text.chars().take(64).collect(), reason: reason.into() }
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::UnknownModel { .. } => "NX-MDL-0001",
            Self::UnknownVersion { .. } => "NX-MDL-0002",
            Self::Invalid { .. } => "NX-MDL-0003",
            Self::Checksum { .. } => "NX-MDL-0004",
            Self::TooLarge { .. } => "NX-MDL-0005",
            Self::NoEngine { .. } => "NX-MDL-0006",
            Self::Input { .. } => "NX-MDL-0007",
            Self::QueueFull { .. } => "NX-MDL-0008",
            Self::TooSlow { .. } => "NX-MDL-0009",
            Self::NoMemory { .. } => "NX-MDL-0010",
            Self::InUse { .. } => "NX-MDL-0011",
            Self::NoEarlier { .. } => "NX-MDL-0012",
            Self::NotFinite { .. } => "NX-MDL-0013",
            Self::Damaged { .. } => "NX-MDL-0014",
            Self::Changed { .. } => "NX-MDL-0015",
            Self::Full { .. } => "NX-MDL-0016",
            Self::Stopped => "NX-MDL-0017",
            Self::StreamBusy { .. } => "NX-MDL-0018",
            Self::StreamsFull { .. } => "NX-MDL-0019",
            Self::Infer(error) => return error.code(),
            Self::Journal(error) => return error.code(),
        })
    }

    fn retryable(&self) -> bool {
        match self {
            Self::QueueFull { .. }
            | Self::TooSlow { .. }
            | Self::NoMemory { .. }
            | Self::Changed { .. }
            | Self::StreamBusy { .. }
            | Self::StreamsFull { .. }
            | Self::Stopped => true,
            Self::Infer(error) => error.retryable(),
            Self::Journal(error) => error.retryable(),
            _ => false,
        }
    }
}
