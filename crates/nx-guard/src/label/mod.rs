//! Labels on the leaves of JSON values: overrides by pointer prefix on shared values, joined along the data flow.
//! It names labels by their id; whoever uses it keeps each label once.

mod labelled;
mod labels;

pub use labelled::Labelled;
pub use labels::Labels;
