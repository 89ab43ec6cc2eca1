//! Workers' connections: greeting, leases, coming back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use neuraxis_sdk::frames::{self, Grant, Hello, PROTOCOL, ToolOffer, Welcome};
use nx_types::{Namespace, Problem, RunId, Timestamp};

use super::{Engine, Output, Peer, SessionId, outstanding::UNRECORDED, timers::Timer, view::WorkerView};
use crate::{
    error::Error,
    machine::{Command, Purpose},
};

/// A worker's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Peer,
    /// It has said `hello`.
    pub(super) greeted: bool,
    pub(super) worker: String,
    pub(super) sdk: String,
    pub(super) namespace: Namespace,
    /// Agents that it executes, with their versions.
    pub(super) agents: BTreeMap<String, Option<String>>,
    /// Toolsets that it serves.
    pub(super) toolsets: BTreeMap<String, BTreeMap<String, ToolOffer>>,
    pub(super) max_runs: u32,
    pub(super) runs: BTreeSet<RunId>,
    /// Calls without a terminal answer.
    pub(super) calls: HashMap<u64, Call>,
    /// Tool calls and undos sent to it.
    pub(super) tools: BTreeMap<u64, ToolCall>,
    next_call: u64,
    connected: Timestamp,
    pub(super) heard: Timestamp,
}

/// A call of a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) run: RunId,
    pub(super) grant: Option<Grant>,
    /// Its incarnation is over: its outcome is a late one.
    pub(super) stale: bool,
}

/// A call of the server to a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToolCall {
    pub(super) run: RunId,
    pub(super) grant: Grant,
    pub(super) purpose: Purpose,
}

impl Session {
    fn new(peer: Peer, now: Timestamp) -> Self {
        Self {
            peer,
            greeted: false,
            worker: String::new(),
            sdk: String::new(),
            namespace: Namespace::default(),
            agents: BTreeMap::new(),
            toolsets: BTreeMap::new(),
            max_runs: 0,
            runs: BTreeSet::new(),
            calls: HashMap::new(),
            tools: BTreeMap::new(),
            next_call: 0,
            connected: now,
            heard: now,
        }
    }

    pub(super) fn new_tool_call(&mut self, tool: ToolCall) -> u64 {
        self.next_call += 1;
        self.tools.insert(self.next_call, tool);
        self.next_call
    }

    /// Runs that it can still take.
    pub(super) fn room(&self) -> u32 {
        self.max_runs.saturating_sub(self.runs.len() as u32)
    }

    pub(super) fn serves(&self, tool: &str) -> Option<&ToolOffer> {
        let (toolset, tool) = tool.split_once('/')?;
        self.toolsets.get(toolset)?.get(tool)
    }
}

/// Longest name of a worker, an agent, a toolset or a tool.
const MAX_NAME: usize = 256;
/// Most agents, toolsets, tools of a toolset and executions in a `hello`.
const MAX_OFFERS: usize = 10_000;

impl Engine {
    pub(super) fn connected(&mut self, session: SessionId, peer: Peer) {
        if self.sessions.len() >= self.limits.sessions {
            let max = self.limits.sessions as u64;
            let error = Error::Limit { what: "the number of workers", max, fix: "raise it, or retry later" };
            let frame = frames::Server::Goodbye { problem: error.problem(), retry_ms: Some(5000) };
            self.out.push(Output::Send { session, frame, about: None });
            self.out.push(Output::Close { session });
            return;
        }
        self.sessions.insert(session, Session::new(peer, self.now));
        self.timers.set(Timer::Session(session), Some(self.now + self.limits.hello_within));
    }

    pub(super) fn heard(&mut self, session: SessionId) {
        if let Some(open) = self.sessions.get_mut(&session) {
            open.heard = self.now;
        }
    }

