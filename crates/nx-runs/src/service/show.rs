//! One run, from its record: what `runs show` prints. A short record is read whole; of a long one only what the page
//! needs, so that it costs the same however long the run is.

use std::collections::BTreeMap;

use nx_journal::Reader;
use nx_types::{Digest, Namespace, RunId, Subject, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::{
    ApprovalFilter, ApprovalView, ForkPoint, Page, RunSummary, RunView, StepStatus, StepView, StepsPage, lists,
};
use crate::{
    engine::{
        fold,
        record::{Entry, Record},
        rows,
    },
    error::Error,
    machine::{How, Identity, Kind, RunEvent, Wait},
};

const PAGE: usize = 1000;
/// Events read to find the next step.
const GLANCE: u64 = 8;
/// Most steps of one page.
const MAX_STEPS: usize = 10_000;
/// Most approvals shown, the newest.
const MAX_APPROVALS: usize = 1000;
/// Most notes shown.
const MAX_NOTES: usize = 10_000;

/// Most times a run that changes while it is read is read.
const MAX_READS: usize = 4;

/// A run with a page of its steps. A record of up to `whole` events is read whole.
///
/// What is read together belongs together: a run that changed meanwhile is read again. Of one that changes faster than
/// it can be read, the last reading is given.
pub(super) fn run(reader: &Reader, of: (&Namespace, RunId), page: StepsPage, whole: u64) -> Result<RunView, Error> {
    let (namespace, run) = of;
    let subject = Subject::run(run);
    let mut before = reader.subject_version(namespace, &subject)?;
    for _ in 1..MAX_READS {
        let view = read(reader, of, page, whole)?;
        let after = reader.subject_version(namespace, &subject)?;
        if after == before {
            return Ok(view);
        }
        before = after;
    }
    read(reader, of, page, whole)
}

fn read(reader: &Reader, (namespace, run): (&Namespace, RunId), page: StepsPage, whole: u64) -> Result<RunView, Error> {
    // In this order, so that no approval is shown that the status does not know of.
    let approvals = approvals(reader, namespace, run)?;
    let row = reader.state(namespace, rows::RUN, &run.to_string())?;
    let Some(row) = row else {
        return match reader.subject_version(namespace, &Subject::run(run))? {
            0 => Err(Error::RunUnknown { id: run.to_string(), namespace: namespace.to_string() }),
            _ => Err(Error::Erased { run }),
        };
    };
    let summary = rows::read_run(&row.bytes)?.summary;
    let mut walk = Walk {
        record: Record::new(reader.clone(), namespace.clone(), run),
        version: reader.subject_version(namespace, &Subject::run(run))?,
        fold: Fold::default(),
    };
    walk.read(page, whole)?;
    let (version, fold) = (walk.version, walk.fold);
    Ok(fold.finish(summary, approvals, version))
}

/// The run's approvals in order of asking.
fn approvals(reader: &Reader, namespace: &Namespace, run: RunId) -> Result<Vec<ApprovalView>, Error> {
    let filter = ApprovalFilter { run: Some(run), ..ApprovalFilter::default() };
    let mut page = Page { cursor: None, limit: Some(MAX_APPROVALS) };
    let mut found = lists::approvals(reader, namespace, &filter, &page)?;
    let mut items = found.items;
    while items.len() < MAX_APPROVALS && found.next.is_some() {
        page.cursor = found.next;
        found = lists::approvals(reader, namespace, &filter, &page)?;
        items.append(&mut found.items);
    }
    items.truncate(MAX_APPROVALS);
    items.reverse();
    Ok(items)
}

/// Reads what of the record is needed. Steps are numbered in the order in which the record names them first.
struct Walk {
    record: Record,
    version: u64,
    fold: Fold,
}

impl Walk {
    fn read(&mut self, page: StepsPage, whole: u64) -> Result<(), Error> {
        self.fold.total = self.newest()?;
        let limit = page.limit.clamp(1, MAX_STEPS);
        self.fold.after = page.after.unwrap_or_else(|| self.fold.total.saturating_sub(limit as u64));
        self.fold.last = self.fold.after.saturating_add(limit as u64);
        if self.version <= whole {
            self.fold.whole = true;
            return self.take_in(0, |_| false).map(drop);
        }
        // How it began, the page, how it stands.
        self.take_in(0, |_| true)?;
        let first = self.place(self.fold.after)?.max(1);
        let read = self.take_in(first, Fold::is_complete)?;
        self.fold.incarnation = None;
        self.take_in(read.max(self.version.saturating_sub(PAGE as u64)), |_| false).map(drop)
    }

    /// Takes in what follows an event until enough is known, and gives the place of the last one.
    fn take_in(&mut self, after: u64, enough: impl Fn(&Fold) -> bool) -> Result<u64, Error> {
        let mut after = after;
        loop {
            let entries = self.record.page(after, PAGE)?;
            for entry in &entries {
                after = entry.header.version;
                self.fold.take_in(entry);
                if enough(&self.fold) {
                    return Ok(after);
                }
            }
            if entries.len() < PAGE {
                self.version = self.version.max(after);
                return Ok(after);
            }
        }
    }

    /// The ordinal of the newest step; 0 without any.
    fn newest(&mut self) -> Result<u64, Error> {
        let mut end = self.version;
        while end > 0 {
            let from = end.saturating_sub(GLANCE);
            let entries = self.record.page(from, GLANCE as usize)?;
            let newest = entries.iter().rev().find_map(ordinal);
            if let Some(newest) = newest {
                return Ok(newest);
            }
            end = from;
        }
        Ok(0)
    }

    /// The place behind which every step with a greater ordinal is named first.
    fn place(&mut self, after: u64) -> Result<u64, Error> {
        let (mut low, mut high) = (0, self.version);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.next_after(middle)?.is_none_or(|n| n > after) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// The first step that is named behind a place.
    fn next_after(&mut self, mut place: u64) -> Result<Option<u64>, Error> {
        loop {
            let entries = self.record.page(place, GLANCE as usize)?;
            if let Some(n) = entries.iter().find_map(ordinal) {
                return Ok(Some(n));
            }
            match entries.last() {
                Some(last) => place = last.header.version,
                None => return Ok(None),
            }
        }
    }
}

/// The ordinal of the step that an event names first.
fn ordinal(entry: &Entry) -> Option<u64> {
    entry.event.identity().and_then(|_| entry.event.step())
}

/// What is gathered while the record is read.
#[derive(Debug, Default)]
struct Fold {
    /// The page: steps with a greater ordinal than `after`, up to `last`.
    after: u64,
    last: u64,
    total: u64,
    whole: bool,
    steps: BTreeMap<u64, StepView>,
    notes: Vec<String>,
    orphans: Vec<u64>,
    created: Option<Created>,
    result: Option<Value>,
    failure: Option<Value>,
    /// The incarnation, where the record was read from its beginning or that of an incarnation.
    incarnation: Option<u32>,
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
    /// Whether nothing that follows is needed for the page.
    fn is_complete(&self) -> bool {
        let named = self.steps.len() as u64 >= self.last.min(self.total).saturating_sub(self.after);
        named && self.steps.values().all(|step| step.ended.is_some())
    }

    fn take_in(&mut self, entry: &Entry) {
        match &entry.event {
            RunEvent::Created(body) => {
                self.created = Some(Created {
                    by: body.by.clone(),
                    input: (*body.input).clone(),
                    deadline: body.deadline,
                    fork: body.fork.map(|fork| ForkPoint {
                        run: fork.run,
                        at_step: (fork.at != u64::MAX).then_some(fork.at),
                        live: fork.live,
                    }),
                });
            }
            RunEvent::Started(body) => {
                self.incarnation = Some(body.inc);
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
            RunEvent::Emitted(body) if body.kind == "run.logged" => {
                if let Some(dropped) = body.data.get("dropped").and_then(serde_json::Value::as_u64) {
                    self.note(format!("{dropped} logged lines were dropped"));
                }
            }
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
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    fn step(&mut self, entry: &Entry) {
        if let Some(identity) = entry.event.identity() {
            let n = entry.event.step().unwrap_or_default();
            self.total = self.total.max(n);
            if let Some(note) = &identity.note {
                self.note(format!("step {n} {}: {note}", identity.name));
            }
            if let Some(over) = identity.over.and_then(|over| self.steps.get_mut(&over)) {
                over.status = StepStatus::Superseded;
            }
            if n > self.after && n <= self.last {
                self.steps.insert(n, first(n, identity, entry, self.incarnation));
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

    fn finish(self, summary: RunSummary, approvals: Vec<ApprovalView>, version: u64) -> RunView {
        let reused = match self.incarnations {
            0 | 1 => 0,
            _ => self.recorded_before.saturating_sub(self.orphans.len() as u64),
        };
        let (by, input, deadline, forked_from) = match self.created {
            Some(created) => (Some(created.by), created.input, created.deadline, created.fork),
            None => (None, Value::Null, None, None),
        };
        RunView {
            summary,
            by,
            input,
            result: self.result,
            failure: self.failure,
            deadline,
            forked_from,
            progress: Vec::new(),
            steps_total: self.total,
            next_step: (self.total > self.last).then_some(self.last),
            steps: self.steps.into_values().collect(),
            approvals,
            notes: self.notes,
            orphans: self.orphans,
            reused: self.whole.then_some(reused),
            version,
        }
    }
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn word<T: Serialize>(value: &T) -> String {
    json(value).as_str().unwrap_or_default().to_owned()
}

fn first(n: u64, identity: &Identity, entry: &Entry, incarnation: Option<u32>) -> StepView {
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

fn change(step: &mut StepView, entry: &Entry, incarnation: Option<u32>) {
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
