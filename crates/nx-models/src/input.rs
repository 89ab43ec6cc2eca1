//! What a caller gives for a model's inputs, and how it becomes tensors.

use std::collections::BTreeMap;

use bytes::Bytes;
use nx_infer::{
    DType, Data, Manifest, Tensor,
    manifest::{Before, Input},
    process::{self, Image, Placement},
};
use serde_json::Value;

use crate::{Error, pictures};

/// Deepest nesting of lists of numbers.
const MAX_DIMENSIONS: usize = 8;

/// What is given, by the input's name. The empty name is the only input of a model that has one.
pub type Samples = BTreeMap<String, Sample>;

/// What is given for an input.
#[derive(Debug, Clone)]
pub enum Sample {
    /// A picture (PNG, JPEG) or a file's bytes, whichever the input takes.
    Body(Bytes),
    /// A picture: PNG or JPEG.
    Picture(Bytes),
    /// Pixels: rows from the top, channels together.
    Pixels {
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
        /// 1 (grey), 3 (red, green, blue) or 4 (with alpha, which is passed over).
        channels: usize,
        /// One byte each.
        bytes: Bytes,
    },
    /// Bytes of a file.
    Bytes(Bytes),
    /// Numbers: nested lists, or a flat one with its shape.
    Numbers {
        /// The shape, where the list is flat.
        shape: Option<Vec<usize>>,
        /// The lists.
        data: Value,
    },
}

/// Tensors that are ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// In the order of the manifest.
    pub(crate) tensors: Vec<(String, Tensor)>,
    /// Where the first picture lies in its tensor.
    pub(crate) placement: Placement,
}

/// Makes the tensors of a request.
pub(crate) fn prepare(manifest: &Manifest, samples: &Samples) -> Result<Prepared, Error> {
    if let Some(unknown) = samples.keys().find(|name| find(manifest, name).is_none()) {
        let known: Vec<&str> = manifest.inputs.iter().map(|input| input.name.as_str()).collect();
        let shown: String = unknown.chars().take(64).collect();
        return Err(Error::input(&shown, format!("is not one of the model's; it takes `{}`", known.join("`, `"))));
    }
    let mut prepared = Prepared { tensors: Vec::new(), placement: Placement::IDENTITY };
    for input in &manifest.inputs {
        let given = samples.iter().find(|(name, _)| find(manifest, name).is_some_and(|found| found.name == input.name));
        let Some((_, sample)) = given else {
            return Err(Error::input(&input.name, "is not given; the model takes it"));
        };
        let (tensor, placement) = one(input, sample)?;
        if prepared.placement == Placement::IDENTITY {
            prepared.placement = placement;
        }
        prepared.tensors.push((input.name.clone(), tensor));
    }
    Ok(prepared)
}

fn find<'m>(manifest: &'m Manifest, name: &str) -> Option<&'m Input> {
    match (name, manifest.inputs.as_slice()) {
        ("", [only]) => Some(only),
        _ => manifest.inputs.iter().find(|input| input.name == name),
    }
}

fn one(input: &Input, sample: &Sample) -> Result<(Tensor, Placement), Error> {
    let takes_bytes = matches!(input.before.as_slice(), [Before::Bytes(_)]);
    let picture = |bytes: &[u8]| pictures::decode(bytes).map_err(|reason| Error::input(&input.name, reason));
    let image = match sample {
        Sample::Body(bytes) | Sample::Bytes(bytes) if takes_bytes => {
            return Ok(process::before(input, process::Sample::Bytes(bytes))?);
        }
        Sample::Body(_) if input.before.is_empty() => {
            let reason = "takes numbers: its manifest has no steps that make them of a picture or a file";
            return Err(Error::input(&input.name, reason));
        }
        Sample::Bytes(_) => return Err(Error::input(&input.name, "does not take a file's bytes")),
        Sample::Body(bytes) | Sample::Picture(bytes) => picture(bytes)?,
        Sample::Pixels { width, height, channels, bytes } => Image::new(*width, *height, *channels, bytes.to_vec())?,
        Sample::Numbers { shape, data } => {
            let tensor = numbers(&input.name, shape.as_deref(), data, input.dtype)?;
            return Ok(process::before(input, process::Sample::Tensor(&tensor))?);
        }
    };
    Ok(process::before(input, process::Sample::Image(&image))?)
}

/// A tensor of lists of numbers.
pub(crate) fn numbers(name: &str, shape: Option<&[usize]>, data: &Value, dtype: DType) -> Result<Tensor, Error> {
    let nested = shape_of(data);
    if nested.len() > MAX_DIMENSIONS {
        return Err(Error::input(name, format!("is nested deeper than {MAX_DIMENSIONS} lists")));
    }
    let mut flat = Vec::new();
    flatten(name, data, &nested, &mut flat)?;
    let shape = shape.unwrap_or(&nested);
    Tensor::new(shape, elements(name, &flat, dtype)?).map_err(|_error| {
        Error::input(name, format!("has {} elements, which shape {shape:?} does not hold", flat.len()))
    })
}

