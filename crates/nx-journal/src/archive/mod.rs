//! A log's way out and back: online backup, restore under a new origin, export as transparency log files and as
//! `CloudEvents`.
//!
//! What is *not* here: SQL (the storage engine copies itself), and the master key, which no backup holds.

mod backup;
mod cloudevents;
mod export;
mod restore;

pub use backup::{BackupReport, MANIFEST, Manifest, backup};
pub use cloudevents::{CloudEvent, MAX_LINE_BYTES, export_cloudevents, import_cloudevents, to_cloudevent};
pub(crate) use export::export_tiles;
pub(crate) use restore::former_keys;
pub use restore::{RestoreReport, parse_erasures, restore};
