//! Tensors of a file and tensors in memory.

use bytes::Bytes;
use half::f16;
use prost::Message as _;

use super::{Limits, check, proto::TensorProto, scan};
use crate::{DType, Data, Error, Tensor};

/// Reads a file that holds one tensor, as ONNX's own test data does (`input_0.pb`).
///
/// # Errors
/// `Model`, `Limit`, `External`, `Tensor`: as [`from_proto`].
pub fn read_tensor(bytes: Bytes, limits: &Limits) -> Result<(String, Tensor), Error> {
    scan::scan_tensor(&bytes, limits)?;
    let proto = TensorProto::decode(bytes).map_err(|error| Error::model("tensor", error.to_string()))?;
    check::tensor(&proto, limits)?;
    Ok((proto.name.clone().unwrap_or_default(), from_proto(&proto)?))
}

/// Writes a tensor to a file of its own.
pub fn write_tensor(name: &str, tensor: &Tensor) -> Vec<u8> {
    to_proto(name, tensor).encode_to_vec()
}

/// The tensor that an initialiser or attribute holds.
///
/// # Errors
/// `External` when its data lies beside the file, `Tensor` when its type is not one that is passed here or its data
/// does not fit its shape.
pub fn from_proto(proto: &TensorProto) -> Result<Tensor, Error> {
    let name = proto.name.as_deref().unwrap_or_default();
    if proto.data_location == Some(1) {
        return Err(Error::External { tensor: name.to_owned(), reason: "is not read yet".to_owned() });
    }
    let number = proto.data_type.unwrap_or_default();
    let dtype = DType::from_onnx(number)
        .ok_or_else(|| Error::tensor(name, format!("elements of ONNX type {number} are not passed here")))?;
    let shape: Option<Vec<usize>> = proto.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let shape = shape.ok_or_else(|| Error::tensor(name, format!("shape {:?} has a negative dimension", proto.dims)))?;
    let data = match &proto.raw_data {
        Some(raw) => from_raw(dtype, raw),
        None => from_typed(dtype, proto),
    };
    Tensor::new(shape, data).map_err(|error| Error::tensor(name, error.to_string()))
}

macro_rules! little_endian {
    ($raw:expr, $type:ty) => {{
        let (chunks, _) = $raw.as_chunks::<{ size_of::<$type>() }>();
        chunks.iter().map(|chunk| <$type>::from_le_bytes(*chunk)).collect()
    }};
}

fn from_raw(dtype: DType, raw: &[u8]) -> Data {
    match dtype {
        DType::F32 => Data::F32(little_endian!(raw, f32)),
        DType::F64 => Data::F64(little_endian!(raw, f64)),
        DType::F16 => Data::F16(little_endian!(raw, f16)),
        DType::I64 => Data::I64(little_endian!(raw, i64)),
        DType::I32 => Data::I32(little_endian!(raw, i32)),
        DType::I16 => Data::I16(little_endian!(raw, i16)),
        DType::I8 => Data::I8(little_endian!(raw, i8)),
        DType::U64 => Data::U64(little_endian!(raw, u64)),
        DType::U32 => Data::U32(little_endian!(raw, u32)),
        DType::U16 => Data::U16(little_endian!(raw, u16)),
        DType::U8 => Data::U8(raw.to_vec()),
        DType::Bool => Data::Bool(raw.iter().map(|&byte| byte != 0).collect()),
    }
}

fn from_typed(dtype: DType, proto: &TensorProto) -> Data {
    let ints = || proto.int32_data.iter().copied();
    match dtype {
        DType::F32 => Data::F32(proto.float_data.clone()),
        DType::F64 => Data::F64(proto.double_data.clone()),
        DType::F16 => Data::F16(ints().map(|bits| f16::from_bits(bits as u16)).collect()),
        DType::I64 => Data::I64(proto.int64_data.clone()),
        DType::I32 => Data::I32(proto.int32_data.clone()),
        DType::I16 => Data::I16(ints().map(|value| value as i16).collect()),
        DType::I8 => Data::I8(ints().map(|value| value as i8).collect()),
        DType::U64 => Data::U64(proto.uint64_data.clone()),
        DType::U32 => Data::U32(proto.uint64_data.iter().map(|&value| value as u32).collect()),
        DType::U16 => Data::U16(ints().map(|value| value as u16).collect()),
        DType::U8 => Data::U8(ints().map(|value| value as u8).collect()),
        DType::Bool => Data::Bool(ints().map(|value| value != 0).collect()),
    }
}

/// A tensor as a file holds it, its data as raw little-endian bytes.
pub fn to_proto(name: &str, tensor: &Tensor) -> TensorProto {
    macro_rules! raw {
        ($values:expr) => {
            $values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
    }
    let raw: Vec<u8> = match tensor.data() {
        Data::F32(values) => raw!(values),
        Data::F64(values) => raw!(values),
        Data::F16(values) => raw!(values),
        Data::I64(values) => raw!(values),
        Data::I32(values) => raw!(values),
        Data::I16(values) => raw!(values),
        Data::I8(values) => raw!(values),
        Data::U64(values) => raw!(values),
        Data::U32(values) => raw!(values),
        Data::U16(values) => raw!(values),
        Data::U8(values) => values.clone(),
        Data::Bool(values) => values.iter().map(|&value| u8::from(value)).collect(),
    };
    TensorProto {
        name: Some(name.to_owned()),
        dims: tensor.shape().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
        data_type: Some(tensor.dtype().onnx()),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_to_a_file_and_back() {
        for &dtype in DType::ALL {
            let tensor = Tensor::zeros([2, 3], dtype).unwrap();
            let (name, back) = read_tensor(write_tensor("t", &tensor).into(), &Limits::default()).unwrap();
            assert_eq!((name.as_str(), back), ("t", tensor));
        }
        let tensor = Tensor::new([2], vec![f16::from_f32(0.5), f16::from_f32(-2.0)]).unwrap();
        assert_eq!(from_proto(&to_proto("h", &tensor)).unwrap(), tensor);
    }

    #[test]
    fn typed_fields_are_read_too() {
        let proto = TensorProto {
            dims: vec![2],
            data_type: Some(DType::F16.onnx()),
            int32_data: vec![0x3c00, 0xc000],
            ..TensorProto::default()
        };
        assert_eq!(from_proto(&proto).unwrap().data(), &Data::F16(vec![f16::from_f32(1.0), f16::from_f32(-2.0)]));
    }
}
