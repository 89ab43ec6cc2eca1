//! Labels on the leaves of JSON values: overrides by pointer prefix on shared values, joined along the data flow.

mod labelled;

pub use labelled::Labelled;
pub(crate) use labelled::escaped;
