//! Seeded simulation: the engine over a log in memory, with simulated workers, services and people. Everything that
//! happens is drawn from one seed, so that a failure is found again by its number, and the same seed writes the same
//! bytes.

pub mod agents;
pub mod harness;
mod harness_look;
mod harness_stall;
pub mod harness_worker;
pub mod harness_world;
pub mod mutations;
