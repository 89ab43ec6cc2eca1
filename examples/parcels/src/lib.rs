//! The flagship example: a parcel dock. A world of real services, the agents that act on it, the manifests that join
//! them, and a narrator.
//!
//! What is *not* here: anything of Neuraxis itself. The agents reach the server as every worker does, over the worker
//! protocol; the services do not know that Neuraxis exists.

pub mod agents;
mod client;
mod database;
mod error;
pub mod motor;
pub mod narrator;
pub mod services;
mod tools;
mod worker;
mod world;

pub use client::http_client;
pub use error::Error;
pub use tools::Tools;
pub use worker::{Parts, serve};
pub use world::{Addresses, Options, World};

/// The example's manifests, by file name: what to apply when it starts.
pub const MANIFESTS: &[(&str, &str)] = &[
    ("agents.yaml", include_str!("../manifests/agents.yaml")),
    ("toolsets.yaml", include_str!("../manifests/toolsets.yaml")),
    ("senses.yaml", include_str!("../manifests/senses.yaml")),
];

/// Files that Sources name as `embedded:NAME`.
pub const EMBEDDED: &[(&str, &[u8])] = &[("motor", motor::CSV.as_bytes())];
