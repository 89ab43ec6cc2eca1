//! Where the parts of an argument came from: matching over the labelled leaves of a run.
//!
//! Strongest first: references that the engine substitutes, a plan sealed before anything untrusted was seen, the
//! trusted request, values that a trusted source vouches for, and else the join of the context. What makes a value
//! trusted is matched strictly; what makes it untrusted is matched loosely. It decides nothing.

mod attribute;
mod context;
mod date;
mod index;
mod leaves;
mod reference;
mod request;
mod text;
mod verbs;

pub use context::{Context, Leak, Limits, Planned, Traced};
pub use leaves::{Leaf, leaves};
