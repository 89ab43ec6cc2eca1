//! ONNX as data: read, check, look at, change, build, write.
//!
//! Every byte is from outside. [`Model::read`] bounds memory before it decodes, and what it returns is well formed:
//! names are unique, every value has a producer, there is no cycle, every tensor holds as much data as its shape says.
//! It does not run anything, and it does not know what an operator means.

pub mod build;
mod check;
mod convert;
mod external;
pub mod graph;
mod limits;
mod model;
pub mod proto;
mod scan;
mod value;

pub use build::Builder;
pub use convert::{from_proto, read_tensor, to_proto, write_tensor};
pub use limits::Limits;
pub use model::Model;
pub use value::{Dim, Value};
