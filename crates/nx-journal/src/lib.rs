//! The log: an ordered, gapless sequence of sealed events with one writer, the state rows that change with them, blobs,
//! and the Merkle tree that proves it all. Commits are plain data; nothing is acknowledged before it is durable.
//!
//! [`Journal`] is the handle that the product uses. Below it [`Core`] is synchronous and single-threaded, so that a
//! simulation drives it over [`backend::memory`] and crashes it at every write.
//!
//! What is *not* here: any frontier's event types, and SQL outside of [`backend::sqlite`].

pub mod archive;
pub mod backend;
pub mod bench;
mod cache;
mod commit;
mod core;
mod doctor;
mod error;
mod event;
mod files;
pub mod index;
mod journal;
mod options;
mod reader;
mod seal;
mod subscription;
mod tail;
pub mod tlog;
mod upcast;
pub mod verify;
mod writer;

pub use crate::core::Core;
pub use commit::{Cause, Commit, Delete, IndexEntry, NewEvent, Precondition, Put, Receipt};
pub use doctor::{Check, DoctorReport};
pub use error::Error;
pub use event::{Data, Event, Filter, StateRow};
pub use index::IndexRange;
pub use journal::{Done, Journal, Service};
pub use options::{ErasureReport, GcReport, MasterKeySource, Options, RetentionPolicy, Stats};
pub use reader::{MAX_LIMIT, Reader};
pub use seal::NAMESPACE_SUBJECT;
pub use subscription::Subscription;
pub use upcast::{DataStep, Upcasters};
