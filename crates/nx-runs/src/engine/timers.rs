//! What is to happen when: one ordered set, at most one entry for each purpose.

use std::collections::{BTreeMap, BTreeSet};

use neuraxis_sdk::frames::Grant;
use nx_types::{RunId, Timestamp};

use super::{Engine, SessionId};
use crate::machine::Command;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The run's machine wants a tick.
    Run(RunId),
    /// The run may be taken off its worker.
    Park(RunId),
    /// The run is taken up again after the log refused.
    Resume(RunId),
    /// Lines logged by the run are to be written.
    Log(RunId),
    /// The connection's lease, or its time to say `hello`.
    Session(SessionId),
    /// The grant's worker is given up.
    Grant(RunId, Grant),
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
    set: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    /// Sets a timer, moves it, or takes it away.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.set.insert(timer, at),
            None => self.set.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.due.insert((at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.set.contains_key(&timer)
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        self.set.remove(&timer);
        Some(timer)
    }
}

/// Timers fired in one go, so that a clock that jumps far does not starve the rest.
const MAX_FIRED: usize = 256;

impl Engine {
    pub(super) fn fire_timers(&mut self) {
        for _ in 0..MAX_FIRED {
            let Some(timer) = self.timers.take_due(self.now) else { return };
            match timer {
                Timer::Run(run) => self.command(run, Command::Tick, None),
                Timer::Park(run) => self.park(run),
                Timer::Resume(run) => self.resume(run),
                Timer::Log(run) => self.flush_log(run),
                Timer::Session(session) => self.lease_over(session),
                Timer::Grant(run, grant) => self.grant_over(run, grant),
            }
        }
    }
}
