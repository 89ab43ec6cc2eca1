//! What stands before and after a model: pure functions from images, bytes and numbers to tensors, and from tensors to
//! classes, boxes and text. [`pipeline`] applies what a manifest says; perception may use the functions by themselves.

pub mod bytes;
pub mod classify;
pub mod ctc;
pub mod detect;
pub mod image;
pub mod pipeline;
pub mod raster;

pub use classify::Class;
pub use ctc::Text;
pub use detect::Detection;
pub use image::Image;
pub use pipeline::{Answer, Placement, Sample, after, before};
pub use raster::Raster;
