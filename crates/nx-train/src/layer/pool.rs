//! Pooling: the largest of each square, and the mean of each channel.

use crate::{kernel::sum, shape::Plane};

/// The largest of each square; `from` remembers where in the input's plane it lay.
pub(crate) fn max((large, small): (&Plane, &Plane), size: usize, input: &[f32], output: &mut [f32], from: &mut [u32]) {
    let planes = input.chunks(large.len).zip(output.chunks_mut(small.len)).zip(from.chunks_mut(small.len));
    for ((large_plane, small_plane), from) in planes {
        for row in 0..small.height {
            for column in 0..small.width {
                let corner = large.first() + row * size * large.stride + column * size;
                let square = (0..size * size).map(|place| corner + place / size * large.stride + place % size);
                let mut best = (corner, f32::NEG_INFINITY);
                for at in square {
                    // the first of equals
                    if let Some(value) = large_plane.get(at).copied().filter(|value| *value > best.1) {
                        best = (at, value);
                    }
                }
                let to = small.first() + row * small.stride + column;
                if let (Some(value), Some(place)) = (small_plane.get_mut(to), from.get_mut(to)) {
                    (*value, *place) = (best.1, best.0 as u32);
                }
            }
        }
    }
}

/// Gives each error to where the largest lay; what lay elsewhere gets none.
pub(crate) fn max_back(large: &Plane, small: &Plane, from: &[u32], error: &[f32], back: &mut [f32]) {
    back.fill(0.0);
    let planes = back.chunks_mut(large.len).zip(error.chunks(small.len)).zip(from.chunks(small.len));
    for ((back, error), from) in planes {
        for (error, from) in small.rows(error).flatten().zip(places(small, from)) {
            if let Some(back) = back.get_mut(from as usize) {
                *back += error;
            }
        }
    }
}

/// Like [`Plane::rows`], of places.
fn places(plane: &Plane, places: &[u32]) -> impl Iterator<Item = u32> {
    let (width, inner) = (plane.width, places.get(plane.first()..).unwrap_or_default());
    inner.chunks(plane.stride).take(plane.height).flat_map(move |row| row.iter().take(width).copied())
}

/// The mean of each plane.
pub(crate) fn mean(plane: &Plane, input: &[f32], output: &mut [f32]) {
    let count = (plane.height * plane.width) as f64;
    for (to, from) in output.iter_mut().zip(input.chunks(plane.len)) {
        *to = (sum(from) / count) as f32;
    }
}

/// Shares each error out among the pixels.
pub(crate) fn mean_back(plane: &Plane, error: &[f32], back: &mut [f32]) {
    let count = (plane.height * plane.width) as f32;
    for (error, back) in error.iter().zip(back.chunks_mut(plane.len)) {
        let share = error / count;
        for (to, mask) in back.iter_mut().zip(&plane.mask) {
            *to = share * mask;
        }
    }
}

/// Images as vectors: channel by channel, row by row.
pub(crate) fn flatten(plane: &Plane, input: &[f32], output: &mut [f32]) {
    let pixels = input.chunks(plane.len).flat_map(|plane_values| plane.rows(plane_values).flatten());
    for (to, from) in output.iter_mut().zip(pixels) {
        *to = *from;
    }
}

/// Vectors as images again.
pub(crate) fn flatten_back(plane: &Plane, error: &[f32], back: &mut [f32]) {
    back.fill(0.0);
    let planes = back.chunks_mut(plane.len).zip(error.chunks(plane.height * plane.width));
    for (back, error) in planes {
        for (to, from) in plane.rows_mut(back).zip(error.chunks(plane.width)) {
            to.copy_from_slice(from);
        }
    }
}
