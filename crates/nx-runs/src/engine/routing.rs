//! Who does what: runs to workers with room, tool calls and undos to workers that serve them.

use std::collections::{BTreeMap, BTreeSet};

use nx_types::{Namespace, RunId, Timestamp};

use super::{Engine, SessionId, loading::Loaded, sessions::Session};
use crate::{
    kinds::{AgentRules, ToolRules},
    machine::{self, Command, Target, ToolSpec},
};

/// Runs that want a worker, by namespace and agent, in order of their creation: what began first ends first.
#[derive(Debug, Default)]
pub(super) struct Queues {
    waiting: BTreeMap<(Namespace, String), BTreeSet<Place>>,
    stirred: bool,
    /// Tools and agents that runs wait for.
    wanted: BTreeSet<(Namespace, Target, RunId, machine::Slot)>,
}

/// A run's creation, which is unique but for those of former servers, and the run.
type Place = (Timestamp, RunId);

impl Queues {
    /// Something changed that may let a run begin.
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    pub(super) fn push(&mut self, namespace: &Namespace, agent: &str, place: Place) {
        self.waiting.entry((namespace.clone(), agent.to_owned())).or_default().insert(place);
        self.stirred = true;
    }
}

impl Engine {
    /// Starts runs on workers that have room.
    pub(super) fn route(&mut self) {
        if !std::mem::take(&mut self.queues.stirred) {
            return;
        }
        let kinds: Vec<(Namespace, String)> = self.queues.waiting.keys().cloned().collect();
        for kind in kinds {
            while self.start_next(&kind) {}
            if self.queues.waiting.get(&kind).is_some_and(BTreeSet::is_empty) {
                self.queues.waiting.remove(&kind);
            }
        }
    }

    /// Starts the first run of a kind. Whether another may follow.
    fn start_next(&mut self, kind: &(Namespace, String)) -> bool {
        let (namespace, agent) = kind;
        let Some(place) = self.queues.waiting.get(kind).and_then(|queue| queue.first().copied()) else { return false };
        let (_, run) = place;
        if self.room_for(namespace, agent, None).is_none() {
            return false;
        }
        match self.load(namespace, run) {
            Ok(Loaded::Now) => {}
            // It comes back to the queue once it is loaded.
            Ok(Loaded::Later) => {
                self.dequeue(kind, place);
                return true;
            }
            Err(error) => {
                tracing::warn!(%run, %error, "a run that wants a worker cannot be loaded");
                self.dequeue(kind, place);
                return true;
            }
        }
        let Some(slot) = self.runs.get(&run).filter(|slot| slot.run.wants_worker()) else {
            self.dequeue(kind, place);
            return true;
        };
        let last = slot.version.clone();
        let Some(session) = self.room_for(namespace, agent, last.as_deref()) else { return false };
        self.dequeue(kind, place);
        self.begin(run, session, agent);
        true
    }

    fn dequeue(&mut self, kind: &(Namespace, String), place: Place) {
        if let Some(queue) = self.queues.waiting.get_mut(kind) {
            queue.remove(&place);
        }
        if let Some(slot) = self.runs.get_mut(&place.1) {
            slot.queued = false;
        }
    }

