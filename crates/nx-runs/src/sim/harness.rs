//! The simulation itself: one server, some workers, one outside, one person, one clock. Whatever can happen next is
//! drawn from the seed; servers and workers die where the plan says.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use neuraxis_sdk::frames;
use nx_journal::{
    Commit, Core, MasterKeySource, Reader,
    backend::memory::{Disk, MemoryBackend},
};
use nx_types::{
    ApprovalId, Duration, Env, ErrorCode as _, Namespace, Rng as _,
    env::{ManualClock, SeededRng},
};

use super::{
    harness_stall::Stall,
    harness_worker::{Script, Worker},
    harness_world::World,
};
use crate::{
    engine::{
        Engine, Input, Limits, Output, Peer, Request, Response, RunKey, SessionId, Ticket, Token, record,
        request::{Ruling, StartRequest, Started},
    },
    service::lists,
};

/// Why a simulation did not end as it should.
pub type Failure = String;

/// Where processes die. Numbers count from the start of the simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The server, at these writes to its disk.
    pub server_at_write: BTreeSet<u64>,
    /// The server, when this many frames have been delivered.
    pub server_at_frame: BTreeSet<u64>,
    /// The worker, when this many frames have been delivered.
    pub worker_at_frame: BTreeSet<u64>,
    /// The worker, after this many effects, before it reports.
    pub worker_after_effect: BTreeSet<u64>,
    /// Connections break, when this many frames have been delivered.
    pub cut_at_frame: BTreeSet<u64>,
    /// The connection hangs, when this many frames have been delivered: nothing crosses it any more, and neither side knows
    /// why. See [`super::harness_stall`].
    pub stall_at_frame: BTreeSet<u64>,
    /// The disk is full from the first to the second number of frames.
    pub disk_full: Option<(u64, u64)>,
    /// The clock jumps by so many seconds when this many frames have been delivered (back if negative).
    pub clock_jumps: BTreeMap<u64, i64>,
}

#[derive(Debug)]
pub(super) struct Server {
    core: Core<MemoryBackend>,
    pub(super) engine: Engine,
    commits: VecDeque<(Token, Commit)>,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) worker: Worker,
    pub(super) session: Option<SessionId>,
    pub(super) up: VecDeque<frames::Worker>,
    pub(super) down: VecDeque<frames::Server>,
    pub(super) stall: Stall,
}

/// What makes the agents of a worker process.
pub type Scripts = Box<dyn Fn() -> Vec<(String, Box<dyn Script>)>>;

/// What the log says to a commit in place of taking it.
pub type Refuses = Box<dyn FnMut(&Commit) -> Option<nx_journal::Error>>;

/// A simulation.
pub struct Sim {
    pub(super) env: Env,
    clock: Arc<ManualClock>,
    pub(super) draws: SeededRng,
    disk: Disk,
    options: nx_journal::Options,
    /// The engine's bounds, for servers that start from now on.
    pub limits: Limits,
    pub(super) server: Option<Server>,
    pub(super) processes: Vec<Process>,
    scripts: Scripts,
    /// The outside.
    pub world: World,
    /// Commits that the log refuses, and how.
    pub refuses: Option<Refuses>,
    /// That the log itself refuses a commit for good is part of the simulation.
    pub tolerates: bool,
    /// Refusals that workers have received.
    pub refusals: Vec<String>,
    declared: Option<crate::kinds::Declared>,
    plan: Plan,
    /// Frames of connections that were lost, which arrived after all: on the lost connection, on a later one.
    pub late: (u64, u64),
    /// Frames delivered.
    pub frames: u64,
    effects: u64,
    numbers: u64,
    /// Requests for runs that have not been answered.
    wanted: Vec<(Option<Ticket>, StartRequest)>,
    /// Runs by key or place.
    pub started: Vec<Started>,
    rulings: BTreeMap<Ticket, ApprovalId>,
    /// Decisions that were acknowledged.
    pub decided: BTreeMap<ApprovalId, String>,
    /// Values that workers have received as durable: run, call's place in the log at that time.
    pub acknowledged: u64,
    /// How often the server and workers died.
    pub deaths: (u64, u64),
    trace: VecDeque<String>,
    /// How often in a row nothing but time passed.
    idle: u32,
    /// How often time passed while the disk was full.
    passes: u32,
    /// An answer or a request was refused: its sender tries again after a while.
    patient: bool,
}

