//! What events hold, whatever their type.

use neuraxis_sdk::frames::StepError;
use nx_types::ApprovalId;

use super::{How, Identity, Json, Ruling, RunEvent, StepResolved};

/// A recorded outcome: what a reused step answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// A value.
    Value(Json),
    /// An error.
    Error(StepError),
}

impl RunEvent {
    /// The outcome that this event records, if it is one that [`super::Answer::Recorded`] points to.
    pub fn outcome(&self) -> Option<Recorded> {
        match self {
            Self::StepCompleted(body) => Some(Recorded::Value(body.value.clone())),
            Self::StepFailed(body) => Some(Recorded::Error(body.error.clone())),
            Self::StepResolved(StepResolved { how: How::Completed { value }, .. }) => {
                Some(Recorded::Value(value.clone()))
            }
            Self::StepResolved(StepResolved { how: How::Failed { error }, .. }) => Some(Recorded::Error(error.clone())),
            _ => None,
        }
    }

    /// The arguments that the event holds: of the step, or as a person edited them.
    pub fn args(&self) -> Option<&Json> {
        match self {
            Self::ApprovalDecided(body) => body.args.as_ref(),
            Self::ApprovalRequested(body) => Some(&body.args),
            _ => self.identity().map(|step| &step.args),
        }
    }

    /// Who the step is, if this is the first event about one.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::StepStarted(body) => body.step.as_deref(),
            Self::StepCompleted(body) => body.step.as_deref(),
            Self::AttemptFailed(body) => body.step.as_deref(),
            Self::StepFailed(body) => body.step.as_deref(),
            Self::StepWaiting(body) => body.step.as_deref(),
            _ => None,
        }
    }

    /// [`Self::identity`], to be changed.
    pub(crate) fn identity_mut(&mut self) -> Option<&mut Identity> {
        match self {
            Self::StepStarted(body) => body.step.as_deref_mut(),
            Self::StepCompleted(body) => body.step.as_deref_mut(),
            Self::AttemptFailed(body) => body.step.as_deref_mut(),
            Self::StepFailed(body) => body.step.as_deref_mut(),
            Self::StepWaiting(body) => body.step.as_deref_mut(),
            _ => None,
        }
    }

    /// The step that the event is about.
    pub fn step(&self) -> Option<u64> {
        match self {
            Self::StepStarted(body) => Some(body.n),
            Self::StepCompleted(body) => Some(body.n),
            Self::AttemptFailed(body) => Some(body.n),
            Self::StepFailed(body) => Some(body.n),
            Self::StepWaiting(body) => Some(body.n),
            Self::StepInDoubt(body) => Some(body.n),
            Self::StepResolved(body) => Some(body.n),
            Self::ApprovalRequested(body) => Some(body.n),
            Self::ApprovalDecided(body) => Some(body.n),
            Self::GuardDecided(body) => Some(body.n),
            _ => None,
        }
    }

    /// The approval that the event is about.
    pub fn approval(&self) -> Option<ApprovalId> {
        match self {
            Self::ApprovalRequested(body) => Some(body.id),
            Self::ApprovalEscalated(body) => Some(body.id),
            Self::ApprovalVoted(body) => Some(body.id),
            Self::ApprovalDecided(body) => Some(body.id),
            Self::ApprovalExpired(body) | Self::ApprovalWithdrawn(body) => Some(body.id),
            _ => None,
        }
    }

    /// The values that the event holds, each with its JSON pointer in the event's data: what the value store shares.
    pub fn values(&self) -> Vec<(&'static str, &Json)> {
        match self {
            Self::Created(body) => vec![("/input", &body.input)],
            Self::Carried(body) => vec![("/state", &body.state)],
            Self::Completed(body) => vec![("/result", &body.result)],
            Self::StepStarted(body) => body.step.iter().map(|step| (ARGS, &step.args)).collect(),
            Self::StepCompleted(body) => {
                let args = body.step.iter().map(|step| (ARGS, &step.args));
                args.chain(std::iter::once(("/value", &body.value))).collect()
            }
            Self::AttemptFailed(body) => body.step.iter().map(|step| (ARGS, &step.args)).collect(),
            Self::StepFailed(body) => body.step.iter().map(|step| (ARGS, &step.args)).collect(),
            Self::StepWaiting(body) => body.step.iter().map(|step| (ARGS, &step.args)).collect(),
            Self::StepResolved(StepResolved { how: How::Completed { value }, .. }) => {
                vec![("/how/completed/value", value)]
            }
            Self::ApprovalRequested(body) => vec![("/args", &body.args)],
            Self::GuardDecided(body) => vec![("/args", &body.args)],
            Self::ApprovalDecided(body) => {
                let mut all: Vec<_> = body.args.iter().map(|args| ("/args", args)).collect();
                if let Ruling::Complete { value } = &body.decision {
                    all.push(("/decision/complete/value", value));
                }
                all
            }
            Self::SignalReceived(body) => vec![("/payload", &body.payload)],
            _ => Vec::new(),
        }
    }

    /// [`Self::values`], in the same order, to be replaced.
    pub fn values_mut(&mut self) -> Vec<(&'static str, &mut Json)> {
        match self {
            Self::Created(body) => vec![("/input", &mut body.input)],
            Self::Carried(body) => vec![("/state", &mut body.state)],
            Self::Completed(body) => vec![("/result", &mut body.result)],
            Self::StepStarted(body) => body.step.iter_mut().map(|step| (ARGS, &mut step.args)).collect(),
            Self::StepCompleted(body) => {
                let args = body.step.iter_mut().map(|step| (ARGS, &mut step.args));
                args.chain(std::iter::once(("/value", &mut body.value))).collect()
            }
            Self::AttemptFailed(body) => body.step.iter_mut().map(|step| (ARGS, &mut step.args)).collect(),
            Self::StepFailed(body) => body.step.iter_mut().map(|step| (ARGS, &mut step.args)).collect(),
            Self::StepWaiting(body) => body.step.iter_mut().map(|step| (ARGS, &mut step.args)).collect(),
            Self::StepResolved(StepResolved { how: How::Completed { value }, .. }) => {
                vec![("/how/completed/value", value)]
            }
            Self::ApprovalRequested(body) => vec![("/args", &mut body.args)],
            Self::GuardDecided(body) => vec![("/args", &mut body.args)],
            Self::ApprovalDecided(body) => {
                let mut all: Vec<_> = body.args.iter_mut().map(|args| ("/args", args)).collect();
                if let Ruling::Complete { value } = &mut body.decision {
                    all.push(("/decision/complete/value", value));
                }
                all
            }
            Self::SignalReceived(body) => vec![("/payload", &mut body.payload)],
            _ => Vec::new(),
        }
    }
}

/// Where a step's arguments stand in the data of its first event.
pub(crate) const ARGS: &str = "/step/args";

/// What a parent's step gets when a run ends with this event; `None` for events that end no run.
pub fn end_of(event: &RunEvent) -> Option<Recorded> {
    match event {
        RunEvent::Completed(body) => Some(Recorded::Value(body.result.clone())),
        RunEvent::Failed(body) => Some(Recorded::Error(body.error.clone())),
        RunEvent::Cancelled(body) => Some(Recorded::Error(StepError {
            name: "Cancelled".to_owned(),
            message: format!("the run was cancelled: {}", body.reason),
            retryable: Some(false),
            retry_after_ms: None,
            details: None,
        })),
        _ => None,
    }
}