fn shape_of(data: &Value) -> Vec<usize> {
    let mut shape = Vec::new();
    let mut value = data;
    while let (Value::Array(items), true) = (value, shape.len() <= MAX_DIMENSIONS) {
        shape.push(items.len());
        let Some(first) = items.first() else { break };
        value = first;
    }
    shape
}

fn flatten<'v>(name: &str, value: &'v Value, shape: &[usize], flat: &mut Vec<&'v Value>) -> Result<(), Error> {
    match (value, shape) {
        (Value::Array(items), [length, inner @ ..]) if items.len() == *length => {
            items.iter().try_for_each(|item| flatten(name, item, inner, flat))
        }
        (Value::Array(_), _) | (_, [_, ..]) => {
            Err(Error::input(name, "has lists of different lengths; a tensor's rows are equally long"))
        }
        (value, []) => {
            flat.push(value);
            Ok(())
        }
    }
}

fn elements(name: &str, flat: &[&Value], dtype: DType) -> Result<Data, Error> {
    fn all<T>(name: &str, flat: &[&Value], dtype: DType, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Error> {
        let each = flat.iter().enumerate().map(|(at, value)| {
            read(value).ok_or_else(|| {
                let shown: String = value.to_string().chars().take(32).collect();
                Error::input(name, format!("has {shown} at {at}, which is no {dtype}"))
            })
        });
        each.collect()
    }
    macro_rules! whole {
        ($number:ty) => {
            all(name, flat, dtype, |value| whole(value).and_then(|number| <$number>::try_from(number).ok()))?.into()
        };
    }
    Ok(match dtype {
        DType::F32 => all(name, flat, dtype, |value| {
            value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
        })?
        .into(),
        DType::F64 => all(name, flat, dtype, Value::as_f64)?.into(),
        DType::U8 => whole!(u8),
        DType::I8 => whole!(i8),
        DType::U16 => whole!(u16),
        DType::I16 => whole!(i16),
        DType::I32 => whole!(i32),
        DType::I64 => whole!(i64),
        DType::U32 => whole!(u32),
        DType::U64 => whole!(u64),
        DType::Bool => all(name, flat, dtype, Value::as_bool)?.into(),
        other => return Err(Error::input(name, format!("is of {other}, which JSON cannot carry; send a picture"))),
    })
}

/// A whole number, `3.0` included: JSON Schema calls it one too.
fn whole(value: &Value) -> Option<i128> {
    let float = || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9.1e15);
    let unsigned = || value.as_u64().map(i128::from);
    value.as_i64().map(i128::from).or_else(unsigned).or_else(|| float().map(|number| number as i128))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(shape: Option<&[usize]>, data: &Value, dtype: DType) -> String {
        numbers("x", shape, data, dtype).unwrap_err().to_string()
    }

    #[test]
    fn lists_become_tensors() {
        let tensor = numbers("x", None, &json!([[1, 2.5], [3, 4]]), DType::F32).unwrap();
        assert_eq!(tensor, Tensor::new([2, 2], vec![1.0_f32, 2.5, 3.0, 4.0]).unwrap());
        let tensor = numbers("x", Some(&[1, 3]), &json!([1, 2.0, 3]), DType::I64).unwrap();
        assert_eq!(tensor, Tensor::new([1, 3], vec![1_i64, 2, 3]).unwrap());
        assert_eq!(numbers("x", None, &json!([true]), DType::Bool).unwrap().shape(), [1]);
        assert_eq!(numbers("x", None, &json!([]), DType::F32).unwrap().shape(), [0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(told(None, &json!([1.5]), DType::I64), "input `x` has 1.5 at 0, which is no i64");
        assert_eq!(told(None, &json!([1, 300]), DType::U8), "input `x` has 300 at 1, which is no u8");
        assert_eq!(told(None, &json!(["a"]), DType::F32), "input `x` has \"a\" at 0, which is no f32");
        assert!(told(None, &json!([[1], [1, 2]]), DType::F32).contains("different lengths"));
        assert!(told(None, &json!([1, [2]]), DType::F32).contains("different lengths"));
        assert!(told(Some(&[2, 2]), &json!([1]), DType::F32).contains("[2, 2] does not hold"));
        let deep = (0..40).fold(json!(1), |value, _| json!([value]));
        assert!(told(None, &deep, DType::F32).contains("nested deeper"));
    }
}
