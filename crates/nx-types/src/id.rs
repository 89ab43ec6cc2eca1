//! Typed identifiers. Random ids are short, lower case and prefixed, so that a person can quote the first letters.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{env::Rng, time::Timestamp};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text lacks the prefix of its type.
    #[error("`{text}` is not {what}: it must start with `{prefix}`")]
    Prefix {
        /// What was expected, with its article.
        what: &'static str,
        /// The prefix that was expected.
        prefix: &'static str,
        /// What was given, cut to 64 bytes.
        text: String,
    },
    /// The text has the wrong form.
    #[error("`{text}` is not {what}: {rule}")]
    Form {
        /// What was expected, with its article.
        what: &'static str,
        /// The rule that was broken.
        rule: &'static str,
        /// What was given, cut to 64 bytes.
        text: String,
    },
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn base32_80(bytes: [u8; 10]) -> String {
    let mut bits = 0u128;
    for byte in bytes {
        bits = (bits << 8) | u128::from(byte);
    }
    (0..16).rev().map(|place| char::from(ALPHABET[((bits >> (place * 5)) & 31) as usize])).collect()
}

fn unbase32_80(text: &str) -> Option<[u8; 10]> {
    if text.len() != 16 {
        return None;
    }
    let mut bits = 0u128;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        bits = (bits << 5) | digit as u128;
    }
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&bits.to_be_bytes()[6..]);
    Some(bytes)
}

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 10]);

        impl $name {
            /// The prefix that every id of this type carries.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id: 80 random bits.
            pub fn random(rng: &dyn Rng) -> Self {
                let mut bytes = [0; 10];
                rng.fill(&mut bytes);
                Self(bytes)
            }

            /// An id from its 80 bits.
            pub fn from_bytes(bytes: [u8; 10]) -> Self {
                Self(bytes)
            }

            /// The 80 bits.
            pub fn as_bytes(&self) -> &[u8; 10] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(&base32_80(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let rest = text.strip_prefix($prefix).ok_or_else(|| IdError::Prefix {
                    what: $what,
                    prefix: $prefix,
                    text: clip(text),
                })?;
                unbase32_80(rest).map(Self).ok_or_else(|| IdError::Form {
                    what: $what,
                    rule: "16 letters or digits (no i, l, o, u) must follow the prefix",
                    text: clip(text),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

short_id!(
    /// One execution of an agent: `r_` and 16 letters.
    RunId,
    "r_",
    "a run id"
);
short_id!(
    /// One request for a person's decision: `a_` and 16 letters.
    ApprovalId,
    "a_",
    "an approval id"
);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest accepted text, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Checks the text's form.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if text.is_empty() || text.len() > $max || !valid(text) {
                    return Err(IdError::Form { what: $what, rule: $rule, text: clip(text) });
                }
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A tenant's realm: keys, resources and runs of different namespaces never meet.
    Namespace,
    "a namespace",
    63,
    "1 to 63 of a-z, 0-9 and `-`, starting with a letter",
    |text| text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
text_id!(
    /// What an event is about: `run/r_…`, `device/…`. Opaque: it outlives erasure, so it holds no personal data.
    Subject,
    "a subject",
    128,
    "1 to 128 printable ASCII characters without blanks",
    |text| text.bytes().all(|b| b.is_ascii_graphic())
);
text_id!(
    /// What happened: dotted past tense, `step.completed`.
    EventType,
    "an event type",
    64,
    "1 to 64 of a-z, 0-9, `.`, `_` and `-`, starting with a letter",
    |text| text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
);

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Subject {
    /// The subject of a run's events.
    pub fn run(run: RunId) -> Self {
        Self(format!("run/{run}").into())
    }

    /// The subject of a data key's events.
    pub fn key(key: KeyId) -> Self {
        Self(format!("key/{key}").into())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id!(
    /// An event's place in its log, from 0, without gaps: the leaf's index in the Merkle tree.
    Seq
);
number_id!(
    /// A writer's term. Each opening of a log takes the next; an append under an older one is refused.
    Epoch
);
number_id!(
    /// A data key within its log.
    KeyId
);

impl Seq {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError::Form { what: $what, rule: "hexadecimal digits, lower case", text: clip(text) };
                if text.len() != 2 * $bytes || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(wrong());
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let digit = |b: u8| if b.is_ascii_digit() { b - b'0' } else { b - b'a' + 10 };
                    *byte = (digit(pair[0]) << 4) | digit(pair[1]);
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hex_id!(
    /// A log's identity: 128 random bits, drawn when the log is created or restored.
    Origin,
    16,
    "an origin"
);
hex_id!(
    /// A blob: BLAKE3 of its ciphertext.
    BlobId,
    32,
    "a blob id"
);
hex_id!(
    /// A label: SHA-256 of its canonical form.
    LabelId,
    32,
    "a label id"
);
hex_id!(
    /// A SHA-256 digest.
    Digest,
    32,
    "a digest"
);

/// An event's id: a UUID version 7 (RFC 9562), so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// A fresh id: 48 bits of Unix milliseconds, 74 random bits.
    pub fn generate(now: Timestamp, rng: &dyn Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes[6..]);
        let millis = (now.as_micros() / 1000).max(0) as u64;
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(bytes)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain: String = text.chars().filter(|&c| c != '-').collect();
        Origin::from_str(&plain).map(|id| Self(id.0)).map_err(|_err| IdError::Form {
            what: "an event id",
            rule: "a UUID in lower case",
            text: clip(text),
        })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SeededRng;

    #[test]
    fn short_ids_round_trip() {
        let rng = SeededRng::new(7);
        for _ in 0..100 {
            let id = RunId::random(&rng);
            assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
        }
        assert!("a_0000000000000000".parse::<RunId>().is_err());
        assert!("r_000000000000000".parse::<RunId>().is_err());
        assert!("r_000000000000000i".parse::<RunId>().is_err());
    }

    #[test]
    fn event_ids_are_version_7_and_sort_by_time() {
        let rng = SeededRng::new(7);
        let early = EventId::generate(Timestamp::from_micros(1_000_000), &rng);
        let late = EventId::generate(Timestamp::from_micros(2_000_000), &rng);
        assert!(early < late);
        assert_eq!(late.to_string().chars().nth(14), Some('7'));
        assert_eq!(late.to_string().parse::<EventId>(), Ok(late));
    }

    #[test]
    fn names_are_checked() {
        assert!(Namespace::new("default").is_ok());
        for bad in ["", "A", "1a", "a b", &"a".repeat(64)] {
            assert!(Namespace::new(bad).is_err(), "{bad}");
        }
        assert!(EventType::new("step.completed").is_ok());
        assert!(Subject::new("run/ x").is_err());
    }
}
