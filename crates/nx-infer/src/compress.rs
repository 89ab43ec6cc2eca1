//! Smaller and faster models, as pure transformations of a graph: clean-up, folding, storage, static and dynamic int8.
//!
//! The result is standard ONNX that ONNX Runtime runs too. Nothing here decides whether a model is good enough: that is
//! measured on data, by whoever asks for it.

mod clean;
mod dynamic;
mod edit;
mod fold;
pub mod observe;
mod opset;
pub mod quantise;
pub mod scheme;
mod slim;
mod store;
mod swish;

pub use clean::{Cleaned, clean};
pub use dynamic::dynamic;
pub use fold::fold;
pub use opset::raise;
#[cfg(feature = "rten")]
pub(crate) use opset::rows_of_softmax;
pub use quantise::{Granularity, Quantise, Ranges, calibrate, quantise};
pub use slim::slim;
pub use store::{Storage, store};
