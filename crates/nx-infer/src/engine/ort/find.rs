//! Where the library of ONNX Runtime may lie: a path that was given, the system's directories, a Python environment.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// The library itself; nothing else is looked at then.
    pub library: Option<PathBuf>,
    /// Directories of libraries. [`Search::system`] fills in the usual ones.
    pub directories: Vec<PathBuf>,
    /// Roots of Python environments: the directories that hold `lib/python3.*`. `$VIRTUAL_ENV` and `$CONDA_PREFIX` are such.
    pub environments: Vec<PathBuf>,
}

impl Search {
    /// The system's usual directories, and these roots of Python environments.
    pub fn system(environments: Vec<PathBuf>) -> Self {
        let directories = [
            "/usr/local/lib",
            "/usr/lib",
            "/usr/lib64",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/opt/onnxruntime/lib",
            "/opt/homebrew/lib",
        ];
        Self { library: None, directories: directories.map(PathBuf::from).to_vec(), environments }
    }

    /// The first library that is there.
    ///
    /// # Errors
    /// `Library` with the places that were looked at.
    pub fn run(&self) -> Result<PathBuf, Error> {
        if let Some(path) = &self.library {
            return if path.is_file() {
                Ok(path.clone())
            } else {
                Err(Error::Library { reason: format!("no file at the path that was given; it is {}", path.display()) })
            };
        }
        let directories = self.directories.iter().cloned();
        let packages = self.environments.iter().flat_map(|root| packages(root));
        let places: Vec<PathBuf> = directories.chain(packages).collect();
        places.iter().find_map(|place| library_in(place)).ok_or_else(|| {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            let reason = format!(
                "not found; install it (`pip install onnxruntime`) or give its path; looked in {}",
                if places.is_empty() { "no place".to_owned() } else { places.join(", ") }
            );
            Error::Library { reason }
        })
    }
}

/// `onnxruntime/capi` of each Python in an environment.
fn packages(root: &Path) -> Vec<PathBuf> {
    let mut libraries = vec![root.join("Lib/site-packages/onnxruntime/capi")];
    for entry in sorted(&root.join("lib")) {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("python3") {
            libraries.extend(["site-packages", "dist-packages"].map(|site| entry.join(site).join("onnxruntime/capi")));
        }
    }
    libraries
}

fn library_in(directory: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = sorted(directory)
        .into_iter()
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let plain =
                name == "libonnxruntime.dylib" || name == "onnxruntime.dll" || name.starts_with("libonnxruntime.so");
            plain && path.is_file()
        })
        .collect();
    // the newest of several
    found.sort_by_key(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.split('.').filter_map(|part| part.parse().ok()).collect::<Vec<u64>>()
    });
    found.pop()
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_environment_is_looked_through() {
        let root = tempfile::tempdir().unwrap();
        let capi = root.path().join("lib/python3.11/site-packages/onnxruntime/capi");
        fs::create_dir_all(&capi).unwrap();
        let search = Search { environments: vec![root.path().to_owned()], ..Search::default() };
        assert!(search.run().unwrap_err().to_string().contains("python3.11"));
        let library = capi.join("libonnxruntime.so.1.32.0");
        fs::write(&library, "").unwrap();
        assert_eq!(search.run().unwrap(), library);
    }

    #[test]
    fn a_given_path_is_the_only_one() {
        let search = Search { library: Some("nowhere/libonnxruntime.so".into()), ..Search::system(Vec::new()) };
        assert!(search.run().unwrap_err().to_string().contains("nowhere"));
    }
}
