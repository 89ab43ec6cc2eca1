//! Tests of the log from the outside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod archive;
mod compliance;
mod erasure;
mod faults;
mod fixture;
mod golden;
mod journal;
mod model;
mod support;
mod tamper;
mod tlog;
