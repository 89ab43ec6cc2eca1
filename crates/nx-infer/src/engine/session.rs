//! A loaded model, checked at its border.

use std::fmt;

use bytes::Bytes;

use super::{Engine, Options, Plan, guarded::guarded, unsupported};
use crate::{
    Error, Tensor,
    onnx::{Model, Value},
};

/// A model that is ready to run on one engine.
pub struct Session {
    engine: &'static str,
    plan: Option<Box<dyn Plan>>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    memory_bytes: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("engine", &self.engine)
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Loads a model from the bytes of its file.
    ///
    /// # Errors
    /// `Model`, `Limit`, `External` from reading it; `Unsupported` with every reason that is known; `Engine`.
    pub fn load(engine: &dyn Engine, bytes: impl Into<Bytes>, options: &Options) -> Result<Self, Error> {
        let bytes = bytes.into();
        let model = Model::read(bytes.clone(), &options.limits)?;
        Self::load_read(engine, &model, &bytes, options)
    }

    /// Loads a model that was read, built or changed in memory.
    ///
    /// # Errors
    /// As [`Session::load`].
    pub fn load_model(engine: &dyn Engine, model: &Model, options: &Options) -> Result<Self, Error> {
        Self::load_read(engine, model, &model.write(), options)
    }

    fn load_read(engine: &dyn Engine, model: &Model, bytes: &[u8], options: &Options) -> Result<Self, Error> {
        let name = engine.name();
        if bytes.len() as u64 > options.memory_bytes {
            return Err(Error::limit("bytes of the model's parameters", bytes.len() as u64, options.memory_bytes));
        }
        let reasons = unsupported(engine, model);
        if !reasons.is_empty() {
            return Err(Error::Unsupported { engine: name, reason: reasons.join("; ") });
        }
        let (inputs, outputs) = (model.inputs()?, model.outputs()?);
        let plan = guarded(name, || engine.prepare(model, bytes, options))?;
        Ok(Self { engine: name, plan: Some(plan), inputs, outputs, memory_bytes: options.memory_bytes })
    }

    /// The engine's name.
    pub fn engine(&self) -> &'static str {
        self.engine
    }

    /// What a run takes, in the order of the model.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// What a run gives, in the order of the model.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Runs the model on named tensors. Outputs are in the order of [`Session::outputs`].
    ///
    /// # Errors
    /// `Tensor` when an input is missing, unknown or does not fit; `Limit`; `Engine`. After a panic of the engine the
    /// session is of no more use and says so.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, Error> {
        let mut ordered = Vec::with_capacity(self.inputs.len());
        for wanted in &self.inputs {
            let given = inputs.iter().find(|(name, _)| *name == wanted.name);
            let Some((_, tensor)) = given else {
                return Err(Error::tensor(&wanted.name, "is not given; the model takes it"));
            };
            wanted.accepts(tensor.dtype(), tensor.shape())?;
            ordered.push(*tensor);
        }
        if let Some((name, _)) = inputs.iter().find(|(name, _)| !self.inputs.iter().any(|wanted| wanted.name == *name))
        {
            let known: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(Error::tensor(*name, format!("is not an input; the model takes `{}`", known.join("`, `"))));
        }
        self.bounded("bytes of the inputs", ordered.iter().copied())?;
        let outputs = self.run_ordered(&ordered)?;
        self.bounded("bytes of the outputs", &outputs)?;
        Ok(outputs)
    }

    fn bounded<'t>(&self, what: &str, tensors: impl IntoIterator<Item = &'t Tensor>) -> Result<(), Error> {
        let bytes: u64 = tensors.into_iter().map(|tensor| tensor.bytes() as u64).sum();
        if bytes > self.memory_bytes {
            return Err(Error::limit(what, bytes, self.memory_bytes));
        }
        Ok(())
    }

    fn run_ordered(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Error> {
        let engine = self.engine;
        let failed = |reason: String| Error::Engine { engine, reason };
        let Some(mut plan) = self.plan.take() else {
            return Err(failed("it panicked in an earlier run; load the model again".to_owned()));
        };
        // a plan that panicked does not come back from here
        let (plan, result) = guarded(engine, move || {
            let result = plan.run(inputs);
            Ok((plan, result))
        })?;
        self.plan = Some(plan);
        let outputs = result?;
        if outputs.len() != self.outputs.len() {
            return Err(failed(format!("it gave {} outputs, the model has {}", outputs.len(), self.outputs.len())));
        }
        for (output, wanted) in outputs.iter().zip(&self.outputs) {
            if output.dtype() != wanted.dtype {
                let reason =
                    format!("output `{}` is of {}, the model says {}", wanted.name, output.dtype(), wanted.dtype);
                return Err(failed(reason));
            }
        }
        Ok(outputs)
    }
}
