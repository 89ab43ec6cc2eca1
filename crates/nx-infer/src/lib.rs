//! Models on this machine: ONNX as data, inference engines, model manifests, compression, autotune.
//!
//! No network, no journal. An engine is chosen by measurement. A model's file is from outside: nothing in it may cost
//! more memory than the limits allow, or anything worse than an error.

pub mod bench;
pub mod compress;
pub mod dataset;
pub mod device;
pub mod engine;
pub mod error;
pub mod manifest;
pub mod onnx;
pub mod process;
pub mod search;
pub mod tensor;
pub mod tune;

pub use error::Error;
pub use manifest::Manifest;
pub use tensor::{DType, Data, Tensor};
