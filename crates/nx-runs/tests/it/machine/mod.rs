//! One run's state machine: commands in, a trace of events and actions out. After each decision the run is rebuilt
//! from its events, through their encoded form, and must equal the live one.

mod approvals;
mod basics;
mod changes;
mod doubts;
mod ends;
mod random;
mod references;
mod waits;

use std::{fmt::Write as _, sync::Arc};

use neuraxis_sdk::frames::{Body, Effect, Grant, Outcome, Step, StepError};
use nx_runs::machine::{
    Action, Answer, Command, Context, Created, Decision, Gate, Json, KeyMaker, Limits, Purpose, Recorded, Ruling, Run,
    RunEvent, Slot, ToolSpec, Vote,
};
use nx_types::{Env, RunId, Timestamp};
use serde_json::{Value, json};

/// A run under test.
pub(crate) struct Bench {
    pub(crate) run: Run,
    pub(crate) now: Timestamp,
    pub(crate) env: Env,
    pub(crate) keys: KeyMaker,
    pub(crate) limits: Limits,
    pub(crate) log: Vec<RunEvent>,
    pub(crate) trace: String,
    pub(crate) last: Decision,
    /// What calls pass.
    pub(crate) gate: &'static dyn Gate,
    /// The record is damaged: it cannot be loaded as it is.
    pub(crate) unchecked: bool,
    call: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::created(|_| {})
    }

    pub(crate) fn created(change: impl FnOnce(&mut Created)) -> Self {
        let (env, _) = Env::seeded(1);
        let mut created = Created {
            agent: "refund".to_owned(),
            input: Arc::new(json!({"order": "A17"})),
            key: None,
            deadline: None,
            parent: None,
            by: "test".to_owned(),
            fork: None,
            session: None,
            labels: None,
        };
        change(&mut created);
        let mut bench = Self {
            run: Run::new(RunId::from_bytes([7; 10])),
            now: Timestamp::from_millis(1_000_000),
            env,
            keys: KeyMaker::new(&[1; 32]),
            limits: Limits::default(),
            log: Vec::new(),
            trace: String::new(),
            last: Decision::default(),
            gate: &nx_runs::machine::gate::Open,
            unchecked: false,
            call: 0,
        };
        bench.load(RunEvent::Created(Box::new(created)));
        bench
    }

    pub(crate) fn load(&mut self, event: RunEvent) {
        self.run.apply(&event).unwrap();
        self.log.push(event);
    }

    pub(crate) fn try_do(&mut self, command: Command) -> Result<(), nx_runs::Error> {
        let rng = self.env.rng();
        let context = Context { now: self.now, rng, keys: &self.keys, limits: &self.limits, gate: self.gate };
        let decision = self.run.decide(command, &context)?;
        self.log.extend(decision.events.iter().cloned());
        for event in &decision.events {
            writeln!(self.trace, "  + {}", show_event(event)).unwrap();
        }
        for action in &decision.actions {
            writeln!(self.trace, "  > {}", self.show_action(action)).unwrap();
        }
        self.last = decision;
        if !self.unchecked {
            self.check_rebuilt();
        }
        Ok(())
    }

    /// The durable part equals that of a run that was loaded from the events.
    pub(crate) fn check_rebuilt(&self) {
        let mut rebuilt = Run::new(self.run.id());
        let last_carry = self.log.iter().rposition(|event| matches!(event, RunEvent::Carried(_)));
        for event in &self.log {
            let mut decoded = RunEvent::decode(event.kind(), &event.encode().unwrap()).unwrap();
            if let (RunEvent::Emitted(a), RunEvent::Emitted(b)) = (&mut decoded, event) {
                a.id = b.id;
            }
            assert_eq!(&decoded, event, "an event survives its encoding");
            rebuilt.apply(&decoded).unwrap();
        }
        assert_eq!(rebuilt.durable(), self.run.durable());
        if let Some(carry) = last_carry {
            let mut resumed = Run::new(self.run.id());
            resumed.resume(&self.log[0], &self.log[carry], carry as u64 + 1).unwrap();
            for event in &self.log[carry + 1..] {
                resumed.apply(event).unwrap();
            }
            assert_eq!(resumed.durable(), self.run.durable());
        }
    }

    pub(crate) fn act(&mut self, title: &str, command: Command) -> &mut Self {
        writeln!(self.trace, "{title}").unwrap();
        if let Err(error) = self.try_do(command) {
            writeln!(self.trace, "  ! {}", scrub(&error.to_string())).unwrap();
        }
        self
    }

    pub(crate) fn start(&mut self) -> &mut Self {
        let command = Command::Start { worker: "w1".to_owned(), version: None };
        self.act("start", command)
    }

    /// The server crashed: the run is loaded anew.
    pub(crate) fn crash(&mut self) -> &mut Self {
        writeln!(self.trace, "crash").unwrap();
        let mut run = Run::new(self.run.id());
        for event in &self.log {
            run.apply(event).unwrap();
        }
        self.run = run;
        self
    }

    pub(crate) fn lost(&mut self, executing: &[(u64, u32)]) -> &mut Self {
        let executing = executing.iter().map(|&(step, attempt)| Grant { step, attempt }).collect();
        self.act("lost", Command::Lost { reason: "gone".to_owned(), executing })
    }

    /// Crash of the worker, and a new incarnation.
    pub(crate) fn restart(&mut self) -> &mut Self {
        self.lost(&[]).start()
    }

    pub(crate) fn frame(&mut self, name: &str, body: Body) -> Box<Step> {
        self.call += 1;
        Box::new(Step {
            call: self.call,
            run: self.run.id(),
            inc: self.run.incarnation(),
            scope: String::new(),
            name: name.to_owned(),
            key: None,
            was: None,
            body,
            on_change: None,
            retry: None,
            timeout_ms: None,
            undo: None,
            approve: None,
            flow: None,
            outcome: None,
        })
    }

    pub(crate) fn step_with(
        &mut self,
        name: &str,
        body: Body,
        tool: Option<ToolSpec>,
        change: impl FnOnce(&mut Step),
    ) -> &mut Self {
        let mut step = self.frame(name, body);
        change(&mut step);
        let title = format!("{} {}", step.call, name);
        self.act(&title, Command::Step { step, tool })
    }

    pub(crate) fn step(&mut self, name: &str, body: Body) -> &mut Self {
        self.step_with(name, body, None, |_| {})
    }

    pub(crate) fn code(&mut self, name: &str, args: Value) -> &mut Self {
        self.step(name, code(Effect::Code, args))
    }

    pub(crate) fn once(&mut self, name: &str, args: Value) -> &mut Self {
        self.step(name, code(Effect::Once, args))
    }

    pub(crate) fn idempotent(&mut self, name: &str, args: Value) -> &mut Self {
        self.step(name, code(Effect::Idempotent, args))
    }

    pub(crate) fn call(&self) -> u64 {
        self.call
    }

    pub(crate) fn done(&mut self, value: Value) -> &mut Self {
        let call = self.call;
        self.done_call(call, Outcome::Ok(value))
    }

    pub(crate) fn done_call(&mut self, call: u64, outcome: Outcome) -> &mut Self {
        self.act("done", Command::Done { call, outcome })
    }

    pub(crate) fn raised(&mut self, error: StepError) -> &mut Self {
        let call = self.call;
        self.done_call(call, Outcome::Error(error))
    }

    pub(crate) fn pass(&mut self, ms: u64) -> &mut Self {
        self.now = self.now + nx_types::Duration::from_millis(ms);
        self.act(&format!("{ms} ms pass"), Command::Tick)
    }

    pub(crate) fn complete(&mut self, result: Value) -> &mut Self {
        let inc = self.run.incarnation();
        self.act("complete", Command::Complete { inc, result: Arc::new(result) })
    }

    pub(crate) fn fail(&mut self, name: &str) -> &mut Self {
        let inc = self.run.incarnation();
        self.act("fail", Command::Fail { inc, error: error(name) })
    }

    /// Decides on the only open question.
    pub(crate) fn decide(&mut self, ruling: Ruling) -> &mut Self {
        self.decide_with(ruling, |_| {})
    }

    pub(crate) fn decide_with(&mut self, ruling: Ruling, change: impl FnOnce(&mut Vote)) -> &mut Self {
        let approval = self.run.approvals().next().unwrap();
        let mut vote = Vote {
            id: approval.id,
            by: "ann".to_owned(),
            roles: ["lead".to_owned(), "operator".to_owned()].into(),
            hash: Some(approval.hash),
            ruling,
            reason: None,
            args: None,
        };
        change(&mut vote);
        self.act("decide", Command::Decide(Box::new(vote)))
    }

    pub(crate) fn ready(&mut self, slot: Slot, tool: Option<ToolSpec>) -> &mut Self {
        self.act("ready", Command::Ready { slot, tool })
    }

    pub(crate) fn tool_done(&mut self, step: u64, attempt: u32, outcome: Outcome) -> &mut Self {
        let grant = Grant { step, attempt };
        self.act("tool done", Command::ToolDone { grant, purpose: Purpose::Execute, outcome })
    }

    /// The trace since the last call of this.
    pub(crate) fn trace(&mut self) -> String {
        std::mem::take(&mut self.trace)
    }

    fn show_action(&self, action: &Action) -> String {
        let text = match action {
            Action::Start(start) => format!("start inc {} recorded {} live {}", start.inc, start.recorded, start.live),
            Action::Reply { call, answer } => format!("{call}: {}", self.show_answer(answer)),
            Action::Unready { step } => format!("unready {}", step.name),
            Action::Cancel { inc, reason } => format!("cancel {inc} {reason}"),
            Action::Close { inc, state } => format!("close {inc} {state}"),
            Action::LateTaken { grant } => format!("late taken {}.{}", grant.step, grant.attempt),
            Action::Guarded(answer) => format!("guarded step {} {:?}", answer.step, answer.outcome),
            Action::Want { slot, target } => format!("want {slot:?} {target:?}"),
            Action::AskModel { step, model, .. } => format!("ask model {model} for step {step}"),
            Action::Unwant { slot } => format!("unwant {slot:?}"),
            Action::Dispatch(dispatch) => format!(
                "dispatch {:?} {}.{} {:?} {:?} key {}",
                dispatch.slot,
                dispatch.grant.step,
                dispatch.grant.attempt,
                dispatch.purpose,
                dispatch.work,
                dispatch.idempotency_key.is_some()
            ),
            Action::StartChild { step, agent, input, .. } => format!("child of {step}: {agent} {input:?}"),
            Action::CancelChild { reason, .. } => format!("cancel child: {reason}"),
            Action::NotifyParent { step, outcome, .. } => match outcome {
                Recorded::Value(value) => format!("parent step {step}: {value}"),
                Recorded::Error(error) => format!("parent step {step}: {}", error.name),
            },
        };
        scrub(&text)
    }

    fn show_answer(&self, answer: &Answer) -> String {
        let live = |live: &bool| if *live { " live" } else { "" };
        match answer {
            Answer::Value { value, live: l } => format!("value {value}{}", live(l)),
            Answer::Recorded { version, live: l } => match self.log_at(*version).and_then(RunEvent::outcome) {
                Some(Recorded::Value(value)) => format!("recorded {value}{}", live(l)),
                Some(Recorded::Error(error)) => format!("recorded error {}", error.name),
                None => format!("recorded NOTHING at {version}"),
            },
            Answer::Error(error) => format!("error {}: {}", error.name, error.message),
            Answer::Refused(problem) => format!("refused {problem}"),
            Answer::Execute { grant, idempotency_key, args, .. } => {
                let step = if grant.step > 1 << 51 { "-".to_owned() } else { grant.step.to_string() };
                let key = if idempotency_key.is_some() { " key" } else { "" };
                let args = args.as_ref().map(|args| format!(" args {args}")).unwrap_or_default();
                format!("execute {step}.{}{key}{args}", grant.attempt)
            }
            Answer::Probe { grant, args, .. } => format!("probe {}.{} {args}", grant.step, grant.attempt),
            Answer::Wait { why, until, approval } => {
                let until = until.map(|until| format!(" {}ms", until.as_millis() - self.now.as_millis()));
                let approval = approval.map(|_| " approval").unwrap_or_default();
                format!("wait {why:?}{}{approval}", until.unwrap_or_default())
            }
        }
    }

    /// The event of this version, also one of the decision that is being shown.
    fn log_at(&self, version: u64) -> Option<&RunEvent> {
        self.log.get(version as usize - 1)
    }
}

