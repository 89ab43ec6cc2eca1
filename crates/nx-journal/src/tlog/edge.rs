//! The growing right edge of the tree: all that an appender must remember.

use std::ops::Range;

use nx_types::Digest;

use super::{HASH_BYTES, MAX_SIZE, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, empty_root, node_hash};

/// A complete tile: 256 consecutive hashes of tree level `8 × level`, the first of them the `256 × index`-th.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// The tile's level; level 0 holds leaf hashes.
    pub level: u8,
    /// The tile's place in its level.
    pub index: u64,
    /// The hashes, one after the other: [`TILE_BYTES`] bytes.
    pub hashes: Vec<u8>,
}

/// Why an edge could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// A hash that the tree must have is not there.
    #[error("the tree of {size} leaves lacks the hashes of tile {level}/{index}")]
    Missing {
        /// The tree's size.
        size: u64,
        /// The tile's level.
        level: u8,
        /// The tile's place in its level.
        index: u64,
    },
    /// The tree is larger than [`MAX_SIZE`].
    #[error("a tree of {size} leaves is larger than any log can be")]
    Size {
        /// The size.
        size: u64,
    },
}

/// The right edge of a tree: push leaf hashes, take complete tiles and roots.
///
/// A push costs two hashes at most on average, a root one hash per set bit of the size. Cloning copies at most 8 KiB
/// per tile level, so that an appender can work on a copy and drop it when its transaction fails.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    size: u64,
    /// `peaks[n]`: the root of the complete subtree of 2^n leaves, where bit n of `size` is set.
    peaks: Vec<Digest>,
    /// The incomplete tile of each level, fewer than [`TILE_WIDTH`] hashes each.
    partial: Vec<Vec<u8>>,
}

impl Edge {
    /// The edge of the tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; each tile that it completes is added to `tiles`, lower levels first.
    pub fn push(&mut self, leaf: Digest, tiles: &mut Vec<Tile>) {
        let mut hash = leaf;
        self.keep(0, &hash, tiles);
        let mut height = 0;
        while self.size >> height & 1 == 1 {
            let Some(peak) = self.peaks.get(height as usize) else { break };
            hash = node_hash(peak, &hash);
            height += 1;
            if height % TILE_HEIGHT == 0 {
                self.keep((height / TILE_HEIGHT) as usize, &hash, tiles);
            }
        }
        match self.peaks.get_mut(height as usize) {
            Some(peak) => *peak = hash,
            None => self.peaks.push(hash),
        }
        self.size += 1;
    }

    fn keep(&mut self, level: usize, hash: &Digest, tiles: &mut Vec<Tile>) {
        if self.partial.len() <= level {
            self.partial.resize_with(level + 1, || Vec::with_capacity(TILE_BYTES));
        }
        let Some(partial) = self.partial.get_mut(level) else { return };
        partial.extend_from_slice(&hash.0);
        if partial.len() == TILE_BYTES {
            let hashes = std::mem::replace(partial, Vec::with_capacity(TILE_BYTES));
            // `size` does not count the leaf being pushed yet, so it still lies inside the tile being completed
            let index = self.size >> (TILE_HEIGHT * (level as u32 + 1));
            tiles.push(Tile { level: level as u8, index, hashes });
        }
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        let mut root: Option<Digest> = None;
        for (height, peak) in self.peaks.iter().enumerate() {
            if self.size >> height & 1 == 1 {
                root = Some(match root {
                    Some(right) => node_hash(peak, &right),
                    None => *peak,
                });
            }
        }
        root.unwrap_or_else(empty_root)
    }

    /// The hashes of the incomplete tile of a level, fewer than 256; empty if there is none.
    pub fn partial(&self, level: u8) -> &[u8] {
        self.partial.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Rebuilds the edge of a tree from what is stored: the complete tiles and the leaf hashes after the last of them.
    ///
    /// `tile(level, index)` gives a complete tile's bytes; `leaves(range)` gives the leaf hashes of fewer than 256
    /// events. At most 255 tiles of each level are read. Errors of either come back as they are.
    pub fn restore<E: From<EdgeError>>(
        size: u64,
        mut tile: impl FnMut(u8, u64) -> Result<Option<Vec<u8>>, E>,
        leaves: impl FnOnce(Range<u64>) -> Result<Vec<Digest>, E>,
    ) -> Result<Self, E> {
        if size > MAX_SIZE {
            return Err(EdgeError::Size { size }.into());
        }
        let mut partial = Vec::new();
        let mut level = 0u8;
        let first = size & !0xff;
        let hashes = leaves(first..size)?;
        if hashes.len() as u64 != size - first {
            return Err(EdgeError::Missing { size, level, index: first >> TILE_HEIGHT }.into());
        }
        partial.push(hashes);
        let mut complete = size >> TILE_HEIGHT;
        while complete > 0 {
            let mut roots = Vec::new();
            for index in (complete & !0xff)..complete {
                let bytes = tile(level, index)?
                    .filter(|bytes| bytes.len() == TILE_BYTES)
                    .ok_or(EdgeError::Missing { size, level, index })?;
                roots.push(tile_root(&bytes));
            }
            partial.push(roots);
            complete >>= TILE_HEIGHT;
            level += 1;
        }
        Ok(Self::from_partial(size, &partial))
    }

    fn from_partial(size: u64, levels: &[Vec<Digest>]) -> Self {
        let mut peaks = Vec::new();
        for (level, hashes) in levels.iter().enumerate() {
            let mut rest = hashes.as_slice();
            let mut heights = [None; TILE_HEIGHT as usize];
            for bit in (0..TILE_HEIGHT as usize).rev() {
                if hashes.len() >> bit & 1 == 1
                    && let Some((head, tail)) = rest.split_at_checked(1 << bit)
                    && let Some(height) = heights.get_mut(bit)
                {
                    *height = Some(subtree(head));
                    rest = tail;
                }
            }
            if size >> (level as u32 * TILE_HEIGHT) > 0 {
                peaks.extend(heights.iter().map(|peak| peak.unwrap_or(Digest([0; 32]))));
            }
        }
        // as many as `push` would have made: one for each bit up to the highest set one
        peaks.truncate((u64::BITS - size.leading_zeros()) as usize);
        let bytes = |hashes: &Vec<Digest>| {
            let mut bytes = Vec::with_capacity(TILE_BYTES);
            for hash in hashes {
                bytes.extend_from_slice(&hash.0);
            }
            bytes
        };
        Self { size, peaks, partial: levels.iter().map(bytes).collect() }
    }
}

/// The root of a complete subtree; its leaves are a power of two in number.
pub(crate) fn subtree(hashes: &[Digest]) -> Digest {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                rest => rest.first().copied().unwrap_or_else(empty_root),
            })
            .collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// The hash that a complete tile hands to the level above.
