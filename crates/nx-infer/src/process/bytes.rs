//! Bytes of a file as a tensor: its head and its tail, as magika reads files.

use serde::{Deserialize, Serialize};

use crate::{Error, Tensor};

/// Which bytes of a file a model reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excerpt {
    /// Bytes from the beginning.
    pub head: usize,
    /// Bytes from the end.
    pub tail: usize,
    /// What stands for a byte that is not there; 256 in magika.
    pub padding: i32,
    /// White space at the outer ends is left out first.
    #[serde(default)]
    pub strip: bool,
    /// Bytes that are looked at from each end; 0 is all. 4096 in magika.
    #[serde(default)]
    pub block: usize,
}

/// Tokens of one excerpt at most.
const MOST: usize = 1 << 20;

impl Excerpt {
    /// The tensor, `[1, head + tail]` of `i32`: the head filled up behind, the tail in front.
    ///
    /// # Errors
    /// `Process` when head and tail are larger than what is passed here.
    pub fn read(&self, content: &[u8]) -> Result<Tensor, Error> {
        let length = self.head.saturating_add(self.tail);
        if length > MOST {
            return Err(Error::Process { step: "bytes", reason: format!("asks for {length} bytes, more than {MOST}") });
        }
        let block = if self.block == 0 { content.len() } else { self.block.min(content.len()) };
        let (front, _) = content.split_at_checked(block).unwrap_or((content, &[]));
        let (_, back) = content.split_at_checked(content.len() - block).unwrap_or((&[], content));
        let (front, back) = if self.strip { (strip_front(front), strip_back(back)) } else { (front, back) };
        let head = front.iter().take(self.head).map(|&byte| i32::from(byte));
        let tail = back.iter().skip(back.len().saturating_sub(self.tail)).map(|&byte| i32::from(byte));
        let mut tokens: Vec<i32> = head.collect();
        tokens.resize(self.head, self.padding);
        let short = self.tail - tail.len();
        tokens.extend(std::iter::repeat_n(self.padding, short));
        tokens.extend(tail);
        Tensor::new([1, length], tokens)
    }
}

/// White space as Python's `bytes.strip` knows it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn strip_front(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|&byte| !is_space(byte)).and_then(|at| bytes.get(at..)).unwrap_or_default()
}

fn strip_back(bytes: &[u8]) -> &[u8] {
    bytes.iter().rposition(|&byte| !is_space(byte)).and_then(|at| bytes.get(..=at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Data;

    fn read(excerpt: &Excerpt, content: &[u8]) -> Vec<i32> {
        match excerpt.read(content).unwrap().into_data() {
            Data::I32(values) => values,
            other => panic!("{:?}", other.dtype()),
        }
    }

    #[test]
    fn head_and_tail_with_padding_between() {
        let excerpt = Excerpt { head: 4, tail: 3, padding: 256, strip: true, block: 0 };
        assert_eq!(read(&excerpt, b" ab "), [97, 98, 32, 256, 32, 97, 98]);
        assert_eq!(read(&excerpt, b""), [256; 7]);
        assert_eq!(read(&excerpt, b"  \n"), [256; 7]);
        assert_eq!(read(&excerpt, b"abcdefgh"), [97, 98, 99, 100, 102, 103, 104]);
        assert!(Excerpt { head: usize::MAX, ..excerpt }.read(b"x").is_err());
    }

    #[test]
    fn only_a_block_of_each_end_is_looked_at() {
        let excerpt = Excerpt { head: 2, tail: 2, padding: 256, strip: true, block: 3 };
        assert_eq!(read(&excerpt, b"   abc   "), [256; 4]);
        let plain = Excerpt { strip: false, ..excerpt };
        assert_eq!(read(&plain, b"   abc   "), [32; 4]);
    }
}
