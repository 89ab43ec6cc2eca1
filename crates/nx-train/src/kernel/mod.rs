//! The inner loops. Everything that costs time is here, and so is the promise of equal bytes.
//!
//! **Order of sums.** Each result is a sum in one order that nothing but the shapes decides: an output of a convolution
//! adds its products one after the other; a dot product adds into [`LANES`] partial sums, element `i` to sum `i % LANES`,
//! which are then added pairwise. A product is rounded before it is added (never fused). So the results are the same bits
//! with any width of vectors, on any processor that follows IEEE 754, and with any number of threads.

mod conv;
mod sum;

pub(crate) use conv::{Kernels, correlate, weight_gradient};
pub(crate) use sum::{add_scaled, dot, moments, sum, sum_of_products};

/// Partial sums of a dot product, and what the length of each plane is a multiple of.
pub(crate) const LANES: usize = 16;

#[cfg(test)]
pub(crate) mod tests;
