//! A simulated worker process. Agents are scripts: functions that are run from the top each time an answer arrives,
//! with the answers so far at hand, as if they had awaited each call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use neuraxis_sdk::frames::{
    self, AgentOffer, Approve, Body, Effect, Executing, Grant, Hello, Outcome, Retry, Server, StepError, ToolOffer,
    ToolsetOffer, Undo,
};
use nx_types::RunId;
use serde_json::Value;

use super::harness_world::World;

/// Why a script did not return.
#[derive(Debug, Clone, PartialEq)]
pub enum Halt {
    /// It waits for answers.
    Pending,
    /// It raised an error.
    Failed(Box<StepError>),
    /// It carries this state: it begins anew from it.
    Carry(Value),
}

/// What a script's functions return.
pub type Flow<T = Value> = Result<T, Halt>;

/// An agent.
pub trait Script: std::fmt::Debug {
    /// Runs from the top.
    fn run(&self, context: &mut Context<'_>) -> Flow;
}

/// A step as a script asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The frame, without call, run, incarnation and scope.
    pub step: frames::Step,
}

impl Ask {
    /// A step of this name.
    pub fn new(name: &str, body: Body) -> Self {
        Self {
            step: frames::Step {
                call: 0,
                run: RunId::from_bytes([0; 10]),
                inc: 0,
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
            },
        }
    }

    /// A function of the worker's code.
    pub fn code(name: &str, effect: Effect, args: Value) -> Self {
        Self::new(name, Body::Code { effect, args, probe: false, key_window_ms: None })
    }

    /// The worker can tell whether a call took place.
    pub fn probe(mut self) -> Self {
        if let Body::Code { probe, .. } = &mut self.step.body {
            *probe = true;
        }
        self
    }

    /// With this undo function.
    pub fn undo(mut self, function: &str) -> Self {
        self.step.undo = Some(Undo::Function(function.to_owned()));
        self
    }

    /// With this approval.
    pub fn approve(mut self, approve: Approve) -> Self {
        self.step.approve = Some(approve);
        self
    }

    /// With so many attempts.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.step.retry = Some(Retry { attempts, initial_ms: 50, ..Retry::default() });
        self
    }
}

type Place = (String, u32);

/// What a script sees.
#[derive(Debug)]
pub struct Context<'a> {
    /// The run's input.
    pub input: &'a Value,
    /// The state that the run carried.
    pub state: Option<&'a Value>,
    scope: String,
    next: BTreeMap<String, u32>,
    gathers: u32,
    answers: &'a BTreeMap<Place, Result<Value, StepError>>,
    wanted: Vec<(Place, Ask)>,
}

impl Context<'_> {
    /// Asks for a step and awaits it.
    pub fn step(&mut self, ask: Ask) -> Flow {
        let count = self.next.entry(self.scope.clone()).or_default();
        *count += 1;
        let place = (self.scope.clone(), *count);
        match self.answers.get(&place) {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(error)) => Err(Halt::Failed(Box::new(error.clone()))),
            None => {
                self.wanted.push((place, ask));
                Err(Halt::Pending)
            }
        }
    }

    /// Calls a tool.
    pub fn tool(&mut self, name: &str, args: Value) -> Flow {
        self.step(Ask::new(name, Body::Tool { args }))
    }

    /// Runs branches side by side and waits for all.
    pub fn gather(&mut self, branches: &[&dyn Fn(&mut Self) -> Flow]) -> Flow<Vec<Value>> {
        self.gathers += 1;
        let (outer, gather) = (self.scope.clone(), self.gathers);
        let mut values = Vec::new();
        let mut halt = None;
        for (place, branch) in branches.iter().enumerate() {
            let slash = if outer.is_empty() { "" } else { "/" };
            self.scope = format!("{outer}{slash}g{gather}.{place}");
            match branch(self) {
                Ok(value) => values.push(value),
                Err(Halt::Failed(error)) => halt = Some(Halt::Failed(error)),
                Err(other) => drop(halt.get_or_insert(other)),
            }
        }
        self.scope = outer;
        halt.map_or(Ok(values), Err)
    }
}

