//! What a verification found, and where.

use std::fmt;

use nx_types::{BlobId, Digest, KeyId, LabelId, Namespace, Origin, Seq};

/// Most findings that a report lists; further ones are counted.
pub const MAX_FINDINGS: usize = 10_000;

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// One event.
    Event(Seq),
    /// One of these events, `from` included, `to` excluded: what is stored does not tell which.
    Events {
        /// The first.
        from: Seq,
        /// The first that is not concerned.
        to: Seq,
    },
    /// A tile of the Merkle tree.
    Tile {
        /// Its level.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// A checkpoint of this tree size.
    Checkpoint {
        /// The tree size.
        size: u64,
    },
    /// A state row.
    State {
        /// Its namespace.
        namespace: Namespace,
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
    },
    /// A state row that is gone, so that only the event which proves it is known.
    LostState {
        /// The event that last wrote it.
        seq: Seq,
        /// The row's slot in that event's header, in hexadecimal.
        slot: String,
    },
    /// An index entry of a state row.
    Index {
        /// The row's namespace.
        namespace: Namespace,
        /// The row's kind.
        kind: String,
        /// The index's name.
        name: String,
        /// The row's key.
        key: String,
    },
    /// A data key.
    Key(KeyId),
    /// A blob.
    Blob(BlobId),
    /// A label's definition.
    Label {
        /// The namespace.
        namespace: Namespace,
        /// The label.
        id: LabelId,
    },
    /// The log's own record of its size and root.
    Head,
    /// Something that the storage engine cannot read.
    Stored(String),
    /// A file of an export.
    File(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(seq) => write!(f, "event {seq}"),
            Self::Events { from, to } => write!(f, "events {from} to {}", to.0.saturating_sub(1)),
            Self::Tile { level, index } => write!(f, "tile {level}/{index}"),
            Self::Checkpoint { size } => write!(f, "checkpoint {size}"),
            Self::State { namespace, kind, key } => write!(f, "state row {namespace}/{kind}/{key}"),
            Self::LostState { seq, slot } => write!(f, "state row {slot} of event {seq}"),
            Self::Index { namespace, kind, name, key } => {
                write!(f, "index {name} of state row {namespace}/{kind}/{key}")
            }
            Self::Key(id) => write!(f, "data key {id}"),
            Self::Blob(id) => write!(f, "blob {id}"),
            Self::Label { namespace, id } => write!(f, "label {id} of namespace {namespace}"),
            Self::Head => f.write_str("the log's head"),
            Self::Stored(what) => f.write_str(what),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

/// Something that is not as the log says it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What is wrong, in one line.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The log, as its newest events say.
    pub origin: Option<Origin>,
    /// Events looked at.
    pub events: u64,
    /// Events whose data was erased; their headers and proofs stand.
    pub erased: u64,
    /// Tiles looked at.
    pub tiles: u64,
    /// Signed checkpoints whose root the records give.
    pub checkpoints: u64,
    /// State rows looked at.
    pub state_rows: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// The root hash over all events.
    pub root: Option<Digest>,
    /// What is wrong; empty if nothing is.
    pub findings: Vec<Finding>,
    /// Findings beyond [`MAX_FINDINGS`], which are not listed.
    pub more: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn find(&mut self, place: Place, detail: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { place, detail: detail.into() });
        } else {
            self.more += 1;
        }
    }
}
