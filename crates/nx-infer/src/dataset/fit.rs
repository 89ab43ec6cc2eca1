//! Numbers from a file as a model's input takes them.

use std::path::Path;

use half::f16;

use super::wrong;
use crate::{
    DType, Data, Error, Tensor,
    manifest::{Before, Input},
    onnx::Dim,
    process::{self, Image},
};

/// Numbers as a file holds them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    Whole(Vec<i64>),
    Real(Vec<f64>),
    Bytes(Vec<u8>),
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Self::Whole(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }
}

/// Makes the tensor of an input of one sample: of numbers in its shape, or flat; of a picture's bytes where steps make the
/// tensor of one.
pub(super) fn tensor(path: &Path, input: &Input, shape: &[usize], numbers: Numbers) -> Result<Tensor, Error> {
    let on_pictures = !input.before.is_empty() && !matches!(input.before.as_slice(), [Before::Bytes(_)]);
    if let (true, Numbers::Bytes(pixels), Some((height, width, channels))) = (on_pictures, &numbers, picture(shape)) {
        let image = Image::new(width, height, channels, pixels.clone())?;
        let (tensor, _) = process::before(input, process::Sample::Image(&image))?;
        return Ok(tensor);
    }
    let count = numbers.len();
    let Some(shape) = fitted(input, shape, count) else {
        let dims: Vec<String> = input.shape.iter().map(ToString::to_string).collect();
        return Err(wrong(
            path,
            format!("has samples of {shape:?} for input `{}`, which takes [{}]", input.name, dims.join(", ")),
        ));
    };
    let data = cast(numbers, input.dtype).map_err(|number| {
        wrong(path, format!("has {number} for input `{}`, which is of {}", input.name, input.dtype))
    })?;
    let tensor = Tensor::new(shape, data)?;
    input.value().accepts(tensor.dtype(), tensor.shape())?;
    Ok(tensor)
}

/// Rows, columns and channels of an array that may be a picture.
fn picture(shape: &[usize]) -> Option<(usize, usize, usize)> {
    match *shape {
        [height, width] => Some((height, width, 1)),
        [height, width, channels @ (1 | 3 | 4)] => Some((height, width, channels)),
        _ => None,
    }
}

/// The shape that the input takes: the sample's own, that with a batch of one, or the input's where the count leaves no choice.
fn fitted(input: &Input, shape: &[usize], count: usize) -> Option<Vec<usize>> {
    let fits = |shape: &[usize]| {
        shape.len() == input.shape.len()
            && shape.iter().zip(&input.shape).all(|(have, want)| !matches!(want, Dim::Fixed(want) if want != have))
    };
    let batched = [&[1], shape].concat();
    if fits(&batched) {
        return Some(batched);
    }
    if fits(shape) {
        return Some(shape.to_vec());
    }
    let known: Vec<usize> =
        input.shape.iter().map(|dim| if let Dim::Fixed(count) = dim { *count } else { 1 }).collect();
    // flat, or with other dimensions of one: a grey picture has rows and columns and no channel
    let many = |shape: &[usize]| shape.iter().copied().filter(|side| *side != 1).collect::<Vec<_>>();
    let (have, want) = (many(shape), many(&known));
    (known.iter().product::<usize>() == count && (have.len() <= 1 || have == want)).then_some(known)
}

