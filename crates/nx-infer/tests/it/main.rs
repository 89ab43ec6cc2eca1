//! The crate from outside: files of every kind of wrong, images against Pillow and OpenCV, manifests, and one suite for
//! all engines.

mod compress;
mod corrupt;
mod engines;
mod graph;
mod images;
mod manifests;
mod models;
mod tiny;
