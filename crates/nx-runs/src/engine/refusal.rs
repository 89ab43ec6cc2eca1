//! What the log refuses. A commit that it may take later (a full disk, a conflict) is made anew after a while, from the
//! record. One that it refuses for good must not be tried for ever: its run fails, so that a person sees it in the inbox
//! with the log's code, and all other runs go on. Nothing that was acknowledged is lost by either.

use neuraxis_sdk::frames::{self, Outcome, StepError};
use nx_types::{Problem, RunId};

use super::{
    Engine, Output, SessionId,
    commit::{Pending, Report},
    slot::Slot,
    timers::Timer,
};
use crate::{error::Error, machine::Command};

/// A run with a commit that the log refused for good.
#[derive(Debug, Clone)]
pub(super) struct Stuck {
    /// What the log said.
    problem: Problem,
    /// How often it said so. The second time, only the run's end is recorded.
    times: u32,
}

/// So often the log may refuse for good before the run is left alone until somebody asks for it.
const MAX_TIMES: u32 = 3;

impl Engine {
    /// The log refused: what the runs took in did not happen.
    pub(super) fn failed(&mut self, pending: Pending, error: &Error) {
        // The row that names the namespace may have been in it.
        self.namespaces.clear();
        for (ticket, _) in pending.replies {
            self.out.push(Output::Reply { ticket, answer: Err(error.clone()) });
        }
        if let Some(report) = pending.report {
            self.keep_report(report, error);
        }
        self.refuse_actions(pending.actions, error);
        for (run, _) in pending.runs {
            self.drop_lines(run, pending.lines);
            // Without a slot an earlier commit was refused, and this one could not but be.
            if let Some(slot) = self.runs.remove(&run) {
                if !pending.asked && error.is_for_good() {
                    self.stuck(run, slot.session, error);
                }
                tracing::warn!(%run, %error, "the log refused; the run is taken up again from its record");
                self.take_back(slot);
            }
        }
    }

    /// A report that was not recorded is taken in again with its run. A value that the log refuses for good stands for
    /// one that cannot be recorded: whoever asked for it is told, and a `once` step is in doubt.
    pub(super) fn keep_report(&mut self, mut report: Report, error: &Error) {
        if error.is_for_good() && matches!(report.outcome, Outcome::Ok(_)) {
            report.outcome = Outcome::Error(StepError {
                name: "ValueRefused".to_owned(),
                message: format!("the outcome cannot be recorded: {error}"),
                retryable: Some(false),
                retry_after_ms: None,
                details: None,
            });
        }
        self.unrecorded.entry(report.run).or_default().push(report);
    }

    /// Notes that a run cannot go on as it would, and tells its worker, whose calls need not be among what was refused.
    pub(super) fn stuck(&mut self, run: RunId, session: Option<SessionId>, error: &Error) {
        let problem = error.problem();
        tracing::error!(%run, %error, "the log refuses for good what a run would record");
        let stuck = self.stuck.entry(run).or_insert_with(|| Stuck { problem: problem.clone(), times: 0 });
        stuck.times += 1;
        if let Some(session) = session {
            self.send(session, frames::Server::Refused { call: None, problem });
        }
    }

    /// Drops a run whose memory is ahead of the record; it is loaded anew after a wait.
    pub(super) fn take_back(&mut self, slot: Box<Slot>) {
        let run = slot.id();
        self.drop_lines(run, slot.log.len() as u64);
        self.leave_session(&slot, "fenced");
        self.forget_wants(&slot);
        self.forget_timers(run);
        let wait = self.next_wait(run);
        if self.stuck.get(&run).is_none_or(|stuck| stuck.times <= MAX_TIMES) {
            self.timers.set(Timer::Resume(run), Some(self.now + wait));
        } else {
            tracing::error!(%run, "not even its end can be recorded; it is left alone until somebody asks for it");
        }
        let dormant = super::Dormant { namespace: slot.namespace };
        self.dormant.insert(run, dormant);
    }

    /// A run is in memory again. Reports that the log refused are taken in, or its end, if it is the log's last word.
    pub(super) fn make_good(&mut self, run: RunId) {
        let stuck = self.stuck.get(&run).cloned();
        let bare = stuck.as_ref().is_some_and(|stuck| stuck.times > 1);
        for report in self.unrecorded.remove(&run).unwrap_or_default() {
            if bare {
                let grant = report.grant;
                tracing::error!(%run, step = grant.step, "what came of a step cannot be recorded; it is in doubt");
                continue;
            }
            let Report { grant, outcome, .. } = report.clone();
            self.reported(run, grant);
            self.report = Some(report);
            self.command(run, Command::Late { grant, outcome }, None);
            self.report = None;
        }
        let Some(Stuck { problem, times }) = stuck else { return };
        if times <= MAX_TIMES {
            let error = StepError {
                name: "JournalRefused".to_owned(),
                message: format!("the journal refuses for good to record how the run goes on: {problem}"),
                retryable: Some(false),
                retry_after_ms: None,
                details: None,
            };
            self.command(run, Command::Abandon { error, bare }, None);
        }
    }

    /// Logged lines that will not be written are counted at least.
    pub(super) fn drop_lines(&mut self, run: RunId, lines: u64) {
        if lines > 0 {
            *self.lines_dropped.entry(run).or_default() += lines;
        }
    }
}
