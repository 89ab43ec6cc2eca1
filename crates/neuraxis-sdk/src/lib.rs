//! The Rust worker SDK of Neuraxis, and the frames that cross between a worker and a server.
//!
//! What is *not* here: any decision. Matching steps against the record, retries, approvals and timers are the server's.

pub mod frames;
