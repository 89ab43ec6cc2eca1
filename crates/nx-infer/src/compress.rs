//! Smaller and faster models, as pure transformations of a graph: clean-up, folding, static int8.
//!
//! The result is standard ONNX that ONNX Runtime runs too. Nothing here decides whether a model is good enough: that is
//! measured on data, by whoever asks for it.

mod clean;
mod edit;
mod fold;
pub mod observe;
mod opset;
pub mod quantise;
pub mod scheme;
mod store;

pub use clean::{Cleaned, clean};
pub use fold::fold;
pub use opset::raise;
#[cfg(feature = "rten")]
pub(crate) use opset::rows_of_softmax;
pub use quantise::{Granularity, Quantise, Ranges, calibrate, quantise};
pub use store::{Storage, store};
