//! How a model is loaded.

use crate::onnx::Limits;

/// How much an engine may change a graph to make it faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Optimize {
    /// Run the nodes as they stand: to compare results, or to find a wrong optimisation.
    Off,
    /// Everything that keeps the result, up to rounding.
    #[default]
    Full,
}

/// How a model is loaded; the defaults are safe for a model from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Threads that one run may use. 1 by default: many small models at once beat one that waits for its threads.
    pub threads: usize,
    /// What the engine may do to the graph.
    pub optimize: Optimize,
    /// Bytes that parameters, inputs and outputs may take, each by itself: 2 GiB by default. What a run takes in
    /// between is the engine's own, so a model that is not trusted belongs in a process with a limit of its own.
    pub memory_bytes: u64,
    /// Shapes for which a plan is kept, in engines that plan for a shape: 4 by default, the oldest goes first.
    pub plans: usize,
    /// Limits on the model's file.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, optimize: Optimize::Full, memory_bytes: 2 << 30, plans: 4, limits: Limits::default() }
    }
}
