//! Forks: a new run that begins with a copy of another's steps. Values are copied, not referred to: erasing the one run
//! leaves the other whole. What undoes a step is not copied: the steps are the other run's to undo.

use std::collections::BTreeMap;

use nx_guard::label::Labelled;
use nx_types::RunId;

use super::{
    event::{Carried, Created, Fork, Identity, Json, Kept, Kind, Recorded, RunEvent, StepCompleted, StepFailed},
    record::State,
    run::Run,
};
use crate::Error;

/// What the fork shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct ForkSpec {
    /// The run to fork.
    pub parent: RunId,
    /// Its first step that is not reused as it was; all are reused when left out.
    pub at: Option<u64>,
    /// Another input.
    pub input: Option<Json>,
    /// Another result of the step `at`, in place of executing it.
    pub result: Option<Json>,
    /// Later effects take place; otherwise they are simulated from the parent's record.
    pub live: bool,
    /// Who asks.
    pub by: String,
    /// The fork's key.
    pub key: Option<String>,
}

/// The events with which the fork begins, from all events of its parent in order.
pub fn fork(events: impl IntoIterator<Item = RunEvent>, spec: &ForkSpec) -> Result<Vec<RunEvent>, Error> {
    let mut parent = Run::new(spec.parent);
    let mut identities: BTreeMap<u64, Identity> = BTreeMap::new();
    let mut outcomes: BTreeMap<u64, (Recorded, u32)> = BTreeMap::new();
    let mut labels: BTreeMap<u64, Box<Labelled>> = BTreeMap::new();
    let mut state_labels = None;
    for event in events {
        parent.apply(&event)?;
        if let RunEvent::Carried(body) = &event {
            identities.clear();
            outcomes.clear();
            labels.clear();
            state_labels.clone_from(&body.labels);
        }
        let Some(n) = event.step() else { continue };
        if let Some(identity) = event.identity() {
            identities.insert(n, identity.clone());
        }
        let outcome = match &event {
            RunEvent::StepCompleted(StepCompleted { from: Some(from), .. }) => outcomes.get(from).cloned(),
            RunEvent::StepCompleted(body) => event.outcome().map(|outcome| (outcome, body.attempt)),
            RunEvent::StepFailed(body) => event.outcome().map(|outcome| (outcome, body.attempt)),
            _ => event.outcome().map(|outcome| (outcome, 1)),
        };
        if let Some(outcome) = outcome {
            outcomes.insert(n, outcome);
        }
        let labelled = match event {
            RunEvent::StepCompleted(StepCompleted { from: Some(from), .. }) => labels.get(&from).cloned(),
            RunEvent::StepCompleted(body) => body.labels,
            RunEvent::StepResolved(body) => body.labels,
            _ => continue,
        };
        if let Some(labelled) = labelled {
            labels.insert(n, labelled);
        }
    }
    let durable = parent.durable();
    let head = durable.head()?;
    let first = durable.records.base + 1;
    let at = spec.at.unwrap_or(u64::MAX);
    if at < first {
        let rule = format!("step {at} lies before the last carry; fork at step {first} or later");
        return Err(Error::invalid(rule));
    }
    let end = durable.records.next();
    if at > end && spec.at.is_some() {
        let rule = format!("the run has {} steps; fork at step {end} at the latest", end - 1);
        return Err(Error::invalid(rule));
    }
    if spec.result.is_some() && !identities.contains_key(&at) {
        return Err(Error::invalid(format!("there is no step {at} whose result could be another")));
    }
    let mut fork = vec![RunEvent::Created(Box::new(Created {
        agent: head.agent.clone(),
        input: spec.input.clone().unwrap_or_else(|| head.input.clone()),
        key: spec.key.clone(),
        deadline: None,
        parent: None,
        by: spec.by.clone(),
        fork: Some(Fork { run: spec.parent, at, live: spec.live }),
        session: None,
        labels: if spec.input.is_some() { None } else { head.labels.clone() },
    }))];
    if let Some(state) = &durable.state {
        let kept = Box::new(Kept { segment: 1, ..Kept::default() });
        fork.push(RunEvent::Carried(Carried { state: state.clone(), labels: state_labels, kept, orphans: Vec::new() }));
    }
    let mut next = 1;
    for (index, record) in durable.records.iter() {
        let n = durable.records.ordinal(index);
        let Some(step) = identities.get(&n).filter(|_| record.kind() != Kind::Undo) else { continue };
        let edited = spec.result.clone().filter(|_| n == at).map(|value| (Recorded::Value(value), 1));
        let finished = matches!(record.state, State::Completed | State::Failed);
        let Some((outcome, attempt)) = edited.clone().or_else(|| outcomes.get(&n).filter(|_| finished).cloned()) else {
            continue;
        };
        let later = n >= at && edited.is_none();
        let note = edited.is_some().then(|| "its result was edited for the fork".to_owned());
        let step = Some(Box::new(Identity { occ: record.occ, over: None, undo: None, note, ..step.clone() }));
        match outcome {
            Recorded::Value(value) => {
                let labels = labels.get(&n).filter(|_| edited.is_none()).cloned();
                let body = StepCompleted { later, labels, ..StepCompleted::new(next, step, value, attempt) };
                fork.push(RunEvent::StepCompleted(body));
            }
            Recorded::Error(_) if later => continue,
            Recorded::Error(error) => {
                fork.push(RunEvent::StepFailed(StepFailed { n: next, step, error, attempt }));
            }
        }
        next += 1;
    }
    Ok(fork)
}
