//! Index values: encodings whose byte order is the order of what they stand for, and ranges over them.

use nx_types::Timestamp;

/// Which entries of an index are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexRange {
    /// Exactly this value.
    Eq(Vec<u8>),
    /// Values that start with these bytes; empty is all.
    Prefix(Vec<u8>),
    /// Values from `from` (inclusive) up to `to` (exclusive; `None` is no end).
    Range {
        /// The first value.
        from: Vec<u8>,
        /// The first value past the end.
        to: Option<Vec<u8>>,
    },
}

impl IndexRange {
    /// The range as `from` (inclusive) and `to` (exclusive).
    pub(crate) fn bounds(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Eq(value) => {
                let mut past = value.clone();
                past.push(0);
                (value.clone(), Some(past))
            }
            Self::Prefix(prefix) => (prefix.clone(), past_prefix(prefix)),
            Self::Range { from, to } => (from.clone(), to.clone()),
        }
    }
}

/// The first value that is greater than all those with this prefix.
fn past_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut past = prefix.get(..=keep)?.to_vec();
    if let Some(last) = past.last_mut() {
        *last += 1;
    }
    Some(past)
}

/// A number, in numeric order.
pub fn u64(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A signed number, in numeric order.
pub fn i64(number: i64) -> Vec<u8> {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes().to_vec()
}

/// An instant, in order of time.
pub fn time(time: Timestamp) -> Vec<u8> {
    i64(time.as_micros())
}

/// The number that [`u64`] encoded, from the value's first 8 bytes.
pub fn read_u64(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The instant that [`time`] encoded, from the value's first 8 bytes.
pub fn read_time(value: &[u8]) -> Option<Timestamp> {
    read_u64(value).map(|bits| Timestamp::from_micros((bits ^ (1 << 63)).cast_signed()))
}

/// A text, in byte order.
pub fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// Two values, ordered by the first, then the second. `pair(a, b"")` is a prefix of every `pair(a, _)`.
pub fn pair(first: &[u8], second: &[u8]) -> Vec<u8> {
    // 00 is escaped as 00 ff and the end written as 00 01, so that a shorter first sorts before a longer one.
    let mut bytes = Vec::with_capacity(first.len() + second.len() + 2);
    for &byte in first {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(second);
    bytes
}
