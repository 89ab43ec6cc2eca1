//! Entry bundles (C2SP tlog-tiles): up to 256 leaves, each behind its length in 16 bits, big-endian.

use super::{Leaf, TILE_WIDTH};
use crate::Error;

/// Largest bundle.
pub const MAX_ENTRIES_BYTES: usize = TILE_WIDTH * (2 + 65_535);

/// Adds a leaf to a bundle.
pub fn push_entry(bundle: &mut Vec<u8>, header: &[u8], sealed: &nx_types::Digest) -> Result<(), Error> {
    let bytes = header.len() + sealed.0.len();
    let len = u16::try_from(bytes).map_err(|_err| Error::TooLarge {
        what: "an exported header".to_owned(),
        bytes,
        max: usize::from(u16::MAX),
    })?;
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(header);
    bundle.extend_from_slice(&sealed.0);
    Ok(())
}

/// Reads a bundle.
pub fn parse_entries(bundle: &[u8]) -> Result<Vec<Leaf>, Error> {
    let wrong = |at: usize| Error::Archive { detail: format!("the bundle of entries ends within its entry {at}") };
    let mut leaves = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        let at = leaves.len();
        if at == TILE_WIDTH {
            return Err(Error::Archive { detail: "the bundle has more than 256 entries".to_owned() });
        }
        let (len, tail) = rest.split_first_chunk::<2>().ok_or_else(|| wrong(at))?;
        let (entry, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or_else(|| wrong(at))?;
        leaves.push(Leaf::decode(entry).ok_or_else(|| wrong(at))?);
        rest = tail;
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::sha256;

    proptest! {
        #[test]
        fn bundles_come_back(headers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut bundle = Vec::new();
            let leaves: Vec<Leaf> =
                headers.into_iter().map(|header| Leaf { sealed: sha256(&header), header }).collect();
            for leaf in &leaves {
                push_entry(&mut bundle, &leaf.header, &leaf.sealed).unwrap();
            }
            prop_assert_eq!(parse_entries(&bundle).unwrap(), leaves);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bundle in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(parse_entries(&bundle));
        }
    }

    #[test]
    fn a_header_too_long_for_its_length_is_refused() {
        let header = vec![0; crate::tlog::MAX_HEADER_BYTES];
        assert!(push_entry(&mut Vec::new(), &header, &sha256(b"")).is_ok());
        let header = vec![0; crate::tlog::MAX_HEADER_BYTES + 1];
        assert!(push_entry(&mut Vec::new(), &header, &sha256(b"")).is_err());
    }
}
