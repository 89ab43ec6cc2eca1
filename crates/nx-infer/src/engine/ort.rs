//! The engine `onnxruntime`: ONNX Runtime, loaded from a library on this machine. Nothing is downloaded.
//!
//! The library is looked for in [`find`]; it is loaded once in a process. Execution providers other than the CPU's are
//! passed on as they are configured and have not been tested where we have no such chip.

pub mod find;
mod provider;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    session::{
        Session as Loaded, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, TensorElementType, TensorRef, ValueType},
};
pub use provider::Provider;

use super::{Engine, Gap, Optimize, Options, Plan};
use crate::{DType, Data, Error, Tensor, onnx::Model};

const NAME: &str = "onnxruntime";

/// The library is one per process, and so is its environment.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The engine, over a library that was found.
#[derive(Clone)]
pub struct OnnxRuntime {
    path: PathBuf,
    environment: Environment,
    providers: Vec<Provider>,
}

impl fmt::Debug for OnnxRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxRuntime")
            .field("path", &self.path)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

impl OnnxRuntime {
    /// Loads the library. A process holds one: asking for another later is an error.
    ///
    /// # Errors
    /// `Library` when it does not load, is older than 1.22, or another is loaded already.
    pub fn open(library: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Library { reason };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, environment)) = &*loaded {
            if path == library {
                return Ok(Self { path: path.clone(), environment: environment.clone(), providers: Vec::new() });
            }
            return Err(wrong(format!("`{}` is loaded already; a process holds one", path.display())));
        }
        let environment = super::guarded::guarded(NAME, || {
            let builder = ort::init_from(library).map_err(|error| wrong(error.to_string()))?;
            builder.with_name("neuraxis").with_telemetry(false).build().map_err(|error| wrong(error.to_string()))
        })?;
        *loaded = Some((library.to_owned(), environment.clone()));
        Ok(Self { path: library.to_owned(), environment, providers: Vec::new() })
    }

    /// With execution providers, tried in this order before the CPU.
    ///
    /// # Errors
    /// `Library` when a plug-in's library does not load.
    pub fn with_providers(mut self, providers: Vec<Provider>) -> Result<Self, Error> {
        provider::register(&self.environment, &providers)?;
        self.providers = providers;
        Ok(self)
    }

    /// Where the library lies.
    pub fn library(&self) -> &Path {
        &self.path
    }

    fn build(&self, bytes: &[u8], options: &Options) -> Result<Loaded, String> {
        let text = |error: ort::Error<SessionBuilder>| error.to_string();
        let level = match options.optimize {
            Optimize::Off => GraphOptimizationLevel::Disable,
            Optimize::Full => GraphOptimizationLevel::All,
        };
        let builder = Loaded::builder(&self.environment).map_err(|error| error.to_string())?;
        let builder = builder.with_optimization_level(level).map_err(text)?;
        let builder = builder.with_intra_threads(options.threads.max(1)).map_err(text)?;
        let builder = builder.with_inter_threads(1).map_err(text)?;
        let mut builder = provider::apply(builder, &self.environment, &self.providers)?;
        builder.commit_from_memory(bytes).map_err(|error| error.to_string())
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        self.providers.first().map_or(NAME, Provider::engine)
    }

    fn version(&self) -> String {
        // `libonnxruntime.so.1.32.0`; a build says no more of itself than its commit
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.split_once(".so.").map_or_else(|| ort::info().to_owned(), |(_, version)| version.to_owned())
    }

    fn gaps(&self) -> &'static [Gap] {
        &[]
    }

    fn prepare(&self, model: &Model, bytes: &[u8], options: &Options) -> Result<Box<dyn Plan>, Error> {
        let loaded = self.build(bytes, options).map_err(|reason| Error::Unsupported { engine: NAME, reason })?;
        let inputs = model.inputs()?.into_iter().map(|input| input.name).collect();
        let outputs = model.outputs()?.into_iter().map(|output| output.name).collect();
        Ok(Box::new(Ready { loaded, inputs, outputs }))
    }
}

struct Ready {
    loaded: Loaded,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ort::Ready").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl Plan for Ready {
    fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Error> {
        let values = self.inputs.iter().zip(inputs);
        let values =
            values.map(|(name, tensor)| Ok((name.as_str(), pass(tensor)?))).collect::<Result<Vec<_>, Error>>()?;
        let outputs = self.loaded.run(values).map_err(|error| failed(error.to_string()))?;
        self.outputs
            .iter()
            .map(|name| {
                let value = outputs.get(name).ok_or_else(|| failed(format!("it gave no output `{name}`")))?;
                take(value)
            })
            .collect()
    }
}

fn pass(tensor: &Tensor) -> Result<SessionInputValue<'_>, Error> {
    let shape = tensor.shape();
    macro_rules! view {
        ($values:expr) => {
            TensorRef::from_array_view((shape, $values.as_slice())).map(SessionInputValue::from)
        };
    }
    let value = match tensor.data() {
        Data::F32(values) => view!(values),
        Data::F64(values) => view!(values),
        Data::F16(values) => view!(values),
        Data::I64(values) => view!(values),
        Data::I32(values) => view!(values),
        Data::I16(values) => view!(values),
        Data::I8(values) => view!(values),
        Data::U64(values) => view!(values),
        Data::U32(values) => view!(values),
        Data::U16(values) => view!(values),
        Data::U8(values) => view!(values),
        Data::Bool(values) => view!(values),
    };
    value.map_err(|error| failed(error.to_string()))
}

fn take(value: &DynValue) -> Result<Tensor, Error> {
    macro_rules! copy {
        ($type:ty) => {{
            let (shape, values) = value.try_extract_tensor::<$type>().map_err(|error| failed(error.to_string()))?;
            let shape: Vec<usize> = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or_default()).collect();
            Tensor::new(shape, values.to_vec())
        }};
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(failed("it gave what is not a tensor".to_owned()));
    };
    match ty {
        TensorElementType::Float32 => copy!(f32),
        TensorElementType::Float64 => copy!(f64),
        TensorElementType::Float16 => copy!(half::f16),
        TensorElementType::Int64 => copy!(i64),
        TensorElementType::Int32 => copy!(i32),
        TensorElementType::Int16 => copy!(i16),
        TensorElementType::Int8 => copy!(i8),
        TensorElementType::Uint64 => copy!(u64),
        TensorElementType::Uint32 => copy!(u32),
        TensorElementType::Uint16 => copy!(u16),
        TensorElementType::Uint8 => copy!(u8),
        TensorElementType::Bool => copy!(bool),
        other => {
            Err(failed(format!("it gave a tensor of {other}, which is not passed here; one of {:?} is", DType::ALL)))
        }
    }
}

fn failed(reason: String) -> Error {
    Error::Engine { engine: NAME, reason }
}
