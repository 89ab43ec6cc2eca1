//! What a reader gets from the log.

use nx_types::{EventType, Header, Namespace, Seq, Subject};

/// A recorded fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The part that stands for ever.
    pub header: Header,
    /// The content.
    pub data: Data,
}

impl Event {
    /// The event's place in the log.
    pub fn seq(&self) -> Seq {
        self.header.seq
    }
}

/// The content of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The unsealed bytes.
    Open(Vec<u8>),
    /// Its key was erased: nobody can read it any more.
    Erased,
}

impl Data {
    /// The unsealed bytes, unless they were erased.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Open(bytes) => Some(bytes),
            Self::Erased => None,
        }
    }
}

/// Which events a reader or a subscription wants; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this namespace.
    pub namespace: Option<Namespace>,
    /// Only types that start with one of these (`step.` or `run.completed`); empty is any.
    pub types: Vec<String>,
    /// Only this subject.
    pub subject: Option<Subject>,
}

impl Filter {
    /// Whether a header is wanted.
    pub fn matches(&self, header: &Header) -> bool {
        self.matches_type(&header.kind)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == header.namespace)
            && self.subject.as_ref().is_none_or(|subject| *subject == header.subject)
    }

    fn matches_type(&self, kind: &EventType) -> bool {
        self.types.is_empty() || self.types.iter().any(|prefix| kind.as_str().starts_with(prefix.as_str()))
    }
}

/// A state row, unsealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// The row's key within its namespace and kind.
    pub key: String,
    /// How often it was written, from 1.
    pub version: u64,
    /// The event whose header proves it: the last of the commit that wrote it.
    pub seq: Seq,
    /// The content.
    pub bytes: Vec<u8>,
}
