//! The idx format of MNIST: a magic number, dimensions, bytes; gzipped or not.
//!
//! <http://yann.lecun.com/exdb/mnist/>: two zero bytes, the type of the elements (8: unsigned bytes), the number of
//! dimensions, each dimension as 32 bits with the highest first, then the elements.

use std::{borrow::Cow, io::Read as _};

use flate2::read::GzDecoder;

use crate::error::Error;

/// Elements that an idx file may have.
pub const MAX_BYTES: usize = 1 << 28;

/// An array of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// Its dimensions, the slowest first.
    pub dimensions: Vec<usize>,
    /// Its elements.
    pub values: Vec<u8>,
}

/// Reads an idx file, gzipped or not.
pub fn parse(bytes: &[u8]) -> Result<Idx, Error> {
    let bytes = unpack(bytes)?;
    let fail = |reason: String| Err(Error::Idx { reason });
    let Some(([zero, none, kind, rank], mut rest)) = bytes.split_first_chunk::<4>() else {
        return fail(format!("{} bytes are too few for a head", bytes.len()));
    };
    if (*zero, *none, *kind) != (0, 0, 8) || *rank == 0 || *rank > 4 {
        return fail("it does not begin with the magic number of 1 to 4 dimensions of unsigned bytes".to_owned());
    }
    let (mut dimensions, mut wanted) = (Vec::new(), 1_usize);
    for _ in 0..*rank {
        let Some((dimension, after)) = rest.split_first_chunk::<4>() else {
            return fail("it ends within its dimensions".to_owned());
        };
        let dimension = u32::from_be_bytes(*dimension) as usize;
        wanted = wanted.saturating_mul(dimension);
        dimensions.push(dimension);
        rest = after;
    }
    if wanted > MAX_BYTES {
        return Err(Error::TooLarge { what: "the idx file", found: wanted as u64, most: MAX_BYTES as u64 });
    }
    if rest.len() != wanted {
        return fail(format!("{dimensions:?} make {wanted} elements, and {} bytes follow", rest.len()));
    }
    Ok(Idx { dimensions, values: rest.to_vec() })
}

/// Unzips what is gzipped; stops at what is too large before it fills memory.
fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    const MOST: u64 = MAX_BYTES as u64 + 64;
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(bytes).take(MOST + 1).read_to_end(&mut unpacked);
    let read = read.map_err(|error| Error::Idx { reason: format!("it can't be unzipped: {error}") })?;
    if read as u64 > MOST {
        return Err(Error::TooLarge { what: "the unzipped idx file", found: read as u64, most: MOST });
    }
    Ok(Cow::Owned(unpacked))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        let found = match parse(bytes) {
            Ok(idx) => format!("{:?} {:?}", idx.dimensions, idx.values),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn idx_files_are_read_or_refused() {
        check(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 9], "[2] [7, 9]");
        check(&[0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9], "[1, 2] [7, 9]");
        check(&[0, 0, 8], "no idx data: 3 bytes are too few for a head");
        check(
            &[0, 0, 9, 1, 0, 0, 0, 0],
            "no idx data: it does not begin with the magic number of 1 to 4 dimensions of unsigned bytes",
        );
        check(&[0, 0, 8, 2, 0, 0, 0, 1], "no idx data: it ends within its dimensions");
        check(&[0, 0, 8, 1, 0, 0, 0, 2, 7], "no idx data: [2] make 2 elements, and 1 bytes follow");
        check(
            &[0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255],
            "the idx file has 18446744065119617025, more than the 268435456 that are taken in",
        );
        check(&[0x1f, 0x8b, 1], "no idx data: it can't be unzipped: unexpected end of file");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), magic: bool) {
            if magic {
                bytes.splice(0..bytes.len().min(4), [0, 0, 8, 1]);
            }
            let _result = parse(&bytes);
        }
    }
}
