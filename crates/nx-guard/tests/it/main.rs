//! Tests of the guard from the outside.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod call;
mod detect;
mod extract;
mod guard;
mod label;
mod origin;
mod policy;
mod support;
mod tool;
