//! Idempotency keys: HMAC-SHA256 under a secret of the installation, so that they can be told apart from anyone
//! else's and reveal nothing.

use std::fmt;

use nx_types::RunId;
use ring::hmac;

use super::digest::base64url;

/// What an idempotency key stands for: one revision of one step of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyParts<'a> {
    pub(super) run: RunId,
    pub(super) scope: &'a str,
    pub(super) name: &'a str,
    pub(super) key: Option<&'a str>,
    /// Carries before the step: occurrences count anew after each.
    pub(super) segment: u32,
    pub(super) occ: u32,
    pub(super) rev: u16,
}

/// Makes idempotency keys.
#[derive(Clone)]
pub struct KeyMaker(hmac::Key);

impl KeyMaker {
    /// Keys under this secret, which stays with the installation as long as its runs.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The key of a step. Fields are prefixed by their length, so that no two identities share a message.
    pub(super) fn make(&self, parts: KeyParts<'_>) -> String {
        let mut message = Vec::with_capacity(64 + parts.scope.len() + parts.name.len());
        let mut field = |bytes: &[u8]| {
            message.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            message.extend_from_slice(bytes);
        };
        field(parts.run.as_bytes());
        field(parts.scope.as_bytes());
        field(parts.name.as_bytes());
        match parts.key {
            Some(key) => {
                field(b"key");
                field(key.as_bytes());
            }
            None => {
                field(b"occurrence");
                field(&parts.segment.to_be_bytes());
                field(&parts.occ.to_be_bytes());
            }
        }
        field(&parts.rev.to_be_bytes());
        let tag = hmac::sign(&self.0, &message);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        base64url(&bytes).iter().map(|&letter| char::from(letter)).collect()
    }
}

impl fmt::Debug for KeyMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaker(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_changes_the_key() {
        let keys = KeyMaker::new(&[7; 32]);
        let parts =
            KeyParts { run: RunId::from_bytes([1; 10]), scope: "a", name: "b", key: None, segment: 0, occ: 1, rev: 0 };
        let mut all = vec![
            keys.make(parts),
            keys.make(KeyParts { run: RunId::from_bytes([2; 10]), ..parts }),
            keys.make(KeyParts { scope: "ab", name: "", ..parts }),
            keys.make(KeyParts { scope: "", name: "ab", ..parts }),
            keys.make(KeyParts { key: Some("1"), ..parts }),
            keys.make(KeyParts { segment: 1, ..parts }),
            keys.make(KeyParts { occ: 2, ..parts }),
            keys.make(KeyParts { rev: 1, ..parts }),
            KeyMaker::new(&[8; 32]).make(parts),
        ];
        assert_eq!(all[0].len(), 43);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 9);
        assert_eq!(
            keys.make(KeyParts { key: Some("k"), ..parts }),
            keys.make(KeyParts { key: Some("k"), segment: 9, occ: 9, ..parts })
        );
    }
}
