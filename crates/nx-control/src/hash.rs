//! Digests as texts.

use std::fmt::Write as _;

use ring::digest;

/// The first `bytes` bytes of SHA-256, in hexadecimal digits.
pub(crate) fn sha256(content: &[u8], bytes: usize) -> String {
    let digest = digest::digest(&digest::SHA256, content);
    hex(digest.as_ref().get(..bytes).unwrap_or_default())
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}
