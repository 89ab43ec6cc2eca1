//! Resources, reflexes and sources over a real log on a real disk.

mod reflexes;
mod resources;
mod secrets;
mod sources;
mod support;
