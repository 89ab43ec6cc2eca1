//! Headers as rows hold them: what an event shares with the first one of its subject and of its type, and what its
//! row's columns say, is left out. Those first events hold their headers in full.
//!
//! A short header stands for exactly one header in full. What is *not* here: any change of what is hashed, sealed
//! against or handed out, which is always the header in full.

use std::sync::Arc;

use nx_types::Header;

/// The first byte of a short header; a header in full begins with its format's number. It stands for format 1.
pub(super) const SHORT: u8 = 0;

const FORMAT: u8 = 1;
const ORIGIN_BYTES: usize = 16;
const ID_BYTES: usize = 16;
/// Longest encoding of a number.
const MAX_NUMBER_BYTES: usize = 10;

/// What the events of a subject share: as it is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfSubject {
    pub(super) origin: [u8; ORIGIN_BYTES],
    namespace: Arc<[u8]>,
    subject: Arc<[u8]>,
}

impl OfSubject {
    /// By the header of the subject's first event.
    pub(super) fn of(header: &Header) -> Self {
        let origin = header.origin.0;
        let (namespace, subject) = (text(header.namespace.as_str()), text(header.subject.as_str()));
        Self { origin, namespace: namespace.into(), subject: subject.into() }
    }
}

/// The type as it is encoded, by the header of its first event.
pub(super) fn of_type(header: &Header) -> Arc<[u8]> {
    text(header.kind.as_str()).into()
}

/// The origin that a header in full names.
pub(super) fn origin_of(header: &[u8]) -> Option<[u8; ORIGIN_BYTES]> {
    header.get(1..).and_then(<[u8]>::first_chunk).copied().filter(|_| header.first() == Some(&FORMAT))
}

/// What an event's row says in its columns, and what it shares with other events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) seq: u64,
    pub(super) version: u64,
    pub(super) origin: &'a [u8; ORIGIN_BYTES],
    pub(super) namespace: &'a str,
    pub(super) kind: &'a str,
    pub(super) subject: &'a str,
}

/// Appends the short form of a header to `out`; `false`, and nothing appended, if it does not follow from the facts.
pub(super) fn shorten(header: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
    let Some((id, schema, rest)) = parts(header, facts) else { return false };
    out.push(SHORT);
    out.extend_from_slice(id);
    out.extend_from_slice(schema);
    out.extend_from_slice(rest);
    true
}

type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The id, the schema version and what follows the subject's version.
fn parts<'a>(header: &'a [u8], facts: &Facts<'_>) -> Option<Parts<'a>> {
    let mut number = [0; MAX_NUMBER_BYTES];
    let rest = header.strip_prefix(&[FORMAT])?.strip_prefix(facts.origin)?;
    let rest = rest.strip_prefix(encoded(facts.seq, &mut number))?;
    let (id, rest) = rest.split_at_checked(ID_BYTES)?;
    let rest = strip_text(rest, facts.namespace)?;
    let rest = strip_text(rest, facts.kind)?;
    let (schema, rest) = rest.split_at_checked(number_bytes(rest)?)?;
    let rest = strip_text(rest, facts.subject)?;
    let rest = rest.strip_prefix(encoded(facts.version, &mut number))?;
    Some((id, schema, rest))
}

fn strip_text<'a>(bytes: &'a [u8], text: &str) -> Option<&'a [u8]> {
    let mut number = [0; MAX_NUMBER_BYTES];
    bytes.strip_prefix(encoded(text.len() as u64, &mut number))?.strip_prefix(text.as_bytes())
}

