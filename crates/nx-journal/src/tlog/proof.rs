//! Proofs that an event stands in a log (inclusion) and that a log only grew (consistency), by RFC 6962 section 2.1,
//! and the files in which they travel (C2SP tlog-proof).

use std::{cell::RefCell, ops::Range};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nx_types::{Digest, Seq};
use tlog_tiles::{Hash, HashReader};

use super::{
    Checkpoint, CheckpointError, HASH_BYTES, Leaf, MAX_SIZE, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Verifier,
    edge::{hashes_of, subtree, tile_root},
};
use crate::Error;

/// Most hashes in a proof: twice a tree's greatest height.
const MAX_HASHES: usize = 2 * 64;

/// Largest proof file that is read.
pub const MAX_PROOF_BYTES: usize = 256 * 1024;

/// Where the hashes of a tree come from.
pub trait TreeSource {
    /// Number of leaves.
    fn size(&self) -> u64;

    /// The bytes of a complete tile; `None` if it is not stored.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Error>;

    /// The hashes of fewer than 256 leaves after the last complete tile.
    fn leaves(&self, range: Range<u64>) -> Result<Vec<Digest>, Error>;
}

/// Reads tree nodes out of tiles; incomplete tiles are made from what lies below them.
struct Nodes<'a> {
    source: &'a dyn TreeSource,
    /// What the source answered when it failed: the trait of the proof crate cannot carry it.
    failure: RefCell<Option<Error>>,
}

impl Nodes<'_> {
    fn node(&self, height: u8, place: u64) -> Result<Digest, Error> {
        let level = height / TILE_HEIGHT as u8;
        let span = height % TILE_HEIGHT as u8;
        let range = (place << span)..((place + 1) << span);
        let index = range.start >> TILE_HEIGHT;
        let complete = self.source.size() >> (TILE_HEIGHT * u32::from(level));
        if range.end > complete {
            return Err(Error::Proof { detail: format!("the tree has no node {place} at height {height}") });
        }
        if (index + 1) << TILE_HEIGHT <= complete {
            let tile = self.tile(level, index)?;
            let from = (range.start % TILE_WIDTH as u64) as usize * HASH_BYTES;
            let bytes = tile.get(from..from + (1 << span) * HASH_BYTES).unwrap_or_default();
            return Ok(subtree(&hashes_of(bytes)));
        }
        let hashes = if level == 0 {
            self.source.leaves(range)?
        } else {
            range.map(|below| Ok(tile_root(&self.tile(level - 1, below)?))).collect::<Result<Vec<_>, Error>>()?
        };
        Ok(subtree(&hashes))
    }

    fn tile(&self, level: u8, index: u64) -> Result<Vec<u8>, Error> {
        self.source
            .tile(level, index)?
            .filter(|tile| tile.len() == TILE_BYTES)
            .ok_or_else(|| Error::Proof { detail: format!("tile {level}/{index} is missing or damaged") })
    }

    fn run<T>(&self, made: Result<T, tlog_tiles::Error>) -> Result<T, Error> {
        made.map_err(|error| {
            self.failure.borrow_mut().take().unwrap_or_else(|| Error::Proof { detail: error.to_string() })
        })
    }
}

impl HashReader for Nodes<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        indexes
            .iter()
            .map(|&index| {
                let (height, place) = tlog_tiles::split_stored_hash_index(index);
                self.node(height, place).map(|hash| Hash(hash.0)).map_err(|error| {
                    *self.failure.borrow_mut() = Some(error);
                    tlog_tiles::Error::IndexesNotInTree
                })
            })
            .collect()
    }
}

fn digests(hashes: Vec<Hash>) -> Vec<Digest> {
    hashes.into_iter().map(|hash| Digest(hash.0)).collect()
}

fn hashes(digests: &[Digest]) -> Vec<Hash> {
    digests.iter().map(|digest| Hash(digest.0)).collect()
}

/// The root of the tree's first `size` leaves.
pub fn root_at(source: &dyn TreeSource, size: u64) -> Result<Digest, Error> {
    check_sizes(size, source.size())?;
    let nodes = Nodes { source, failure: RefCell::default() };
    let root = nodes.run(tlog_tiles::tree_hash(size, &nodes))?;
    Ok(Digest(root.0))
}

/// The path from leaf `seq` to the root of the tree's first `size` leaves.
pub fn prove_inclusion(source: &dyn TreeSource, seq: Seq, size: u64) -> Result<Vec<Digest>, Error> {
    check_sizes(size, source.size())?;
    if seq.0 >= size {
        return Err(Error::Proof { detail: format!("a tree of {size} leaves does not hold event {seq}") });
    }
    let nodes = Nodes { source, failure: RefCell::default() };
    nodes.run(tlog_tiles::prove_record(size, seq.0, &nodes)).map(digests)
}

