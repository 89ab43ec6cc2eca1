//! The model store and serving over a real log and real engines.

#![expect(clippy::expect_used, clippy::panic, reason = "what a test relies on fails the test")]

mod refused;
mod requests;
mod serving;
mod store;
mod streams;
mod support;