/// Writes the header in full that a short one stands for into `out`; `false` if it stands for none.
pub(super) fn restore(
    short: &[u8],
    (seq, version): (u64, u64),
    subject: &OfSubject,
    kind: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let split = short.strip_prefix(&[SHORT]).and_then(|rest| rest.split_at_checked(ID_BYTES));
    let Some((id, rest)) = split else { return false };
    let Some((schema, rest)) = number_bytes(rest).and_then(|bytes| rest.split_at_checked(bytes)) else { return false };
    let mut number = [0; MAX_NUMBER_BYTES];
    out.clear();
    out.push(FORMAT);
    out.extend_from_slice(&subject.origin);
    out.extend_from_slice(encoded(seq, &mut number));
    for part in [id, &subject.namespace, kind, schema, &subject.subject] {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(encoded(version, &mut number));
    out.extend_from_slice(rest);
    true
}

fn text(text: &str) -> Vec<u8> {
    let mut number = [0; MAX_NUMBER_BYTES];
    [encoded(text.len() as u64, &mut number), text.as_bytes()].concat()
}

/// A number as postcard writes it: seven bits a byte, the lowest first.
fn encoded(mut value: u64, buffer: &mut [u8; MAX_NUMBER_BYTES]) -> &[u8] {
    let mut used = 0;
    for slot in buffer.iter_mut() {
        used += 1;
        *slot = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        *slot |= 0x80;
    }
    buffer.get(..used).unwrap_or_default()
}

/// How many bytes the number at the start takes.
fn number_bytes(bytes: &[u8]) -> Option<usize> {
    let last = bytes.iter().take(MAX_NUMBER_BYTES).position(|byte| byte & 0x80 == 0)?;
    Some(last + 1)
}

#[cfg(test)]
mod tests {
    use nx_types::{Causation, Label, Namespace, Origin, Seq, Timestamp};

    use super::*;

    fn header(seq: u64, version: u64, schema: u16) -> Header {
        Header {
            format: Header::FORMAT,
            origin: Origin([7; 16]),
            seq: Seq(seq),
            id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
            namespace: Namespace::default(),
            kind: "step.completed".parse().unwrap(),
            schema,
            subject: format!("run/{}", "r".repeat(120)).parse().unwrap(),
            version,
            occurred: Timestamp::from_micros(-1),
            recorded: Timestamp::from_micros(1_767_225_600_000_000),
            label: Some(Label::from_source("mail").id()),
            causation: Causation::Local(Seq(3)),
            trace: None,
            key: nx_types::KeyId(300),
            blobs: Vec::new(),
            state: Vec::new(),
        }
    }

    fn facts<'a>(header: &'a Header, origin: &'a [u8; 16]) -> Facts<'a> {
        Facts {
            seq: header.seq.0,
            version: header.version,
            origin,
            namespace: header.namespace.as_str(),
            kind: header.kind.as_str(),
            subject: header.subject.as_str(),
        }
    }

    #[test]
    fn a_short_header_stands_for_the_header_in_full() {
        let first = OfSubject::of(&header(0, 1, 1));
        let kind = of_type(&header(1, 2, 9));
        let mut restored = Vec::new();
        for seq in [1, 127, 128, 16_383, 16_384, u64::MAX] {
            for (version, schema) in [(1, 0), (127, 127), (128, 128), (u64::MAX, u16::MAX)] {
                let header = header(seq, version, schema);
                let full = header.encode();
                let mut short = Vec::new();
                assert!(shorten(&full, &facts(&header, &[7; 16]), &mut short));
                assert!(short.len() + 40 < full.len());
                assert!(restore(&short, (seq, version), &first, &kind, &mut restored));
                assert_eq!(restored, full);
            }
        }
    }

    #[test]
    fn what_does_not_follow_from_the_facts_is_not_shortened() {
        let header = header(5, 6, 1);
        let full = header.encode();
        let good = facts(&header, &[7; 16]);
        let mut short = Vec::new();
        let others = [
            Facts { seq: 6, ..good },
            Facts { version: 5, ..good },
            Facts { origin: &[8; 16], ..good },
            Facts { namespace: "other", ..good },
            Facts { kind: "step.failed", ..good },
            Facts { subject: "run/r_2", ..good },
        ];
        assert!(others.iter().all(|facts| !shorten(&full, facts, &mut short)) && short.is_empty());
        let mut newer = full.clone();
        newer[0] = 2;
        assert!(!shorten(&newer, &good, &mut short));
        assert_eq!((origin_of(&full), origin_of(&newer), origin_of(&[1])), (Some([7; 16]), None, None));
    }

    #[test]
    fn a_damaged_short_header_stands_for_none() {
        let first = OfSubject::of(&header(0, 1, 1));
        let kind = of_type(&header(1, 2, 9));
        let mut out = Vec::new();
        for bytes in [&[][..], &[SHORT; 5], &[SHORT; 17], &[0xff; 40], &[&[SHORT][..], &[0xff; 40]].concat()] {
            assert!(!restore(bytes, (1, 1), &first, &kind, &mut out), "{bytes:?}");
        }
    }
}
