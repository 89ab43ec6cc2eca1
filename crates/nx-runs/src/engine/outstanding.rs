//! Executions that were permitted and have not reported: whose they are, and until when they are waited for.

use std::collections::{BTreeMap, BTreeSet};

use neuraxis_sdk::frames::Grant;
use nx_types::RunId;

use super::{Engine, SessionId, timers::Timer};
use crate::machine::Command;

/// Grants at or over this ordinal are of code and read steps, of which nothing is recorded: nobody waits for them.
pub(super) const UNRECORDED: u64 = 1 << 52;

/// Where an execution goes on.
#[derive(Debug, Clone)]
struct Place {
    /// The worker process, if it is known.
    worker: Option<String>,
    /// Its connection, while it has one.
    session: Option<SessionId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    grants: BTreeMap<(RunId, Grant), Place>,
    by_session: BTreeMap<SessionId, BTreeSet<(RunId, Grant)>>,
    /// Those without a connection, by worker; the empty name stands for an unknown one.
    away: BTreeMap<String, BTreeSet<(RunId, Grant)>>,
}

impl Outstanding {
    fn unlink(&mut self, key: (RunId, Grant), place: &Place) {
        if let Some(session) = place.session
            && let Some(grants) = self.by_session.get_mut(&session)
        {
            grants.remove(&key);
        }
        let worker = place.worker.as_deref().unwrap_or("");
        if let Some(grants) = self.away.get_mut(worker) {
            grants.remove(&key);
            if grants.is_empty() {
                self.away.remove(worker);
            }
        }
    }

    fn put(&mut self, key: (RunId, Grant), place: Place) {
        if let Some(before) = self.grants.remove(&key) {
            self.unlink(key, &before);
        }
        match place.session {
            Some(session) => self.by_session.entry(session).or_default().insert(key),
            None => self.away.entry(place.worker.clone().unwrap_or_default()).or_default().insert(key),
        };
        self.grants.insert(key, place);
    }

    fn remove(&mut self, key: (RunId, Grant)) {
        if let Some(place) = self.grants.remove(&key) {
            self.unlink(key, &place);
        }
    }
}

impl Engine {
    /// An execution was permitted on a connection.
    pub(super) fn granted(&mut self, run: RunId, grant: Grant, session: SessionId) {
        if grant.step >= UNRECORDED {
            return;
        }
        let worker = self.sessions.get(&session).map(|session| session.worker.clone());
        self.timers.set(Timer::Grant(run, grant), None);
        self.outstanding.put((run, grant), Place { worker, session: Some(session) });
    }

    /// After loading: an execution is out with a worker that may come back.
    pub(super) fn granted_before(&mut self, run: RunId, grant: Grant, worker: Option<String>) {
        if self.outstanding.grants.contains_key(&(run, grant)) {
            return;
        }
        self.outstanding.put((run, grant), Place { worker, session: None });
        self.timers.set(Timer::Grant(run, grant), Some(self.now + self.limits.lease));
    }

    /// It has reported, or nobody waits for it any more.
    pub(super) fn reported(&mut self, run: RunId, grant: Grant) {
        self.outstanding.remove((run, grant));
        self.timers.set(Timer::Grant(run, grant), None);
    }

    /// Grants of a run that go on somewhere.
    pub(super) fn executing(&self, run: RunId) -> Vec<Grant> {
        let all = (run, Grant { step: 0, attempt: 0 })..=(run, Grant { step: u64::MAX, attempt: u32::MAX });
        self.outstanding.grants.range(all).map(|((_, grant), _)| *grant).collect()
    }

    /// A connection is gone: its executions are waited for until the lease is over.
    pub(super) fn executions_away(&mut self, session: SessionId) {
        let Some(grants) = self.outstanding.by_session.remove(&session) else { return };
        for (run, grant) in grants {
            if let Some(mut place) = self.outstanding.grants.get(&(run, grant)).cloned() {
                place.session = None;
                self.outstanding.put((run, grant), place);
                self.timers.set(Timer::Grant(run, grant), Some(self.now + self.limits.lease));
            }
        }
    }

    /// An incarnation is over, its connection is not: its executions have a lease to report.
    pub(super) fn executions_left(&mut self, run: RunId, session: SessionId) {
        let Some(grants) = self.outstanding.by_session.get(&session) else { return };
        let all = (run, Grant { step: 0, attempt: 0 })..=(run, Grant { step: u64::MAX, attempt: u32::MAX });
        let own: Vec<Grant> = grants.range(all).map(|(_, grant)| *grant).collect();
        for grant in own {
            self.timers.set(Timer::Grant(run, grant), Some(self.now + self.limits.lease));
        }
    }

    /// A worker is back and says what it still executes. What it does not name may come as `late` within a grace.
    pub(super) fn executions_back(&mut self, session: SessionId, worker: &str, named: &[(RunId, Grant)]) {
        for &(run, grant) in named {
            let Some(mut place) = self.outstanding.grants.get(&(run, grant)).cloned() else { continue };
            if place.worker.as_deref().is_none_or(|of| of == worker) {
                place.worker = Some(worker.to_owned());
                place.session = Some(session);
                self.outstanding.put((run, grant), place);
                self.timers.set(Timer::Grant(run, grant), None);
            }
        }
        let rest: Vec<(RunId, Grant)> =
            self.outstanding.away.get(worker).map(|grants| grants.iter().copied().collect()).unwrap_or_default();
        for (run, grant) in rest {
            self.timers.set(Timer::Grant(run, grant), Some(self.now + self.limits.late_grace));
        }
    }

    /// Nobody waits for this execution any longer.
    pub(super) fn grant_over(&mut self, run: RunId, grant: Grant) {
        let Some(place) = self.outstanding.grants.get(&(run, grant)) else { return };
        let reason = match &place.worker {
            Some(worker) => format!("worker {worker} is lost"),
            None => "its worker is lost".to_owned(),
        };
        self.outstanding.remove((run, grant));
        self.command(run, Command::GrantsLost { grants: vec![grant], reason }, None);
    }

    /// The run is over: forget what it had out.
    pub(super) fn forget_grants(&mut self, run: RunId) {
        for grant in self.executing(run) {
            self.reported(run, grant);
        }
    }
}