/// An agent of a run, between two awaits.
#[derive(Debug)]
struct Incarnation {
    inc: u32,
    agent: String,
    input: Value,
    state: Option<Value>,
    answers: BTreeMap<Place, Result<Value, StepError>>,
    asked: BTreeSet<Place>,
    carrying: Option<(u64, Value)>,
    cancelled: bool,
    ended: bool,
}

/// What a worker has been asked to do, and has not done yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    run: RunId,
    grant: Grant,
    reply: Reply,
    name: String,
    args: Value,
    key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// As `done` of this call.
    Done(u64),
    /// As `probed` of this call.
    Probed(u64),
    /// As `tool_done` of this call.
    Tool(u64),
}

/// A worker process.
#[derive(Debug)]
pub struct Worker {
    /// Its name.
    pub name: String,
    scripts: BTreeMap<String, Box<dyn Script>>,
    tools: Vec<ToolsetOffer>,
    incarnations: BTreeMap<RunId, Incarnation>,
    calls: BTreeMap<u64, (RunId, Place, Ask)>,
    next_call: u64,
    /// What it executes now.
    pub jobs: VecDeque<Job>,
    /// Outcomes that were told as `done` and not answered yet, by call.
    unanswered: BTreeMap<u64, (RunId, Grant, Outcome)>,
    /// Jobs of connections that are gone: their outcomes go out as `late`.
    stray: Vec<(RunId, Grant)>,
    late: BTreeMap<(RunId, Grant), Outcome>,
    /// It has a connection and has been welcomed.
    pub welcomed: bool,
}

impl Worker {
    /// A process with these agents; it serves the toolset `shop`.
    pub fn new(name: &str, scripts: impl IntoIterator<Item = (String, Box<dyn Script>)>) -> Self {
        let find = ToolOffer { name: "find_order".to_owned(), effect: Effect::Read, undo: None, probe: None };
        Self {
            name: name.to_owned(),
            scripts: scripts.into_iter().collect(),
            tools: vec![ToolsetOffer { name: "shop".to_owned(), tools: vec![find] }],
            incarnations: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            jobs: VecDeque::new(),
            unanswered: BTreeMap::new(),
            stray: Vec::new(),
            late: BTreeMap::new(),
            welcomed: false,
        }
    }

    /// Opens a connection.
    pub fn hello(&self) -> frames::Worker {
        let offer = |name: &String| AgentOffer { name: name.clone(), version: None };
        let executing = self.stray.iter().map(|(run, grant)| Executing { run: *run, grant: *grant }).collect();
        frames::Worker::Hello(Hello {
            protocol: vec![1],
            sdk: "sim/1".to_owned(),
            worker: self.name.clone(),
            namespace: None,
            agents: self.scripts.keys().map(offer).collect(),
            toolsets: self.tools.clone(),
            runs: 16,
            executing,
        })
    }

    /// The connection is gone: agents are dropped, executions that act on the outside go on.
    pub fn cut(&mut self) {
        self.welcomed = false;
        self.incarnations.clear();
        self.calls.clear();
        self.jobs.retain(|job| job.grant.step < 1 << 52 && !matches!(job.reply, Reply::Probed(_)));
        self.stray = self.jobs.iter().map(|job| (job.run, job.grant)).collect();
        // Nobody knows whether they were heard.
        for (run, grant, outcome) in std::mem::take(&mut self.unanswered).into_values() {
            self.late.insert((run, grant), outcome);
        }
    }

    /// Executions that have not begun never will: the process has noticed that it may have lost them.
    pub fn give_up(&mut self) {
        self.jobs.clear();
        self.stray.clear();
    }