/// The proof that the tree's first `new` leaves start with its first `old` ones.
pub fn prove_consistency(source: &dyn TreeSource, old: u64, new: u64) -> Result<Vec<Digest>, Error> {
    check_sizes(new, source.size())?;
    check_sizes(old, new)?;
    if old == 0 {
        return Ok(Vec::new());
    }
    let nodes = Nodes { source, failure: RefCell::default() };
    nodes.run(tlog_tiles::prove_tree(new, old, &nodes)).map(digests)
}

fn check_sizes(small: u64, large: u64) -> Result<(), Error> {
    if small > large || large > MAX_SIZE {
        return Err(Error::Proof { detail: format!("the log has {large} events, fewer than the {small} asked for") });
    }
    Ok(())
}

/// Checks that `root`, of `size` leaves, holds `leaf` at place `seq`.
pub fn check_inclusion(path: &[Digest], seq: Seq, leaf: Digest, size: u64, root: Digest) -> Result<(), Error> {
    if path.len() > MAX_HASHES || size > MAX_SIZE {
        return Err(Error::Proof { detail: "the proof is larger than any log needs".to_owned() });
    }
    if seq.0 >= size {
        return Err(Error::Proof { detail: format!("a tree of {size} leaves does not hold event {seq}") });
    }
    tlog_tiles::check_record(&hashes(path), size, Hash(root.0), seq.0, Hash(leaf.0)).map_err(|_err| Error::Proof {
        detail: format!("event {seq} is not in the tree of {size} leaves with root {root}"),
    })
}

/// Checks that the tree of `new` leaves starts with the tree of `old` ones.
pub fn check_consistency(path: &[Digest], old: (u64, Digest), new: (u64, Digest)) -> Result<(), Error> {
    if path.len() > MAX_HASHES || new.0 > MAX_SIZE || old.0 > new.0 {
        return Err(Error::Proof { detail: format!("a tree of {} leaves cannot grow into one of {}", old.0, new.0) });
    }
    if old.0 == 0 && path.is_empty() && old.1 == super::empty_root() {
        return Ok(());
    }
    tlog_tiles::check_tree(&hashes(path), new.0, Hash(new.1.0), old.0, Hash(old.1.0)).map_err(|_err| Error::Proof {
        detail: format!("the tree of {} leaves does not start with the earlier tree of {}", new.0, old.0),
    })
}

/// A proof in one file (C2SP tlog-proof): the leaf, its path, and the signed checkpoint that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The event's place.
    pub seq: Seq,
    /// Header and digest of the sealed data.
    pub leaf: Leaf,
    /// From the leaf's sibling up to the root's child.
    pub path: Vec<Digest>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

impl Proof {
    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nextra {}\n", BASE64_STANDARD.encode(self.leaf.encode()));
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("index {}", self.seq));
        self.path.iter().for_each(|hash| line(BASE64_STANDARD.encode(hash.0)));
        line(String::new());
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the file. Nothing is checked but its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |rule: &str| Error::Proof { detail: format!("not a proof file: {rule}") };
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(wrong("it is larger than 256 KiB"));
        }
        let text = str::from_utf8(bytes).map_err(|_err| wrong("it must be UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| wrong("it must hold a checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong("its first line must be c2sp.org/tlog-proof@v1"));
        }
        let leaf = lines
            .next()
            .and_then(|line| line.strip_prefix("extra "))
            .and_then(|leaf| BASE64_STANDARD.decode(leaf).ok())
            .and_then(|leaf| Leaf::decode(&leaf))
            .ok_or_else(|| wrong("its second line must be `extra` and the event's leaf in base64"))?;
        let seq = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|index| index.parse::<u64>().ok().filter(|seq| seq.to_string() == index))
            .ok_or_else(|| wrong("its third line must be `index` and a decimal number"))?;
        let path = lines
            .map(|line| BASE64_STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok()).map(Digest))
            .collect::<Option<Vec<_>>>()
            .filter(|path| path.len() <= MAX_HASHES)
            .ok_or_else(|| wrong("its further lines must be hashes in base64"))?;
        Ok(Self { seq: Seq(seq), leaf, path, checkpoint: checkpoint.to_owned() })
    }

    /// Checks signature and path: afterwards the leaf is known to stand in the log that `key` signs for.
    pub fn verify(&self, key: &Verifier) -> Result<Checkpoint, Error> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key)?;
        check_inclusion(&self.path, self.seq, self.leaf.hash(), checkpoint.size, checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint { detail: error.to_string() }
    }
}

impl From<super::EdgeError> for Error {
    fn from(error: super::EdgeError) -> Self {
        Self::corrupt("the Merkle tree", error.to_string())
    }
}

/// A proof that a log only grew, with both signed checkpoints, in one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The proof's hashes.
    pub path: Vec<Digest>,
    /// The earlier signed checkpoint, verbatim.
    pub old: String,
    /// The later signed checkpoint, verbatim.
    pub new: String,
}

