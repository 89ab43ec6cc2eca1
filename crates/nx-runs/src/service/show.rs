//! One run in full, from its record: what `runs show` prints.

use std::collections::BTreeMap;

use nx_journal::Reader;
use nx_types::{Digest, Namespace, RunId, Subject, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::{ApprovalView, ForkPoint, RunView, StepStatus, StepView, StepsPage};
use crate::{
    engine::{
        fold,
        record::{Entry, Record},
        rows::{self, ApprovalRow},
    },
    error::Error,
    machine::{How, Identity, Kind, RunEvent, Wait},
};

const PAGE: usize = 1000;
/// Most steps of one page.
const MAX_STEPS: usize = 10_000;
/// Most approvals and notes shown.
const MAX_SHOWN: usize = 10_000;

/// A run with a page of its steps.
pub(super) fn run(reader: &Reader, namespace: &Namespace, run: RunId, page: StepsPage) -> Result<RunView, Error> {
    let row = reader.state(namespace, rows::RUN, &run.to_string())?;
    let Some(row) = row else {
        return match reader.subject_version(namespace, &Subject::run(run))? {
            0 => Err(Error::RunUnknown { id: run.to_string(), namespace: namespace.to_string() }),
            _ => Err(Error::Erased { run }),
        };
    };
    let summary = rows::read_run(&row.bytes)?.summary;
    let mut fold = Fold::new(page);
    let mut record = Record::new(reader.clone(), namespace.clone(), run);
    let of = fold::Of { namespace, run, agent: &summary.agent };
    let mut after = 0;
    loop {
        let entries = record.page(after, PAGE)?;
        for entry in &entries {
            after = entry.header.version;
            fold.take_in(of, entry);
        }
        if entries.len() < PAGE {
            break;
        }
    }
    let mut view = RunView {
        summary,
        by: None,
        input: Value::Null,
        result: None,
        failure: None,
        deadline: None,
        forked_from: None,
        steps_total: fold.total,
        steps: Vec::new(),
        next_step: None,
        approvals: Vec::new(),
        notes: Vec::new(),
        orphans: Vec::new(),
        reused: 0,
        version: after,
    };
    fold.finish(&mut view);
    Ok(view)
}

/// What is gathered while the record is read.
#[derive(Debug)]
struct Fold {
    page: StepsPage,
    total: u64,
    steps: BTreeMap<u64, StepView>,
    more: bool,
    open: BTreeMap<nx_types::ApprovalId, ApprovalRow>,
    approvals: BTreeMap<nx_types::ApprovalId, (u64, ApprovalView)>,
    notes: Vec<String>,
    orphans: Vec<u64>,
    created: Option<Created>,
    result: Option<Value>,
    failure: Option<Value>,
    incarnation: u32,
    /// Steps that have ended so far.
    ended: u64,
    /// Steps that had ended when the last incarnation was interrupted.
    interrupted: Option<u64>,
    /// Steps that had ended before the present incarnation began.
    recorded_before: u64,
    incarnations: u32,
}

#[derive(Debug)]
struct Created {
    by: String,
    input: Value,
    deadline: Option<Timestamp>,
    fork: Option<ForkPoint>,
}

impl Fold {
    fn new(page: StepsPage) -> Self {
        Self {
            page: StepsPage { limit: page.limit.clamp(1, MAX_STEPS), ..page },
            total: 0,
            steps: BTreeMap::new(),
            more: false,
            open: BTreeMap::new(),
            approvals: BTreeMap::new(),
            notes: Vec::new(),
            orphans: Vec::new(),
            created: None,
            result: None,
            failure: None,
            incarnation: 0,
            ended: 0,
            interrupted: None,
            recorded_before: 0,
            incarnations: 0,
        }
    }

    fn take_in(&mut self, of: fold::Of<'_>, entry: &Entry) {
        let header = &entry.header;
        let row = fold::approval(&mut self.open, of, &entry.event, header.version, header.recorded);
        if let Some(row) = row
            && (self.approvals.len() < MAX_SHOWN || self.approvals.contains_key(&row.view.id))
        {
            self.approvals.insert(row.view.id, (row.version, row.view));
        }
        match &entry.event {
            RunEvent::Created(body) => {
                self.created = Some(Created {
                    by: body.by.clone(),
                    input: (*body.input).clone(),
                    deadline: body.deadline,
                    fork: body.fork.map(|fork| ForkPoint { run: fork.run, at_step: fork.at, live: fork.live }),
                });
            }
            RunEvent::Started(body) => {
                self.incarnation = body.inc;
                self.incarnations += 1;
                self.recorded_before = self.interrupted.take().unwrap_or(self.ended);
            }
            RunEvent::Completed(body) => {
                self.result = Some((*body.result).clone());
                self.orphans = body.orphans.iter().map(|orphan| orphan.n).collect();
            }
            RunEvent::Failed(body) => {
                self.failure = Some(json(&body.error));
                self.orphans = body.orphans.iter().map(|orphan| orphan.n).collect();
                for n in &body.not_undone {
                    self.note(format!("step {n} could not be undone; look after it"));
                }
            }
            RunEvent::Cancelled(body) => {
                for n in &body.not_undone {
                    self.note(format!("step {n} could not be undone; look after it"));
                }
            }
            RunEvent::Retried(body) => {
                self.failure = None;
                self.note(format!("retried by {}", body.by));
            }
            RunEvent::Interrupted(body) => {
                self.interrupted = Some(self.ended);
                self.note(format!("incarnation {} ended: {}", body.inc, body.reason));
            }
            RunEvent::StepCompleted(_) | RunEvent::StepFailed(_) => self.ended += 1,
            RunEvent::Diverged(body) => {
                for note in &body.notes {
                    self.note(format!("step {}: {}", note.n, note.what));
                }
            }
            _ => {}
        }
        self.step(entry);
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_SHOWN {
            self.notes.push(note);
        }
    }

    fn step(&mut self, entry: &Entry) {
        if let Some(identity) = entry.event.identity() {
            let n = entry.event.step().unwrap_or_default();
            self.total += 1;
            if let Some(note) = &identity.note {
                self.note(format!("step {n} {}: {note}", identity.name));
            }
            if let Some(over) = identity.over.and_then(|over| self.steps.get_mut(&over)) {
                over.status = StepStatus::Superseded;
            }
            if n > self.page.after {
                if self.steps.len() < self.page.limit {
                    self.steps.insert(n, first(n, identity, entry, self.incarnation));
                } else {
                    self.more = true;
                }
            }
        }
        let of = match &entry.event {
            RunEvent::StepCompleted(body) => body.from.and_then(|of| self.steps.get(&of)).map(|of| of.value.clone()),
            _ => None,
        };
        let step = entry.event.step().and_then(|n| self.steps.get_mut(&n));
        if let Some(step) = step {
            change(step, entry, self.incarnation);
            if let Some(value) = of {
                step.value = value;
            }
        }
    }

    fn finish(self, view: &mut RunView) {
        view.next_step = if self.more { self.steps.keys().next_back().copied() } else { None };
        view.steps = self.steps.into_values().collect();
        let mut approvals: Vec<(u64, ApprovalView)> = self.approvals.into_values().collect();
        approvals.sort_by_key(|(version, _)| *version);
        view.approvals = approvals.into_iter().map(|(_, view)| view).collect();
        view.notes = self.notes;
        view.orphans = self.orphans;
        view.result = self.result;
        view.failure = self.failure;
        view.reused =
            if self.incarnations > 1 { self.recorded_before.saturating_sub(view.orphans.len() as u64) } else { 0 };
        if let Some(created) = self.created {
            view.by = Some(created.by);
            view.input = created.input;
            view.deadline = created.deadline;
            view.forked_from = created.fork;
        }
    }
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn word<T: Serialize>(value: &T) -> String {
    json(value).as_str().unwrap_or_default().to_owned()
}

fn first(n: u64, identity: &Identity, entry: &Entry, incarnation: u32) -> StepView {
    StepView {
        n,
        scope: identity.scope.clone(),
        name: identity.name.clone(),
        key: identity.key.clone(),
        kind: word(&identity.kind),
        effect: word(&identity.effect),
        status: StepStatus::Started,
        attempts: 0,
        revision: u32::from(identity.rev),
        hash: Digest(identity.hash.0),
        args: (!identity.args.is_null()).then(|| (*identity.args).clone()),
        value: None,
        error: None,
        waiting_for: None,
        note: identity.note.clone(),
        child: None,
        started: entry.header.recorded,
        ended: None,
        incarnation,
        seq: entry.header.seq,
    }
}

fn change(step: &mut StepView, entry: &Entry, incarnation: u32) {
    step.seq = entry.header.seq;
    let end = |step: &mut StepView, status| {
        step.status = status;
        step.waiting_for = None;
        step.ended = Some(entry.header.recorded);
        step.incarnation = incarnation;
    };
    match &entry.event {
        RunEvent::StepStarted(body) => {
            step.status = StepStatus::Started;
            step.waiting_for = None;
            step.attempts = body.attempt;
            step.incarnation = incarnation;
        }
        RunEvent::StepCompleted(body) => {
            end(step, StepStatus::Completed);
            step.attempts = step.attempts.max(body.attempt);
            step.value = Some((*body.value).clone());
            if body.later {
                step.note = Some("later step of the forked run, for simulation".to_owned());
            }
        }
        RunEvent::AttemptFailed(body) => {
            step.status = StepStatus::Retrying;
            step.attempts = body.attempt;
            step.error = Some(json(&body.error));
            step.waiting_for = Some(format!("attempt {} at {}", body.attempt + 1, body.next));
        }
        RunEvent::StepFailed(body) => {
            end(step, StepStatus::Failed);
            step.attempts = step.attempts.max(body.attempt);
            step.error = Some(json(&body.error));
        }
        RunEvent::StepWaiting(body) => {
            step.status = StepStatus::Waiting;
            step.waiting_for = Some(fold::waiting_for(Some(&step.name), &body.wait));
            if let Wait::Child { run } = &body.wait {
                step.child = Some(*run);
            }
        }
        RunEvent::StepInDoubt(body) => {
            step.status = StepStatus::InDoubt;
            step.waiting_for = Some(format!("whether it took place: {}", body.reason));
        }
        RunEvent::StepResolved(body) => match &body.how {
            How::Completed { value } => {
                end(step, StepStatus::Completed);
                step.value = Some((**value).clone());
            }
            How::NotDone => {
                step.status = StepStatus::Retrying;
                step.waiting_for = None;
            }
            How::Failed { error } => {
                end(step, StepStatus::Failed);
                step.error = Some(json(error));
            }
        },
        _ => {}
    }
    if step.kind == word(&Kind::Undo) && step.scope.is_empty() {
        "undo".clone_into(&mut step.scope);
    }
}
