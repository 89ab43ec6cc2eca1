//! The crate from outside: files of every kind of wrong, images against Pillow and `OpenCV`, manifests, and one suite for
//! all engines.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that fails panics, one that is skipped says so"
)]

mod compress;
mod corrupt;
mod dataset;
mod engines;
mod foreign;
mod graph;
mod images;
mod manifests;
mod models;
mod search;
mod tiny;
mod tune;
