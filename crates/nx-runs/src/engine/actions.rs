//! What is done once a decision is durable.

use std::sync::Arc;

use neuraxis_sdk::frames::{self, StepError, Waiting};
use nx_types::RunId;
use serde_json::{Value, json};

use super::{Engine, Output, SessionId, commit::Due, runs::datum as value_of, sessions::ToolCall, slot::Slot};
use crate::{
    error::Error,
    machine::{Action, Answer, Command, Datum, Dispatch, Obligation, Purpose, Run, RunEvent, Start, Target, Work},
};

impl Engine {
    pub(super) fn send(&mut self, session: SessionId, frame: frames::Server) {
        if self.sessions.contains_key(&session) {
            self.out.push(Output::Send { session, frame, about: None });
        }
    }

    /// Sends a frame with values of a run.
    fn send_values(&mut self, session: SessionId, run: RunId, frame: frames::Server) {
        if let Some(open) = self.sessions.get(&session) {
            let about = Some((open.namespace.clone(), run));
            self.out.push(Output::Send { session, frame, about });
        }
    }

    pub(super) fn act(&mut self, due: Due) {
        let Due { run, session, action } = due;
        match action {
            Action::Reply { call, answer } => self.reply(run, session, call, answer),
            Action::Start(start) => self.start_on(run, session, *start),
            Action::Unready { step } => self.unready(run, session, step),
            Action::Cancel { inc, reason } => {
                self.send_to(session, frames::Server::Cancel { run, inc, reason });
            }
            Action::Close { inc, state } => {
                self.send_to(session, frames::Server::Closed { run, inc, state: state.to_owned() });
            }
            Action::LateTaken { grant } => self.late_taken(run, grant),
            Action::Want { slot, target } => self.want(run, slot, target),
            Action::Unwant { slot } => self.unwant(run, slot),
            Action::Dispatch(dispatch) => self.dispatch(run, *dispatch),
            // Answered where it was asked.
            Action::Guarded(_) => {}
            // Asked by the same commit.
            Action::AskModel { .. } => {}
            // The child was created by the same commit, or is there since an earlier one.
            Action::StartChild { run: child, .. } => self.arrange(child),
            Action::CancelChild { run: child, reason } => self.cancel_child(run, child, reason),
            Action::NotifyParent { run: parent, step, outcome } => self.notify(run, parent, step, outcome),
        }
    }

    fn send_to(&mut self, session: Option<SessionId>, frame: frames::Server) {
        if let Some(session) = session {
            self.send(session, frame);
        }
    }

    fn reply(&mut self, run: RunId, session: Option<SessionId>, call: u64, answer: Answer) {
        let Some(session) = session.filter(|session| self.sessions.contains_key(session)) else { return };
        let terminal =
            matches!(answer, Answer::Value { .. } | Answer::Recorded { .. } | Answer::Error(_) | Answer::Refused(_));
        if let Some(open) = self.sessions.get_mut(&session) {
            if terminal {
                open.calls.remove(&call);
            } else if let (Answer::Execute { grant, .. }, Some(open)) = (&answer, open.calls.get_mut(&call)) {
                open.grant = Some(*grant);
            }
        }
        if let Answer::Execute { grant, .. } = &answer {
            self.granted(run, *grant, session);
        }
        let recorded = match &answer {
            Answer::Recorded { version, .. } => match self.replayed(run, *version) {
                Ok(event) => event.outcome(),
                Err(error) => {
                    let problem = error.problem();
                    return self.send(session, frames::Server::Refused { call: Some(call), problem });
                }
            },
            _ => None,
        };
        self.send_values(session, run, answer.into_frame(call, recorded));
    }

    fn replayed(&mut self, run: RunId, version: u64) -> Result<RunEvent, Error> {
        let slot = self.runs.get_mut(&run).ok_or(Error::Closed)?;
        slot.record.replayed(version)
    }

    fn start_on(&mut self, run: RunId, session: Option<SessionId>, start: Start) {
        let traceparent = self.runs.get(&run).and_then(|slot| slot.trace).map(|trace| trace.to_string());
        let frame = frames::Start {
            run,
            inc: start.inc,
            agent: start.agent,
            input: Arc::unwrap_or_clone(start.input),
            state: start.state.map(Arc::unwrap_or_clone),
            key: start.key,
            deadline: start.deadline,
            recorded: start.recorded,
            live: start.live,
            traceparent,
        };
        if let Some(session) = session {
            self.send_values(session, run, frames::Server::Start(Box::new(frame)));
        }
    }

    fn unready(&mut self, run: RunId, session: Option<SessionId>, step: Box<frames::Step>) {
        let call = step.call;
        let Some(slot) = self.runs.get_mut(&run) else { return };
        if slot.session != session {
            return;
        }
        slot.unready.push_back(step);
        self.unready.insert(run);
        self.send_to(session, frames::Server::Wait { call, why: Waiting::Tool, until: None, approval: None });
    }

    fn late_taken(&mut self, run: RunId, grant: frames::Grant) {
        let asked = self.late.remove(&(run, grant)).unwrap_or_default();
        for session in asked {
            self.send(session, frames::Server::LateTaken { run, grant });
        }
    }