    /// Takes in a frame; what it says in return is put into `out`.
    pub fn receive(&mut self, frame: Server, out: &mut VecDeque<frames::Worker>) {
        match frame {
            Server::Welcome(_) => {
                self.welcomed = true;
                for ((run, grant), outcome) in &self.late {
                    out.push_back(frames::Worker::Late { run: *run, grant: *grant, outcome: outcome.clone() });
                }
            }
            Server::Start(start) => {
                let incarnation = Incarnation {
                    inc: start.inc,
                    agent: start.agent,
                    input: start.input,
                    state: start.state,
                    answers: BTreeMap::new(),
                    asked: BTreeSet::new(),
                    carrying: None,
                    cancelled: false,
                    ended: false,
                };
                self.incarnations.insert(start.run, incarnation);
                self.advance(start.run, out);
            }
            Server::Result { call, value, .. } => self.answered(call, Ok(value), out),
            Server::Error { call, error, .. } => self.answered(call, Err(error), out),
            Server::Refused { call, problem } => {
                let error = super::harness_world::error("Refused", &problem.to_string(), Some(problem.retryable));
                if let Some(call) = call {
                    self.answered(call, Err(error), out);
                }
            }
            Server::Execute { call, grant, idempotency_key, args, .. } => {
                if let Some((run, _, ask)) = self.calls.get(&call) {
                    let own = match &ask.step.body {
                        Body::Code { args, .. } => args.clone(),
                        _ => Value::Null,
                    };
                    let (name, args) = (ask.step.name.clone(), args.unwrap_or(own));
                    let reply = Reply::Done(call);
                    self.jobs.push_back(Job { run: *run, grant, reply, name, args, key: idempotency_key });
                }
            }
            Server::Probe { call, grant, args, .. } => {
                if let Some((run, _, ask)) = self.calls.get(&call) {
                    let name = ask.step.name.clone();
                    let reply = Reply::Probed(call);
                    self.jobs.push_back(Job { run: *run, grant, reply, name, args, key: None });
                }
            }
            Server::Tool { call, run, grant, toolset, tool, args, idempotency_key, .. } => {
                let name = format!("{toolset}/{tool}");
                let reply = Reply::Tool(call);
                self.jobs.push_back(Job { run, grant, reply, name, args, key: idempotency_key });
            }
            Server::Undo { call, run, grant, function, args, result, idempotency_key, .. } => {
                let args = serde_json::json!({ "args": args, "result": result });
                let reply = Reply::Tool(call);
                self.jobs.push_back(Job { run, grant, reply, name: function, args, key: Some(idempotency_key) });
            }
            Server::Cancel { run, inc, .. } => {
                if let Some(incarnation) = self.incarnations.get_mut(&run).filter(|found| found.inc == inc) {
                    incarnation.cancelled = true;
                    self.calls.retain(|_, (of, ..)| *of != run);
                    out.push_back(frames::Worker::Stopped { run, inc });
                }
            }
            Server::Closed { run, inc, state } => {
                if self.incarnations.get(&run).is_some_and(|found| found.inc == inc) {
                    self.incarnations.remove(&run);
                    self.calls.retain(|_, (of, ..)| *of != run);
                    let recorded = matches!(state.as_str(), "completed" | "failed" | "cancelled");
                    self.tell_late(run, recorded, out);
                }
            }
            Server::LateTaken { run, grant } => drop(self.late.remove(&(run, grant))),
            Server::Wait { call, why: frames::Waiting::Retry, .. } => drop(self.unanswered.remove(&call)),
            Server::Wait { .. } | Server::Goodbye { .. } => {}
        }
    }

    /// The incarnation is over: outcomes that were not answered are told again, unless the run has ended with it.
    fn tell_late(&mut self, run: RunId, recorded: bool, out: &mut VecDeque<frames::Worker>) {
        let own = self.unanswered.iter().filter(|(_, (of, ..))| *of == run);
        for call in own.map(|(call, _)| *call).collect::<Vec<_>>() {
            if let Some((run, grant, outcome)) = self.unanswered.remove(&call).filter(|_| !recorded) {
                self.late.insert((run, grant), outcome.clone());
                out.push_back(frames::Worker::Late { run, grant, outcome });
            }
        }
    }

