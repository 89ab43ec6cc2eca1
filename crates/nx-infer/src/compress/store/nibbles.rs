//! Four bits a number, two to a byte.

use super::Stored;
use crate::{Data, Error, Tensor, compress::edit::Edit, onnx::graph::Attribute};

/// Numbers that share a scale.
const BLOCK: usize = 32;
/// The scales that are tried for a block, as parts of what its largest number asks for: cutting one may round the others better.
const TRIED: [f32; 5] = [1.0, 0.95, 0.9, 0.85, 0.8];

/// None where the numbers do not make whole pairs of blocks.
pub(super) fn four(edit: &mut Edit, name: &str, tensor: &Tensor) -> Result<Option<Stored>, Error> {
    let Some(values) = tensor.f32s() else { return Ok(None) };
    if !values.len().is_multiple_of(2 * BLOCK) {
        return Ok(None);
    }
    let (mut numbers, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for block in values.chunks_exact(BLOCK) {
        let scale = scale(block);
        numbers.extend(block.iter().map(|value| level(*value, scale.to_f32())));
        scales.push(scale);
    }
    // the first half in the low bits of the bytes, the second in the high ones
    let (low, high) = numbers.split_at(numbers.len() / 2);
    let bytes: Vec<u8> = low.iter().zip(high).map(|(low, high)| (low + 8) as u8 | (((high + 8) as u8) << 4)).collect();
    let mut stored = Stored::default();
    let pairs = stored.constant(edit, &format!("{name}.pairs"), &Tensor::new([bytes.len()], bytes)?);
    let scales = Tensor::new([scales.len(), 1], Data::F16(scales))?;
    let scales = stored.constant(edit, &format!("{name}.scales"), &scales);
    let scalar = |stored: &mut Stored, edit: &mut Edit, value: f32| -> Result<String, Error> {
        Ok(stored.constant(edit, &format!("{name}.{value}"), &Tensor::scalar(vec![value])?))
    };
    let (part, whole, middle) =
        (scalar(&mut stored, edit, 0.0625)?, scalar(&mut stored, edit, 16.0)?, scalar(&mut stored, edit, 8.0)?);
    let shape = |stored: &mut Stored, edit: &mut Edit, dims: &[usize]| -> Result<String, Error> {
        let dims: Vec<i64> = dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        Ok(stored.constant(edit, &format!("{name}.shape"), &Tensor::new([dims.len()], dims)?))
    };
    let blocks = shape(&mut stored, edit, &[values.len() / BLOCK, BLOCK])?;
    let dims = shape(&mut stored, edit, tensor.shape())?;
    let pairs = stored.numbers(edit, &pairs);
    let sixteenth = stored.node(edit, "Mul", &[&pairs, &part], Vec::new());
    let high = stored.node(edit, "Floor", &[&sixteenth], Vec::new());
    let above = stored.node(edit, "Mul", &[&high, &whole], Vec::new());
    let low = stored.node(edit, "Sub", &[&pairs, &above], Vec::new());
    let axis = vec![("axis", Attribute::Int(0))];
    let all = stored.node(edit, "Concat", &[&low, &high], axis);
    let centred = stored.node(edit, "Sub", &[&all, &middle], Vec::new());
    let blocked = stored.node(edit, "Reshape", &[&centred, &blocks], Vec::new());
    let scales = stored.numbers(edit, &scales);
    let scaled = stored.node(edit, "Mul", &[&blocked, &scales], Vec::new());
    stored.node(edit, "Reshape", &[&scaled, &dims], Vec::new());
    Ok(Some(stored))
}

/// The scale with the least squared error.
fn scale(block: &[f32]) -> half::f16 {
    let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let error = |scale: half::f16| -> f32 {
        let scale = scale.to_f32();
        block.iter().map(|value| (value - f32::from(level(*value, scale)) * scale).powi(2)).sum()
    };
    let tried = TRIED.map(|part| half::f16::from_f32(most * part / 7.0));
    let best = tried.into_iter().min_by(|a, b| error(*a).total_cmp(&error(*b)));
    best.filter(|scale| scale.to_f32() > 0.0).unwrap_or(half::f16::ONE)
}

fn level(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-8.0, 7.0) as i8
}
