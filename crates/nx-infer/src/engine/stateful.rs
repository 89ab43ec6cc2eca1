//! Models that carry state from one run to the next: an output of a run is an input of the next.

use super::Session;
use crate::{Error, Tensor};

/// A state: the input that takes it, the output that gives the next one, and how it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The input.
    pub input: String,
    /// The output.
    pub output: String,
    /// The state before the first run.
    pub first: Tensor,
}

/// A session that feeds its states back.
#[derive(Debug)]
pub struct Stateful {
    session: Session,
    states: Vec<State>,
    now: Vec<Tensor>,
}

impl Stateful {
    /// Wraps a session.
    ///
    /// # Errors
    /// `Tensor` when an input or output of a state is not one of the model's, or its first value does not fit.
    pub fn new(session: Session, states: Vec<State>) -> Result<Self, Error> {
        for state in &states {
            let input = session.inputs().iter().find(|input| input.name == state.input);
            let input = input.ok_or_else(|| Error::tensor(&state.input, "is not an input of the model"))?;
            input.accepts(state.first.dtype(), state.first.shape())?;
            if !session.outputs().iter().any(|output| output.name == state.output) {
                return Err(Error::tensor(&state.output, "is not an output of the model"));
            }
        }
        let now = states.iter().map(|state| state.first.clone()).collect();
        Ok(Self { session, states, now })
    }

    /// The session within.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Forgets: the next run begins as the first did.
    pub fn reset(&mut self) {
        self.now = self.states.iter().map(|state| state.first.clone()).collect();
    }

    /// The state that the next run begins with.
    pub fn state(&self) -> &[Tensor] {
        &self.now
    }

    /// Goes on from a state that [`Self::state`] gave.
    pub fn resume(&mut self, state: Vec<Tensor>) {
        if state.len() == self.states.len() {
            self.now = state;
        }
    }

    /// Runs one step. Give the inputs that are no states; all outputs come back.
    ///
    /// # Errors
    /// As [`Session::run`]; the state is then as before.
    pub fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, Error> {
        let states = self.states.iter().zip(&self.now).map(|(state, now)| (state.input.as_str(), now));
        let all: Vec<(&str, &Tensor)> = inputs.iter().copied().chain(states).collect();
        let outputs = self.session.run(&all)?;
        let next = self.states.iter().map(|state| {
            let at = self.session.outputs().iter().position(|output| output.name == state.output);
            at.and_then(|at| outputs.get(at)).cloned()
        });
        if let Some(next) = next.collect() {
            self.now = next;
        }
        Ok(outputs)
    }
}