/// Passages of time in a row after which a simulation counts as stuck.
const MAX_IDLE: u32 = 2000;

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("frames", &self.frames).field("trace", &self.trace).finish_non_exhaustive()
    }
}

/// Steps after which a simulation counts as stuck.
const MAX_STEPS: u64 = 50_000;
const TRACE: usize = 60;

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Move {
    StartServer,
    Connect(usize),
    Up(usize),
    Down(usize),
    Heal(usize),
    Ghost(usize),
    Work(usize),
    Append,
    Ask(usize),
    Decide,
    Time,
}

impl Sim {
    /// A simulation with one worker process.
    pub fn new(seed: u64, plan: Plan, scripts: Scripts) -> Self {
        let (env, clock) = Env::seeded(seed);
        let mut options = nx_journal::Options::new("simulated");
        options.master = MasterKeySource::Bytes([7; 32].into());
        options.min_free_bytes = 0;
        let mut sim = Self {
            env,
            clock,
            draws: SeededRng::new(seed ^ 0xd1ce),
            disk: Disk::new(),
            options,
            limits: Limits::default(),
            server: None,
            processes: Vec::new(),
            scripts,
            world: World::new(seed),
            refuses: None,
            tolerates: false,
            refusals: Vec::new(),
            declared: None,
            plan,
            late: (0, 0),
            frames: 0,
            effects: 0,
            numbers: 0,
            wanted: Vec::new(),
            started: Vec::new(),
            rulings: BTreeMap::new(),
            decided: BTreeMap::new(),
            acknowledged: 0,
            deaths: (0, 0),
            trace: VecDeque::new(),
            idle: 0,
            passes: 0,
            patient: false,
        };
        sim.spawn_worker();
        sim
    }

    /// Adds a worker process.
    pub fn spawn_worker(&mut self) {
        self.numbers += 1;
        let worker = Worker::new(&format!("w{}", self.numbers), (self.scripts)());
        self.processes.push(Process {
            worker,
            session: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            stall: Stall::default(),
        });
    }

    /// Replaces what new worker processes execute (another version of the code).
    pub fn deploy(&mut self, scripts: Scripts) {
        self.scripts = scripts;
    }

    /// Asks for a run.
    pub fn want(&mut self, request: StartRequest) {
        self.wanted.push((None, request));
    }

    pub(super) fn note(&mut self, what: String) {
        if self.trace.len() >= TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(what);
    }

