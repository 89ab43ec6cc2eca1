//! What workers say after `hello`.

use std::sync::Arc;

use neuraxis_sdk::frames::{self, Body, Outcome, StepError, Worker};
use nx_types::{Problem, RunId};

use super::{
    Engine, SessionId,
    commit::Report,
    outstanding::UNRECORDED,
    rows,
    sessions::Call,
    slot::{Beat, LogLine},
    timers::Timer,
};
use crate::{
    error::Error,
    machine::{Command, Purpose},
};

/// Longest line of a log.
const MAX_LINE: usize = 4096;
/// Longest name of a step, in what is for people alone.
const MAX_NAME: usize = 256;
/// Most bytes of what a heartbeat tells.
const MAX_DETAIL: usize = 1024;
/// Most lines of a run that wait to be written; the rest is dropped and counted.
const MAX_LINES: usize = 256;

impl Engine {
    pub(super) fn frame(&mut self, session: SessionId, frame: Worker) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        open.heard = self.now;
        match frame {
            Worker::Hello(hello) => self.hello(session, hello),
            _ if !open.greeted => {
                self.goodbye(session, Error::frame("the first frame must be `hello`").problem(), None);
            }
            Worker::Step(step) => self.step(session, step),
            Worker::Done { call, outcome } => self.done(session, call, outcome),
            Worker::Probed { call, found } => {
                if let Some(run) = self.run_of_call(session, call) {
                    self.command(run, Command::Probed { call, found }, None);
                }
            }
            Worker::Late { run, grant, outcome } => self.late(session, run, grant, outcome),
            Worker::Heartbeat { run, inc, call, name, detail } => {
                self.beat(session, run, Beat { inc, call, name, time: self.now, detail });
            }
            Worker::Carry { call, run, inc, state } => self.carry(session, call, (run, inc), state),
            Worker::Complete { run, inc, result } => match self.ingest(result) {
                Ok(result) => self.ending(session, run, inc, Command::Complete { inc, result: Arc::new(result) }),
                Err(error) => {
                    let error = value_error(&error);
                    self.ending(session, run, inc, Command::Fail { inc, error });
                }
            },
            Worker::Fail { run, inc, error } => {
                self.ending(session, run, inc, Command::Fail { inc, error: clip(error) });
            }
            Worker::Stopped { run, inc } => self.ending(session, run, inc, Command::Stopped { inc }),
            Worker::Release { run, inc } => self.ending(session, run, inc, Command::Release { inc }),
            Worker::ToolDone { call, outcome } => self.tool_done(session, call, outcome),
            Worker::Log { run, name, level, message, .. } => self.log(session, run, name, level, &message),
        }
    }

    fn refuse(&mut self, session: SessionId, call: Option<u64>, problem: Problem) {
        self.send(session, frames::Server::Refused { call, problem });
    }

    /// Whether a run's incarnation is with this connection; if not, the worker is told to drop it.
    fn holds(&mut self, session: SessionId, run: RunId, inc: u32) -> Result<(), Error> {
        let slot = self.runs.get(&run);
        let current = slot.map_or(0, |slot| slot.run.incarnation());
        if slot.is_some_and(|slot| slot.session == Some(session)) && current == inc {
            return Ok(());
        }
        self.send(session, frames::Server::Closed { run, inc, state: "fenced".to_owned() });
        Err(Error::Fenced { run, inc, current })
    }

    /// Notes a call; a second of the same number is out of order.
    fn open_call(&mut self, session: SessionId, call: u64, run: RunId) -> Result<(), Error> {
        let credit = self.limits.credit;
        let Some(open) = self.sessions.get_mut(&session) else { return Err(Error::Closed) };
        if open.calls.len() >= credit as usize {
            let fix = "wait for answers before sending more";
            return Err(Error::Limit { what: "calls without an answer", max: u64::from(credit), fix });
        }
        if open.calls.contains_key(&call) {
            return Err(Error::frame(format!("call {call} is open already; number calls anew within a connection")));
        }
        open.calls.insert(call, Call { run, grant: None, stale: false });
        Ok(())
    }

    fn close_call(&mut self, session: SessionId, call: u64) {
        if let Some(open) = self.sessions.get_mut(&session) {
            open.calls.remove(&call);
        }
    }

    fn run_of_call(&self, session: SessionId, call: u64) -> Option<RunId> {
        self.sessions.get(&session)?.calls.get(&call).map(|call| call.run)
    }

    fn step(&mut self, session: SessionId, mut step: Box<frames::Step>) {
        let (call, run) = (step.call, step.run);
        let checked = self
            .holds(session, run, step.inc)
            .and_then(|()| self.ingest_step(&mut step))
            .and_then(|()| self.open_call(session, call, run));
        if let Err(error) = checked {
            return self.refuse(session, Some(call), error.problem());
        }
        // It was executed before it was asked for, if it has an outcome.
        if let Some(slot) = self.runs.get_mut(&run).filter(|_| step.outcome.is_some()) {
            slot.beats.forget(session, Some(call));
        }
        self.ask_step(session, run, step);
    }

    /// Hands a step request to its run.
    pub(super) fn ask_step(&mut self, session: SessionId, run: RunId, step: Box<frames::Step>) {
        let call = step.call;
        let tool = match &step.body {
            Body::Tool { .. } => self.runs.get(&run).and_then(|slot| self.tool_spec(&slot.namespace, &step.name)),
            _ => None,
        };
        let decided = self.decide(run, Command::Step { step, tool });
        match decided {
            Ok((slot, decision)) => self.settle(slot, decision, None, None),
            Err(error) => {
                self.close_call(session, call);
                self.refuse(session, Some(call), error.problem());
            }
        }
    }

    fn done(&mut self, session: SessionId, call: u64, outcome: Outcome) {
        let open = self.sessions.get(&session).and_then(|open| open.calls.get(&call)).copied();
        // Unknown calls are of incarnations that are over; their grants come as `late`.
        let Some(open) = open else { return };
        if let Some(slot) = self.runs.get_mut(&open.run) {
            slot.beats.forget(session, Some(call));
        }
        let outcome = self.ingest_outcome(outcome);
        if open.stale {
            self.close_call(session, call);
        }
        let command = match open.grant {
            Some(grant) if open.stale => Command::Late { grant, outcome: outcome.clone() },
            _ => Command::Done { call, outcome: outcome.clone() },
        };
        self.take_report(open.run, open.grant, outcome, command);
    }

    fn late(&mut self, session: SessionId, run: RunId, grant: frames::Grant, outcome: Outcome) {
        let known = self.namespace_of(run).is_some();
        if !known {
            // The run is over or unknown: the outcome is of no use.
            self.reported(run, grant);
            return self.send(session, frames::Server::LateTaken { run, grant });
        }
        self.late.entry((run, grant)).or_default().push(session);
        let outcome = self.ingest_outcome(outcome);
        self.take_report(run, Some(grant), outcome.clone(), Command::Late { grant, outcome });
    }

    /// Hands a report to its run, and keeps it until it is recorded.
    fn take_report(&mut self, run: RunId, grant: Option<frames::Grant>, outcome: Outcome, command: Command) {
        if let Some(grant) = grant.filter(|grant| grant.step < UNRECORDED) {
            self.reported(run, grant);
            self.report = Some(Report { run, grant, outcome });
        }
        self.command(run, command, None);
        self.report = None;
    }

    fn carry(&mut self, session: SessionId, call: u64, (run, inc): (RunId, u32), state: serde_json::Value) {
        let checked = self.holds(session, run, inc).and_then(|()| self.ingest(state));
        match checked.and_then(|state| self.open_call(session, call, run).map(|()| state)) {
            Ok(state) => self.command(run, Command::Carry { call, inc, state: Arc::new(state) }, None),
            Err(error) => self.refuse(session, Some(call), error.problem()),
        }
    }

    fn ending(&mut self, session: SessionId, run: RunId, inc: u32, command: Command) {
        if self.holds(session, run, inc).is_ok() {
            // What was logged before the end stands before it: whoever follows the run to its end has seen all of it.
            if self.runs.get(&run).is_some_and(|slot| !slot.log.is_empty()) {
                self.flush_log(run);
            }
            self.command(run, command, None);
        }
    }

    fn tool_done(&mut self, session: SessionId, call: u64, outcome: Outcome) {
        let tool = self.sessions.get_mut(&session).and_then(|open| open.tools.remove(&call));
        let Some(tool) = tool else { return };
        if let Some(slot) = self.runs.get_mut(&tool.run) {
            slot.beats.forget(session, None);
        }
        let outcome = self.ingest_outcome(outcome);
        let command = Command::ToolDone { grant: tool.grant, purpose: tool.purpose, outcome: outcome.clone() };
        match tool.purpose {
            Purpose::Execute => self.take_report(tool.run, Some(tool.grant), outcome, command),
            Purpose::Probe => self.command(tool.run, command, None),
        }
    }

    fn log(&mut self, session: SessionId, run: RunId, by: Option<String>, level: String, message: &str) {
        if !self.serves(session, run) {
            return;
        }
        let Some(slot) = self.runs.get_mut(&run) else { return };
        if slot.log.len() >= MAX_LINES {
            return self.drop_lines(run, 1);
        }
        let message = message.chars().take(MAX_LINE).collect();
        let level =
            if matches!(level.as_str(), "debug" | "info" | "warning" | "error") { level } else { "info".to_owned() };
        slot.log.push(LogLine { level, name: by.map(name), message, time: self.now });
        if !self.timers.is_set(Timer::Log(run)) {
            self.timers.set(Timer::Log(run), Some(self.now + nx_types::Duration::from_millis(500)));
        }
    }

    /// Whether a connection executes anything of a run: its agent, or a tool or undo function that it calls.
    fn serves(&self, session: SessionId, run: RunId) -> bool {
        let agent = self.runs.get(&run).is_some_and(|slot| slot.session == Some(session));
        agent || self.sessions.get(&session).is_some_and(|open| open.tools.values().any(|tool| tool.run == run))
    }

    /// Nothing of this is recorded: it is for people who look while it lasts.
    fn beat(&mut self, session: SessionId, run: RunId, mut beat: Beat) {
        beat.name = beat.name.map(name);
        let small = beat.detail.as_ref().is_some_and(|detail| detail.to_string().len() <= MAX_DETAIL);
        if small
            && self.serves(session, run)
            && let Some(slot) = self.runs.get_mut(&run)
        {
            slot.beats.insert(session, beat);
        }
    }

    /// Whether a run is known to be over.
    pub(super) fn is_over(&self, namespace: &nx_types::Namespace, run: RunId) -> Result<bool, Error> {
        let row = self.reader.state(namespace, rows::RUN, &run.to_string())?;
        let row = row.ok_or_else(|| Error::RunUnknown { id: run.to_string(), namespace: namespace.to_string() })?;
        Ok(rows::read_run(&row.bytes)?.summary.status.is_over())
    }
}

/// A name as a worker may say it: bounded.
fn name(name: String) -> String {
    if name.len() > MAX_NAME { name.chars().take(MAX_NAME).collect() } else { name }
}

/// An error as it may be recorded: bounded.
pub(super) fn clip(error: StepError) -> StepError {
    let cut = |text: String, max: usize| if text.len() > max { text.chars().take(max).collect() } else { text };
    StepError { name: cut(error.name, 256), message: cut(error.message, 8192), ..error }
}

/// The error that an agent gets for a value that may not enter the record.
pub(super) fn value_error(error: &Error) -> StepError {
    StepError {
        name: "ValueRefused".to_owned(),
        message: error.to_string(),
        retryable: Some(false),
        retry_after_ms: None,
        details: None,
    }
}
