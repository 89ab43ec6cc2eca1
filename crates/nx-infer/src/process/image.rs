//! Images as cameras give them: rows of `u8` pixels, channels together.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x4,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Pixels of one side at most.
const SIDE: usize = 1 << 15;

/// An image: 1 (grey), 3 (colour) or 4 (colour and alpha) channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// How pixels between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Between the four neighbours, whatever the scale: `INTER_LINEAR` of `OpenCV`.
    #[default]
    Linear,
    /// A triangle as wide as the scale, so that shrinking averages: Pillow's `BILINEAR`.
    Smooth,
    /// Catmull-Rom as wide as the scale: Pillow's `BICUBIC`.
    Cubic,
}

/// The channels that a model wants, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// One: 0.299 red + 0.587 green + 0.114 blue.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as `OpenCV` has them.
    Bgr,
}

impl Image {
    /// An image of these pixels, in RGB order where there is colour.
    ///
    /// # Errors
    /// `Process` when the pixels are not as many as the sides ask for.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Result<Self, Error> {
        let wrong = |reason: String| Err(Error::Process { step: "image", reason });
        if width == 0 || height == 0 || width > SIDE || height > SIDE {
            return wrong(format!("has sides {width} × {height}; each may be 1 to {SIDE}"));
        }
        if !matches!(channels, 1 | 3 | 4) {
            return wrong(format!("has {channels} channels; there may be 1, 3 or 4"));
        }
        if pixels.len() != width * height * channels {
            return wrong(format!("of {width} × {height} × {channels} has {} bytes", pixels.len()));
        }
        Ok(Self { width, height, channels, pixels })
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The bytes, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// With these channels. Alpha is dropped; grey becomes equal parts of each colour.
    pub fn with_channels(&self, channels: Channels) -> Self {
        let grey = |pixel: &[u8]| match *pixel {
            // the weights of ITU-R BT.601, in 16 bits, rounded: as Pillow and OpenCV compute it
            [r, g, b, ..] => ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8,
            [value, ..] => value,
            [] => 0,
        };
        let each = self.pixels.chunks_exact(self.channels);
        let (count, pixels) = match channels {
            Channels::Grey => (1, each.map(grey).collect()),
            Channels::Rgb => (3, each.flat_map(colours).collect()),
            Channels::Bgr => {
                let swapped = each.flat_map(|pixel| {
                    let [r, g, b] = colours(pixel);
                    [b, g, r]
                });
                (3, swapped.collect())
            }
        };
        Self { channels: count, pixels, ..*self }
    }

    /// Light for dark.
    pub fn inverted(&self) -> Self {
        Self { pixels: self.pixels.iter().map(|value| 255 - value).collect(), ..*self }
    }

    /// With other sides.
    ///
    /// # Errors
    /// `Process` when a side is 0 or too long.
    pub fn resized(&self, width: usize, height: usize, filter: Filter) -> Result<Self, Error> {
        if width == self.width && height == self.height {
            return Ok(self.clone());
        }
        let empty =
            Self::new(width, height, self.channels, vec![0; width.min(SIDE) * height.min(SIDE) * self.channels])?;
        let algorithm = match filter {
            Filter::Nearest => ResizeAlg::Nearest,
            Filter::Linear => ResizeAlg::Interpolation(FilterType::Bilinear),
            Filter::Smooth => ResizeAlg::Convolution(FilterType::Bilinear),
            Filter::Cubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        };
        let options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
        let pixels = resize(self, (width, height), &options)?;
        Ok(Self { pixels, ..empty })
    }

    /// As large as fits within these sides with its proportions kept. The second value is the scale.
    ///
    /// # Errors
    /// As [`Image::resized`].
    pub fn fitted(&self, width: usize, height: usize, filter: Filter) -> Result<(Self, f64), Error> {
        let scale = (width as f64 / self.width as f64).min(height as f64 / self.height as f64);
        // cut, not rounded: as YOLOX does
        let side = |side: usize, most: usize| ((side as f64 * scale) as usize).clamp(1, most.max(1));
        let image = self.resized(side(self.width, width), side(self.height, height), filter)?;
        Ok((image, scale))
    }
}

/// As pixels of four bytes, whatever they are: the library compiles a part of its own for each kind of pixel, and all of
/// them take longer than the rest of this crate.
fn resize(image: &Image, (width, height): (usize, usize), options: &ResizeOptions) -> Result<Vec<u8>, Error> {
    let wrong = |reason: String| Error::Process { step: "resize", reason };
    let wide = |pixel: &[u8]| {
        let mut four = [0; 4];
        four.iter_mut().zip(pixel).for_each(|(to, from)| *to = *from);
        four
    };
    let source: Vec<u8> = image.pixels.chunks_exact(image.channels).flat_map(wide).collect();
    let source = TypedImageRef::<U8x4>::from_buffer(image.width as u32, image.height as u32, &source)
        .map_err(|error| wrong(error.to_string()))?;
    let mut resized = vec![0; width * height * 4];
    let mut target = TypedImage::<U8x4>::from_buffer(width as u32, height as u32, &mut resized)
        .map_err(|error| wrong(error.to_string()))?;
    Resizer::new().resize_typed(&source, &mut target, options).map_err(|error| wrong(error.to_string()))?;
    Ok(resized.chunks_exact(4).flat_map(|four| four.iter().take(image.channels)).copied().collect())
}

fn colours(pixel: &[u8]) -> [u8; 3] {
    match *pixel {
        [r, g, b, ..] => [r, g, b],
        [value, ..] => [value; 3],
        [] => [0; 3],
    }
}
