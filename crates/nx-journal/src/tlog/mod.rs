//! The transparency log: an RFC 6962 Merkle tree over the events' leaves, kept as C2SP tiles, with signed checkpoints
//! and proofs.
//!
//! What is *not* here: storage (tiles are handed out and asked for), clocks, and any knowledge of what an event means.

mod edge;
mod hash;

pub use edge::{Edge, EdgeError, Tile};
pub use hash::{Leaf, empty_root, leaf_hash, node_hash, sha256};

/// Hashes in a complete tile, by C2SP tlog-tiles.
pub const TILE_WIDTH: usize = 256;

/// Levels of the binary tree that one tile spans.
pub const TILE_HEIGHT: u32 = 8;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// Bytes of a complete tile.
pub const TILE_BYTES: usize = TILE_WIDTH * HASH_BYTES;

/// Largest tree that is read or written: far beyond any log, and small enough that no arithmetic overflows.
pub const MAX_SIZE: u64 = 1 << 48;
