//! An image as numbers: what happens between pixels and tensor.

use serde::{Deserialize, Serialize};

use super::Image;
use crate::{Error, Tensor};

/// An image of `f32`, channels together.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    width: usize,
    height: usize,
    channels: usize,
    values: Vec<f32>,
}

/// The order of a tensor's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Layout {
    /// Batch, channel, row, column.
    #[default]
    #[serde(rename = "NCHW")]
    Nchw,
    /// Batch, row, column, channel.
    #[serde(rename = "NHWC")]
    Nhwc,
}

/// Where an image lies when it is smaller than its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// In the first corner.
    TopLeft,
    /// In the middle.
    #[default]
    Centre,
}

impl From<&Image> for Raster {
    fn from(image: &Image) -> Self {
        Self {
            width: image.width(),
            height: image.height(),
            channels: image.channels(),
            values: image.pixels().iter().map(|&value| f32::from(value)).collect(),
        }
    }
}

impl Raster {
    /// The values, row by row, channels together.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Width, height, channels.
    pub fn sides(&self) -> (usize, usize, usize) {
        (self.width, self.height, self.channels)
    }

    /// Each value times `by`.
    pub fn scaled(mut self, by: f32) -> Self {
        for value in &mut self.values {
            *value *= by;
        }
        self
    }

    /// `(value − mean) / deviation` by channel; a single number goes for all of them.
    ///
    /// # Errors
    /// `Process` when there are not as many numbers as channels, or a deviation is 0.
    pub fn normalised(mut self, mean: &[f32], deviation: &[f32]) -> Result<Self, Error> {
        let wrong = |reason: String| Err(Error::Process { step: "normalise", reason });
        if [mean, deviation].iter().any(|list| list.len() != 1 && list.len() != self.channels) {
            return wrong(format!("needs one mean and deviation, or one for each of {} channels", self.channels));
        }
        if deviation.iter().any(|value| !value.is_normal()) {
            return wrong("has a deviation that nothing can be divided by".to_owned());
        }
        let (means, deviations) = (mean.iter().cycle(), deviation.iter().cycle());
        for (value, (mean, deviation)) in self.values.iter_mut().zip(means.zip(deviations)) {
            *value = (*value - mean) / deviation;
        }
        Ok(self)
    }

    /// In a larger frame of one value. The second result is where the image's first corner lies: column, row.
    ///
    /// # Errors
    /// `Process` when the frame is smaller than the image.
    pub fn padded(
        self,
        width: usize,
        height: usize,
        fill: f32,
        anchor: Anchor,
    ) -> Result<(Self, (usize, usize)), Error> {
        let frame = (width.checked_sub(self.width), height.checked_sub(self.height));
        let (Some(across), Some(down)) = frame else {
            let reason = format!("has a frame of {width} × {height} for {} × {}", self.width, self.height);
            return Err(Error::Process { step: "pad", reason });
        };
        let (left, top) = match anchor {
            Anchor::TopLeft => (0, 0),
            Anchor::Centre => (across / 2, down / 2),
        };
        let row = width * self.channels;
        let mut values = vec![fill; top * row];
        for line in self.values.chunks_exact((self.width * self.channels).max(1)) {
            values.extend(std::iter::repeat_n(fill, left * self.channels));
            values.extend_from_slice(line);
            values.extend(std::iter::repeat_n(fill, (across - left) * self.channels));
        }
        values.resize(row * height, fill);
        Ok((Self { width, height, values, ..self }, (left, top)))
    }

    /// A tensor with a batch of one.
    ///
    /// # Errors
    /// Never for a raster made here.
    pub fn tensor(self, layout: Layout) -> Result<Tensor, Error> {
        let (width, height, channels) = self.sides();
        match layout {
            Layout::Nhwc => Tensor::new([1, height, width, channels], self.values),
            Layout::Nchw => {
                let plane = |channel: usize| self.values.iter().skip(channel).step_by(channels.max(1)).copied();
                Tensor::new([1, channels, height, width], (0..channels).flat_map(plane).collect::<Vec<_>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster() -> Raster {
        Raster::from(&Image::new(2, 1, 3, vec![0, 10, 20, 30, 40, 50]).unwrap())
    }

    #[test]
    fn channels_come_apart_or_stay_together() {
        let tensor = raster().tensor(Layout::Nchw).unwrap();
        assert_eq!(tensor.shape(), [1, 3, 1, 2]);
        assert_eq!(tensor.f32s().unwrap(), [0.0, 30.0, 10.0, 40.0, 20.0, 50.0]);
        assert_eq!(raster().tensor(Layout::Nhwc).unwrap().f32s().unwrap(), raster().values());
    }

    #[test]
    fn each_channel_has_its_mean() {
        let done = raster().normalised(&[0.0, 10.0, 20.0], &[1.0, 2.0, 10.0]).unwrap();
        assert_eq!(done.values(), [0.0, 0.0, 0.0, 30.0, 15.0, 3.0]);
        assert_eq!(raster().scaled(0.5).normalised(&[5.0], &[2.0]).unwrap().values()[5..], [10.0]);
        assert!(raster().normalised(&[0.0, 1.0], &[1.0]).is_err());
        assert!(raster().normalised(&[0.0], &[0.0]).is_err());
    }

    #[test]
    fn a_frame_surrounds() {
        let grey = Raster::from(&Image::new(1, 1, 1, vec![7]).unwrap());
        let (framed, at) = grey.clone().padded(4, 3, 1.0, Anchor::Centre).unwrap();
        assert_eq!((framed.values(), at), ([1., 1., 1., 1., 1., 7., 1., 1., 1., 1., 1., 1.].as_slice(), (1, 1)));
        let (framed, at) = grey.clone().padded(2, 2, 0.0, Anchor::TopLeft).unwrap();
        assert_eq!((framed.values(), at), ([7., 0., 0., 0.].as_slice(), (0, 0)));
        assert!(grey.padded(0, 1, 0.0, Anchor::Centre).is_err());
    }
}
