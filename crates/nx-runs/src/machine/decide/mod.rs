//! Deciding: each file takes one kind of command. A decision checks first and changes afterwards, so that an error
//! means that nothing happened.

mod ask;
mod doubt;
mod guard;
mod launch;
mod lifecycle;
mod report;
mod request;
mod settle;
mod time;
mod undo;
mod wait;

use neuraxis_sdk::frames::{StepError, Waiting};
use nx_types::{ApprovalId, Timestamp};

use super::{
    command::{Action, Answer, Command, Context, Decision, Slot},
    durable::Phase,
    event::{Json, RunEvent, SignalReceived},
    live::Stage,
    record::name_text,
    run::Run,
};
use crate::Error;

/// A decision being made.
struct Deciding<'a> {
    run: &'a mut Run,
    cx: &'a Context<'a>,
    out: Decision,
    /// For looking names up.
    text: String,
}

impl Run {
    /// Decides on a command. The run has taken in the decision's events when this returns: should they not become
    /// durable, drop the run and load it anew. After an error nothing has changed.
    pub fn decide(&mut self, command: Command, context: &Context<'_>) -> Result<Decision, Error> {
        self.durable.head()?;
        let mut deciding = Deciding { run: self, cx: context, out: Decision::default(), text: String::new() };
        deciding.command(command)?;
        Ok(deciding.out)
    }
}

impl Deciding<'_> {
    fn command(&mut self, command: Command) -> Result<(), Error> {
        self.decide(command)?;
        self.follow()
    }

    fn decide(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Start { worker, version } => self.start(worker, version),
            Command::Step { step, tool } => self.step(step, tool),
            Command::Done { call, outcome } => self.done(call, outcome),
            Command::Probed { call, found } => self.probed(call, found),
            Command::Late { grant, outcome } => self.late(grant, outcome),
            Command::Carry { call, inc, state } => self.carry(call, inc, state),
            Command::Complete { inc, result } => self.complete(inc, result),
            Command::Fail { inc, error } => self.fail(inc, error),
            Command::Stopped { inc } => self.stopped(inc),
            Command::Release { inc } => self.release(inc),
            Command::Lost { reason, executing } => self.lost(&reason, &executing),
            Command::GrantsLost { grants, reason } => self.grants_lost(&grants, &reason),
            Command::Ready { slot, tool } => self.ready(slot, tool),
            Command::ToolDone { grant, purpose, outcome } => self.tool_done(grant, purpose, outcome),
            Command::Tick => self.tick(),
            Command::Decide(vote) => self.vote(*vote),
            Command::Signal { id, name, payload, by } => self.signal(SignalReceived { id, name, payload, by }),
            Command::Cancel { by, reason } => self.cancel(by, reason),
            Command::Retry { by } => self.retry(by),
            Command::ChildEnded { step, run, outcome } => self.child_ended(step, run, outcome),
            Command::ModelAnswered { step, outcome } => self.model_answered(step, outcome),
            Command::Report(reported) => self.report_in(*reported),
            Command::Park => self.park(),
            Command::Abandon { error, bare } => self.abandon(error, bare),
        }
    }

    /// Records an event: the run takes it in at once.
    fn record(&mut self, mut event: RunEvent) -> Result<(), Error> {
        if let Some(step) = event.identity_mut().filter(|step| step.occ > 0) {
            name_text(&step.scope, &step.name, &mut self.text);
            if self.run.durable.records.next_occurrence(&self.text) == step.occ {
                step.occ = 0;
            }
        }
        self.run.durable.apply(&event)?;
        self.run.live.grow(self.run.durable.records.len());
        self.out.events.push(event);
        Ok(())
    }

    fn act(&mut self, action: Action) {
        self.out.actions.push(action);
    }

    fn reply(&mut self, call: u64, answer: Answer) {
        self.act(Action::Reply { call, answer });
    }

    fn wait(&mut self, call: u64, why: Waiting, until: Option<Timestamp>, approval: Option<ApprovalId>) {
        self.reply(call, Answer::Wait { why, until, approval });
    }

    /// Gives every call that waits for the step the value just recorded.
    fn answer_value(&mut self, n: u64, value: &Json) {
        let live = self.run.live.is_live();
        for call in self.run.live.detach(n) {
            self.reply(call, Answer::Value { value: value.clone(), live });
        }
    }

    fn answer_error(&mut self, n: u64, error: &StepError) {
        for call in self.run.live.detach(n) {
            self.reply(call, Answer::Error(error.clone()));
        }
    }

    /// Gives every call that waits for the step what its record says.
    fn answer_recorded(&mut self, n: u64) {
        let version = self.run.durable.records.get(n).map_or(0, |record| u64::from(record.version));
        let live = self.run.live.is_live();
        for call in self.run.live.detach(n) {
            self.reply(call, Answer::Recorded { version, live });
        }
    }

    /// Refuses what does not come from the present incarnation.
    fn check_incarnation(&self, inc: u32) -> Result<(), Error> {
        let durable = &self.run.durable;
        if inc == durable.inc && durable.worker.is_some() {
            Ok(())
        } else {
            Err(Error::Fenced { run: self.run.id, inc, current: durable.inc })
        }
    }

    fn is_open(&self) -> bool {
        self.run.durable.phase == Phase::Open
    }

    /// Takes back the wants of the calls that are dropped.
    fn unwant_calls(&mut self) {
        let wanted: Vec<u64> =
            self.run.live.calls.values().filter(|call| is_wanted(call.stage)).map(|c| c.id).collect();
        for call in wanted {
            self.act(Action::Unwant { slot: Slot::Call(call) });
        }
    }
}

fn is_wanted(stage: Stage) -> bool {
    matches!(stage, Stage::Wanted | Stage::ProbeWanted)
}

/// An error that the server itself raises in the agent's code.
fn step_error(name: &str, message: impl Into<String>) -> StepError {
    StepError {
        name: name.to_owned(),
        message: message.into(),
        retryable: Some(false),
        retry_after_ms: None,
        details: None,
    }
}
