//! The engine of a name, ONNX Runtime by `$ORT_DYLIB_PATH` or a Python environment.

use nx_infer::engine::{self, Engine};

pub(crate) fn named(name: &str) -> Result<Box<dyn Engine>, Box<dyn std::error::Error>> {
    #[cfg(feature = "ort")]
    if name == "onnxruntime" {
        use nx_infer::engine::ort::{OnnxRuntime, find::Search};
        let variable = |name: &str| std::env::var_os(name).map(std::path::PathBuf::from);
        let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect();
        let library = Search { library: variable("ORT_DYLIB_PATH"), ..Search::system(environments) }.run()?;
        return Ok(Box::new(OnnxRuntime::open(&library)?));
    }
    Ok(engine::engine(name)?)
}
