//! Execution providers: what ONNX Runtime may run on beside the CPU. Those it knows by name take options as ONNX Runtime
//! documents them; any other is a plug-in library given by its path. None but the CPU's is tested here.

use std::path::PathBuf;

use ort::{
    environment::Environment,
    ep::{
        ArbitrarilyConfigurableExecutionProvider as _, CUDA, CoreML, ExecutionProviderDispatch, OpenVINO, QNN, TensorRT,
    },
    session::builder::SessionBuilder,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// An execution provider and its options, keys and values as the provider documents them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Provider {
    /// NVIDIA GPUs. Untested.
    Cuda {
        /// For example `device_id`, `gpu_mem_limit`.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// NVIDIA GPUs, compiled for the model. Untested.
    Tensorrt {
        /// For example `trt_fp16_enable`, `trt_engine_cache_path`.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// Qualcomm's NPU, GPU and CPU. Untested.
    Qnn {
        /// For example `backend_path`, `htp_performance_mode`.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// Apple's neural engine, GPU and CPU. Untested.
    Coreml {
        /// For example `ModelFormat`, `MLComputeUnits`.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// Intel's CPUs, GPUs and NPUs. Untested.
    Openvino {
        /// For example `device_type`.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// Any other accelerator, through a plug-in library for ONNX Runtime 1.22 and later. Untested.
    Plugin {
        /// The name under which it is registered.
        name: String,
        /// The library.
        library: PathBuf,
        /// Its options.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
}

impl Provider {
    /// The name of ONNX Runtime as an engine with this provider before the CPU's.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Cuda { .. } => "onnxruntime:cuda",
            Self::Tensorrt { .. } => "onnxruntime:tensorrt",
            Self::Qnn { .. } => "onnxruntime:qnn",
            Self::Coreml { .. } => "onnxruntime:coreml",
            Self::Openvino { .. } => "onnxruntime:openvino",
            Self::Plugin { .. } => "onnxruntime:plugin",
        }
    }
}

/// Makes plug-ins known to the library.
pub(super) fn register(environment: &Environment, providers: &[Provider]) -> Result<(), Error> {
    for provider in providers {
        if let Provider::Plugin { name, library, .. } = provider {
            environment.register_ep_library(name.as_str(), library).map_err(|error| Error::Library {
                reason: format!("the provider `{name}` does not load: {error}; its library is {}", library.display()),
            })?;
        }
    }
    Ok(())
}

macro_rules! with_options {
    ($provider:expr, $options:expr) => {{
        let mut provider = $provider;
        for (key, value) in $options {
            provider = provider.with_arbitrary_config(key, value);
        }
        ExecutionProviderDispatch::from(provider).error_on_failure()
    }};
}

/// Sets a session up to run on the providers. One that does not come up is an error, never a silent fall-back.
pub(super) fn apply(
    mut builder: SessionBuilder,
    environment: &Environment,
    providers: &[Provider],
) -> Result<SessionBuilder, String> {
    for provider in providers {
        let dispatch = match provider {
            Provider::Cuda { options } => with_options!(CUDA::default(), options),
            Provider::Tensorrt { options } => with_options!(TensorRT::default(), options),
            Provider::Qnn { options } => with_options!(QNN::default(), options),
            Provider::Coreml { options } => with_options!(CoreML::default(), options),
            Provider::Openvino { options } => with_options!(OpenVINO::default(), options),
            Provider::Plugin { name, options, .. } => {
                let devices: Vec<_> =
                    environment.devices().filter(|device| device.ep().is_ok_and(|ep| ep == name)).collect();
                if devices.is_empty() {
                    return Err(format!("the provider `{name}` finds no device on this machine"));
                }
                let options = options.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone()));
                let options: Vec<_> = options.collect();
                builder = builder.with_devices(devices, Some(options.as_slice())).map_err(|error| error.to_string())?;
                continue;
            }
        };
        builder = builder.with_execution_providers([dispatch]).map_err(|error| error.to_string())?;
    }
    Ok(builder)
}
