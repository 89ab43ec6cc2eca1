//! The model store and serving over a real log and real engines.

mod refused;
mod serving;
mod store;
mod support;
