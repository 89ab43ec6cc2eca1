//! Durable runs: the state machine of a run, the engine that drives all runs of a server, the worker protocol's server
//! side, approvals, timers, replay.
//!
//! The state machine and the engine are sans-I/O: events and frames go in, commits and frames come out. Only
//! [`service`] touches threads and time. What is *not* here: HTTP, SQL, and any path on which a replay performs an
//! effect.

pub mod engine;
pub mod error;
pub mod kinds;
pub mod machine;
pub mod service;
pub mod sim;
pub mod value;
pub mod why;

pub use error::Error;
pub use service::{Handle, Options, Service};
