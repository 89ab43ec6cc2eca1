//! Resource store, kind registry and the controllers of this crate's own kinds: `Secret`, `Reflex` and `Source`.
//!
//! What is *not* here: any other crate's kind. Kinds are known only through the [`Registry`].

mod error;
pub mod expression;
pub mod kinds;
pub mod manifest;
mod reflex;
mod registry;
mod source;

pub use error::Error;
pub use kinds::kinds;
pub use registry::{FieldHelp, Registry, check_name, duplicates};