    fn answered(&mut self, call: u64, answer: Result<Value, StepError>, out: &mut VecDeque<frames::Worker>) {
        self.unanswered.remove(&call);
        let carried = |found: &Incarnation| found.carrying.as_ref().is_some_and(|(of, _)| *of == call);
        if let Some((run, incarnation)) = self.incarnations.iter_mut().find(|(_, found)| carried(found)) {
            let run = *run;
            incarnation.state = incarnation.carrying.take().map(|(_, state)| state);
            incarnation.answers.clear();
            incarnation.asked.clear();
            return self.advance(run, out);
        }
        let Some((run, place, _)) = self.calls.remove(&call) else { return };
        if let Some(incarnation) = self.incarnations.get_mut(&run) {
            incarnation.answers.insert(place, answer);
            self.advance(run, out);
        }
    }

    /// Runs a script as far as its answers reach.
    fn advance(&mut self, run: RunId, out: &mut VecDeque<frames::Worker>) {
        let Some(incarnation) = self.incarnations.get_mut(&run) else { return };
        if incarnation.cancelled || incarnation.ended {
            return;
        }
        let Some(script) = self.scripts.get(&incarnation.agent) else { return };
        let mut context = Context {
            input: &incarnation.input,
            state: incarnation.state.as_ref(),
            scope: String::new(),
            next: BTreeMap::new(),
            gathers: 0,
            answers: &incarnation.answers,
            wanted: Vec::new(),
        };
        let flow = script.run(&mut context);
        let wanted = context.wanted;
        let inc = incarnation.inc;
        match flow {
            Ok(result) => {
                incarnation.ended = true;
                out.push_back(frames::Worker::Complete { run, inc, result });
            }
            Err(Halt::Failed(error)) => {
                incarnation.ended = true;
                out.push_back(frames::Worker::Fail { run, inc, error: *error });
            }
            Err(Halt::Carry(state)) => {
                if incarnation.carrying.is_none() {
                    self.next_call += 1;
                    incarnation.carrying = Some((self.next_call, state.clone()));
                    out.push_back(frames::Worker::Carry { call: self.next_call, run, inc, state });
                }
            }
            Err(Halt::Pending) => {
                for (place, ask) in wanted {
                    if incarnation.asked.insert(place.clone()) {
                        self.next_call += 1;
                        let step =
                            frames::Step { call: self.next_call, run, inc, scope: place.0.clone(), ..ask.step.clone() };
                        self.calls.insert(self.next_call, (run, place, ask));
                        out.push_back(frames::Worker::Step(Box::new(step)));
                    }
                }
            }
        }
    }

    /// Executes one job: the effect takes place, and the report is put into `out`.
    pub fn work(&mut self, world: &mut World, out: &mut VecDeque<frames::Worker>) {
        let Some(job) = self.jobs.pop_front() else { return };
        let stray = self.stray.iter().position(|of| *of == (job.run, job.grant));
        if let Reply::Probed(call) = job.reply {
            out.push_back(frames::Worker::Probed { call, found: world.probe(&job.name, &job.args) });
            return;
        }
        let outcome = world.execute(&job.name, &job.args, job.key.as_deref());
        if let Some(stray) = stray {
            self.stray.remove(stray);
            self.late.insert((job.run, job.grant), outcome.clone());
            if self.welcomed {
                out.push_back(frames::Worker::Late { run: job.run, grant: job.grant, outcome });
            }
            return;
        }
        match job.reply {
            Reply::Done(call) => {
                if job.grant.step < 1 << 52 {
                    self.unanswered.insert(call, (job.run, job.grant, outcome.clone()));
                }
                out.push_back(frames::Worker::Done { call, outcome });
            }
            Reply::Tool(call) => out.push_back(frames::Worker::ToolDone { call, outcome }),
            Reply::Probed(_) => {}
        }
    }
}
