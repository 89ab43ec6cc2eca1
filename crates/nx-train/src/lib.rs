//! Small seeded trainers: networks of a few layers on images of a few pixels, trained where the data is.
//!
//! A [`Network`] is a plain description with its weights. [`train()`] changes the weights, [`evaluate()`] says how good
//! they are, [`store`] keeps them, [`onnx`] hands them on. [`digits`] is the first user: a network that reads
//! handwritten digits.
//!
//! What is not here: I/O (everything is a function of bytes), a clock (how long it took is the caller's to know), and
//! chance: **the same seed gives the same bytes**, with any number of threads and with any width of vectors.
//! What makes it so is written in `kernel`.

pub mod data;
pub mod digits;
mod draw;
pub mod error;
pub mod evaluate;
pub mod idx;
mod kernel;
mod layer;
pub mod network;
pub mod onnx;
pub mod optimise;
mod parallel;
mod pass;
pub mod shape;
pub mod store;
pub mod train;

pub use data::Dataset;
pub use error::Error;
pub use evaluate::{Evaluation, evaluate};
pub use network::{Network, Spec};
pub use shape::Shape;
pub use train::{Options, train};
