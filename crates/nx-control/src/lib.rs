//! Resource store, kind registry and the controllers of this crate's own kinds: `Secret`, `Reflex` and `Source`.
//!
//! [`start`] gives a [`Service`], which runs the controllers, and a [`Handle`], through which everybody else applies
//! and reads resources and feeds sources.
//!
//! What is *not* here: any other crate's kind. Kinds are known only through the [`Registry`].

mod control;
mod diff;
mod error;
pub mod expression;
mod hash;
pub mod kinds;
pub mod manifest;
mod reflex;
mod registry;
mod sealed;
mod source;
mod status;
mod store;
mod watch;

pub use control::{Handle, Options, Service, start};
pub use diff::{Change as FieldChange, Diff};
pub use error::Error;
pub use kinds::kinds;
pub use reflex::MAX_CHAIN;
pub use registry::{FieldHelp, Registry, check_name, duplicates};
pub use sealed::SEALED;
pub use source::{Ingest, Ingested};
pub use store::{Applied, ApplyOptions, Deleted, Outcome, Page};
pub use watch::{Change, Watch};
