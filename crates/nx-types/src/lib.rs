//! Vocabulary shared by every crate: ids, the event header, labels, the resource envelope, errors,
//! and the traits through which time, ids and randomness enter.
//!
//! What is *not* here: I/O (but for the two system sources in [`env`]), async, and any frontier's kinds
//! or event types.

pub mod env;
pub mod error;
pub mod header;
pub mod id;
pub mod json;
pub mod kind;
pub mod label;
pub mod resource;
pub mod time;

pub use env::{Clock, Env, Rng};
pub use error::{Code, ErrorCode, Problem};
pub use header::{Causation, EventRef, Header, StateDigest, TraceParent};
pub use id::{
    ApprovalId, BlobId, Digest, Epoch, EventId, EventType, IdError, KeyId, LabelId, Namespace, Origin, RunId, Seq,
    Subject,
};
pub use kind::{FieldError, KindDescriptor};
pub use label::{Label, SharedLabel};
pub use resource::{Metadata, Resource};
pub use time::{Duration, Timestamp};
