//! Draws from a seed.

use nx_types::Rng;

/// A number in `0..below`; `below` is above 0 and far below 2^64, so that what is more likely by the remainder is so by less
/// than 2^-32.
pub(crate) fn below(rng: &dyn Rng, below: usize) -> usize {
    ((u128::from(rng.next_u64()) * below as u128) >> 64) as usize
}

/// A number in `-bound..bound`, in steps of 2^-23 of it.
pub(crate) fn symmetric(rng: &dyn Rng, bound: f32) -> f32 {
    let unit = (rng.next_u64() >> 40) as f32 / 8_388_608.0;
    (unit - 1.0) * bound
}

/// An order of `0..count` (Fisher and Yates, as in Knuth, TAOCP 3.4.2 P).
pub(crate) fn order(rng: &dyn Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, below(rng, last + 1));
    }
    order
}