    /// Sends work to a worker that serves it. If there is none any more, the work has not taken place.
    fn dispatch(&mut self, run: RunId, dispatch: Dispatch) {
        let (grant, purpose) = (dispatch.grant, dispatch.purpose);
        if let Err(error) = self.try_dispatch(run, dispatch) {
            let once = self.runs.get(&run).is_some_and(|slot| executes_once(&slot.run, grant));
            let command = if purpose == Purpose::Execute && !once {
                Command::GrantsLost { grants: vec![grant], reason: error.to_string() }
            } else {
                // It was not sent: it did not take place, and that may be said.
                let outcome = frames::Outcome::Error(StepError {
                    name: "WorkerLost".to_owned(),
                    message: error.to_string(),
                    retryable: Some(true),
                    retry_after_ms: None,
                    details: None,
                });
                Command::ToolDone { grant, purpose, outcome }
            };
            self.command(run, command, None);
        }
    }

    fn try_dispatch(&mut self, run: RunId, dispatch: Dispatch) -> Result<(), Error> {
        let Dispatch { grant, purpose, work, idempotency_key, timeout_ms, .. } = dispatch;
        let mut slot = self.runs.remove(&run).ok_or(Error::Closed)?;
        let resolved = resolve(&mut slot, work);
        let namespace = slot.namespace.clone();
        self.runs.insert(run, slot);
        let resolved = resolved?;
        let target = match &resolved {
            Resolved::Tool { name, .. } => Target::Tool(name.clone()),
            Resolved::Undo { agent, .. } => Target::Agent(agent.clone()),
        };
        let session = self.server_of(&namespace, &target).ok_or_else(|| Error::invalid("no worker serves it now"))?;
        let Some(open) = self.sessions.get_mut(&session) else { return Err(Error::Closed) };
        let call = open.new_tool_call(ToolCall { run, grant, purpose });
        let frame = match resolved {
            Resolved::Tool { name, args } => {
                let (toolset, tool) = name.split_once('/').unwrap_or((name.as_str(), ""));
                frames::Server::Tool {
                    call,
                    run,
                    grant,
                    toolset: toolset.to_owned(),
                    tool: tool.to_owned(),
                    args,
                    idempotency_key,
                    timeout_ms,
                }
            }
            Resolved::Undo { agent, function, args, result } => {
                let idempotency_key = idempotency_key.unwrap_or_default();
                frames::Server::Undo { call, run, grant, agent, function, args, result, idempotency_key }
            }
        };
        if purpose == Purpose::Execute {
            self.granted(run, grant, session);
        }
        self.send_values(session, run, frame);
        Ok(())
    }

    fn cancel_child(&mut self, parent: RunId, child: RunId, reason: String) {
        let Some(namespace) = self.namespace_of(parent).or_else(|| self.namespace_of(child)) else { return };
        if self.namespace_of(child).is_some() {
            let command = Command::Cancel { by: format!("run {parent}"), reason };
            self.command_in(&namespace, child, command, None, None);
        }
    }

    fn notify(&mut self, child: RunId, parent: RunId, step: u64, outcome: crate::machine::Recorded) {
        let Some(namespace) = self.namespace_of(child) else { return };
        let cause = self.runs.get(&child).and_then(|slot| slot.causes.last);
        let known = self.namespace_of(parent).is_some();
        if known {
            match self.ended(&namespace, child) {
                Ok(Some((end, _))) => self.hand_labels(parent, &end),
                Ok(None) => {}
                Err(error) => tracing::warn!(run = %parent, %child, %error, "a child's labels cannot be read"),
            }
            let command = Command::ChildEnded { step, run: child, outcome };
            self.command_in(&namespace, parent, command, cause, None);
        }
    }

    /// The log refused the decision: its calls are refused, its dispatches did not take place.
    pub(super) fn refuse_actions(&mut self, actions: Vec<Due>, error: &Error) {
        let mut problem = error.problem();
        problem.retryable = !error.is_for_good();
        for Due { session, action, .. } in actions {
            let Some(session) = session else { continue };
            if let Action::Reply { call, .. } = action {
                if let Some(open) = self.sessions.get_mut(&session) {
                    open.calls.remove(&call);
                }
                self.send(session, frames::Server::Refused { call: Some(call), problem: problem.clone() });
            }
        }
    }

    /// Tells the worker that the incarnation is over, and forgets that it has the run.
    pub(super) fn leave_session(&mut self, slot: &Slot, state: &str) {
        let Some(session) = slot.session else { return };
        let run = slot.run.id();
        let inc = slot.run.incarnation();
        self.send(session, frames::Server::Closed { run, inc, state: state.to_owned() });
        self.detach(run, session);
    }
}

/// Whether what was permitted is of effect `once`.
fn executes_once(run: &Run, grant: frames::Grant) -> bool {
    let mut obligations = run.obligations().into_iter();
    obligations.any(|obligation| {
        matches!(obligation, Obligation::Outstanding { grant: of, effect: frames::Effect::Once, .. } if of == grant)
    })
}

/// Work with its values at hand.
#[derive(Debug)]
enum Resolved {
    Tool { name: String, args: Value },
    Undo { agent: String, function: String, args: Value, result: Value },
}

fn resolve(slot: &mut Slot, work: Work) -> Result<Resolved, Error> {
    let mut value = |datum: &Datum| value_of(slot, datum, &[], u64::MAX).map(Arc::unwrap_or_clone);
    Ok(match work {
        Work::Tool { name, args } => Resolved::Tool { name, args: Arc::unwrap_or_clone(args) },
        Work::UndoTool { name, args, result } => {
            Resolved::Tool { name, args: json!({ "args": value(&args)?, "result": value(&result)? }) }
        }
        Work::UndoFunction { agent, function, args, result } => {
            Resolved::Undo { agent, function, args: value(&args)?, result: value(&result)? }
        }
    })
}
