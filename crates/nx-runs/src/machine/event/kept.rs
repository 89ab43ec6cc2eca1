//! What a run keeps when it carries: everything that later events may depend on, in one event.

use std::collections::BTreeMap;

use neuraxis_sdk::frames::Undo;
use serde::{Deserialize, Serialize};

use super::{Json, is_default};

/// What survives a carry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Steps so far: the next one's ordinal is one more.
    pub steps: u64,
    /// Carries so far, this one included.
    pub segment: u32,
    /// The incarnation.
    pub inc: u32,
    /// Its worker, if it was with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The version of the worker's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The deadline no longer holds: the run was retried after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_deadline: bool,
    /// Signals that were not used yet, by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub signals: BTreeMap<String, Vec<Json>>,
    /// Ids of signals that came, the latest of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seen: Vec<String>,
    /// Steps that can be undone, in order of completion.
    #[serde(default, skip_serializing_if = "is_default")]
    pub undos: Vec<KeptUndo>,
}

/// A completed step that can be undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptUndo {
    /// The step.
    pub n: u64,
    /// Its scope and name.
    pub name: String,
    /// What undoes it.
    pub undo: Undo,
    /// The event that holds its arguments.
    pub args_at: u64,
    /// The event that holds its result.
    pub value_at: u64,
}
