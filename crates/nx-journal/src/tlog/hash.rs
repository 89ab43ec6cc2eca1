//! The hashes of RFC 6962 section 2.1: a leaf is hashed behind `0x00`, a node behind `0x01`, so that neither can pass
//! for the other.

use nx_types::Digest;
use ring::digest::{Context, SHA256};

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Digest {
    finish(ring::digest::digest(&SHA256, bytes).as_ref())
}

/// The leaf hash of an event: `SHA-256(0x00 ‖ header ‖ sealed)`, where `header` are the canonical bytes of
/// [`nx_types::Header::encode`] and `sealed` is the SHA-256 digest of the sealed data.
pub fn leaf_hash(header: &[u8], sealed: &Digest) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(header);
    context.update(&sealed.0);
    finish(context.finish().as_ref())
}

/// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0; 65];
    bytes[0] = 1;
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    sha256(&bytes)
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    sha256(&[])
}

fn finish(bytes: &[u8]) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(bytes);
    Digest(digest)
}

/// A leaf's two parts, as they are stored, exported and hashed. Its bytes are the header followed by the 32-byte
/// digest of the sealed data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The header's canonical bytes.
    pub header: Vec<u8>,
    /// SHA-256 of the sealed data.
    pub sealed: Digest,
}

impl Leaf {
    /// The leaf's hash.
    pub fn hash(&self) -> Digest {
        leaf_hash(&self.header, &self.sealed)
    }

    /// The leaf's bytes: what an exported entry holds.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.header.len() + 32);
        bytes.extend_from_slice(&self.header);
        bytes.extend_from_slice(&self.sealed.0);
        bytes
    }

    /// The leaf with these bytes; `None` if they are fewer than a digest's.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, sealed) = bytes.split_last_chunk::<32>()?;
        Some(Self { header: header.to_vec(), sealed: Digest(*sealed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_6962() {
        assert_eq!(empty_root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let leaf = Leaf { header: b"header".to_vec(), sealed: sha256(b"data") };
        assert_eq!(leaf.hash().0, tlog_tiles::record_hash(&leaf.encode()).0);
        assert_eq!(Leaf::decode(&leaf.encode()), Some(leaf));
        let (a, b) = (sha256(b"a"), sha256(b"b"));
        assert_eq!(node_hash(&a, &b).0, tlog_tiles::node_hash(tlog_tiles::Hash(a.0), tlog_tiles::Hash(b.0)).0);
    }
}
