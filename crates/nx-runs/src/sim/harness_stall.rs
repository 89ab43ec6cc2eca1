//! Connections that hang: the server gives the worker up when its lease is over, another worker takes its runs, and
//! what the first one had said arrives after all: on the connection that is lost, and, of a worker that mixes them up, on
//! its next one. None of it may have an effect.

use std::collections::VecDeque;

use neuraxis_sdk::frames;
use nx_types::{Duration, Timestamp};

use super::harness::{Failure, Process, Sim, hang_up};
use crate::engine::{Input, Output};

/// How a process's connection hangs.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Nothing crosses it.
    pub(super) hangs: bool,
    /// The server has given it up: it may be noticed after so many frames, or at this time.
    lost: Option<(u64, Timestamp)>,
    /// What was said on lost connections.
    pub(super) ghosts: VecDeque<frames::Worker>,
}

impl Stall {
    pub(super) fn is_over(&self) -> bool {
        !self.hangs && self.ghosts.is_empty()
    }
}

/// The longest that a worker does not notice that its connection is lost.
const UNNOTICED: Duration = Duration::from_secs(40);

impl Sim {
    pub(super) fn stall(&mut self, of: usize) {
        let Some(process) = self.processes.get_mut(of).filter(|process| process.session.is_some()) else { return };
        process.stall.hangs = true;
        process.stall.lost = None;
        let name = process.worker.name.clone();
        self.note(format!("the connection of {name} hangs"));
    }

    /// The server has closed a connection.
    pub(super) fn closed(&mut self, of: usize) {
        let begun = self.draw(2) == 0;
        let unnoticed = (self.frames + self.draw(60) as u64, self.env.now() + UNNOTICED);
        let Some(process) = self.processes.get_mut(of) else { return };
        if !process.stall.hangs {
            return hang_up(process);
        }
        process.stall.lost = Some(unnoticed);
        // Its lease is over by its own clock too: what it has not begun it does not begin.
        if begun {
            while !process.worker.jobs.is_empty() {
                process.worker.work(&mut self.world, &mut process.up);
            }
        } else {
            process.worker.give_up();
        }
    }

    pub(super) fn heals(&self, process: &Process) -> bool {
        process.stall.lost.is_some_and(|(frames, at)| self.frames >= frames || self.env.now() >= at)
    }

    /// What was under way on a lost connection arrives, and the worker sees that it is lost.
    pub(super) fn heal(&mut self, of: usize) -> Result<(), Failure> {
        let Some(process) = self.processes.get_mut(of) else { return Ok(()) };
        let (session, name) = (process.session, process.worker.name.clone());
        let said = std::mem::take(&mut process.up);
        hang_up(process);
        // A worker may be thought to repeat what names an incarnation; outcomes of tools are numbered by connection.
        let repeats = |frame: &&frames::Worker| {
            !matches!(frame, frames::Worker::Hello(_) | frames::Worker::ToolDone { .. } | frames::Worker::Late { .. })
        };
        process.stall.ghosts.extend(said.iter().filter(repeats).cloned());
        self.note(format!("{name} notices that its connection is lost"));
        for frame in said {
            self.late.0 += 1;
            if let Some(session) = session {
                self.tell(Input::Frame { session, frame });
            }
        }
        let heard = self.server.as_mut().map(|server| server.engine.drain()).unwrap_or_default();
        if heard.is_empty() { Ok(()) } else { Err(format!("a lost connection was heard: {heard:?}")) }
    }

    /// What was said on a lost connection is said again on the next.
    pub(super) fn ghost(&mut self, of: usize) -> Result<(), Failure> {
        let Some(process) = self.processes.get_mut(of) else { return Ok(()) };
        let (Some(session), Some(frame)) = (process.session, process.stall.ghosts.pop_front()) else { return Ok(()) };
        self.late.1 += 1;
        let told = format!(">> {frame:?}");
        let answered = matches!(frame, frames::Worker::Step(_) | frames::Worker::Carry { .. });
        self.note(told.clone());
        self.tell(Input::Frame { session, frame });
        let outputs = self.server.as_mut().map(|server| server.engine.drain()).unwrap_or_default();
        let fenced = |output: &Output| match output {
            Output::Send { frame: frames::Server::Refused { call, .. }, .. } => call.is_some(),
            Output::Send { frame: frames::Server::Closed { state, .. }, .. } => state == "fenced",
            _ => false,
        };
        if !outputs.iter().all(fenced) || (answered && outputs.is_empty()) {
            return Err(format!("{told} of an incarnation that is over led to {outputs:?}\n{}", self.story()));
        }
        self.put_out(outputs);
        Ok(())
    }
}