impl Growth {
    /// Checks both signatures and the proof.
    pub fn verify(&self, key: &Verifier) -> Result<(Checkpoint, Checkpoint), Error> {
        let old = Checkpoint::open(self.old.as_bytes(), key)?;
        let new = Checkpoint::open(self.new.as_bytes(), key)?;
        check_consistency(&self.path, (old.size, old.root), (new.size, new.root))?;
        Ok((old, new))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use nx_types::{Origin, env::SeededRng};
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::{Edge, Signer, Tile, sha256};

    struct Stored {
        leaves: Vec<Leaf>,
        tiles: HashMap<(u8, u64), Vec<u8>>,
        roots: Vec<Digest>,
    }

    impl TreeSource for Stored {
        fn size(&self) -> u64 {
            self.leaves.len() as u64
        }

        fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Error> {
            Ok(self.tiles.get(&(level, index)).cloned())
        }

        fn leaves(&self, range: Range<u64>) -> Result<Vec<Digest>, Error> {
            assert!(range.start >= self.size() & !0xff);
            Ok(self.leaves[range.start as usize..range.end as usize].iter().map(Leaf::hash).collect())
        }
    }

    fn stored(size: u64) -> Stored {
        let leaves: Vec<Leaf> =
            (0..size).map(|n| Leaf { header: n.to_le_bytes().to_vec(), sealed: sha256(b"data") }).collect();
        let (mut edge, mut tiles) = (Edge::new(), Vec::<Tile>::new());
        let mut roots = vec![edge.root()];
        for leaf in &leaves {
            edge.push(leaf.hash(), &mut tiles);
            roots.push(edge.root());
        }
        let tiles = tiles.into_iter().map(|tile| ((tile.level, tile.index), tile.hashes)).collect();
        Stored { leaves, tiles, roots }
    }

    #[test]
    fn every_event_of_every_size_is_proved() {
        let tree = stored(70_000);
        for size in [1, 2, 3, 255, 256, 257, 600, 65_535, 65_536, 65_537, 69_999, 70_000] {
            assert_eq!(root_at(&tree, size).unwrap(), tree.roots[size as usize]);
            for seq in [0, 1, size / 3, size / 2, size - 1].into_iter().filter(|&seq| seq < size) {
                let leaf = tree.leaves[seq as usize].hash();
                let root = tree.roots[size as usize];
                let path = prove_inclusion(&tree, Seq(seq), size).unwrap();
                check_inclusion(&path, Seq(seq), leaf, size, root).unwrap();
                for wrong in 0..path.len() {
                    let mut path = path.clone();
                    path[wrong].0[3] ^= 4;
                    check_inclusion(&path, Seq(seq), leaf, size, root).unwrap_err();
                }
                if size > 1 {
                    check_inclusion(&path, Seq((seq + 1) % size), leaf, size, root).unwrap_err();
                }
            }
            for old in [0, 1, size / 2, size - 1, size] {
                let path = prove_consistency(&tree, old, size).unwrap();
                let (old, new) = ((old, tree.roots[old as usize]), (size, tree.roots[size as usize]));
                check_consistency(&path, old, new).unwrap();
                check_consistency(&path, (old.0, sha256(b"rewritten")), new).unwrap_err();
            }
        }
        assert!(prove_inclusion(&tree, Seq(5), 5).is_err());
        assert!(prove_inclusion(&tree, Seq(5), 70_001).is_err());
        assert!(prove_consistency(&tree, 10, 9).is_err());
    }

    #[test]
    fn a_missing_tile_fails_the_proof_by_name() {
        let mut tree = stored(600);
        tree.tiles.remove(&(0, 1));
        let error = prove_inclusion(&tree, Seq(300), 600).unwrap_err();
        assert_eq!(error.to_string(), "proof: tile 0/1 is missing or damaged");
    }

    fn proof() -> (Proof, Signer) {
        let tree = stored(300);
        let signer = Signer::generate(&Checkpoint::name_of(Origin([1; 16])), &SeededRng::new(5)).unwrap();
        let checkpoint = Checkpoint::new(Origin([1; 16]), 300, tree.roots[300]).sign(&signer);
        let path = prove_inclusion(&tree, Seq(42), 300).unwrap();
        (Proof { seq: Seq(42), leaf: tree.leaves[42].clone(), path, checkpoint }, signer)
    }

    #[test]
    fn a_proof_file_stands_alone() {
        let (proof, signer) = proof();
        let read = Proof::parse(proof.encode().as_bytes()).unwrap();
        assert_eq!(read, proof);
        assert_eq!(read.verify(signer.verifier()).unwrap().size, 300);
        let other = Signer::generate("other", &SeededRng::new(6)).unwrap();
        assert!(read.verify(other.verifier()).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_proof_file_never_verifies(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (proof, signer) = proof();
            let mut bytes = proof.encode().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = Proof::parse(&bytes) {
                prop_assert!(changed.verify(signer.verifier()).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in "[a-z0-9/.@=\n ]{0,200}") {
            drop(Proof::parse(text.as_bytes()));
            drop(Proof::parse(format!("{FIRST_LINE}\nextra AAAA\nindex {text}").as_bytes()));
        }
    }
}
