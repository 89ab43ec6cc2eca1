//! The engine `tract`: pure Rust, with assembler kernels. It plans for fixed shapes, so a plan is made for each shape
//! that comes, and the last few are kept.

use std::{fmt, io::Cursor, sync::Arc};

use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::{prelude::*, tract_core::value::TValue};

use super::{Engine, Gap, Optimize, Options, Plan};
use crate::{DType, Data, Error, Tensor as Plain, onnx::Model};

const NAME: &str = "tract";

/// The engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tract;

impl Engine for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        "0.23".to_owned()
    }

    fn gaps(&self) -> &'static [Gap] {
        GAPS
    }

    fn prepare(&self, model: &Model, bytes: &[u8], options: &Options) -> Result<Box<dyn Plan>, Error> {
        let framework = tract_onnx::onnx().with_ignore_value_info(true);
        let mut read = framework.model_for_read(&mut Cursor::new(bytes)).map_err(|error| unsupported(&error))?;
        let names: Vec<String> = model.inputs()?.into_iter().map(|input| input.name).collect();
        let outputs = model.outputs()?;
        read.set_input_names(&names).map_err(|error| unsupported(&error))?;
        read.select_outputs_by_name(outputs.iter().map(|output| &output.name)).map_err(|error| unsupported(&error))?;
        let types = outputs.iter().map(|output| output.dtype).collect();
        let executor = match options.threads {
            0 | 1 => Executor::SingleThread,
            threads => Executor::multithread_with_name(threads, "tract"),
        };
        let ready = Ready { read, types, options: options.clone(), executor, plans: Vec::new() };
        ready.rehearse(model)?;
        Ok(Box::new(ready))
    }
}

const GAPS: &[Gap] = &[];

type Runs = Arc<TypedRunnableModel>;
type Shapes = Vec<(DatumType, Vec<usize>)>;

struct Ready {
    read: InferenceModel,
    types: Vec<DType>,
    options: Options,
    executor: Executor,
    plans: Vec<(Shapes, Runs)>,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("tract::Ready")
            .field("types", &self.types)
            .field("plans", &self.plans.len())
            .finish_non_exhaustive()
    }
}

impl Ready {
    /// Says at once what the engine cannot run, where all shapes are fixed already.
    fn rehearse(&self, model: &Model) -> Result<(), Error> {
        let mut shapes = Vec::new();
        for input in model.inputs()? {
            let dims: Option<Vec<usize>> = input.shape.and_then(|dims| {
                dims.iter().map(|dim| if let crate::onnx::Dim::Fixed(n) = dim { Some(*n) } else { None }).collect()
            });
            let (Some(dims), Some(dtype)) = (dims, datum(input.dtype)) else { return Ok(()) };
            shapes.push((dtype, dims));
        }
        self.plan(&shapes).map(drop)
    }

    fn plan(&self, shapes: &Shapes) -> Result<Runs, Error> {
        let mut model = self.read.clone();
        for (at, (dtype, shape)) in shapes.iter().enumerate() {
            model = model.with_input_fact(at, InferenceFact::dt_shape(*dtype, shape)).map_err(|e| unsupported(&e))?;
        }
        let typed = if self.options.optimize == Optimize::Full { model.into_optimized() } else { model.into_typed() };
        typed.and_then(|model| model.into_runnable()).map_err(|error| unsupported(&error))
    }
}

impl Plan for Ready {
    fn run(&mut self, inputs: &[&Plain]) -> Result<Vec<Plain>, Error> {
        let values = inputs.iter().map(|tensor| pass(tensor)).collect::<Result<TVec<TValue>, Error>>()?;
        let shapes: Shapes = values.iter().map(|value| (value.datum_type(), value.shape().to_vec())).collect();
        let runs = match self.plans.iter().find(|(known, _)| *known == shapes) {
            Some((_, runs)) => Arc::clone(runs),
            None => {
                let runs = self.plan(&shapes)?;
                if self.plans.len() >= self.options.plans.max(1) {
                    self.plans.remove(0);
                }
                self.plans.push((shapes, Arc::clone(&runs)));
                runs
            }
        };
        let outputs =
            multithread_tract_scope(self.executor.clone(), || runs.run(values)).map_err(|error| failed(&error))?;
        outputs.iter().zip(&self.types).map(|(value, &dtype)| take(value, dtype)).collect()
    }
}

