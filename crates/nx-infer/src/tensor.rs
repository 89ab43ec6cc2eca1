//! Typed tensors: what goes into a model and comes out of it.

use std::fmt;

use half::f16;
use serde::{Deserialize, Serialize};

use crate::Error;

macro_rules! types {
    ($($variant:ident $rust:ty, $name:literal, $onnx:literal;)*) => {
        /// The type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[non_exhaustive]
        pub enum DType {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        /// A tensor's elements, in row-major order.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Data {
            $(#[doc = concat!("Elements of `", $name, "`.")] $variant(Vec<$rust>),)*
        }

        impl DType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, as manifests write it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number that ONNX gives it.
            pub fn onnx(self) -> i32 {
                match self { $(Self::$variant => $onnx,)* }
            }

            /// The type of a number of ONNX; none for the types that engines here do not pass.
            pub fn from_onnx(number: i32) -> Option<Self> {
                match number { $($onnx => Some(Self::$variant),)* _ => None }
            }

            /// Bytes of one element.
            pub fn bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$rust>(),)* }
            }

            /// That many zeros.
            pub fn zeros(self, count: usize) -> Data {
                match self { $(Self::$variant => Data::$variant(vec![<$rust>::default(); count]),)* }
            }
        }

        impl Data {
            /// How many elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(values) => values.len(),)* }
            }

            /// Their type.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }
        }

        $(impl From<Vec<$rust>> for Data {
            fn from(values: Vec<$rust>) -> Self { Self::$variant(values) }
        })*
    };
}

types! {
    F32 f32, "f32", 1;
    U8 u8, "u8", 2;
    I8 i8, "i8", 3;
    U16 u16, "u16", 4;
    I16 i16, "i16", 5;
    I32 i32, "i32", 6;
    I64 i64, "i64", 7;
    Bool bool, "bool", 9;
    F16 f16, "f16", 10;
    F64 f64, "f64", 11;
    U32 u32, "u32", 12;
    U64 u64, "u64", 13;
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Data {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Elements with a shape; their number is the product of the dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of these elements.
    ///
    /// # Errors
    /// `Tensor` when the shape asks for another number of elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Data>) -> Result<Self, Error> {
        let (shape, data) = (shape.into(), data.into());
        match count(&shape) {
            Some(wanted) if wanted == data.len() => Ok(Self { shape, data }),
            _ => Err(Error::tensor(
                "value",
                format!("shape {shape:?} does not hold {} elements; give as many as the shape asks for", data.len()),
            )),
        }
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// `Tensor` when the shape is too large to count.
    pub fn zeros(shape: impl Into<Vec<usize>>, dtype: DType) -> Result<Self, Error> {
        let shape = shape.into();
        let count = count(&shape).filter(|count| count.checked_mul(dtype.bytes()).is_some_and(|b| b < 1 << 40));
        let count = count.ok_or_else(|| Error::tensor("value", format!("shape {shape:?} is too large")))?;
        Ok(Self { data: dtype.zeros(count), shape })
    }

    /// A tensor of one element and no dimension.
    pub fn scalar(data: impl Into<Data>) -> Result<Self, Error> {
        Self::new(Vec::new(), data)
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, taken.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.data.len().saturating_mul(self.dtype().bytes())
    }

    /// The elements, where they are `f32`.
    pub fn f32s(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// `Tensor` when the new shape holds another number of elements.
    pub fn reshape(self, shape: impl Into<Vec<usize>>) -> Result<Self, Error> {
        Self::new(shape, self.data)
    }
}

/// The number of elements of a shape, if it can be counted.
pub fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_holds_as_many_as_it_says() {
        assert!(Tensor::new([2, 3], vec![0.0_f32; 6]).is_ok());
        assert!(Tensor::new([2, 3], vec![0.0_f32; 5]).is_err());
        assert!(Tensor::new([usize::MAX, 2], vec![0_u8; 2]).is_err());
        assert!(Tensor::zeros([usize::MAX / 8], DType::F32).is_err());
        assert_eq!(Tensor::scalar(vec![7_i64]).unwrap().shape(), &[] as &[usize]);
    }

    #[test]
    fn numbers_of_onnx_come_back() {
        for &dtype in DType::ALL {
            assert_eq!(DType::from_onnx(dtype.onnx()), Some(dtype));
        }
    }
}
