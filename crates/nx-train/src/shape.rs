//! Shapes of what passes between layers, and how images lie in memory while a network runs.

use serde::{Deserialize, Serialize};

use crate::kernel::LANES;

/// What a layer takes or gives for one example: `channels` images of `height` × `width`. A vector has 1 × 1 images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Channels, or the length of a vector.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// A vector.
    pub const fn vector(length: usize) -> Self {
        Self { channels: length, height: 1, width: 1 }
    }

    /// Numbers in one example; saturating, so that bounds can be checked on it.
    pub const fn len(&self) -> usize {
        self.channels.saturating_mul(self.height).saturating_mul(self.width)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each image is one number.
    pub const fn is_vector(&self) -> bool {
        self.height == 1 && self.width == 1
    }
}

/// How an image lies in memory: rows one after the other in a frame of `pad` zeros, then zeros up to a multiple of the
/// lanes, so many that a kernel that looks past the last row still looks at this plane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plane {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) pad: usize,
    /// From a pixel to the one below.
    pub(crate) stride: usize,
    /// Numbers in the plane.
    pub(crate) len: usize,
    /// 1 where there is a pixel, 0 elsewhere.
    pub(crate) mask: Vec<f32>,
}

impl Plane {
    /// The plane of an image of `shape` in a frame of `pad`; a vector's has one number.
    pub(crate) fn new(shape: Shape, pad: usize) -> Self {
        let Shape { height, width, .. } = shape;
        if shape.is_vector() {
            return Self { height, width, pad: 0, stride: 1, len: 1, mask: vec![1.0] };
        }
        let (stride, len) = (width + 2 * pad, Self::len_of(shape, pad));
        let mut plane = Self { height, width, pad, stride, len, mask: vec![0.0; len] };
        let mut mask = vec![0.0; len];
        plane.rows_mut(&mut mask).for_each(|row| row.fill(1.0));
        plane.mask = mask;
        plane
    }

    /// Numbers in the plane of an image of `shape`; saturating.
    pub(crate) fn len_of(shape: Shape, pad: usize) -> usize {
        if shape.is_vector() {
            return 1;
        }
        let stride = shape.width.saturating_add(2 * pad);
        let rows = shape.height.saturating_add(2 * pad).saturating_mul(stride);
        rows.saturating_add(2 * pad + LANES - 1).checked_next_multiple_of(LANES).unwrap_or(usize::MAX)
    }

    /// Where the first pixel lies.
    pub(crate) fn first(&self) -> usize {
        self.pad * self.stride + self.pad
    }

    /// From the first pixel past the last, in whole lanes.
    pub(crate) fn span(&self) -> usize {
        (self.height * self.stride).next_multiple_of(LANES)
    }

    /// The rows of pixels of a plane.
    pub(crate) fn rows<'a>(&self, plane: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let width = self.width;
        let inner = plane.get(self.first()..).unwrap_or_default();
        inner.chunks(self.stride).take(self.height).filter_map(move |row| row.get(..width))
    }

    /// The rows of pixels of a plane.
    pub(crate) fn rows_mut<'a>(&self, plane: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> + use<'a> {
        let (width, stride, height) = (self.width, self.stride, self.height);
        let inner = plane.get_mut(self.first()..).unwrap_or_default();
        inner.chunks_mut(stride).take(height).filter_map(move |row| row.get_mut(..width))
    }

    /// Sets to nothing what is no pixel, in each of the planes.
    pub(crate) fn wipe(&self, planes: &mut [f32]) {
        for plane in planes.chunks_mut(self.len) {
            for (value, mask) in plane.iter_mut().zip(&self.mask) {
                *value *= mask;
            }
        }
    }
}