pub(crate) fn tile_root(hashes: &[u8]) -> Digest {
    subtree(&hashes_of(hashes))
}

/// A tile's bytes as hashes.
pub(crate) fn hashes_of(bytes: &[u8]) -> Vec<Digest> {
    bytes.as_chunks::<HASH_BYTES>().0.iter().map(|hash| Digest(*hash)).collect()
}

const _: () = assert!(TILE_WIDTH == 1 << TILE_HEIGHT);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tlog::{leaf_hash, sha256};

    /// RFC 6962 section 2.1, word for word.
    fn merkle_tree_hash(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
                node_hash(&merkle_tree_hash(left), &merkle_tree_hash(right))
            }
        }
    }

    fn leaves(count: u64) -> Vec<Digest> {
        (0..count).map(|n| leaf_hash(&n.to_le_bytes(), &sha256(b"data"))).collect()
    }

    #[test]
    fn known_answers_of_certificate_transparency() {
        // the test vectors of Google's certificate-transparency (merkletree/merkle_tree_test.cc), used by most RFC 6962
        // implementations: leaves "", 00, 10, 2021, 3031, 40414243, 5051525354555657, 606162636465666768696a6b6c6d6e6f
        let data: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut edge = Edge::new();
        for (data, root) in data.iter().zip(roots) {
            edge.push(sha256(&[b"\x00", *data].concat()), &mut Vec::new());
            assert_eq!(edge.root().to_string(), root);
        }
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let leaves = leaves(1_100);
        let mut edge = Edge::new();
        assert_eq!(edge.root(), empty_root());
        for (at, leaf) in leaves.iter().enumerate() {
            edge.push(*leaf, &mut Vec::new());
            if at < 300 || at % 97 == 0 {
                assert_eq!(edge.root(), merkle_tree_hash(&leaves[..=at]), "size {}", at + 1);
            }
        }
        assert_eq!(edge.size(), 1_100);
    }

    #[test]
    fn tiles_and_restored_edges_agree() {
        let leaves = leaves(66_600);
        let mut edge = Edge::new();
        let mut stored = HashMap::new();
        let mut tiles = Vec::new();
        let mut check = vec![0, 1, 2, 3, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_599];
        check.extend((0..65_000).step_by(7_919));
        for (at, leaf) in leaves.iter().enumerate() {
            if check.contains(&at) {
                let restored = Edge::restore::<EdgeError>(
                    at as u64,
                    |level, index| Ok(stored.get(&(level, index)).cloned()),
                    |range| Ok(leaves[range.start as usize..range.end as usize].to_vec()),
                )
                .unwrap();
                assert_eq!(restored.root(), edge.root(), "size {at}");
                for (from, to) in [(&restored, &edge), (&edge, &restored)] {
                    for level in 0..3 {
                        assert_eq!(from.partial(level), to.partial(level), "size {at}");
                    }
                }
                let (mut one, mut other) = (edge.clone(), restored);
                let (mut left, mut right) = (Vec::new(), Vec::new());
                for leaf in leaves.iter().skip(at).take(600) {
                    one.push(*leaf, &mut left);
                    other.push(*leaf, &mut right);
                    assert_eq!(one.root(), other.root());
                }
                assert_eq!(left, right);
            }
            edge.push(*leaf, &mut tiles);
            for tile in tiles.drain(..) {
                stored.insert((tile.level, tile.index), tile.hashes);
            }
        }
        assert_eq!(stored.len(), 66_600 / 256 + 1);
        assert_eq!(stored[&(1, 0)][..32], tile_root(&stored[&(0, 0)]).0);
    }

    #[test]
    fn a_missing_tile_is_named() {
        let all = leaves(600);
        let error = Edge::restore::<EdgeError>(
            600,
            |_, _| Ok(None),
            |range| Ok(all[range.start as usize..range.end as usize].to_vec()),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "the tree of 600 leaves lacks the hashes of tile 0/0");
    }
}
