//! The event header: the part of an event that stands in the transparency log for ever.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    id::{BlobId, Digest, EventId, EventType, IdError, KeyId, LabelId, Namespace, Origin, Seq, Subject},
    time::Timestamp,
};

/// A reference to an event of any log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventRef {
    /// The log.
    pub origin: Origin,
    /// The place in it.
    pub seq: Seq,
}

/// What an event followed from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Causation {
    /// Nothing that the log knows.
    #[default]
    None,
    /// An event of the same log.
    Local(Seq),
    /// An event of another log.
    Foreign(EventRef),
}

/// What a commit did to one state row. The row's own bytes are not in the log; this is what proves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigest {
    /// First 16 bytes of SHA-256 over `namespace NUL kind NUL key`.
    pub slot: [u8; 16],
    /// The key under which the row is sealed.
    pub key: KeyId,
    /// SHA-256 of the sealed row, `None` for a deletion.
    pub digest: Option<Digest>,
}

/// The part of an event that is never erased. Its postcard encoding followed by the SHA-256 digest of the sealed data
/// is the leaf of the Merkle tree. Fields are only ever added at the end, under a new [`Header::FORMAT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The encoding's version: [`Header::FORMAT`].
    pub format: u8,
    /// The log.
    pub origin: Origin,
    /// The place in the log.
    pub seq: Seq,
    /// The event's id.
    pub id: EventId,
    /// The namespace.
    pub namespace: Namespace,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The version of the data's schema.
    pub schema: u16,
    /// What it is about.
    pub subject: Subject,
    /// The event's place among its subject's events, from 1, without gaps.
    pub version: u64,
    /// When it happened, as its source says.
    pub occurred: Timestamp,
    /// When it was committed.
    pub recorded: Timestamp,
    /// The label of the data as a whole; `None` stands for the trusted label [`crate::Label::default`].
    pub label: Option<LabelId>,
    /// What it followed from.
    pub causation: Causation,
    /// W3C trace context.
    pub trace: Option<TraceParent>,
    /// The key under which the data is sealed.
    pub key: KeyId,
    /// Blobs that the data refers to.
    pub blobs: Vec<BlobId>,
    /// State rows that the commit changed; stands in the commit's last event.
    pub state: Vec<StateDigest>,
}

impl Header {
    /// The encoding's version.
    pub const FORMAT: u8 = 1;

    /// The canonical bytes: what is hashed and stored.
    pub fn encode(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "a header holds nothing that postcard cannot encode")]
        postcard::to_allocvec(self).expect("headers encode")
    }

    /// Reads canonical bytes. An unknown format is an error that names it.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        match bytes.first() {
            Some(&Self::FORMAT) => {}
            Some(&format) => return Err(HeaderError::Format { format }),
            None => return Err(HeaderError::Malformed),
        }
        let (header, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_err| HeaderError::Malformed)?;
        if rest.is_empty() { Ok(header) } else { Err(HeaderError::Malformed) }
    }
}

/// Why bytes are not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Written by a newer release.
    #[error("event header format {format} is unknown to this release; open the log with the release that wrote it")]
    Format {
        /// The format found.
        format: u8,
    },
    /// Damaged.
    #[error("event header is malformed")]
    Malformed,
}

/// W3C trace context: trace id, parent span id, flags. In JSON the `traceparent` text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that caused the event.
    pub span: [u8; 8],
    /// Flags; bit 0 is `sampled`.
    pub flags: u8,
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            u128::from_be_bytes(self.trace),
            u64::from_be_bytes(self.span),
            self.flags
        )
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceParent {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Form {
            what: "a traceparent",
            rule: "it must have the form 00-<32 hex>-<16 hex>-<2 hex>, with ids that are not zero",
            text: text.chars().take(64).collect(),
        };
        let parts: Vec<&str> = text.split('-').collect();
        let [_version @ "00", trace, span, flags] = parts.as_slice() else { return Err(wrong()) };
        let hex = |part: &str, len: usize| {
            (part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .then(|| u128::from_str_radix(part, 16).ok())
                .flatten()
                .ok_or_else(wrong)
        };
        let (trace, span, flags) = (hex(trace, 32)?, hex(span, 16)?, hex(flags, 2)?);
        if trace == 0 || span == 0 {
            return Err(wrong());
        }
        Ok(Self { trace: trace.to_be_bytes(), span: (span as u64).to_be_bytes(), flags: flags as u8 })
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.trace, self.span, self.flags).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            <([u8; 16], [u8; 8], u8)>::deserialize(deserializer).map(|(trace, span, flags)| Self { trace, span, flags })
        }
    }
}
