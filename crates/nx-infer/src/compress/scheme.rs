//! From numbers to eight bits and back: `real = (quantised − zero point) · scale`, as ONNX's `QuantizeLinear` has it.

use crate::{Error, Tensor};

/// Scale and zero point of an activation of `u8`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// What one step is worth.
    pub scale: f32,
    /// What stands for zero.
    pub zero: u8,
}

impl Affine {
    /// The steps that cover a range. Zero is always one of the values.
    pub fn of((least, most): (f32, f32)) -> Self {
        let (least, most) = (least.min(0.0), most.max(0.0));
        let scale = (most - least) / 255.0;
        if !scale.is_normal() {
            return Self { scale: 1.0, zero: 0 };
        }
        Self { scale, zero: (-least / scale).round_ties_even().clamp(0.0, 255.0) as u8 }
    }
}

/// Weights of `i8` with the scales that make them numbers again.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The values, shaped as before.
    pub values: Tensor,
    /// One scale, or one for each channel of the axis.
    pub scales: Vec<f32>,
}

/// Quantises weights symmetrically, with one scale or one for each channel of `axis`. `bits` is 8, or 7 for processors whose
/// products of 8 bits overflow.
///
/// # Errors
/// `Compress` when the weights are not of `f32`, or have no such axis.
pub fn weights(tensor: &Tensor, axis: Option<usize>, bits: u32) -> Result<Weights, Error> {
    let refuse = |reason: String| Error::Compress { step: "quantise", reason };
    let values = tensor.f32s().ok_or_else(|| refuse(format!("weights are of {}, not of f32", tensor.dtype())))?;
    let shape = tensor.shape();
    let (count, inner) = match axis {
        None => (1, values.len().max(1)),
        Some(axis) => {
            let count = shape.get(axis).copied().filter(|count| *count > 0);
            let count =
                count.ok_or_else(|| refuse(format!("weights of shape {shape:?} have no channels in axis {axis}")))?;
            (count, shape.iter().skip(axis + 1).product::<usize>().max(1))
        }
    };
    let largest = if bits >= 8 { 127.0 } else { 63.0 };
    let channel = |at: usize| at / inner % count;
    let mut most = vec![0.0_f32; count];
    for (at, value) in values.iter().enumerate() {
        if let Some(most) = most.get_mut(channel(at)) {
            *most = most.max(value.abs());
        }
    }
    let scale = |most: f32| if (most / largest).is_normal() { most / largest } else { 1.0 };
    let scales: Vec<f32> = most.into_iter().map(scale).collect();
    let quantised = values.iter().enumerate().map(|(at, value)| {
        let scale = scales.get(channel(at)).copied().unwrap_or(1.0);
        (value / scale).round_ties_even().clamp(-largest, largest) as i8
    });
    Ok(Weights { values: Tensor::new(shape, quantised.collect::<Vec<_>>())?, scales })
}

/// A bias in the steps of the products that it is added to: `i32`, one scale for each channel.
pub fn bias(values: &[f32], input: f32, scales: &[f32]) -> (Vec<i32>, Vec<f32>) {
    let scales: Vec<f32> = scales.iter().map(|scale| scale * input).collect();
    let each = if scales.len() == 1 {
        scales.iter().cycle().take(values.len())
    } else {
        scales.iter().cycle().take(scales.len())
    };
    let quantised =
        values.iter().zip(each).map(|(value, scale)| (f64::from(*value) / f64::from(*scale)).round_ties_even() as i32);
    (quantised.collect(), scales)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Data;

    #[test]
    fn zero_is_exact() {
        assert_eq!(Affine::of((0.0, 255.0)), Affine { scale: 1.0, zero: 0 });
        assert_eq!(Affine::of((-128.0, 127.0)), Affine { scale: 1.0, zero: 128 });
        assert_eq!(Affine::of((3.0, 51.0)), Affine { scale: 0.2, zero: 0 });
        assert_eq!(Affine::of((0.0, 0.0)), Affine { scale: 1.0, zero: 0 });
    }

    #[test]
    fn each_channel_has_its_own_scale() {
        let tensor = Tensor::new([2, 2], vec![1.27, -0.635, 127.0, 0.0_f32]).unwrap();
        let by_row = weights(&tensor, Some(0), 8).unwrap();
        assert_eq!(by_row.values.data(), &Data::I8(vec![127, -64, 127, 0]));
        assert!((by_row.scales[0] - 0.01).abs() < 1e-6 && (by_row.scales[1] - 1.0).abs() < 1e-6);
        let whole = weights(&tensor, None, 8).unwrap();
        assert_eq!((whole.values.data(), whole.scales.as_slice()), (&Data::I8(vec![1, -1, 127, 0]), [1.0].as_slice()));
        let column = weights(&tensor, Some(1), 7).unwrap();
        assert_eq!(column.values.data(), &Data::I8(vec![1, -63, 63, 0]));
        assert!(weights(&tensor, Some(2), 8).is_err());
    }

    #[test]
    fn a_bias_counts_in_products() {
        assert_eq!(bias(&[1.0, -2.0], 0.5, &[0.1]).0, [20, -40]);
        assert_eq!(bias(&[1.0, -2.0], 0.5, &[0.1, 0.2]).0, [20, -20]);
    }
}
