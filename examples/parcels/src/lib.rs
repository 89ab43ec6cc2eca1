//! The flagship example: a parcel dock. A world of real services, the agents that act on it, the manifests that join
//! them, and a narrator.
//!
//! What is *not* here: anything of Neuraxis itself. The agents reach the server as every worker does, over the worker
//! protocol; the services do not know that Neuraxis exists.

mod client;
mod database;
mod error;
pub mod motor;
pub mod services;
mod world;

pub use client::http_client;
pub use error::Error;
pub use world::{Addresses, Options, World};
