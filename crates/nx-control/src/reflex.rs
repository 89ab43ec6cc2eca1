//! The reflex controller: follows the log, and what meets a condition becomes an action. Actions are events, written
//! in the same commit as the reading position, so that each happens exactly once.
//!
//! Its state (windows, debouncing) is a function of the log before the reading position and is recomputed from it
//! after a restart; nothing is stored besides the position.

pub(crate) mod compile;
mod engine;
mod history;
mod memory;
pub(crate) mod service;

pub use engine::MAX_CHAIN;

#[cfg(test)]
mod tests;
