//! The model store and serving: artifacts with versions and aliases, their files in the log's blobs, sessions on threads of
//! their own, batching, and a decision in the log for each inference.
//!
//! What is *not* here: kernels (an inference is `nx-infer`'s work), HTTP, and any write of a resource. An artifact's new
//! spec is made here, and applied by who holds the resource store.

mod answer;
mod decision;
mod error;
pub mod form;
mod history;
mod input;
pub mod kind;
mod pictures;
mod reference;
mod requests;
mod serve;
mod service;
mod store;

pub use answer::{ClassView, DetectionView, OutputView, TextView};
pub use error::Error;
pub use history::{DecisionFilter, DecisionView, Decisions, InputView, Said};
pub use input::{Sample, Samples};
pub use kind::{ArtifactSpec, kinds};
pub use nx_infer::Manifest;
pub use pictures::decode as picture;
pub use reference::{Reference, Which};
pub use serve::{Standing, StreamRequest};
pub use service::{ArtifactView, Handle, InferRequest, Inference, Options, Service, open};
pub use store::{Record, Upload};
