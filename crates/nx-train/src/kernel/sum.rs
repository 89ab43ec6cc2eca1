//! Sums of fixed order: sixteen lanes, added pairwise at the end.

use super::LANES;

/// Adds the lanes: halves onto each other until one is left.
#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vectors that `dispatch!` chose")]
#[inline(always)]
pub(super) fn fold(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(width);
        for (a, b) in low.iter_mut().zip(high) {
            *a += *b;
        }
    }
    lanes[0]
}

fn fold64(mut lanes: [f64; LANES]) -> f64 {
    for width in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(width);
        for (a, b) in low.iter_mut().zip(high) {
            *a += *b;
        }
    }
    lanes[0]
}

/// `Σ a·b`.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    fold(lanes)
}

/// `Σ a`, in double precision.
pub(crate) fn sum(a: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    for a in a.chunks(LANES) {
        for (lane, a) in lanes.iter_mut().zip(a) {
            *lane += f64::from(*a);
        }
    }
    fold64(lanes)
}

/// `Σ a` and `Σ a²`, in double precision.
pub(crate) fn moments(a: &[f32]) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
    for a in a.chunks(LANES) {
        for ((sum, square), a) in sums.iter_mut().zip(&mut squares).zip(a) {
            let a = f64::from(*a);
            *sum += a;
            *square += a * a;
        }
    }
    (fold64(sums), fold64(squares))
}

/// `Σ a·b`, in double precision.
pub(crate) fn sum_of_products(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    fold64(lanes)
}

/// `to += scale · from`.
pub(crate) fn add_scaled(to: &mut [f32], scale: f32, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += scale * from;
    }
}
