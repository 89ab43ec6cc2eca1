//! Taking up the runs of a log.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use nx_journal::{IndexRange, Reader};
use nx_types::{Env, Namespace, RunId, Timestamp};

use super::{
    Dormant, Engine, Limits, RunKey,
    outstanding::Outstanding,
    routing::Queues,
    rows::{self, RunRow},
    timers::{Timer, Timers},
    view::RunStatus,
};
use crate::{error::Error, machine::KeyMaker};

/// Rows read at once.
const PAGE: usize = 1000;

impl Engine {
    /// The engine of a log. Runs that are not over are known to it when this returns; they are loaded when they are
    /// needed, or by the first calls of [`Engine::tick`].
    pub fn open(limits: Limits, key: &RunKey, version: String, env: Env, reader: Reader) -> Result<Self, Error> {
        let now = env.now();
        let mut engine = Self {
            limits,
            keys: KeyMaker::new(key.as_bytes()),
            version,
            env,
            reader,
            now,
            ahead: 0,
            sessions: BTreeMap::new(),
            runs: HashMap::new(),
            dormant: HashMap::new(),
            loading: BTreeMap::new(),
            queues: Queues::default(),
            outstanding: Outstanding::default(),
            timers: Timers::default(),
            pending: VecDeque::new(),
            next_token: 0,
            namespaces: BTreeSet::new(),
            claimed: BTreeMap::new(),
            declared: BTreeMap::new(),
            refused: BTreeMap::new(),
            stuck: BTreeMap::new(),
            lines_dropped: BTreeMap::new(),
            last_created: Timestamp::default(),
            late: BTreeMap::new(),
            report: None,
            unrecorded: BTreeMap::new(),
            unready: BTreeSet::new(),
            out: Vec::new(),
        };
        for namespace in engine.namespaces()? {
            engine.take_up(&namespace)?;
            engine.namespaces.insert(namespace);
        }
        Ok(engine)
    }

    /// Namespaces that have ever had a run.
    fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        let mut names = Vec::new();
        loop {
            let after = names.last().map(Namespace::to_string);
            let page = self.reader.state_scan(&Namespace::default(), rows::NAMESPACE, after.as_deref(), PAGE)?;
            for row in &page {
                names.push(Namespace::new(&row.key)?);
            }
            if page.len() < PAGE {
                return Ok(names);
            }
        }
    }

    fn take_up(&mut self, namespace: &Namespace) -> Result<(), Error> {
        let mut after = None;
        loop {
            let all = IndexRange::Prefix(Vec::new());
            let page = self.reader.index(namespace, rows::RUN, rows::BY_OPEN, &all, after, PAGE, false)?;
            let short = page.len() < PAGE;
            after = page.last().map(|(value, row)| (value.clone(), row.key.clone()));
            for (_, row) in page {
                let row = rows::read_run(&row.bytes)?;
                self.remember(namespace, &row);
            }
            if short {
                return Ok(());
            }
        }
    }

    fn remember(&mut self, namespace: &Namespace, row: &RunRow) {
        let run: RunId = row.summary.id;
        let agent = row.summary.agent.clone();
        self.last_created = self.last_created.max(row.summary.created);
        match row.summary.status {
            // Only time or something from outside can make it go on.
            RunStatus::Waiting if row.parked && !row.awaits_child => self.timers.set(Timer::Run(run), row.wake),
            RunStatus::Queued => {
                self.queues.push(namespace, &agent, (row.summary.created, run));
                // Its deadline may come before a worker does.
                self.timers.set(Timer::Run(run), row.wake);
            }
            // It was with a worker, or is being undone: look at it as soon as possible.
            _ => self.timers.set(Timer::Resume(run), Some(Timestamp::default())),
        }
        self.dormant.insert(run, Dormant { namespace: namespace.clone() });
    }
}
