//! Why a part of the example's world failed.

use std::{io, path::PathBuf};

use nx_types::{Code, ErrorCode};

/// An error of the example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the world could not be read or written.
    #[error("could not use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No port of 127.0.0.1 could be bound.
    #[error("could not listen on 127.0.0.1 for the {service} service")]
    Listen {
        /// The service.
        service: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A service's database failed.
    #[error("the world's database failed")]
    Database {
        /// What `SQLite` said.
        #[from]
        source: rusqlite::Error,
    },
    /// A blocking task was cancelled: the world is shutting down.
    #[error("the world is shutting down")]
    Stopping,
    /// The embedded motor series is malformed.
    #[error("the motor series is malformed at line {line}")]
    Motor {
        /// The line, from 1.
        line: u64,
    },
    /// A service could not be reached, or answered what it should not.
    #[error("the {service} service failed: {detail}")]
    Service {
        /// The service.
        service: &'static str,
        /// What happened.
        detail: String,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::File { .. } => "NX-PAR-0001",
            Self::Listen { .. } => "NX-PAR-0002",
            Self::Database { .. } => "NX-PAR-0003",
            Self::Stopping => "NX-PAR-0004",
            Self::Motor { .. } => "NX-PAR-0005",
            Self::Service { .. } => "NX-PAR-0006",
        })
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::Stopping | Self::Service { .. })
    }
}
