//! Rows from events: what lists show of a run and its approvals, kept up event by event.

use std::collections::BTreeMap;

use neuraxis_sdk::frames::StepError;
use nx_guard::decision::Decision;
use nx_types::{ApprovalId, Namespace, RunId, Timestamp};

use super::{
    rows::ApprovalRow,
    slot::Slot,
    view::{ApprovalView, Inbox, RunStatus},
};
use crate::machine::{
    ApprovalRequested, Cause, How, Ruling, RunEvent, Status, StepResolved, Wait, Why, approval::terms,
};

/// Whose approvals are folded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) run: RunId,
    pub(crate) agent: &'a str,
}

/// Takes an event into account. The row, if it changed; one that is over leaves `open`. `decided` is the guard's last
/// decision, which a question may follow from.
pub(crate) fn approval(
    open: &mut BTreeMap<ApprovalId, ApprovalRow>,
    decided: &mut Option<(u64, Box<Decision>)>,
    of: Of<'_>,
    event: &RunEvent,
    (version, time): (u64, Timestamp),
) -> Option<ApprovalRow> {
    match event {
        RunEvent::GuardDecided(body) => {
            *decided = Some((body.n, Box::new(body.decision.clone())));
            None
        }
        RunEvent::ApprovalRequested(requested) => {
            let mut row = asked(of, requested, version, time);
            row.view.guard = decided.take().filter(|(n, _)| *n == requested.n).map(|(_, decision)| decision);
            open.insert(requested.id, row.clone());
            Some(row)
        }
        RunEvent::ApprovalEscalated(body) => {
            let row = open.get_mut(&body.id)?;
            row.view.who.clone_from(&body.who);
            row.view.deadline = body.due;
            if !row.view.escalate.is_empty() {
                row.view.escalate.remove(0);
            }
            Some(row.clone())
        }
        RunEvent::ApprovalVoted(body) => {
            let row = open.get_mut(&body.id)?;
            row.view.votes.push(body.by.clone());
            Some(row.clone())
        }
        RunEvent::ApprovalDecided(body) => {
            let mut row = open.remove(&body.id)?;
            let status = match &body.decision {
                Ruling::Approve => "approved",
                Ruling::Deny => "denied",
                _ => "ruled",
            };
            status.clone_into(&mut row.view.status);
            row.view.decided_by = Some(body.by.clone());
            row.view.decided = Some(time);
            row.view.reason.clone_from(&body.reason);
            row.view.edited = body.args.as_deref().cloned();
            Some(row)
        }
        RunEvent::ApprovalExpired(body) => over(open, body.id, "expired", &body.reason, time),
        RunEvent::ApprovalWithdrawn(body) => over(open, body.id, "withdrawn", &body.reason, time),
        _ => None,
    }
}

fn asked(of: Of<'_>, requested: &ApprovalRequested, version: u64, time: Timestamp) -> ApprovalRow {
    let ask = &requested.ask;
    let view = ApprovalView {
        id: requested.id,
        namespace: of.namespace.clone(),
        run: of.run,
        step: requested.n,
        agent: of.agent.to_owned(),
        call: requested.step.clone(),
        why: requested.why.as_str().to_owned(),
        status: "waiting".to_owned(),
        who: who_of(requested),
        escalate: ask.escalate.iter().map(|rung| rung.who.clone()).collect(),
        quorum: quorum_of(requested),
        votes: Vec::new(),
        args: (*requested.args).clone(),
        hash: requested.hash,
        edit: ask.edit,
        choices: requested.why.choices().iter().map(|choice| (*choice).to_owned()).collect(),
        candidates: requested.candidates.clone(),
        message: ask.message.clone(),
        guard: None,
        created: time,
        deadline: requested.due,
        decided_by: None,
        reason: None,
        edited: None,
        decided: None,
    };
    ApprovalRow { view, version, args_in_event: false }
}

/// Whom the call asks, and whom policies want besides.
fn who_of(requested: &ApprovalRequested) -> String {
    let all = terms(&requested.ask, 0, requested.policy.as_deref());
    let needs: Vec<String> = (all.needs.iter())
        .map(|need| {
            if need.who.is_empty() {
                "anyone".to_owned()
            } else {
                need.who.iter().cloned().collect::<Vec<_>>().join(" or ")
            }
        })
        .collect();
    needs.join(" and ")
}

fn quorum_of(requested: &ApprovalRequested) -> u32 {
    let all = terms(&requested.ask, 0, requested.policy.as_deref());
    all.needs.iter().map(|need| need.quorum).max().unwrap_or(1).max(1)
}

