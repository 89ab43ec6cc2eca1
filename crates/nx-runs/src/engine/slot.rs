//! What the engine keeps of one run: its state machine, its place among the workers, its rows.

use std::collections::{BTreeMap, VecDeque};

use neuraxis_sdk::frames;
use nx_guard::decision::Decision;
use nx_types::{ApprovalId, Namespace, RunId, Seq, Subject, Timestamp};

use super::{
    SessionId, Token,
    record::Record,
    rows::{ApprovalRow, RunRow},
    watch::Watch,
};
use crate::machine::{self, Run, Target};

/// A loaded run.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) namespace: Namespace,
    pub(super) subject: Subject,
    pub(super) run: Run,
    pub(super) record: Record,
    pub(super) row: RunRow,
    /// Rows of approvals that are open.
    pub(super) approvals: BTreeMap<ApprovalId, ApprovalRow>,
    /// The connection that the present incarnation is with.
    pub(super) session: Option<SessionId>,
    /// The newest commit of the run that is on its way.
    pub(super) last_token: Option<Token>,
    pub(super) causes: Causes,
    /// Tools and agents that the run waits for.
    pub(super) wants: BTreeMap<machine::Slot, Target>,
    /// Steps whose tool nobody declares yet.
    pub(super) unready: VecDeque<Box<frames::Step>>,
    pub(super) queued: bool,
    /// When the machine's timer is set to.
    pub(super) due: Option<Timestamp>,
    /// What open steps wait for, in words.
    pub(super) waits: BTreeMap<u64, String>,
    /// Bounds, where the agent's declaration narrows them.
    pub(super) limits: Option<Box<machine::Limits>>,
    /// The version of the code that the last incarnation ran.
    pub(super) version: Option<String>,
    /// A timer for parking is set.
    pub(super) parking: bool,
    pub(super) trace: Option<nx_types::TraceParent>,
    /// Lines that were logged since the last commit.
    pub(super) log: Vec<LogLine>,
    /// The guard's last decision and its step, until a question follows from it.
    pub(super) decided: Option<(u64, Box<Decision>)>,
    /// What the guard knows of the run.
    pub(super) watch: Watch,
    /// How far executions are.
    pub(super) beats: Beats,
}

/// Most executions of a run of which is kept how far they are.
const MAX_BEATS: usize = 256;

/// How far an execution is, as its worker said last.
#[derive(Debug)]
pub(super) struct Beat {
    /// The incarnation; 0 for tools and undo functions.
    pub(super) inc: u32,
    /// The agent's call, if it is one of its own.
    pub(super) call: Option<u64>,
    pub(super) name: Option<String>,
    pub(super) time: Timestamp,
    pub(super) detail: Option<serde_json::Value>,
}

/// How far executions are, by connection and call. Kept in memory alone, bounded.
#[derive(Debug, Default)]
pub(super) struct Beats(BTreeMap<(SessionId, Option<u64>, Option<String>), Beat>);

impl Beats {
    pub(super) fn insert(&mut self, session: SessionId, beat: Beat) {
        self.0.retain(|_, old| old.inc == 0 || beat.inc == 0 || old.inc == beat.inc);
        let key = (session, beat.call, beat.name.clone());
        if self.0.len() < MAX_BEATS || self.0.contains_key(&key) {
            self.0.insert(key, beat);
        }
    }

    /// The execution has ended.
    pub(super) fn forget(&mut self, session: SessionId, call: Option<u64>) {
        if !self.0.is_empty() {
            self.0.retain(|(of, number, _), _| (*of, *number) != (session, call));
        }
    }

    /// Those of an incarnation, and of what it calls elsewhere.
    pub(super) fn of(&self, inc: u32) -> impl Iterator<Item = (SessionId, &Beat)> {
        let present = move |beat: &Beat| beat.inc == 0 || beat.inc == inc;
        self.0.iter().filter(move |(_, beat)| present(beat)).map(|((session, ..), beat)| (*session, beat))
    }
}

/// A line that a worker logged.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct LogLine {
    pub(super) level: String,
    /// The step, tool or function that logged it.
    #[serde(rename = "step", skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) message: String,
    pub(super) time: Timestamp,
}

/// Places in the log that later events follow from.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// The newest event.
    pub(super) last: Option<Seq>,
    /// The start of the present incarnation.
    pub(super) started: Option<Seq>,
    /// The newest event of each open step.
    pub(super) steps: BTreeMap<u64, Seq>,
    /// The newest event of each open approval.
    pub(super) approvals: BTreeMap<ApprovalId, Seq>,
}

/// A run that is not over and not loaded: it waits for a worker, for time, or to be looked at.
#[derive(Debug, Clone)]
pub(super) struct Dormant {
    pub(super) namespace: Namespace,
}

impl Slot {
    pub(super) fn id(&self) -> RunId {
        self.run.id()
    }

    /// Whether nothing is lost by dropping it from memory.
    pub(super) fn droppable(&self) -> bool {
        self.last_token.is_none() && self.wants.is_empty() && self.unready.is_empty() && self.log.is_empty()
    }
}
