//! Convolutions without a copy of the image for each place of the kernel.
//!
//! Images lie in [padded planes](crate::shape::Plane). In such a plane, what one place of the kernel sees is the plane
//! itself, shifted: a row of the matrix that "im2col" would build is a slice. So the matrix product reads it in place,
//! and a convolution, its gradient by the input (the same with the kernel turned) and its gradient by the weights (dot
//! products of shifted planes) are three loops over slices. What falls between two rows of the image is computed too
//! and wiped by the caller's mask: 7 % of 28 columns.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};

use super::{LANES, sum::fold};
use crate::shape::Plane;

/// Adds to each output plane the input planes correlated with the kernels: `out[o] += Σ w[o][i] ⋆ in[i]`.
///
/// Borders of the result hold rubbish.
pub(crate) fn correlate(level: Level, plane: &Plane, kernels: &Kernels<'_>, input: &[f32], output: &mut [f32]) {
    let offsets = offsets(plane, kernels);
    // as many rows at a time as the registers hold
    if dispatch!(level, simd => native_lanes(simd)) >= LANES {
        let packed = pack::<8>(kernels.weights, offsets.len());
        for (input, output) in kernels.images(plane, input, output) {
            dispatch!(level, simd => tiles::<_, 8>(simd, plane, &offsets, &packed, input, output));
        }
    } else {
        let packed = pack::<4>(kernels.weights, offsets.len());
        for (input, output) in kernels.images(plane, input, output) {
            dispatch!(level, simd => tiles::<_, 4>(simd, plane, &offsets, &packed, input, output));
        }
    }
}

/// Kernels as they lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernels<'a> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Rows and columns.
    pub(crate) size: usize,
    /// `[outputs][inputs][size][size]`.
    pub(crate) weights: &'a [f32],
}

impl Kernels<'_> {
    fn images<'a>(
        &self,
        plane: &Plane,
        input: &'a [f32],
        output: &'a mut [f32],
    ) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> + use<'a> {
        input.chunks(self.inputs * plane.len).zip(output.chunks_mut(self.outputs * plane.len))
    }
}

/// Adds to `gradient`, `[out][in][size][size]`, the dot products of each output plane's error with each shifted input.
pub(crate) fn weight_gradient(
    level: Level,
    plane: &Plane,
    kernels: &Kernels<'_>,
    (input, error): (&[f32], &[f32]),
    gradient: &mut [f32],
) {
    let offsets = offsets(plane, kernels);
    let wide = dispatch!(level, simd => native_lanes(simd)) >= LANES;
    for (input, error) in input.chunks(kernels.inputs * plane.len).zip(error.chunks(kernels.outputs * plane.len)) {
        if wide {
            dispatch!(level, simd => dots::<_, 4, 6>(simd, plane, &offsets, input, error, gradient));
        } else {
            dispatch!(level, simd => dots::<_, 2, 3>(simd, plane, &offsets, input, error, gradient));
        }
    }
}

#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vectors that `dispatch!` chose")]
#[inline(always)]
fn native_lanes<S: Simd>(_: S) -> usize {
    S::f32s::LEN
}

/// Where in the input's planes each column of the kernel's matrix begins.
fn offsets(plane: &Plane, kernels: &Kernels<'_>) -> Vec<usize> {
    let size = kernels.size;
    let inset = plane.pad - size / 2;
    let place = |y: usize, x: usize| (y + inset) * plane.stride + x + inset;
    (0..kernels.inputs)
        .flat_map(|i| (0..size).flat_map(move |y| (0..size).map(move |x| i * plane.len + place(y, x))))
        .collect()
}

/// Weights as the tiles read them: for each `R` rows, column after column.
fn pack<const R: usize>(weights: &[f32], columns: usize) -> Vec<[f32; R]> {
    let mut packed = Vec::with_capacity(weights.len().div_ceil(R) + columns);
    for rows in weights.chunks(R * columns) {
        let start = packed.len();
        packed.resize(start + columns, [0.0; R]);
        for (row, values) in rows.chunks(columns).enumerate() {
            for (to, value) in packed.iter_mut().skip(start).zip(values) {
                if let Some(to) = to.get_mut(row) {
                    *to = *value;
                }
            }
        }
    }
    packed
}

#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vectors that `dispatch!` chose")]
#[inline(always)]
fn tiles<S: Simd, const R: usize>(
    simd: S,
    plane: &Plane,
    offsets: &[usize],
    packed: &[[f32; R]],
    input: &[f32],
    output: &mut [f32],
) {
    let (first, columns) = (plane.first(), offsets.len());
    for (planes, weights) in output.chunks_mut(R * plane.len).zip(packed.chunks(columns)) {
        for at in (0..plane.span()).step_by(LANES) {
            let mut sums = [f32x16::splat(simd, 0.0); R];
            for (sum, out) in sums.iter_mut().zip(planes.chunks(plane.len)) {
                if let Some(out) = out.get(first + at..first + at + LANES) {
                    *sum = f32x16::from_slice(simd, out);
                }
            }
            for (offset, weights) in offsets.iter().zip(weights) {
                let Some(seen) = input.get(offset + at..offset + at + LANES) else { continue };
                let seen = f32x16::from_slice(simd, seen);
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += seen * *weight;
                }
            }
            for (sum, out) in sums.iter().zip(planes.chunks_mut(plane.len)) {
                if let Some(out) = out.get_mut(first + at..first + at + LANES) {
                    sum.store_slice(out);
                }
            }
        }
    }
}

#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the vectors that `dispatch!` chose")]
#[inline(always)]
fn dots<S: Simd, const R: usize, const C: usize>(
    simd: S,
    plane: &Plane,
    offsets: &[usize],
    input: &[f32],
    error: &[f32],
    gradient: &mut [f32],
) {
    let (first, columns, span) = (plane.first(), offsets.len(), plane.span());
    for (errors, gradients) in error.chunks(R * plane.len).zip(gradient.chunks_mut(R * columns)) {
        // a row or column that is not there reads an empty slice: nothing is added
        let rows: [&[f32]; R] = std::array::from_fn(|row| {
            errors.chunks(plane.len).nth(row).and_then(|plane| plane.get(first..first + span)).unwrap_or_default()
        });
        for (tile, offsets) in offsets.chunks(C).enumerate() {
            let seen: [&[f32]; C] = std::array::from_fn(|column| {
                offsets.get(column).and_then(|at| input.get(*at..at + span)).unwrap_or_default()
            });
            let mut sums = [[f32x16::splat(simd, 0.0); C]; R];
            for at in (0..span).step_by(LANES) {
                // no closures: they would not be compiled for these vectors
                let mut loaded = [f32x16::splat(simd, 0.0); C];
                for (to, column) in loaded.iter_mut().zip(&seen) {
                    if let Some(column) = column.get(at..at + LANES) {
                        *to = f32x16::from_slice(simd, column);
                    }
                }
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    let Some(row) = row.get(at..at + LANES) else { continue };
                    let error = f32x16::from_slice(simd, row);
                    for (sum, seen) in sums.iter_mut().zip(&loaded) {
                        *sum += error * *seen;
                    }
                }
            }
            for (sums, gradients) in sums.into_iter().zip(gradients.chunks_mut(columns)) {
                for (sum, gradient) in sums.into_iter().zip(gradients.iter_mut().skip(tile * C)) {
                    let mut lanes = [0.0; LANES];
                    sum.store_slice(&mut lanes);
                    *gradient += fold(lanes);
                }
            }
        }
    }
}
