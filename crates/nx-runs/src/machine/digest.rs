//! Digests of arguments: SHA-256 of the canonical form (RFC 8785), in events as base64url (43 letters).

use nx_types::Digest;
use ring::digest;
use serde::{Deserialize as _, Deserializer, Serializer, de};
use serde_json::Value;

use crate::Error;

/// SHA-256 of the value's canonical form.
pub fn of(value: &Value) -> Result<Digest, Error> {
    let canonical = serde_json_canonicalizer::to_vec(value)
        .map_err(|error| Error::value(format!("the arguments have no canonical form: {error}")))?;
    Ok(of_bytes(&canonical))
}

pub(super) fn of_bytes(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Digest(out)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 32 bytes in base64url without padding (RFC 4648).
#[expect(clippy::indexing_slicing, reason = "indices are masked to 6 bits")]
pub(super) fn base64url(bytes: &[u8; 32]) -> [u8; 43] {
    let mut out = [0; 43];
    for (place, letter) in out.iter_mut().enumerate() {
        let bit = place * 6;
        let high = u16::from(bytes.get(bit / 8).copied().unwrap_or(0)) << 8;
        let low = u16::from(bytes.get(bit / 8 + 1).copied().unwrap_or(0));
        *letter = ALPHABET[usize::from(((high | low) >> (10 - bit % 8)) & 63)];
    }
    out
}

/// A digest from the form that events have it in.
pub(crate) fn parse(text: &str) -> Option<Digest> {
    unbase64url(text).map(Digest)
}

fn unbase64url(text: &str) -> Option<[u8; 32]> {
    if text.len() != 43 {
        return None;
    }
    let mut out = [0; 32];
    let mut bits = 0u32;
    let mut held = 0u32;
    let mut bytes = out.iter_mut();
    for letter in text.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            *bytes.next()? = (bits >> held) as u8;
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

/// The first letters of a digest, for people.
pub(super) fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(8).collect()
}

pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    let text = base64url(&digest.0);
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    unbase64url(&text).map(Digest).ok_or_else(|| de::Error::custom("a digest has 43 letters of base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_round_trips() {
        for seed in 0..=255u8 {
            let bytes = of_bytes(&[seed]).0;
            let text = base64url(&bytes);
            assert_eq!(unbase64url(std::str::from_utf8(&text).unwrap()), Some(bytes));
        }
        assert_eq!(&base64url(&[0xff; 32])[..4], b"____");
    }

    #[test]
    fn numbers_hash_by_value_and_order_of_fields_does_not_matter() {
        let one = of(&serde_json::json!({"a": 1, "b": 2.0})).unwrap();
        let two = of(&serde_json::from_str(r#"{"b": 2, "a": 1.0}"#).unwrap()).unwrap();
        assert_eq!(one, two);
    }
}