    /// What happened lately, for failures.
    pub fn story(&self) -> String {
        self.trace.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn draw(&self, below: usize) -> usize {
        (self.draws.next_u64() % below.max(1) as u64) as usize
    }

    /// Writes to the disk so far.
    pub fn writes(&self) -> u64 {
        self.disk.writes()
    }

    /// The simulated time.
    pub fn now(&self) -> nx_types::Timestamp {
        self.env.now()
    }

    /// Reads the log.
    pub fn reader(&self) -> Result<Reader, Failure> {
        let server = self.server.as_ref().ok_or("the server is down")?;
        Ok(server.core.reader())
    }

    /// Goes on until `done` says so.
    pub fn run_until(&mut self, mut done: impl FnMut(&mut Self) -> Result<bool, Failure>) -> Result<(), Failure> {
        for _ in 0..MAX_STEPS {
            if self.server.is_some() && self.wanted.is_empty() && done(self)? {
                return Ok(());
            }
            self.step()?;
        }
        Err(format!("stuck after {MAX_STEPS} steps:\n{}", self.story()))
    }

    /// Goes on for so many things to happen.
    pub fn go_on(&mut self, steps: u64) -> Result<(), Failure> {
        (0..steps).try_for_each(|_| self.step())
    }

    /// How many runs are being loaded in slices.
    pub fn loading(&self) -> usize {
        self.server.as_ref().map_or(0, |server| server.engine.loading())
    }

    /// Goes on until every run that was asked for is over, and every worker knows.
    pub fn run_to_end(&mut self) -> Result<(), Failure> {
        self.run_until(|sim| {
            let reader = sim.reader()?;
            let over = |started: &Started| -> Result<bool, Failure> {
                let summary =
                    lists::summary(&reader, &Namespace::default(), started.run).map_err(|error| error.to_string())?;
                Ok(summary.is_some_and(|summary| summary.status.is_over()))
            };
            for started in &sim.started {
                if !over(started)? {
                    return Ok(false);
                }
            }
            Ok(sim.quiet())
        })
    }

    /// Nothing is on its way.
    pub fn quiet(&self) -> bool {
        let idle = |process: &Process| {
            process.up.is_empty()
                && process.down.is_empty()
                && process.worker.jobs.is_empty()
                && process.worker.welcomed
                && process.stall.is_over()
        };
        self.server.as_ref().is_some_and(|server| server.commits.is_empty()) && self.processes.iter().all(idle)
    }

    fn step(&mut self) -> Result<(), Failure> {
        let moves = self.moves()?;
        let chosen = match moves.as_slice() {
            [] => Move::Time,
            moves => moves.get(self.draw(moves.len())).copied().unwrap_or(Move::Time),
        };
        self.idle = if matches!(chosen, Move::Time) { self.idle + 1 } else { 0 };
        if self.idle > MAX_IDLE {
            return Err("nothing but time passes".to_owned());
        }
        match chosen {
            Move::StartServer => self.start_server()?,
            Move::Connect(of) => self.connect(of),
            Move::Up(of) => self.up(of)?,
            Move::Down(of) => self.down(of)?,
            Move::Heal(of) => self.heal(of)?,
            Move::Ghost(of) => self.ghost(of)?,
            Move::Work(of) => self.work(of),
            Move::Append => self.append()?,
            Move::Ask(of) => self.ask(of),
            Move::Decide => self.decide()?,
            Move::Time => self.pass_time()?,
        }
        self.flush();
        Ok(())
    }

    fn moves(&self) -> Result<Vec<Move>, Failure> {
        let mut moves = Vec::new();
        let Some(server) = &self.server else {
            moves.push(Move::StartServer);
            moves.extend(self.working());
            return Ok(moves);
        };
        for (of, process) in self.processes.iter().enumerate() {
            if process.stall.hangs {
                if self.heals(process) {
                    moves.push(Move::Heal(of));
                }
                continue;
            }
            if process.worker.welcomed && !process.stall.ghosts.is_empty() {
                moves.push(Move::Ghost(of));
            }
            match process.session {
                None => moves.push(Move::Connect(of)),
                Some(_) => {
                    if !process.up.is_empty() {
                        moves.push(Move::Up(of));
                    }
                    if !process.down.is_empty() {
                        moves.push(Move::Down(of));
                    }
                }
            }
        }
        moves.extend(self.working());
        if !server.commits.is_empty() {
            moves.push(Move::Append);
        }
        let unasked = self.wanted.iter().enumerate().filter(|(_, (ticket, _))| ticket.is_none() && !self.patient);
        moves.extend(unasked.map(|(of, _)| Move::Ask(of)));
        if moves.is_empty() && !self.patient && self.rulings.is_empty() && !self.waiting()?.is_empty() {
            moves.push(Move::Decide);
        }
        Ok(moves)
    }

    fn working(&self) -> Vec<Move> {
        let busy = self.processes.iter().enumerate().filter(|(_, process)| !process.worker.jobs.is_empty());
        busy.map(|(of, _)| Move::Work(of)).collect()
    }

    fn start_server(&mut self) -> Result<(), Failure> {
        self.note("server starts".to_owned());
        let backend = MemoryBackend::open(&self.disk);
        if let Some(write) = self.plan.server_at_write.pop_first() {
            self.disk.crash_at(write.max(self.disk.writes()));
        }
        let core = match Core::open(backend, &self.options, self.env.clone()) {
            Ok(core) => core,
            Err(nx_journal::Error::Crashed) => {
                self.deaths.0 += 1;
                return Ok(());
            }
            // A full disk refuses the new epoch; the operator makes room.
            Err(nx_journal::Error::DiskFull) => {
                self.disk.set_full(false);
                return Ok(());
            }
            Err(error) => return Err(format!("the log does not open: {error}")),
        };
        let engine =
            Engine::open(self.limits.clone(), &RunKey::new([9; 32]), "sim".to_owned(), self.env.clone(), core.reader());
        self.server =
            Some(Server { core, engine: engine.map_err(|error| error.to_string())?, commits: VecDeque::new() });
        if let Some(declared) = self.declared.clone() {
            self.tell(Input::Declared { namespace: Namespace::default(), declared });
        }
        Ok(())
    }

    /// Hands a request in; its answer is not awaited.
    pub fn request(&mut self, request: Request) {
        let ticket = Ticket(self.number());
        self.tell(Input::Request { ticket, request: Box::new(request) });
        self.flush();
    }

    /// Tells the engine what is declared, and each that follows it.
    pub fn declare(&mut self, declared: crate::kinds::Declared) {
        self.declared = Some(declared.clone());
        self.tell(Input::Declared { namespace: Namespace::default(), declared });
        self.flush();
    }

    /// The worker that has a run logs a line.
    pub fn log(&mut self, run: nx_types::RunId, message: &str) {
        for session in self.processes.iter().filter_map(|process| process.session).collect::<Vec<_>>() {
            let (level, message) = ("info".to_owned(), message.to_owned());
            let frame = frames::Worker::Log { run, inc: 1, call: None, name: None, level, message };
            self.tell(Input::Frame { session, frame });
        }
    }

    /// The server dies.
    pub fn kill_server(&mut self) {
        self.note("server dies".to_owned());
        self.deaths.0 += 1;
        self.server = None;
        self.rulings.clear();
        for (ticket, _) in &mut self.wanted {
            *ticket = None;
        }
        for process in &mut self.processes {
            hang_up(process);
        }
    }

    fn kill_worker(&mut self, of: usize) {
        self.deaths.1 += 1;
        let Some(process) = self.processes.get_mut(of) else { return };
        let session = process.session;
        let name = process.worker.name.clone();
        self.processes.remove(of);
        self.note(format!("worker {name} dies"));
        self.spawn_worker();
        if let Some(session) = session {
            self.tell(Input::Disconnected { session });
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        let now = self.env.now();
        if let Some(server) = &mut self.server {
            server.engine.handle(input, now);
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn connect(&mut self, of: usize) {
        let session = SessionId(self.number());
        if let Some(process) = self.processes.get_mut(of) {
            process.session = Some(session);
            process.up.clear();
            process.down.clear();
            process.up.push_back(process.worker.hello());
        }
        self.tell(Input::Connected { session, peer: Peer::default() });
    }

    /// A frame has been delivered: whoever dies now, dies.
    fn delivered(&mut self, of: usize) {
        self.frames += 1;
        let frames = self.frames;
        if let Some(jump) = self.plan.clock_jumps.remove(&frames) {
            let now = self.env.now().as_micros() + jump * 1_000_000;
            self.clock.set(nx_types::Timestamp::from_micros(now));
        }
        if let Some((from, to)) = self.plan.disk_full {
            self.disk.set_full((from..to).contains(&frames));
        }
        if self.plan.server_at_frame.remove(&frames) {
            self.kill_server();
        }
        if self.plan.worker_at_frame.remove(&frames) {
            self.kill_worker(of);
        } else if self.plan.stall_at_frame.remove(&frames) {
            self.stall(of);
        } else if self.plan.cut_at_frame.remove(&frames)
            && let Some(process) = self.processes.get_mut(of)
        {
            let session = process.session;
            hang_up(process);
            if let Some(session) = session {
                self.note("connection breaks".to_owned());
                self.tell(Input::Disconnected { session });
            }
        }
    }

    fn up(&mut self, of: usize) -> Result<(), Failure> {
        let Some(process) = self.processes.get_mut(of) else { return Ok(()) };
        let (Some(session), Some(frame)) = (process.session, process.up.pop_front()) else { return Ok(()) };
        self.note(format!("> {frame:?}"));
        // What crosses a wire is text: nothing may be lost in it.
        let wire = serde_json::to_string(&frame).map_err(|error| error.to_string())?;
        let frame = serde_json::from_str(&wire).map_err(|error| format!("{wire}: {error}"))?;
        self.tell(Input::Frame { session, frame });
        self.delivered(of);
        Ok(())
    }

    fn down(&mut self, of: usize) -> Result<(), Failure> {
        let Some(process) = self.processes.get_mut(of) else { return Ok(()) };
        let Some(frame) = process.down.pop_front() else { return Ok(()) };
        let wire = serde_json::to_string(&frame).map_err(|error| error.to_string())?;
        let frame: frames::Server = serde_json::from_str(&wire).map_err(|error| format!("{wire}: {error}"))?;
        if matches!(frame, frames::Server::Result { .. } | frames::Server::Error { .. }) {
            self.acknowledged += 1;
        }
        if let frames::Server::Refused { problem, .. } = &frame {
            self.refusals.push(format!("{problem}, retryable: {}", problem.retryable));
        }
        let told = format!("< {frame:?}");
        process.worker.receive(frame, &mut process.up);
        self.note(told);
        self.delivered(of);
        Ok(())
    }

    fn work(&mut self, of: usize) {
        let Some(process) = self.processes.get_mut(of) else { return };
        let mut report = VecDeque::new();
        process.worker.work(&mut self.world, &mut report);
        self.effects += 1;
        if self.plan.worker_after_effect.remove(&self.effects) {
            self.kill_worker(of);
        } else if let Some(process) = self.processes.get_mut(of)
            && process.session.is_some()
        {
            process.up.append(&mut report);
        }
    }

    /// The log takes a group of the commits that wait.
    fn append(&mut self) -> Result<(), Failure> {
        let most = 1 + self.draw(4);
        let mut refused = None;
        let Some(server) = &mut self.server else { return Ok(()) };
        let most = most.min(server.commits.len());
        let mut group: Vec<(Token, Commit)> = server.commits.drain(..most).collect();
        if let Some(refuses) = &mut self.refuses
            && let Some((place, error)) = first_refused(refuses, &group)
        {
            // What comes after it is judged when its turn comes.
            for later in group.drain(place + 1..).rev() {
                server.commits.push_front(later);
            }
            if let Some((token, _)) = group.pop() {
                refused = Some((token, error));
            }
        }
        let crashed = |error: &nx_journal::Error| matches!(error, nx_journal::Error::Crashed);
        for (_, commit) in &mut group {
            match put_blobs(&mut server.core, commit, self.options.max_event_bytes) {
                Err(error) if crashed(&error) => {
                    self.kill_server();
                    return Ok(());
                }
                _ => {}
            }
        }
        let commits: Vec<Commit> = group.iter().map(|(_, commit)| commit.clone()).collect();
        let outcomes = server.core.append(&commits);
        if outcomes.iter().any(|outcome| outcome.as_ref().is_err_and(crashed)) {
            self.kill_server();
            return Ok(());
        }
        for ((token, _), outcome) in group.into_iter().zip(outcomes) {
            if let Err(error) = &outcome
                && !error.retryable()
                && !self.tolerates
                && error.code().as_str() != "NX-JRN-0001"
            {
                return Err(format!("the log refused a commit: {error}\n{}", self.story()));
            }
            server.engine.committed(token, outcome);
        }
        if let Some((token, error)) = refused {
            self.note(format!("the log refuses: {error}"));
            if let Some(server) = &mut self.server {
                server.engine.committed(token, Err(error));
            }
        }
        Ok(())
    }

    fn ask(&mut self, of: usize) {
        let ticket = Ticket(self.number());
        let Some((asked, request)) = self.wanted.get_mut(of) else { return };
        *asked = Some(ticket);
        let request = Box::new(Request::Start(request.clone()));
        self.tell(Input::Request { ticket, request });
    }

    /// A person looks at what waits, and answers one question.
    fn decide(&mut self) -> Result<(), Failure> {
        let waiting = self.waiting()?;
        let Some(view) = waiting.get(self.draw(waiting.len())) else { return Ok(()) };
        let (decision, value) = match view.why.as_str() {
            "call" | "standalone" => ("approve", None),
            "in_doubt" => match self.world.look(&view.call, &view.args) {
                frames::Found::Done(value) => ("complete", Some(value)),
                _ => ("not_done", None),
            },
            // People differ: what is refused is decided anew.
            _ if self.draw(2) == 0 => ("run", None),
            _ => ("reuse", None),
        };
        let ruling = Ruling {
            decision: decision.to_owned(),
            hash: Some(view.hash),
            by: "ann".to_owned(),
            roles: [view.who.clone()].into(),
            reason: Some("simulated".to_owned()),
            args: None,
            value,
            step: None,
        };
        let ticket = Ticket(self.number());
        self.rulings.insert(ticket, view.id);
        self.note(format!("person: {decision} {} ({})", view.id, view.why));
        let request = Request::Decide { namespace: Namespace::default(), approval: view.id, ruling };
        self.tell(Input::Request { ticket, request: Box::new(request) });
        Ok(())
    }

    /// Nothing else can happen: time passes until something is due.
    fn pass_time(&mut self) -> Result<(), Failure> {
        self.patient = false;
        let Some(server) = &self.server else { return Ok(()) };
        let hangs = self.processes.iter().any(|process| process.stall.hangs);
        let unnoticed = hangs.then(|| self.env.now() + Duration::from_secs(10));
        let Some(wake) = server.engine.wake().or(unnoticed) else {
            return Err(format!("nothing is due and nothing can happen:\n{}", self.story()));
        };
        if self.plan.disk_full.is_some_and(|(from, _)| self.frames >= from) {
            // The operator notices after a while, and makes room.
            self.passes += 1;
            if self.passes > 20 {
                self.plan.disk_full = None;
                self.disk.set_full(false);
            }
        }
        let step = wake.since(self.env.now()).max(Duration::from_millis(1));
        self.clock.advance(step);
        if self.idle < 10 {
            self.note(format!("{step} pass"));
        }
        let now = self.env.now();
        let alive = self.processes.iter().filter(|process| !process.stall.hangs);
        let sessions: Vec<SessionId> = alive.filter_map(|process| process.session).collect();
        if let Some(server) = &mut self.server {
            // Sockets are alive: pings cross.
            for session in sessions {
                server.engine.handle(Input::Alive { session }, now);
            }
            server.engine.tick(now);
        }
        Ok(())
    }

    /// What the engine wants done goes on its way.
    fn flush(&mut self) {
        let now = self.env.now();
        let Some(server) = &mut self.server else { return };
        server.engine.tick(now);
        let outputs = server.engine.drain();
        self.put_out(outputs);
    }

    pub(super) fn put_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Commit { token, commit } => {
                    if let Some(server) = &mut self.server {
                        server.commits.push_back((token, commit));
                    }
                }
                Output::Send { session, frame, .. } => {
                    if let Some(process) = self.processes.iter_mut().find(|process| process.session == Some(session)) {
                        process.down.push_back(frame);
                    }
                }
                Output::Close { session } => {
                    let of = self.processes.iter().position(|process| process.session == Some(session));
                    if let Some(of) = of {
                        self.closed(of);
                    }
                }
                Output::Reply { ticket, answer } => {
                    if let Some(id) = self.rulings.remove(&ticket) {
                        match answer {
                            Ok(_) => drop(self.decided.insert(id, "decided".to_owned())),
                            Err(_) => self.patient = true,
                        }
                    } else if let Some(of) = self.wanted.iter().position(|(asked, _)| *asked == Some(ticket)) {
                        match answer {
                            Ok(Response::Started(started)) => {
                                self.wanted.remove(of);
                                self.started.push(started);
                            }
                            _ => {
                                self.patient = true;
                                if let Some((asked, _)) = self.wanted.get_mut(of) {
                                    *asked = None;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The first commit of a group that the log refuses.
fn first_refused(refuses: &mut Refuses, group: &[(Token, Commit)]) -> Option<(usize, nx_journal::Error)> {
    group.iter().enumerate().find_map(|(place, (_, commit))| Some((place, refuses(commit)?)))
}

pub(super) fn hang_up(process: &mut Process) {
    process.session = None;
    process.up.clear();
    process.down.clear();
    process.stall.hangs = false;
    process.worker.cut();
}

/// Large data goes into blobs, as the service does it.
fn put_blobs(core: &mut Core<MemoryBackend>, commit: &mut Commit, max: usize) -> Result<(), nx_journal::Error> {
    for event in commit.events.iter_mut().filter(|event| event.data.len() > max) {
        let subject = event.data_subject.clone().unwrap_or_else(|| event.subject.to_string());
        let blob = core.put_blob(&event.namespace, &subject, &event.data)?;
        event.data = record::outside(blob);
        event.blobs.push(blob);
    }
    Ok(())
}
