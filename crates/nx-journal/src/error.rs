//! The one error of this crate.

use std::{error, io, path::PathBuf, sync::Arc};

use nx_types::{BlobId, Code, Epoch, ErrorCode, Namespace, Seq, Subject};

/// What can go wrong with the log. Cloneable, because one failed write fails every commit of its group.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`crate::Precondition::SubjectAt`] does not hold.
    #[error("subject `{subject}` has {actual} events, the commit expects {expected}; read it again and retry")]
    SubjectConflict {
        /// The subject.
        subject: Subject,
        /// What the commit expected.
        expected: u64,
        /// What is.
        actual: u64,
    },
    /// [`crate::Precondition::StateAt`] does not hold.
    #[error("state row `{kind}/{key}` is at version {actual}, the commit expects {expected}; read it again and retry")]
    StateConflict {
        /// The row's kind.
        kind: String,
        /// The row's key.
        key: String,
        /// What the commit expected.
        expected: u64,
        /// What is.
        actual: u64,
    },
    /// An event's data, a state row or a name is over its bound.
    #[error("{what} has {bytes} bytes, over the bound of {max}; put large content into a blob")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The commit's form breaks a rule.
    #[error("invalid commit: {rule}")]
    Invalid {
        /// The rule, with the fix.
        rule: String,
    },
    /// The queue of commits is full.
    #[error("the log is busy: {queue} commits wait; retry later")]
    Busy {
        /// The queue's bound.
        queue: usize,
    },
    /// The log has been shut down.
    #[error("the log is closed")]
    Closed,
    /// The disk refused a write. Nothing of the group was recorded.
    #[error("the disk is full: nothing of the commit was recorded; free space and retry")]
    DiskFull,
    /// Less than [`crate::Options::min_free_bytes`] are free.
    #[error("only {free} bytes are free on the log's disk, less than the reserve of {reserve}; free space and retry")]
    LowDisk {
        /// Free bytes.
        free: u64,
        /// The configured reserve.
        reserve: u64,
    },
    /// Another process owns the data directory.
    #[error("the data directory is in use by process {pid}; stop it or choose another directory: {}", path.display())]
    Locked {
        /// The owner as it wrote itself down, `unknown` if it did not.
        pid: String,
        /// The lock file.
        path: PathBuf,
    },
    /// Written by a newer release.
    #[error(
        "the log has format {found}, this release knows formats up to {known}; open it with the release that wrote it"
    )]
    UnknownFormat {
        /// The format found.
        found: u64,
        /// The newest format known.
        known: u64,
    },
    /// Stored bytes are damaged.
    #[error("{what} is damaged: {detail}; run `neuraxis doctor` and restore from a backup")]
    Corrupt {
        /// The row, by its seq or key.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Another writer has opened the log since.
    #[error(
        "another writer has taken the log over: it is at epoch {found}, this writer at {ours}; restart this process"
    )]
    Fenced {
        /// This writer's epoch.
        ours: Epoch,
        /// The log's epoch.
        found: Epoch,
    },
    /// The master key is missing, malformed or not the one that the log was sealed with.
    #[error("master key: {detail}; without the key that the log was sealed with its content cannot be read")]
    MasterKey {
        /// What is wrong.
        detail: String,
    },
    /// No such blob.
    #[error("no blob `{id}` is known; upload it first")]
    BlobUnknown {
        /// The blob.
        id: BlobId,
    },
    /// The blob's key was erased.
    #[error("blob `{id}` was erased")]
    BlobErased {
        /// The blob.
        id: BlobId,
    },
    /// There is no key for this data subject.
    #[error("nothing is stored for data subject `{data_subject}` in namespace `{namespace}`")]
    DataSubjectUnknown {
        /// The namespace.
        namespace: Namespace,
        /// The data subject.
        data_subject: String,
    },
    /// The event is not in the log.
    #[error("the log has no event {seq}; its next is {head}")]
    NoSuchEvent {
        /// The place asked for.
        seq: Seq,
        /// The next free place.
        head: Seq,
    },
    /// The operating system refused a file operation.
    #[error("cannot {what}: {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The storage engine failed.
    #[error("the storage engine cannot {what}")]
    Storage {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: Arc<dyn error::Error + Send + Sync>,
    },
    /// The simulated disk has been told to crash.
    #[error("the simulated disk has crashed")]
    Crashed,
    /// A checkpoint, signed note or verifier key cannot be used.
    #[error("checkpoint: {detail}")]
    Checkpoint {
        /// What is wrong.
        detail: String,
    },
    /// A proof cannot be made or does not hold.
    #[error("proof: {detail}")]
    Proof {
        /// What is wrong.
        detail: String,
    },
    /// A backup or export cannot be written or used.
    #[error("archive: {detail}")]
    Archive {
        /// What is wrong.
        detail: String,
    },
    /// A line of an import is not what it should be.
    #[error("line {line}: {detail}")]
    Import {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        detail: String,
    },
}

impl Error {
    pub(crate) fn invalid(rule: impl Into<String>) -> Self {
        Self::Invalid { rule: rule.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), detail: detail.into() }
    }

    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::DiskFull,
            _ => Self::File { what, path: path.into(), source: Arc::new(source) },
        }
    }
}

impl ErrorCode for Error {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::SubjectConflict { .. } => "NX-JRN-0001",
            Self::StateConflict { .. } => "NX-JRN-0002",
            Self::TooLarge { .. } => "NX-JRN-0003",
            Self::Invalid { .. } => "NX-JRN-0004",
            Self::Busy { .. } => "NX-JRN-0005",
            Self::Closed => "NX-JRN-0006",
            Self::DiskFull => "NX-JRN-0007",
            Self::LowDisk { .. } => "NX-JRN-0008",
            Self::Locked { .. } => "NX-JRN-0009",
            Self::UnknownFormat { .. } => "NX-JRN-0010",
            Self::Corrupt { .. } => "NX-JRN-0011",
            Self::Fenced { .. } => "NX-JRN-0012",
            Self::MasterKey { .. } => "NX-JRN-0013",
            Self::BlobUnknown { .. } => "NX-JRN-0014",
            Self::BlobErased { .. } => "NX-JRN-0015",
            Self::DataSubjectUnknown { .. } => "NX-JRN-0016",
            Self::NoSuchEvent { .. } => "NX-JRN-0017",
            Self::File { .. } => "NX-JRN-0018",
            Self::Storage { .. } => "NX-JRN-0019",
            Self::Crashed => "NX-JRN-0020",
            Self::Checkpoint { .. } => "NX-JRN-0021",
            Self::Proof { .. } => "NX-JRN-0022",
            Self::Archive { .. } => "NX-JRN-0023",
            Self::Import { .. } => "NX-JRN-0024",
        })
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::DiskFull | Self::LowDisk { .. } | Self::Locked { .. })
    }
}
