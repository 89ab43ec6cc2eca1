//! Resources, reflexes and sources over a real log on a real disk.

#![expect(clippy::expect_used, reason = "what a test relies on fails the test")]

mod reflexes;
mod resources;
mod secrets;
mod sources;
mod support;
