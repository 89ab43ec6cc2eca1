//! The engines that a process has: those of the build, and ONNX Runtime where its library was found. In the order in which they
//! are preferred.

#[cfg(feature = "ort")]
use std::sync::{Arc, OnceLock};

use super::Engine;
#[cfg(feature = "ort")]
use super::ort::{OnnxRuntime, Provider, find::Search};
use crate::{Error, tune::Kept};

/// The engines of a process. The default has those of the build alone.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    kept: Option<Kept>,
    #[cfg(feature = "ort")]
    found: Option<Arc<Found>>,
}

/// ONNX Runtime, looked for when it is first asked for: a process that runs no model shall not carry its library.
#[cfg(feature = "ort")]
#[derive(Debug)]
struct Found {
    search: Search,
    providers: Vec<Provider>,
    opened: OnceLock<Result<OnnxRuntime, String>>,
}

#[cfg(feature = "ort")]
impl Found {
    fn opened(&self) -> &Result<OnnxRuntime, String> {
        let open = || self.search.run().and_then(|library| OnnxRuntime::open(&library));
        self.opened.get_or_init(|| {
            open().map_err(|error| if let Error::Library { reason } = error { reason } else { error.to_string() })
        })
    }
}

impl Engines {
    /// With ONNX Runtime, looked for there when an engine is first wanted, and then preferred; and with execution providers, each
    /// of which is an engine of its own: `onnxruntime:cuda`.
    #[cfg(feature = "ort")]
    #[must_use]
    pub fn looking(search: Search, providers: Vec<Provider>) -> Self {
        let found = Found { search, providers, opened: OnceLock::new() };
        Self { found: Some(Arc::new(found)), ..Self::default() }
    }

    /// ONNX Runtime, where it was looked for and found; the reason where it does not load.
    #[cfg(feature = "ort")]
    pub fn onnxruntime(&self) -> Option<Result<&OnnxRuntime, Error>> {
        let opened = self.found.as_ref()?.opened().as_ref();
        Some(opened.map_err(|reason| Error::Library { reason: reason.clone() }))
    }

    /// With choices that were made by measuring.
    #[must_use]
    pub fn with_kept(mut self, kept: Kept) -> Self {
        self.kept = Some(kept);
        self
    }

    /// The choices that were made by measuring.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// What to run a model on, and with how many threads a run, in the order in which it is to be tried: what was measured to
    /// be fastest here, then ONNX Runtime where it was found, then the engines of the build. `model` is the SHA-256 of its
    /// file. A choice is passed over once its engine has another version.
    pub fn for_model(&self, model: &str) -> Vec<(Box<dyn Engine>, usize)> {
        let choice = self.kept.as_ref().and_then(|kept| kept.find(model)).map(|choice| choice.setting);
        let tuned = choice.and_then(|setting| {
            let engine = self.named(&setting.engine).ok()?;
            (engine.version() == setting.version).then_some((engine, setting.threads))
        });
        let first = tuned.as_ref().map(|(engine, _)| engine.name());
        let others = self.all().into_iter().filter(|engine| Some(engine.name()) != first).map(|engine| (engine, 1));
        let others: Vec<_> = others.collect();
        tuned.into_iter().chain(others).collect()
    }

    /// All of them on the processor, the preferred first.
    #[cfg_attr(not(feature = "ort"), expect(clippy::unused_self, reason = "one more engine may be found by it"))]
    pub fn all(&self) -> Vec<Box<dyn Engine>> {
        #[cfg_attr(not(feature = "ort"), expect(unused_mut, reason = "one more engine may come first"))]
        let mut all = super::embedded();
        #[cfg(feature = "ort")]
        if let Some(Ok(onnxruntime)) = self.onnxruntime() {
            all.insert(0, Box::new(onnxruntime.clone()));
        }
        all
    }

    /// Their names, those of execution providers behind.
    pub fn names(&self) -> Vec<&'static str> {
        #[cfg_attr(not(feature = "ort"), expect(unused_mut, reason = "providers may follow"))]
        let mut names: Vec<&'static str> = self.all().iter().map(|engine| engine.name()).collect();
        #[cfg(feature = "ort")]
        if let (Some(Ok(_)), Some(found)) = (self.onnxruntime(), &self.found) {
            names.extend(found.providers.iter().map(Provider::engine));
        }
        names
    }

    /// The engine of that name.
    ///
    /// # Errors
    /// `Library` when ONNX Runtime or a provider's plug-in is meant and does not load; `NoEngine` with the names that there are.
    pub fn named(&self, name: &str) -> Result<Box<dyn Engine>, Error> {
        if let Ok(found) = super::engine(name) {
            return Ok(found);
        }
        #[cfg(feature = "ort")]
        if let (true, Some(found)) = (name.starts_with("onnxruntime"), &self.found) {
            let onnxruntime = found.opened().as_ref().map_err(|reason| Error::Library { reason: reason.clone() })?;
            let provider = found.providers.iter().find(|provider| provider.engine() == name);
            match provider {
                _ if name == "onnxruntime" => return Ok(Box::new(onnxruntime.clone())),
                Some(provider) => return Ok(Box::new(onnxruntime.clone().with_providers(vec![provider.clone()])?)),
                None => {}
            }
        }
        Err(Error::NoEngine { name: name.to_owned(), known: self.names().join(", ") })
    }
}

/// Whether an engine may have this name on some machine: those of the build, ONNX Runtime with or without a provider.
pub fn is_engine(name: &str) -> bool {
    super::names().contains(&name) || name == "onnxruntime" || name.starts_with("onnxruntime:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_comes_first_while_the_engine_is_the_same() {
        let root = tempfile::tempdir().unwrap();
        let profile = crate::device::Profile::here();
        let kept = Kept::new(root.path().to_owned(), &profile);
        let engines = Engines::default().with_kept(kept.clone());
        let model = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";
        let order = |engines: &Engines| {
            engines.for_model(model).iter().map(|(engine, threads)| (engine.name(), *threads)).collect::<Vec<_>>()
        };
        let plain: Vec<_> = engines.names().into_iter().map(|name| (name, 1)).collect();
        assert_eq!(order(&engines), plain);
        let Some(last) = engines.all().pop() else { return };
        let setting = |version: String| crate::tune::Setting {
            engine: last.name().to_owned(),
            version,
            threads: 2,
            runs: 9,
            p50_us: Some(1.0),
            p99_us: Some(1.0),
            left_out: None,
        };
        let keep = |version| kept.keep(&crate::tune::Choice::of(b"model", &profile, vec![setting(version)]).unwrap());
        keep(last.version()).unwrap();
        assert_eq!(order(&engines)[0], (last.name(), 2));
        assert_eq!(order(&engines).len(), plain.len());
        keep("0.0".to_owned()).unwrap();
        assert_eq!(order(&engines), plain);
    }

    #[test]
    fn the_build_has_its_engines() {
        let engines = Engines::default();
        assert_eq!(engines.names(), super::super::names());
        for name in engines.names() {
            assert_eq!(engines.named(name).unwrap().name(), name);
        }
        let error = engines.named("onnxruntime:cuda").unwrap_err().to_string();
        assert!(error.contains("no engine `onnxruntime:cuda` here"), "{error}");
    }
}