pub(crate) fn code(effect: Effect, args: Value) -> Body {
    Body::Code { effect, args, probe: false, key_window_ms: None }
}

pub(crate) fn error(name: &str) -> StepError {
    StepError {
        name: name.to_owned(),
        message: "it broke".to_owned(),
        retryable: None,
        retry_after_ms: None,
        details: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "handed on as it is")]
pub(crate) fn tool(effect: Effect) -> Option<ToolSpec> {
    Some(ToolSpec { effect, undo: None, probe: None, key_window_ms: None, timeout_ms: None })
}

/// Ids and hashes differ by seed and release: they are shown as letters.
fn scrub(text: &str) -> String {
    text.split(' ')
        .map(|word| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
            let hash = bare.len() == 64 && bare.bytes().all(|b| b.is_ascii_hexdigit());
            if (bare.starts_with("a_") || bare.starts_with("r_")) && bare.len() == 18 {
                word.replace(bare, bare.split_inclusive('_').next().unwrap_or_default())
            } else if hash {
                word.replace(bare, "#")
            } else {
                word.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// An event without ids, hashes and instants.
fn show_event(event: &RunEvent) -> String {
    let mut data: Value = serde_json::from_slice(&event.encode().unwrap()).unwrap();
    strip(&mut data);
    let data = data.to_string();
    format!("{} {data}", event.kind())
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for gone in ["hash", "id", "run", "until", "next", "due", "kept"] {
                fields.remove(gone);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

pub(crate) fn value(value: Value) -> Json {
    Arc::new(value)
}