fn datum(dtype: DType) -> Option<DatumType> {
    Some(match dtype {
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::F16 => DatumType::F16,
        DType::I64 => DatumType::I64,
        DType::I32 => DatumType::I32,
        DType::I16 => DatumType::I16,
        DType::I8 => DatumType::I8,
        DType::U64 => DatumType::U64,
        DType::U32 => DatumType::U32,
        DType::U16 => DatumType::U16,
        DType::U8 => DatumType::U8,
        DType::Bool => DatumType::Bool,
    })
}

fn pass(tensor: &Plain) -> Result<TValue, Error> {
    let shape = tensor.shape();
    let value = match tensor.data() {
        Data::F32(values) => Tensor::from_shape(shape, values),
        Data::F64(values) => Tensor::from_shape(shape, values),
        Data::F16(values) => Tensor::from_shape(shape, values),
        Data::I64(values) => Tensor::from_shape(shape, values),
        Data::I32(values) => Tensor::from_shape(shape, values),
        Data::I16(values) => Tensor::from_shape(shape, values),
        Data::I8(values) => Tensor::from_shape(shape, values),
        Data::U64(values) => Tensor::from_shape(shape, values),
        Data::U32(values) => Tensor::from_shape(shape, values),
        Data::U16(values) => Tensor::from_shape(shape, values),
        Data::U8(values) => Tensor::from_shape(shape, values),
        Data::Bool(values) => Tensor::from_shape(shape, values),
    };
    value.map(IntoTValue::into_tvalue).map_err(|error| failed(&error))
}

fn take(value: &TValue, dtype: DType) -> Result<Plain, Error> {
    fn values<T: Datum + Clone>(value: &TValue) -> Result<Vec<T>, Error> {
        let view = value.to_plain_array_view::<T>().map_err(|error| failed(&error))?;
        Ok(view.iter().cloned().collect())
    }
    let data = match (value.datum_type(), dtype) {
        (DatumType::F32, DType::F32) => Data::F32(values(value)?),
        (DatumType::F64, DType::F64) => Data::F64(values(value)?),
        (DatumType::F16, DType::F16) => Data::F16(values(value)?),
        (DatumType::I64, DType::I64) => Data::I64(values(value)?),
        (DatumType::I32, DType::I32) => Data::I32(values(value)?),
        (DatumType::I16, DType::I16) => Data::I16(values(value)?),
        (DatumType::I8, DType::I8) => Data::I8(values(value)?),
        (DatumType::U64, DType::U64) => Data::U64(values(value)?),
        (DatumType::U32, DType::U32) => Data::U32(values(value)?),
        (DatumType::U16, DType::U16) => Data::U16(values(value)?),
        (DatumType::U8, DType::U8) => Data::U8(values(value)?),
        (DatumType::Bool, DType::Bool) => Data::Bool(values(value)?),
        // shapes are symbolic dimensions in its own graph
        (DatumType::TDim, DType::I64) => {
            let cast = value.cast_to::<i64>().map_err(|error| failed(&error))?.into_owned().into_tvalue();
            Data::I64(values(&cast)?)
        }
        (found, dtype) => {
            let reason = format!("it gave {found:?} where the model says {dtype}");
            return Err(Error::Engine { engine: NAME, reason });
        }
    };
    Plain::new(value.shape().to_vec(), data)
}

fn failed(error: &TractError) -> Error {
    Error::Engine { engine: NAME, reason: format!("{error:#}") }
}

fn unsupported(error: &TractError) -> Error {
    Error::Unsupported { engine: NAME, reason: format!("{error:#}") }
}