fn over(
    open: &mut BTreeMap<ApprovalId, ApprovalRow>,
    id: ApprovalId,
    status: &str,
    reason: &str,
    time: Timestamp,
) -> Option<ApprovalRow> {
    let mut row = open.remove(&id)?;
    status.clone_into(&mut row.view.status);
    row.view.reason = Some(reason.to_owned());
    row.view.decided = Some(time);
    Some(row)
}

/// What a wait is for, in words.
pub(crate) fn waiting_for(name: Option<&str>, wait: &Wait) -> String {
    match wait {
        Wait::Sleep { until } => format!("sleep until {until}"),
        Wait::Signal { .. } => format!("signal {}", name.unwrap_or("")).trim_end().to_owned(),
        Wait::Child { run } => format!("run {run}"),
        Wait::Model => format!("model {}", name.unwrap_or("")).trim_end().to_owned(),
        Wait::Approval { id } => format!("approval {id}"),
        Wait::Ask { id, why } => format!("ruling {id} ({})", why.as_str()),
    }
}

/// The error of a failed run in one line.
pub(crate) fn error_line(error: &StepError) -> String {
    let line = format!("{}: {}", error.name, error.message);
    line.chars().take(500).collect()
}

impl Slot {
    /// Takes an event into account for the words of the row.
    pub(super) fn fold(&mut self, event: &RunEvent) {
        match event {
            RunEvent::StepWaiting(body) => {
                let name = body.step.as_ref().map(|step| step.name.as_str());
                self.waits.insert(body.n, waiting_for(name, &body.wait));
            }
            RunEvent::StepInDoubt(body) => {
                self.waits.insert(body.n, format!("whether step {} took place", body.n));
            }
            RunEvent::StepStarted(body) => drop(self.waits.remove(&body.n)),
            RunEvent::StepCompleted(body) => drop(self.waits.remove(&body.n)),
            RunEvent::StepFailed(body) => drop(self.waits.remove(&body.n)),
            RunEvent::StepResolved(StepResolved {
                n,
                how: How::NotDone | How::Completed { .. } | How::Failed { .. },
                ..
            }) => {
                drop(self.waits.remove(n));
            }
            RunEvent::Failed(body) => self.row.summary.error = Some(error_line(&body.error)),
            RunEvent::Compensating(body) => {
                if let Cause::Failed(error) = &body.cause {
                    self.row.summary.error = Some(error_line(error));
                }
            }
            RunEvent::Retried(_) => self.row.summary.error = None,
            RunEvent::Carried(_) => self.waits.clear(),
            RunEvent::Interrupted(body) => self.row.parked = body.parked,
            RunEvent::Started(body) => {
                self.row.parked = false;
                self.version.clone_from(&body.version);
            }
            _ => {}
        }
    }

    /// Brings the row up to date. Whether it has to be written; it is if `forced`.
    pub(super) fn refresh_row(&mut self, now: Timestamp, forced: bool) -> bool {
        let status = status(self.run.status());
        let over = status.is_over();
        let inbox = self.inbox(status);
        let waits = matches!(status, RunStatus::Waiting);
        let waiting_for = if over { None } else { self.waits.values().next_back() };
        let awaits_child = waits && self.run.awaits_child();
        let summary = &mut self.row.summary;
        let changed = forced
            || summary.status != status
            || summary.inbox != inbox
            || (waits && (summary.waiting_for.as_ref() != waiting_for || self.row.awaits_child != awaits_child));
        if changed {
            summary.status = status;
            summary.inbox = inbox;
            summary.waiting_for = if matches!(status, RunStatus::Running) { None } else { waiting_for.cloned() };
            summary.incarnation = self.run.incarnation();
            summary.updated = now;
            self.row.awaits_child = awaits_child;
            self.row.wake = if over { None } else { self.run.due() };
        }
        changed
    }

    fn inbox(&self, status: RunStatus) -> Option<Inbox> {
        match status {
            RunStatus::Failed => return Some(Inbox::Failed),
            RunStatus::Completed | RunStatus::Cancelled => return None,
            _ => {}
        }
        let asks = |why: &[Why]| self.approvals.values().any(|row| why.iter().any(|why| why.as_str() == row.view.why));
        if asks(&[Why::InDoubt]) {
            Some(Inbox::InDoubt)
        } else if asks(&[Why::Changed, Why::NewOnce]) {
            Some(Inbox::Ask)
        } else if asks(&[Why::Call, Why::Standalone]) {
            Some(Inbox::Approval)
        } else {
            None
        }
    }
}

pub(crate) fn status(status: Status) -> RunStatus {
    match status {
        Status::Queued => RunStatus::Queued,
        Status::Running => RunStatus::Running,
        Status::Waiting => RunStatus::Waiting,
        Status::Compensating => RunStatus::Compensating,
        Status::Completed => RunStatus::Completed,
        Status::Failed => RunStatus::Failed,
        Status::Cancelled => RunStatus::Cancelled,
    }
}
