//! What is known of a named value: its type and shape.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::proto::{
    DimensionProto, DimensionValue, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
};
use crate::{DType, Error};

/// One dimension of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always so many.
    Fixed(usize),
    /// As many as the caller gives; dimensions of one name are equal.
    Named(String),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(count) => write!(f, "{count}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl From<usize> for Dim {
    fn from(count: usize) -> Self {
        Self::Fixed(count)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned())
    }
}

/// A named value of a model: an input, an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions; none where the model does not say how many there are.
    pub shape: Option<Vec<Dim>>,
}

impl Value {
    /// Reads what a model says of a value.
    ///
    /// # Errors
    /// `Tensor` when it is not a tensor, or one of a type that no engine here passes.
    pub fn from_proto(info: &ValueInfoProto) -> Result<Self, Error> {
        let name = info.name.clone().unwrap_or_default();
        let Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), .. }) = &info.r#type else {
            return Err(Error::tensor(
                name,
                "is not a tensor; sequences, maps and optional values are not passed here",
            ));
        };
        let number = tensor.elem_type.unwrap_or_default();
        let Some(dtype) = DType::from_onnx(number) else {
            return Err(Error::tensor(name, format!("has elements of ONNX type {number}, which is not passed here")));
        };
        let shape = tensor.shape.as_ref().map(|shape| {
            let dims = shape.dim.iter().enumerate();
            dims.map(|(at, dim)| match &dim.value {
                // some exporters write -1 or 0 for what is not known
                Some(DimensionValue::Value(count)) if *count > 0 => {
                    usize::try_from(*count).map_or_else(|_| unknown(&name, at), Dim::Fixed)
                }
                Some(DimensionValue::Param(param)) if !matches!(param.as_str(), "" | "?") => Dim::Named(param.clone()),
                _ => unknown(&name, at),
            })
            .collect()
        });
        Ok(Self { name, dtype, shape })
    }

    /// Writes it as a model does.
    pub fn to_proto(&self) -> ValueInfoProto {
        let shape = self.shape.as_ref().map(|dims| TensorShapeProto {
            dim: dims
                .iter()
                .map(|dim| DimensionProto {
                    denotation: None,
                    value: Some(match dim {
                        Dim::Fixed(count) => DimensionValue::Value(i64::try_from(*count).unwrap_or(i64::MAX)),
                        Dim::Named(name) => DimensionValue::Param(name.clone()),
                    }),
                })
                .collect(),
        });
        let tensor = TensorTypeProto { elem_type: Some(self.dtype.onnx()), shape };
        ValueInfoProto {
            name: Some(self.name.clone()),
            r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: None }),
            ..ValueInfoProto::default()
        }
    }

    /// Refuses a tensor that is not of this type, or whose shape differs in a fixed dimension.
    ///
    /// # Errors
    /// `Tensor`, with what would fit.
    pub fn accepts(&self, dtype: DType, shape: &[usize]) -> Result<(), Error> {
        if dtype != self.dtype {
            return Err(Error::tensor(&self.name, format!("is of {dtype}, the model takes {}", self.dtype)));
        }
        let Some(dims) = &self.shape else { return Ok(()) };
        let fits = dims.len() == shape.len()
            && dims.iter().zip(shape).all(|(dim, found)| !matches!(dim, Dim::Fixed(wanted) if wanted != found));
        if fits {
            return Ok(());
        }
        let wanted: Vec<String> = dims.iter().map(ToString::to_string).collect();
        Err(Error::tensor(&self.name, format!("has shape {shape:?}, the model takes [{}]", wanted.join(", "))))
    }
}

fn unknown(name: &str, axis: usize) -> Dim {
    Dim::Named(format!("{name}.{axis}"))
}
