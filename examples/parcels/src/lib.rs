//! The flagship example: a parcel dock. A world of real services, the agents that act on it, the manifests that join
//! them, and a narrator.
//!
//! What is *not* here: anything of Neuraxis itself. The agents reach the server as every worker does, over the worker
//! protocol; the services do not know that Neuraxis exists.

pub mod agents;
pub mod camera;
mod client;
pub mod customers;
mod database;
pub mod digits;
mod error;
pub mod gateway;
pub mod motor;
pub mod narrator;
pub mod reader;
pub mod services;
mod tools;
mod world;

pub use client::http_client;
pub use customers::Customers;
pub use error::Error;
pub use gateway::Gateway;
pub use narrator::Narrator;
pub use tools::Tools;
pub use world::{Addresses, Options, World};

/// The example's manifests, by file name: what to apply when it starts.
pub fn manifests() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("agents.yaml", include_str!("../manifests/agents.yaml")),
        ("toolsets.yaml", include_str!("../manifests/toolsets.yaml")),
        ("policies.yaml", include_str!("../manifests/policies.yaml")),
        ("senses.yaml", include_str!("../manifests/senses.yaml")),
    ]
    .into_iter()
}

/// Files that sources name as `embedded:NAME`.
pub fn embedded() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    [("motor", motor::replay().as_bytes()), ("camera", camera::replay())].into_iter()
}
