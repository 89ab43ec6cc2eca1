//! The engine `rten`: pure Rust, its own SIMD kernels, no build step.
//!
//! It knows `f32`, `i32`, `i8` and `u8`. `i64` and `bool` become `i32`, `f64` becomes `f32`: a number of an input that
//! does not survive that is refused, not rounded.

use std::{fmt, sync::Arc};

use rten::{Model as Loaded, ModelOptions, NodeId, RunOptions, ThreadPool, Value as Passed, ValueOrView};
use rten_tensor::{Layout as _, Tensor as Array};

use super::{Engine, Gap, Optimize, Options, Plan};
use crate::{
    DType, Data, Error, Tensor,
    compress::rows_of_softmax,
    onnx::{Model, Value, graph},
};

const NAME: &str = "rten";

/// The engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rten;

impl Engine for Rten {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        "0.27".to_owned()
    }

    fn gaps(&self) -> &'static [Gap] {
        GAPS
    }

    fn prepare(&self, model: &Model, _bytes: &[u8], options: &Options) -> Result<Box<dyn Plan>, Error> {
        let mut load = ModelOptions::with_all_ops();
        load.enable_optimization(options.optimize == Optimize::Full)
            .prepack_weights(options.optimize == Optimize::Full);
        // it reads `Softmax` of every version as that of version 13
        let rows = rows_of_softmax(model).map_err(|error| unsupported(&error.to_string()))?;
        // it reads lists of numbers one by one alone, protocol buffers may pack them: the file as we write it, not as it came
        let bytes = rows.as_ref().unwrap_or(model).write();
        let loaded = load.load(bytes).map_err(|error| unsupported(&chain(&error)))?;
        let find = |value: &Value| {
            loaded
                .find_node(&value.name)
                .ok_or_else(|| unsupported(&format!("value `{}` is not in its graph", value.name)))
        };
        let inputs = model.inputs()?.iter().map(find).collect::<Result<_, _>>()?;
        let outputs = model.outputs()?;
        let nodes = outputs.iter().map(find).collect::<Result<_, _>>()?;
        let types = outputs.iter().map(|output| output.dtype).collect();
        let threads = options.threads.max(1);
        let pool = Some(Arc::new(ThreadPool::with_num_threads(threads)));
        Ok(Box::new(Ready { loaded, inputs, outputs: nodes, types, run: RunOptions::default().with_thread_pool(pool) }))
    }
}

/// What it answers wrongly without a word, by ONNX's own tests of these operators (`bench/inference`, `conform`).
const GAPS: &[Gap] = &[
    Gap {
        operator: "Resize",
        concerns: Some(|_, node| graph::attribute(node, "mode").and_then(|mode| mode.s.as_deref()) == Some(b"cubic")),
        reason: "cubic resizing would be linear",
    },
    Gap { operator: "NonMaxSuppression", concerns: None, reason: "boxes of other classes and images would be lost" },
    Gap { operator: "Sign", concerns: None, reason: "the sign of 0 would be 1" },
];

struct Ready {
    loaded: Loaded,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    types: Vec<DType>,
    run: RunOptions,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("rten::Ready").field("types", &self.types).finish_non_exhaustive()
    }
}

impl Plan for Ready {
    fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Error> {
        let values = self.inputs.iter().zip(inputs);
        let values = values.map(|(&id, tensor)| Ok((id, pass(tensor)?))).collect::<Result<Vec<_>, Error>>()?;
        let outputs = self.loaded.run(values, &self.outputs, Some(self.run.clone()));
        let outputs = outputs.map_err(|error| failed(&chain(&error)))?;
        outputs.into_iter().zip(&self.types).map(|(value, &dtype)| take(value, dtype)).collect()
    }
}

/// A tensor as the engine takes it: borrowed where the type is its own.
fn pass(tensor: &Tensor) -> Result<ValueOrView<'_>, Error> {
    let shape = tensor.shape();
    macro_rules! view {
        ($values:expr) => {
            rten_tensor::TensorView::try_from_data(shape, $values.as_slice()).map(ValueOrView::from)
        };
    }
    macro_rules! owned {
        ($values:expr) => {
            Array::try_from_data(shape, $values).map(|array| ValueOrView::from(Passed::from(array)))
        };
    }
    let narrow = |value: i64| {
        let reason = || format!("{value} does not fit the 32 bits that rten computes in");
        i32::try_from(value).ok().ok_or_else(|| Error::tensor("input", reason()))
    };
    let value = match tensor.data() {
        Data::F32(values) => view!(values),
        Data::I32(values) => view!(values),
        Data::I8(values) => view!(values),
        Data::U8(values) => view!(values),
        Data::I64(values) => owned!(values.iter().map(|&value| narrow(value)).collect::<Result<Vec<_>, _>>()?),
        Data::Bool(values) => owned!(values.iter().map(|&value| i32::from(value)).collect::<Vec<_>>()),
        Data::F64(values) => owned!(values.iter().map(|&value| value as f32).collect::<Vec<_>>()),
        other => return Err(failed(&format!("it takes no tensors of {}", other.dtype()))),
    };
    value.map_err(|error| failed(&error.to_string()))
}

/// A tensor of the type that the model says, from the one that the engine computed in.
fn take(value: Passed, dtype: DType) -> Result<Tensor, Error> {
    let shape = value.shape().to_vec();
    let data = match (value, dtype) {
        (Passed::FloatTensor(array), DType::F32) => Data::F32(array.into_data()),
        (Passed::FloatTensor(array), DType::F64) => Data::F64(array.into_data().into_iter().map(f64::from).collect()),
        (Passed::Int32Tensor(array), DType::I32) => Data::I32(array.into_data()),
        (Passed::Int32Tensor(array), DType::I64) => Data::I64(array.into_data().into_iter().map(i64::from).collect()),
        (Passed::Int32Tensor(array), DType::Bool) => {
            Data::Bool(array.into_data().into_iter().map(|v| v != 0).collect())
        }
        (Passed::Int8Tensor(array), DType::I8) => Data::I8(array.into_data()),
        (Passed::UInt8Tensor(array), DType::U8) => Data::U8(array.into_data()),
        (value, dtype) => return Err(failed(&format!("it gave {:?} where the model says {dtype}", value.dtype()))),
    };
    Tensor::new(shape, data)
}

fn failed(reason: &str) -> Error {
    Error::Engine { engine: NAME, reason: reason.to_owned() }
}

fn unsupported(reason: &str) -> Error {
    Error::Unsupported { engine: NAME, reason: reason.to_owned() }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
