//! The example, part by part, over real sockets and files.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod gateway;
mod mail;
mod manifests;
mod payment;
mod shop;
mod support;
mod world;
