//! A manifest's steps, applied.

use serde::{Deserialize, Serialize};

use super::{Class, Detection, Image, Raster, Text, classify, ctc};
use crate::{
    DType, Data, Error, Tensor,
    manifest::{After, Before, Input, Output},
    process::raster::Layout,
};

/// What a caller has for an input.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Sample<'s> {
    /// An image.
    Image(&'s Image),
    /// Bytes of a file.
    Bytes(&'s [u8]),
    /// A tensor as the model takes it; the steps are skipped.
    Tensor(&'s Tensor),
}

/// Where an image came to lie: pixel (x, y) of the image is at (x · `scale` + `left`, y · `scale` + `top`) of the input. After a
/// resize that does not keep proportions the two directions differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Across and down.
    pub scale: [f64; 2],
    /// Columns to the left.
    pub left: f64,
    /// Rows above.
    pub top: f64,
}

impl Placement {
    /// The image itself.
    pub const IDENTITY: Self = Self { scale: [1.0, 1.0], left: 0.0, top: 0.0 };

    /// A box of the input in pixels of the image.
    pub fn undo(&self, corners: [f32; 4]) -> [f32; 4] {
        let [left, top, right, bottom] = corners.map(f64::from);
        let x = |value: f64| ((value - self.left) / self.scale[0]) as f32;
        let y = |value: f64| ((value - self.top) / self.scale[1]) as f32;
        [x(left), y(top), x(right), y(bottom)]
    }
}

/// An image on its way: pixels, then numbers.
enum Stage {
    Pixels(Image),
    Numbers(Raster),
}

/// Makes the tensor of an input.
///
/// # Errors
/// `Process` when a step cannot work on the sample, `Tensor` when the result does not fit the input.
pub fn before(input: &Input, sample: Sample<'_>) -> Result<(Tensor, Placement), Error> {
    let (tensor, placement) = match (sample, input.before.as_slice()) {
        (Sample::Tensor(tensor), _) => (tensor.clone(), Placement::IDENTITY),
        (Sample::Bytes(content), [Before::Bytes(excerpt)]) => (excerpt.read(content)?, Placement::IDENTITY),
        (Sample::Bytes(_), _) => {
            let reason = format!("is not the step of input `{}`; give it an image or a tensor", input.name);
            return Err(Error::Process { step: "bytes", reason });
        }
        (Sample::Image(_), [Before::Bytes(_)]) => {
            let reason = format!("is no sample for input `{}`, which takes bytes", input.name);
            return Err(Error::Process { step: "image", reason });
        }
        (Sample::Image(image), steps) => image_steps(image, steps, input.layout.unwrap_or_default(), input.dtype)?,
    };
    input.value().accepts(tensor.dtype(), tensor.shape())?;
    Ok((tensor, placement))
}

fn image_steps(image: &Image, steps: &[Before], layout: Layout, dtype: DType) -> Result<(Tensor, Placement), Error> {
    let mut stage = Stage::Pixels(image.clone());
    let mut placement = Placement::IDENTITY;
    for step in steps {
        stage = match (step, stage) {
            (Before::Channels { order }, Stage::Pixels(image)) => Stage::Pixels(image.with_channels(*order)),
            (Before::Invert, Stage::Pixels(image)) => Stage::Pixels(image.inverted()),
            (Before::Resize { width, height, filter }, Stage::Pixels(image)) => {
                let scale = [*width as f64 / image.width() as f64, *height as f64 / image.height() as f64];
                placement = scaled(placement, scale);
                Stage::Pixels(image.resized(*width, *height, *filter)?)
            }
            (Before::Fit { width, height, filter }, Stage::Pixels(image)) => {
                let (image, scale) = image.fitted(*width, *height, *filter)?;
                placement = scaled(placement, [scale, scale]);
                Stage::Pixels(image)
            }
            (Before::Scale { by }, stage) => Stage::Numbers(stage.numbers().scaled(*by)),
            (Before::Normalise { mean, deviation }, stage) => {
                Stage::Numbers(stage.numbers().normalised(mean, deviation)?)
            }
            (Before::Pad { width, height, fill, anchor }, stage) => {
                let (raster, (left, top)) = stage.numbers().padded(*width, *height, *fill, *anchor)?;
                placement =
                    Placement { left: placement.left + left as f64, top: placement.top + top as f64, ..placement };
                Stage::Numbers(raster)
            }
            (_, Stage::Numbers(_)) | (Before::Bytes(_), _) => {
                let reason = "cannot stand here: steps on pixels come first, `bytes` stands alone".to_owned();
                return Err(Error::Process { step: "before", reason });
            }
        };
    }
    let tensor = stage.numbers().tensor(layout)?;
    Ok((converted(tensor, dtype)?, placement))
}

impl Stage {
    fn numbers(self) -> Raster {
        match self {
            Self::Pixels(image) => Raster::from(&image),
            Self::Numbers(raster) => raster,
        }
    }
}

fn scaled(placement: Placement, by: [f64; 2]) -> Placement {
    let [x, y] = placement.scale;
    Placement { scale: [x * by[0], y * by[1]], left: placement.left * by[0], top: placement.top * by[1] }
}

fn converted(tensor: Tensor, dtype: DType) -> Result<Tensor, Error> {
    let Some(values) = tensor.f32s() else { return Ok(tensor) };
    let data = match dtype {
        DType::F32 => return Ok(tensor),
        DType::U8 => Data::U8(values.iter().map(|value| value.round() as u8).collect()),
        DType::F16 => Data::F16(values.iter().map(|&value| half::f16::from_f32(value)).collect()),
        other => {
            let reason = format!("makes tensors of f32, f16 or u8, not of {other}");
            return Err(Error::Process { step: "image", reason });
        }
    };
    Tensor::new(tensor.shape(), data)
}

/// What a model's output says, as far as the manifest tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// Numbers.
    Tensor(Tensor),
    /// The best classes of each row, the best first.
    Classes(Vec<Vec<Class>>),
    /// Boxes, in pixels of the image that was given.
    Detections(Vec<Vec<Detection>>),
    /// Lines of text.
    Text(Vec<Text>),
}

/// Makes the answer of an output.
///
/// # Errors
/// `Process` when a step cannot work on the tensor.
pub fn after(output: &Output, tensor: Tensor, placement: &Placement) -> Result<Answer, Error> {
    let mut tensor = tensor;
    for step in &output.after {
        match step {
            After::Softmax => tensor = classify::softmax(&tensor)?,
            After::Sigmoid => tensor = classify::sigmoid(&tensor)?,
            After::Argmax => return Ok(Answer::Classes(classify::top_k(&tensor, 1, &output.labels)?)),
            After::TopK { k } => return Ok(Answer::Classes(classify::top_k(&tensor, *k, &output.labels)?)),
            After::Ctc { blank } => return Ok(Answer::Text(ctc::greedy(&tensor, *blank, &output.labels)?)),
            After::Yolox(yolox) => {
                let mut found = yolox.read(&tensor, &output.labels)?;
                for found in found.iter_mut().flatten() {
                    found.corners = placement.undo(found.corners);
                }
                return Ok(Answer::Detections(found));
            }
        }
    }
    Ok(Answer::Tensor(tensor))
}
