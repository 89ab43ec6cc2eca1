//! The guard: labels on every value, a decision before every effect, an explanation after.
//!
//! Pure: no I/O, no clock but the one passed in. Detectors only lower a label; they never allow anything. Policies
//! decide; people release; what was decided is recorded by whoever calls this crate.

pub mod bench;
pub mod call;
pub mod decision;
pub mod detect;
pub mod error;
pub mod guard;
pub mod label;
pub mod origin;
pub mod policy;
pub mod tool;

pub use error::Error;
