//! What can be set about a log, with safe defaults.

use std::{fmt, path::PathBuf};

use nx_types::{Digest, Duration, Seq};
use zeroize::Zeroizing;

/// Where the master key comes from. Without the key that a log was sealed with, its content is lost.
#[derive(Clone)]
pub enum MasterKeySource {
    /// A file of 64 hexadecimal digits, readable by its owner alone; made at the first opening if it is not there.
    File(PathBuf),
    /// 64 hexadecimal digits, as handed in by the environment (`NX_MASTER_KEY`).
    Env(Zeroizing<String>),
    /// The key itself.
    Bytes(Zeroizing<[u8; 32]>),
}

impl fmt::Debug for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Env(_) => f.write_str("Env(…)"),
            Self::Bytes(_) => f.write_str("Bytes(…)"),
        }
    }
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory: `journal.db`, `blobs/`, `keys/` and `LOCK` stand in it.
    pub dir: PathBuf,
    /// Most events written in one transaction.
    pub batch_events: usize,
    /// Most bytes of data and state written in one transaction.
    pub batch_bytes: usize,
    /// Most commits that may wait.
    pub queue: usize,
    /// Most bytes of one event's data; larger content goes into a blob.
    pub max_event_bytes: usize,
    /// Most bytes of one state row.
    pub max_state_bytes: usize,
    /// Most bytes of one commit, data and state together.
    pub max_commit_bytes: usize,
    /// Most events, puts and deletes of one commit.
    pub max_commit_items: usize,
    /// Most bytes of one blob.
    pub max_blob_bytes: usize,
    /// With fewer bytes free on the disk, new work is refused; erasing and collecting garbage are not.
    pub min_free_bytes: u64,
    /// Most bytes of `journal.db`; past it, writes fail as on a full disk. `None` is no bound but the disk.
    pub max_bytes: Option<u64>,
    /// Where the master key comes from.
    pub master: MasterKeySource,
    /// Read-only connections.
    pub readers: usize,
    /// Size of the write-ahead log at which it is written back into the database.
    pub checkpoint_bytes: u64,
    /// Bytes of database pages that the writer keeps in memory; each reader keeps a quarter of it.
    pub page_cache_bytes: usize,
    /// Unsealed data keys, subjects and state versions kept in memory, each.
    pub cache_entries: usize,
    /// Most events that a subscription hands out at once.
    pub subscription_batch: usize,
}

impl Options {
    /// The defaults for a data directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            master: MasterKeySource::File(dir.join("keys").join("master.key")),
            dir,
            batch_events: 4096,
            batch_bytes: 8 << 20,
            queue: 8192,
            max_event_bytes: 16 << 10,
            max_state_bytes: 1 << 20,
            max_commit_bytes: 4 << 20,
            max_commit_items: 4096,
            max_blob_bytes: 256 << 20,
            min_free_bytes: 64 << 20,
            max_bytes: None,
            readers: 4,
            checkpoint_bytes: 16 << 20,
            page_cache_bytes: 8 << 20,
            cache_entries: 16_384,
            subscription_batch: 256,
        }
    }
}

/// What erasing a data subject did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasureReport {
    /// Data keys destroyed.
    pub keys: Vec<nx_types::KeyId>,
    /// Events whose data was replaced by its digest.
    pub events: u64,
    /// State rows removed.
    pub rows: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// The events that record the erasures.
    pub recorded: Vec<Seq>,
}

/// Which data subjects have lived long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Only this namespace; `None` is every one.
    pub namespace: Option<nx_types::Namespace>,
    /// Only data subjects that start with this, such as `run/`.
    pub prefix: String,
    /// Erase those whose newest event is older than this.
    pub older_than: Duration,
    /// Most data subjects erased in one call.
    pub limit: usize,
}

/// What garbage collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs that some header names.
    pub kept: u64,
    /// Blobs removed.
    pub removed: u64,
    /// Bytes of the removed.
    pub bytes: u64,
}

/// Figures of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events in the log.
    pub events: u64,
    /// Bytes of the database and its write-ahead log.
    pub bytes: u64,
    /// Bytes free on the disk.
    pub free_bytes: u64,
    /// The disk's median time to make a write durable, over the last groups.
    pub sync_p50_us: u64,
    /// Groups written since opening.
    pub groups: u64,
    /// Root hash of the Merkle tree over all events.
    pub root: Option<Digest>,
}
