//! The transparency log: an RFC 6962 Merkle tree over the events' leaves, kept as C2SP tiles, with signed checkpoints
//! and proofs.
//!
//! What is *not* here: storage (tiles are handed out and asked for), clocks, and any knowledge of what an event means.

mod checkpoint;
pub(crate) mod edge;
mod entries;
mod hash;
mod note;
mod path;
mod proof;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use edge::{Edge, EdgeError, Tile};
pub use entries::{MAX_ENTRIES_BYTES, parse_entries, push_entry};
pub use hash::{Leaf, empty_root, leaf_hash, node_hash, sha256};
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, Signature, Signer, Verifier};
pub use path::{CHECKPOINT_PATH, entries_path, tile_path, tile_width};
pub use proof::{
    Growth, MAX_PROOF_BYTES, Proof, TreeSource, check_consistency, check_inclusion, prove_consistency, prove_inclusion,
    root_at,
};

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

/// Longest header that may be logged: an exported entry, header and digest, has a 16-bit length (C2SP tlog-tiles).
pub const MAX_HEADER_BYTES: usize = 65_535 - HASH_BYTES;
