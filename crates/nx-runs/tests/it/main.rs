//! Tests of runs from outside: the state machine, the engine under simulated crashes, the service over a real log.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod crash;
mod engine;
mod guard;
mod machine;
mod models;
mod mutation;
mod refusal;
mod service;
mod takeover;
mod value;