/// Numbers in the input's type; the first that it cannot hold.
fn cast(numbers: Numbers, dtype: DType) -> Result<Data, String> {
    fn whole<T: TryFrom<i64>>(values: Vec<i64>) -> Result<Vec<T>, String> {
        values.into_iter().map(|value| T::try_from(value).ok().ok_or_else(|| value.to_string())).collect()
    }
    let values: Vec<f64> = match (numbers, dtype) {
        (Numbers::Bytes(values), DType::U8) => return Ok(values.into()),
        (Numbers::Real(values), DType::F32 | DType::F64 | DType::F16) => values,
        (Numbers::Whole(values), DType::F32 | DType::F64 | DType::F16) => values.iter().map(|v| *v as f64).collect(),
        (Numbers::Bytes(values), DType::F32 | DType::F64 | DType::F16) => {
            values.iter().map(|v| f64::from(*v)).collect()
        }
        (numbers, dtype) => {
            let values: Vec<i64> = match numbers {
                Numbers::Whole(values) => values,
                Numbers::Bytes(values) => values.iter().map(|v| i64::from(*v)).collect(),
                Numbers::Real(values) => {
                    let each = values
                        .iter()
                        .map(|v| if v.fract() == 0.0 && v.abs() < 9.1e15 { Ok(*v as i64) } else { Err(v.to_string()) });
                    each.collect::<Result<_, _>>()?
                }
            };
            return Ok(match dtype {
                DType::U8 => whole::<u8>(values)?.into(),
                DType::I8 => whole::<i8>(values)?.into(),
                DType::U16 => whole::<u16>(values)?.into(),
                DType::I16 => whole::<i16>(values)?.into(),
                DType::U32 => whole::<u32>(values)?.into(),
                DType::I32 => whole::<i32>(values)?.into(),
                DType::U64 => whole::<u64>(values)?.into(),
                DType::Bool => values.iter().map(|value| *value != 0).collect::<Vec<bool>>().into(),
                _ => values.into(),
            });
        }
    };
    Ok(match dtype {
        DType::F64 => values.into(),
        DType::F16 => values.iter().map(|value| f16::from_f64(*value)).collect::<Vec<_>>().into(),
        _ => values.iter().map(|value| *value as f32).collect::<Vec<_>>().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(dtype: DType, shape: &[Dim], before: Vec<Before>) -> Input {
        Input { name: "x".to_owned(), dtype, shape: shape.to_vec(), layout: None, unit: None, range: None, before }
    }

    fn made(input: &Input, shape: &[usize], numbers: Numbers) -> Result<Tensor, String> {
        tensor(Path::new("data"), input, shape, numbers).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sample_gets_its_batch() {
        let image = input(DType::F32, &["batch".into(), 1.into(), 2.into(), 2.into()], Vec::new());
        let wanted = Tensor::new([1, 1, 2, 2], vec![0.0_f32, 1.0, 2.0, 3.0]).unwrap();
        let whole = Numbers::Whole(vec![0, 1, 2, 3]);
        for shape in [vec![1, 2, 2], vec![1, 1, 2, 2], vec![4], vec![2, 2]] {
            assert_eq!(made(&image, &shape, whole.clone()).unwrap(), wanted, "{shape:?}");
        }
        let refused = made(&image, &[1, 2, 3], Numbers::Whole(vec![0; 6])).unwrap_err();
        assert!(refused.contains("samples of [1, 2, 3] for input `x`, which takes [batch, 1, 2, 2]"), "{refused}");
    }

    #[test]
    fn bytes_are_a_picture_where_steps_make_one_of_it() {
        let steps = vec![Before::Scale { by: 0.5 }];
        let image = input(DType::F32, &["n".into(), 1.into(), 1.into(), 2.into()], steps);
        let tensor = made(&image, &[1, 2], Numbers::Bytes(vec![2, 4])).unwrap();
        assert_eq!(tensor, Tensor::new([1, 1, 1, 2], vec![1.0_f32, 2.0]).unwrap());
        // numbers are what the model takes, whatever the steps
        let tensor = made(&image, &[1, 1, 2], Numbers::Real(vec![2.0, 4.0])).unwrap();
        assert_eq!(tensor.f32s().unwrap(), [2.0, 4.0]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_named() {
        let bytes = input(DType::U8, &[2.into()], Vec::new());
        assert_eq!(made(&bytes, &[2], Numbers::Real(vec![1.0, 255.0])).unwrap().data(), &Data::U8(vec![1, 255]));
        let told = |numbers| made(&bytes, &[2], numbers).unwrap_err();
        assert!(told(Numbers::Whole(vec![1, 300])).contains("has 300 for input `x`, which is of u8"));
        assert!(told(Numbers::Real(vec![0.5, 1.0])).contains("has 0.5"));
    }
}
