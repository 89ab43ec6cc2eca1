//! What a writer hands to the log: one commit is one plain data structure, applied whole or not at all.

use nx_types::{BlobId, EventId, EventRef, EventType, Namespace, Seq, SharedLabel, Subject, Timestamp, TraceParent};

/// A change of the log: checked against its preconditions, then written whole, or refused whole.
///
/// A commit with puts or deletes holds at least one event: its last one proves them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// What must hold just before it, earlier commits of the same group included.
    pub preconditions: Vec<Precondition>,
    /// The facts, in order.
    pub events: Vec<NewEvent>,
    /// State rows to write.
    pub puts: Vec<Put>,
    /// State rows to remove; a row that is not there is no error.
    pub deletes: Vec<Delete>,
    /// Named reading positions to store: `(name, next seq to read)`.
    pub cursors: Vec<(String, Seq)>,
}

impl Commit {
    /// A commit of these events alone.
    pub fn of(events: impl IntoIterator<Item = NewEvent>) -> Self {
        Self { events: events.into_iter().collect(), ..Self::default() }
    }
}

/// Whether the log itself alone records events of this type.
pub(crate) fn is_reserved(kind: &EventType) -> bool {
    matches!(kind.as_str(), "log.opened" | "log.restored" | "key.erased" | "label.defined")
}

/// What must hold for a commit to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The subject has exactly this many events; 0 is none yet.
    SubjectAt {
        /// The subject's namespace.
        namespace: Namespace,
        /// The subject.
        subject: Subject,
        /// How many events it has.
        version: u64,
    },
    /// The state row has exactly this version; 0 is absent.
    StateAt {
        /// The row's namespace.
        namespace: Namespace,
        /// The row's kind.
        kind: String,
        /// The row's key.
        key: String,
        /// Its version.
        version: u64,
    },
}

/// A fact to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The namespace.
    pub namespace: Namespace,
    /// What happened.
    pub kind: EventType,
    /// The version of the data's schema.
    pub schema: u16,
    /// What it is about.
    pub subject: Subject,
    /// Whose data it is: the sealing key is per namespace and data subject. The subject when left out.
    pub data_subject: Option<String>,
    /// When it happened, as its source says; the commit's time when left out.
    pub occurred: Option<Timestamp>,
    /// The label of the data; `None` is the trusted label.
    pub label: Option<SharedLabel>,
    /// What it followed from.
    pub causation: Cause,
    /// W3C trace context.
    pub trace: Option<TraceParent>,
    /// The content, sealed before it is stored. At most [`crate::Options::max_event_bytes`].
    pub data: Vec<u8>,
    /// Blobs that the data refers to; garbage collection keeps them.
    pub blobs: Vec<BlobId>,
    /// The event's id; drawn by the log when left out. The caller answers for its being unique.
    pub id: Option<EventId>,
}

impl NewEvent {
    /// An event with schema version 1 and nothing optional.
    pub fn new(namespace: Namespace, kind: EventType, subject: Subject, data: Vec<u8>) -> Self {
        Self {
            namespace,
            kind,
            schema: 1,
            subject,
            data_subject: None,
            occurred: None,
            label: None,
            causation: Cause::None,
            trace: None,
            data,
            blobs: Vec::new(),
            id: None,
        }
    }
}

/// What a new event followed from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cause {
    /// Nothing that the log knows.
    #[default]
    None,
    /// An event of this log.
    Local(Seq),
    /// An earlier event of the same commit, by its place in [`Commit::events`].
    Within(usize),
    /// An event of another log.
    Foreign(EventRef),
}

/// A state row to write; its version becomes the previous one plus 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The row's namespace.
    pub namespace: Namespace,
    /// The row's kind, such as `run`.
    pub kind: String,
    /// The row's key within its kind; stored in clear, so it holds no personal data.
    pub key: String,
    /// Whose data it is: the sealing key is per namespace and data subject.
    pub data_subject: String,
    /// The content, sealed before it is stored.
    pub bytes: Vec<u8>,
    /// Where the row is found besides its key. Replaces the row's former entries.
    pub index: Vec<IndexEntry>,
}

/// One declared way to find a state row. Values are stored in clear, in byte order, until the row or its key goes;
/// build them with [`crate::index`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct IndexEntry {
    /// The index's name within the kind.
    pub name: String,
    /// The value, ordered by its bytes.
    pub value: Vec<u8>,
}

/// A state row to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The row's namespace.
    pub namespace: Namespace,
    /// The row's kind.
    pub kind: String,
    /// The row's key.
    pub key: String,
}

/// Proof to the caller that a commit is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The place of the commit's first event; of an empty commit the next free place.
    pub first: Seq,
    /// The place of the commit's last event; of an empty commit the next free place.
    pub last: Seq,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// The places of [`Commit::events`], in order (definitions of new labels may stand between them).
    pub events: Vec<Seq>,
    /// The new versions of [`Commit::puts`], in order.
    pub versions: Vec<u64>,
}