    pub(super) fn hello(&mut self, session: SessionId, hello: Hello) {
        let namespace = match self.check_hello(session, &hello) {
            Ok(namespace) => namespace,
            Err(error) => return self.goodbye(session, error.problem(), None),
        };
        let stale: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(id, open)| {
                **id != session && open.greeted && open.worker == hello.worker && open.namespace == namespace
            })
            .map(|(id, _)| *id)
            .collect();
        for old in stale {
            // The worker is here, so its former connection is dead even if nobody has told us.
            self.goodbye(old, Error::HungUp { reason: "the worker has opened another" }.problem(), None);
        }
        let Some(open) = self.sessions.get_mut(&session) else { return };
        open.greeted = true;
        open.worker.clone_from(&hello.worker);
        open.sdk = hello.sdk;
        open.namespace = namespace.clone();
        open.agents = hello.agents.into_iter().map(|agent| (agent.name, agent.version)).collect();
        let tools = |tools: Vec<ToolOffer>| tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect();
        open.toolsets = hello.toolsets.into_iter().map(|set| (set.name, tools(set.tools))).collect();
        open.max_runs = hello.runs.min(self.limits.runs_per_worker);
        open.heard = self.now;
        let welcome = Welcome {
            protocol: PROTOCOL,
            server: self.version.clone(),
            session: format!("s_{}", session.0),
            max_frame_bytes: frames::MAX_FRAME_BYTES,
            credit: self.limits.credit,
            lease_ms: self.limits.lease.as_millis(),
        };
        self.timers.set(Timer::Session(session), Some(self.now + self.limits.lease));
        self.send(session, frames::Server::Welcome(welcome));
        let executing: Vec<(RunId, Grant)> = hello.executing.iter().map(|of| (of.run, of.grant)).collect();
        for run in executing.iter().map(|(run, _)| *run).collect::<BTreeSet<_>>() {
            // What it executes may belong to a run that is not loaded; its obligations are known once it is.
            if self.dormant.contains_key(&run) && self.load(&namespace, run).is_err() {
                tracing::debug!(%run, "a worker executes for a run that cannot be loaded");
            }
            if self.loading.contains_key(&run) {
                let (worker, executing) = (hello.worker.clone(), executing.clone());
                self.once_loaded(run, None, move |engine| engine.executions_back(session, &worker, &executing));
            }
        }
        self.executions_back(session, &hello.worker, &executing);
        self.queues.stir();
        self.offer_tools(&namespace);
    }

    fn check_hello(&self, session: SessionId, hello: &Hello) -> Result<Namespace, Error> {
        let Some(open) = self.sessions.get(&session) else { return Err(Error::Closed) };
        if open.greeted {
            return Err(Error::frame("`hello` came twice; send it once, first"));
        }
        if !hello.protocol.contains(&PROTOCOL) {
            return Err(Error::Protocol { worker: hello.protocol.iter().copied().take(16).collect() });
        }
        let long = |name: &str| name.is_empty() || name.len() > MAX_NAME;
        let names = hello.agents.iter().map(|agent| &agent.name);
        let names = names.chain(hello.toolsets.iter().map(|set| &set.name));
        let mut names = names.chain(hello.toolsets.iter().flat_map(|set| set.tools.iter().map(|tool| &tool.name)));
        if long(&hello.worker) || names.any(|name| long(name)) {
            return Err(Error::frame(format!("names must have 1 to {MAX_NAME} bytes")));
        }
        let offers = [hello.agents.len(), hello.toolsets.len(), hello.executing.len()];
        if offers.iter().any(|offers| *offers > MAX_OFFERS) {
            return Err(Error::frame(format!("`hello` may name at most {MAX_OFFERS} of each thing")));
        }
        let asked = hello.namespace.as_deref().map(Namespace::new).transpose()?;
        match (&open.peer.namespace, asked) {
            (Some(only), Some(asked)) if *only != asked => {
                Err(Error::invalid(format!("this token is for namespace `{only}`, not `{asked}`")))
            }
            (Some(only), _) => Ok(only.clone()),
            (None, asked) => Ok(asked.unwrap_or_default()),
        }
    }

    /// Ends a connection with a reason.
    pub(super) fn goodbye(&mut self, session: SessionId, problem: Problem, retry_ms: Option<u64>) {
        if self.sessions.contains_key(&session) {
            self.send(session, frames::Server::Goodbye { problem, retry_ms });
            self.out.push(Output::Close { session });
            self.disconnected(session);
        }
    }

    /// The connection is gone. Its runs may begin anew elsewhere at once; what it executes is waited for.
    pub(super) fn disconnected(&mut self, session: SessionId) {
        let Some(open) = self.sessions.remove(&session) else { return };
        self.timers.set(Timer::Session(session), None);
        self.executions_away(session);
        for tool in open.tools.values().filter(|tool| tool.purpose == Purpose::Probe) {
            // A probe changes nothing and can be asked for again; say at once that it found nothing out.
            let outcome = frames::Outcome::Error(frames::StepError {
                name: "WorkerLost".to_owned(),
                message: "the worker that was asked is gone".to_owned(),
                retryable: Some(true),
                retry_after_ms: None,
                details: None,
            });
            let command = Command::ToolDone { grant: tool.grant, purpose: Purpose::Probe, outcome };
            self.command(tool.run, command, None);
        }
        for run in open.runs {
            let executing = self.executing(run);
            if let Some(slot) = self.runs.get_mut(&run) {
                slot.session = None;
            }
            let reason = format!("worker {} has disconnected", open.worker);
            self.command(run, Command::Lost { reason, executing }, None);
        }
        self.queues.stir();
    }

    /// An incarnation is over while its connection goes on. Executions that were permitted may still report.
    pub(super) fn detach(&mut self, run: RunId, session: SessionId) {
        if let Some(open) = self.sessions.get_mut(&session) {
            open.runs.remove(&run);
            let keeps = |call: &Call| call.grant.is_some_and(|grant| grant.step < UNRECORDED);
            open.calls.retain(|_, call| call.run != run || keeps(call));
            for call in open.calls.values_mut().filter(|call| call.run == run) {
                call.stale = true;
            }
        }
        self.executions_left(run, session);
        self.queues.stir();
    }

    /// Nothing was heard of a connection for long, or so it seems.
    pub(super) fn lease_over(&mut self, session: SessionId) {
        let Some(open) = self.sessions.get(&session) else { return };
        let over = open.heard + if open.greeted { self.limits.lease } else { self.limits.hello_within };
        if self.now < over {
            self.timers.set(Timer::Session(session), Some(over));
            return;
        }
        let reason = if open.greeted { "no sign of life for a lease" } else { "no `hello` in time" };
        self.goodbye(session, Error::HungUp { reason }.problem(), Some(100));
    }

    pub(super) fn workers(&self) -> Vec<WorkerView> {
        let greeted = self.sessions.iter().filter(|(_, open)| open.greeted);
        greeted
            .map(|(id, open)| WorkerView {
                session: format!("s_{}", id.0),
                worker: open.worker.clone(),
                sdk: open.sdk.clone(),
                namespace: open.namespace.clone(),
                agents: open
                    .agents
                    .iter()
                    .map(|(name, version)| version.as_ref().map_or_else(|| name.clone(), |v| format!("{name}@{v}")))
                    .collect(),
                toolsets: open.toolsets.keys().cloned().collect(),
                runs: open.runs.len() as u32,
                max_runs: open.max_runs,
                calls: open.calls.len() as u32,
                connected: open.connected,
                heard: open.heard,
            })
            .collect()
    }
}
