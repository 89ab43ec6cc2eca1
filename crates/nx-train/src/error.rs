//! What can go wrong here.

use nx_types::{Code, ErrorCode};
use thiserror::Error;

/// Errors of training.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no idx file.
    #[error("no idx data: {reason}")]
    Idx {
        /// What is wrong.
        reason: String,
    },
    /// More than this crate takes in.
    #[error("{what} has {found}, more than the {most} that are taken in")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How much was found.
        found: u64,
        /// How much may be.
        most: u64,
    },
    /// Examples that do not fit together, or do not fit the network.
    #[error("data does not fit: {reason}")]
    Data {
        /// What is wrong, with the fix.
        reason: String,
    },
    /// Layers that do not fit together.
    #[error("layer {layer}: {reason}")]
    Network {
        /// The layer, from 0.
        layer: usize,
        /// What is wrong, with the fix.
        reason: String,
    },
    /// An option that makes no sense.
    #[error("option `{option}` is `{value}`; {fix}")]
    Options {
        /// Which.
        option: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        fix: &'static str,
    },
    /// The loss is no longer a number.
    #[error("training diverged at step {step}: the loss is no number any more; try a lower learning rate")]
    Diverged {
        /// Steps done before it.
        step: usize,
    },
    /// The caller wanted no more.
    #[error("training was cancelled after step {step}")]
    Cancelled {
        /// Steps done.
        step: usize,
    },
    /// Bytes that are no stored network.
    #[error("no stored network: {reason}")]
    Stored {
        /// What is wrong.
        reason: String,
    },
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        match self {
            Self::Idx { .. } => Code::new("NX-TRN-0001"),
            Self::TooLarge { .. } => Code::new("NX-TRN-0002"),
            Self::Data { .. } => Code::new("NX-TRN-0003"),
            Self::Network { .. } => Code::new("NX-TRN-0004"),
            Self::Options { .. } => Code::new("NX-TRN-0005"),
            Self::Diverged { .. } => Code::new("NX-TRN-0006"),
            Self::Cancelled { .. } => Code::new("NX-TRN-0007"),
            Self::Stored { .. } => Code::new("NX-TRN-0008"),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }
}