    fn begin(&mut self, run: RunId, session: SessionId, agent: &str) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        let command =
            Command::Start { worker: open.worker.clone(), version: open.agents.get(agent).cloned().flatten() };
        open.runs.insert(run);
        if let Some(slot) = self.runs.get_mut(&run) {
            slot.session = Some(session);
        }
        match self.decide(run, command) {
            Ok((slot, decision)) => self.settle(slot, decision, None, None),
            Err(error) => {
                tracing::warn!(%run, %error, "a run could not start");
                if let Some(open) = self.sessions.get_mut(&session) {
                    open.runs.remove(&run);
                }
                if let Some(slot) = self.runs.get_mut(&run) {
                    slot.session = None;
                }
            }
        }
    }

    /// The connection with the most room that may execute an agent.
    fn room_for(&self, namespace: &Namespace, agent: &str, last: Option<&str>) -> Option<SessionId> {
        let rules = self.declared.get(namespace).and_then(|declared| declared.agent(agent));
        if let Some(most) = rules.and_then(|rules| rules.concurrency) {
            let active = self.sessions.values().filter(|open| open.namespace == *namespace);
            let active = active.flat_map(|open| open.runs.iter());
            let same = active.filter(|run| self.runs.get(run).is_some_and(|slot| slot.row.summary.agent == agent));
            if same.count() as u32 >= most {
                return None;
            }
        }
        let sticky = rules.is_some_and(|rules| rules.sticky)
            && last.is_some()
            && self.sessions.values().any(|open| offered(open, namespace, agent, rules) == Some(Offer(last)));
        self.sessions
            .iter()
            .filter(|(_, open)| match offered(open, namespace, agent, rules) {
                Some(version) => !sticky || version == Offer(last),
                None => false,
            })
            .filter(|(_, open)| open.room() > 0)
            .max_by_key(|(id, open)| (open.room(), std::cmp::Reverse(**id)))
            .map(|(id, _)| *id)
    }

    /// The connection that serves a tool or an agent's undo functions; the one with the least to do.
    pub(super) fn server_of(&self, namespace: &Namespace, target: &Target) -> Option<SessionId> {
        self.sessions
            .iter()
            .filter(|(_, open)| open.greeted && open.namespace == *namespace)
            .filter(|(_, open)| match target {
                Target::Tool(tool) => open.serves(tool).is_some(),
                Target::Agent(agent) => open.agents.contains_key(agent),
            })
            .min_by_key(|(id, open)| (open.tools.len(), **id))
            .map(|(id, _)| *id)
    }

    /// What is declared of a tool: by its Toolset, else by a worker that serves it.
    pub(super) fn tool_spec(&self, namespace: &Namespace, name: &str) -> Option<ToolSpec> {
        let (toolset, tool) = name.split_once('/')?;
        if let Some(rules) = self.declared.get(namespace).and_then(|declared| declared.tool(toolset, tool)) {
            return Some(of_rules(toolset, rules));
        }
        let mut offered = self.sessions.values().filter(|open| open.greeted && open.namespace == *namespace);
        let offer = offered.find_map(|open| open.serves(name))?;
        let sibling = |name: &Option<String>| name.as_ref().map(|name| format!("{toolset}/{name}"));
        Some(ToolSpec {
            effect: offer.effect,
            undo: sibling(&offer.undo),
            probe: sibling(&offer.probe),
            key_window_ms: None,
            timeout_ms: None,
        })
    }

    /// A run wants a worker for a tool or an undo.
    pub(super) fn want(&mut self, run: RunId, slot: machine::Slot, target: Target) {
        let Some(open) = self.runs.get_mut(&run) else { return };
        let namespace = open.namespace.clone();
        if let Some(before) = open.wants.insert(slot, target.clone()) {
            self.queues.wanted.remove(&(namespace.clone(), before, run, slot));
        }
        if self.server_of(&namespace, &target).is_some() {
            self.ready(run, slot, &target);
        } else {
            self.queues.wanted.insert((namespace, target, run, slot));
        }
    }

    fn ready(&mut self, run: RunId, slot: machine::Slot, target: &Target) {
        let Some(open) = self.runs.get_mut(&run) else { return };
        open.wants.remove(&slot);
        let namespace = open.namespace.clone();
        let tool = match target {
            Target::Tool(name) => self.tool_spec(&namespace, name),
            Target::Agent(_) => None,
        };
        self.command(run, Command::Ready { slot, tool }, None);
    }

    pub(super) fn unwant(&mut self, run: RunId, slot: machine::Slot) {
        let Some(open) = self.runs.get_mut(&run) else { return };
        if let Some(target) = open.wants.remove(&slot) {
            self.queues.wanted.remove(&(open.namespace.clone(), target, run, slot));
        }
    }

    /// The run is taken back: what it wanted is asked for anew once it is loaded.
    pub(super) fn forget_wants(&mut self, slot: &super::slot::Slot) {
        let run = slot.run.id();
        for (want, target) in &slot.wants {
            self.queues.wanted.remove(&(slot.namespace.clone(), target.clone(), run, *want));
        }
    }

    /// A worker has come, or tools were declared: runs that waited for that go on.
    pub(super) fn offer_tools(&mut self, namespace: &Namespace) {
        let wanted: Vec<_> = self.queues.wanted.iter().filter(|(of, ..)| of == namespace).cloned().collect();
        for entry in wanted {
            let (namespace, target, run, slot) = &entry;
            if self.server_of(namespace, target).is_some() {
                self.queues.wanted.remove(&entry);
                self.ready(*run, *slot, target);
            }
        }
        let unready: Vec<RunId> = self.unready.iter().copied().collect();
        for run in unready {
            self.ask_unready(namespace, run);
        }
    }

    fn ask_unready(&mut self, namespace: &Namespace, run: RunId) {
        let Some(slot) = self.runs.get_mut(&run) else {
            self.unready.remove(&run);
            return;
        };
        if slot.namespace != *namespace {
            return;
        }
        let (session, steps) = (slot.session, std::mem::take(&mut slot.unready));
        self.unready.remove(&run);
        if let Some(session) = session {
            for step in steps {
                self.ask_step(session, run, step);
            }
        }
    }
}

/// An agent's version, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer<'a>(Option<&'a str>);

/// Whether a connection offers an agent in a version that the declaration allows, and which.
fn offered<'a>(open: &'a Session, namespace: &Namespace, agent: &str, rules: Option<&AgentRules>) -> Option<Offer<'a>> {
    let version = open.agents.get(agent)?;
    let allowed = rules.is_none_or(|rules| {
        rules.versions.is_empty() || version.as_ref().is_some_and(|version| rules.versions.contains(version))
    });
    (open.greeted && open.namespace == *namespace && allowed).then_some(Offer(version.as_deref()))
}

fn of_rules(toolset: &str, rules: &ToolRules) -> ToolSpec {
    let sibling = |name: &Option<String>| name.as_ref().map(|name| format!("{toolset}/{name}"));
    ToolSpec {
        effect: rules.effect,
        undo: sibling(&rules.undo),
        probe: sibling(&rules.probe),
        key_window_ms: rules.key_window.map(nx_types::Duration::as_millis),
        timeout_ms: rules.timeout.map(nx_types::Duration::as_millis),
    }
}
