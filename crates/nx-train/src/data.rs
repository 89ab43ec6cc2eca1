//! Examples to learn from: images of bytes, each with its class.

use nx_types::Rng;

use crate::{draw, error::Error, shape::Shape};

/// Images and their classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    shape: Shape,
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Dataset {
    /// Bytes that all images may have, all together.
    pub const MAX_BYTES: usize = 1 << 30;

    /// Images of `shape`, one after the other, channel by channel, row by row; and the class of each, below `classes`.
    pub fn new(shape: Shape, classes: usize, pixels: Vec<u8>, labels: Vec<u8>) -> Result<Self, Error> {
        let fail = |reason: String| Err(Error::Data { reason });
        if pixels.len() > Self::MAX_BYTES {
            let (found, most) = (pixels.len() as u64, Self::MAX_BYTES as u64);
            return Err(Error::TooLarge { what: "the dataset", found, most });
        }
        if shape.is_empty() || classes == 0 || classes > 256 {
            return fail("an image has a pixel, and there are 1 to 256 classes".to_owned());
        }
        if shape.len().checked_mul(labels.len()) != Some(pixels.len()) {
            let (images, labels) = (pixels.len() / shape.len(), labels.len());
            return fail(format!("{images} whole images beside {labels} labels; give each image its label"));
        }
        if let Some((at, label)) = labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes) {
            return fail(format!("label {at} is {label}, and there are {classes} classes, from 0"));
        }
        Ok(Self { shape, classes, pixels, labels })
    }

    /// One image.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One image and its class.
    pub fn get(&self, at: usize) -> Option<(&[u8], u8)> {
        self.pixels.chunks(self.shape.len()).nth(at).zip(self.labels.get(at).copied())
    }

    /// The first `count` images, and the rest.
    pub fn split(mut self, count: usize) -> (Self, Self) {
        let count = count.min(self.len());
        let pixels = self.pixels.split_off(count * self.shape.len());
        let labels = self.labels.split_off(count);
        let rest = Self { shape: self.shape, classes: self.classes, pixels, labels };
        (self, rest)
    }

    /// The image as numbers from 0 to 1, as a network takes them: each byte over 255.
    pub fn numbers(pixels: &[u8]) -> impl Iterator<Item = f32> {
        pixels.iter().map(|pixel| number(*pixel))
    }
}

/// A byte from 0 to 255 as a number from 0 to 1.
pub(crate) fn number(pixel: u8) -> f32 {
    f32::from(pixel) / 255.0
}

/// By how much an image is moved before it is learned from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Rows down.
    pub(crate) down: isize,
    /// Columns to the right.
    pub(crate) right: isize,
}

impl Shift {
    /// Up to `most` pixels in each direction.
    pub(crate) fn draw(rng: &dyn Rng, most: usize) -> Self {
        let one = || draw::below(rng, 2 * most + 1).cast_signed() - most.cast_signed();
        Self { down: one(), right: one() }
    }
}

/// Writes an image into rows of numbers, moved; what moves in is 0.
pub(crate) fn write<'a>(shape: Shape, pixels: &[u8], shift: Shift, rows: impl Iterator<Item = &'a mut [f32]>) {
    let wanted = pixels.chunks(shape.height * shape.width).flat_map(|image| {
        (0..shape.height).map(move |row| {
            let row = row.checked_add_signed(-shift.down).filter(|row| *row < shape.height)?;
            image.get(row * shape.width..(row + 1) * shape.width)
        })
    });
    // in this order: the rows of the next image are not to be touched
    for (from, to) in wanted.zip(rows) {
        to.fill(0.0);
        let skip = shift.right.unsigned_abs().min(shape.width);
        let (skip_to, skip_from) = if shift.right > 0 { (skip, 0) } else { (0, skip) };
        let from = from.unwrap_or_default().iter().skip(skip_from);
        for (to, from) in to.iter_mut().skip(skip_to).zip(from) {
            *to = number(*from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_is_written_into_its_own_rows_moved() {
        let shape = Shape { channels: 1, height: 2, width: 3 };
        let check = |down, right, wanted: [u8; 12]| {
            let mut numbers = [9.0; 12];
            let mut rows = numbers.chunks_mut(3);
            for image in [[10, 20, 30, 40, 50, 60], [1, 2, 3, 4, 5, 6]] {
                write(shape, &image, Shift { down, right }, rows.by_ref());
            }
            assert_eq!(numbers.map(f32::to_bits), wanted.map(|pixel| number(pixel).to_bits()), "{down} {right}");
        };
        check(0, 0, [10, 20, 30, 40, 50, 60, 1, 2, 3, 4, 5, 6]);
        check(1, 0, [0, 0, 0, 10, 20, 30, 0, 0, 0, 1, 2, 3]);
        check(-1, 1, [0, 40, 50, 0, 0, 0, 0, 4, 5, 0, 0, 0]);
        check(0, -2, [30, 0, 0, 60, 0, 0, 3, 0, 0, 6, 0, 0]);
        check(5, 7, [0; 12]);
    }
}
