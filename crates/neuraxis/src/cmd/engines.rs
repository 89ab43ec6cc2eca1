//! The engines of this machine: those of the build, and ONNX Runtime where its library is found.

use std::path::PathBuf;

#[cfg(feature = "ort")]
use anyhow::Context as _;
use nx_infer::{device::Profile, engine::Engines, tune::Kept};

/// Names a library of ONNX Runtime, or `off`.
const LIBRARY: &str = "NEURAXIS_ONNXRUNTIME";
/// Names a JSON file with execution providers.
const PROVIDERS: &str = "NEURAXIS_PROVIDERS";

/// Names the folder where choices of `model tune` are kept.
const TUNED: &str = "NEURAXIS_TUNED";

/// The engines, and what was measured of them on this machine.
pub(super) fn here() -> anyhow::Result<Engines> {
    let found = found()?;
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let folder = std::env::var_os(TUNED).map(PathBuf::from).or_else(|| Some(cache?.join("neuraxis/tuned")));
    Ok(match folder {
        Some(folder) => found.with_kept(Kept::new(folder, &Profile::here())),
        None => found,
    })
}

/// Where ONNX Runtime is looked for once an engine is wanted: the path in `$NEURAXIS_ONNXRUNTIME` or `$ORT_DYLIB_PATH`, else the
/// system's directories and the Python environment that is active.
#[cfg(feature = "ort")]
fn found() -> anyhow::Result<Engines> {
    use nx_infer::engine::ort::{Provider, find::Search};
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = variable(LIBRARY).or_else(|| variable("ORT_DYLIB_PATH"));
    if named.as_ref().is_some_and(|path| path.as_os_str() == "off") {
        return Ok(Engines::default());
    }
    if let Some(path) = &named {
        anyhow::ensure!(path.is_file(), "${LIBRARY} names no file: {}", path.display());
    }
    let mut environments: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect();
    environments.extend(variable("HOME").map(|home| home.join(".local")));
    let search = Search { library: named, ..Search::system(environments) };
    let providers = match variable(PROVIDERS) {
        Some(path) => {
            let failed = || format!("the execution providers in `{}`", path.display());
            serde_json::from_slice::<Vec<Provider>>(&std::fs::read(&path).with_context(failed)?).with_context(failed)?
        }
        None => Vec::new(),
    };
    Ok(Engines::looking(search, providers))
}

/// The engines of this build.
#[cfg(not(feature = "ort"))]
fn found() -> anyhow::Result<Engines> {
    for name in [LIBRARY, PROVIDERS] {
        let value = std::env::var_os(name).map(PathBuf::from).filter(|value| value.as_os_str() != "off");
        anyhow::ensure!(value.is_none(), "${name} is set, and this build has no ONNX Runtime (feature `ort`)");
    }
    Ok(Engines::default())
}
