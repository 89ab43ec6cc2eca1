//! Tests of the guard from the outside.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod call;
mod guard;
mod label;
mod extract;
mod origin;
mod support;
mod policy;
mod tool;
