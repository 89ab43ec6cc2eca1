//! Engines: what runs a model. Each is behind the same two traits, so that one suite tests all of them and a
//! measurement can choose between them.
//!
//! A [`Session`] checks everything that crosses its border: the model before the engine sees it, inputs before a run,
//! outputs after it. A panic of an engine's code is an error here.

mod engines;
mod guarded;
mod options;
#[cfg(feature = "ort")]
pub mod ort;
mod registry;
#[cfg(feature = "rten")]
pub mod rten;
mod session;
mod stateful;
#[cfg(feature = "tract")]
pub mod tract;

use std::fmt;

pub use engines::{Engines, is_engine};
pub use options::{Optimize, Options};
pub use registry::{embedded, engine, names};
pub use session::Session;
pub use stateful::{State, Stateful};

use crate::{
    Error, Tensor,
    onnx::{Model, graph, proto::NodeProto},
};

/// Something that can run models.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Its name: `rten`, `tract`, `onnxruntime`.
    fn name(&self) -> &'static str;

    /// The version of what runs.
    fn version(&self) -> String;

    /// What it cannot run, beyond what it refuses by itself: it would panic, or answer wrongly.
    fn gaps(&self) -> &'static [Gap];

    /// Makes a model ready. `bytes` are those of `model`, which is well formed. Use [`Session::load`], which checks more.
    ///
    /// # Errors
    /// `Unsupported` or `Engine`.
    fn prepare(&self, model: &Model, bytes: &[u8], options: &Options) -> Result<Box<dyn Plan>, Error>;
}

/// A model that an engine has made ready.
pub trait Plan: fmt::Debug + Send {
    /// Runs it: inputs and outputs in the order of the model.
    ///
    /// # Errors
    /// `Engine`, `Tensor`.
    fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Error>;
}

/// Something that an engine cannot run although it would try.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// The operator.
    pub operator: &'static str,
    /// Whether this use of it is concerned; every use where there is no such test.
    pub concerns: Option<fn(&Model, &NodeProto) -> bool>,
    /// What would happen.
    pub reason: &'static str,
}

/// What an engine says it cannot run of a model; empty when there is nothing known against it.
pub fn unsupported(engine: &dyn Engine, model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    graph::walk(model.graph(), &mut |node| {
        for gap in engine.gaps() {
            let named = graph::operator(node) == gap.operator;
            if named && gap.concerns.is_none_or(|concerns| concerns(model, node)) {
                found.push(format!("{}: {}", graph::label(node), gap.reason));
            }
        }
    });
    found
}
