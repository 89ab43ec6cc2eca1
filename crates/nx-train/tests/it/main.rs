//! Tests of training from the outside.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod digits;
mod network;
mod store;
mod support;
mod train;
