//! Forking a run: a new one that shares the beginning of its record.

use std::sync::Arc;

use nx_journal::{Cause, Commit};
use nx_types::{Namespace, RunId};

use super::{
    Engine, Output, Response, Ticket,
    commit::Pending,
    ingest,
    record::Record,
    request::{ForkRequest, Started},
    rows,
};
use crate::{
    error::Error,
    machine::{self, ForkSpec, RunEvent},
};

/// Events of one commit: its bytes have a bound, and each event may have 16 KiB outside of a blob.
const PIECE: usize = 100;
const PAGE: usize = 1000;

impl Engine {
    /// Writes the events of the new run in pieces; the answer comes with the last.
    pub(super) fn fork(&mut self, ticket: Ticket, namespace: &Namespace, fork: ForkRequest) -> Result<(), Error> {
        for value in [&fork.input, &fork.result].into_iter().flatten() {
            ingest::check(value)?;
        }
        self.is_over(namespace, fork.run)?;
        let parent = self.recorded(namespace, fork.run)?;
        let cause = parent.last().map_or(Cause::None, |(seq, _)| Cause::Local(*seq));
        let run = self.env.run_id();
        let spec = ForkSpec {
            parent: fork.run,
            at: fork.at_step,
            input: fork.input.map(Arc::new),
            result: fork.result.map(Arc::new),
            live: fork.live,
            by: fork.by,
            key: None,
        };
        let events = machine::fork(parent.into_iter().map(|(_, event)| event), &spec)?;
        self.write_fork(ticket, namespace, run, events, cause)
    }

    fn recorded(&self, namespace: &Namespace, run: RunId) -> Result<Vec<(nx_types::Seq, RunEvent)>, Error> {
        let mut record = Record::new(self.reader.clone(), namespace.clone(), run);
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = record.page(after, PAGE)?;
            let short = page.len() < PAGE;
            for entry in page {
                after = entry.header.version;
                all.push((entry.header.seq, entry.event));
            }
            if short {
                return Ok(all);
            }
            if all.len() as u64 > self.limits.run.steps {
                let max = self.limits.run.steps;
                return Err(Error::Limit { what: "the events of a forked run", max, fix: "fork a shorter run" });
            }
        }
    }

    fn write_fork(
        &mut self,
        ticket: Ticket,
        namespace: &Namespace,
        run: RunId,
        events: Vec<RunEvent>,
        cause: Cause,
    ) -> Result<(), Error> {
        let mut events = events.into_iter();
        let Some(RunEvent::Created(created)) = events.next() else {
            return Err(Error::invalid("the run to fork has no beginning"));
        };
        let (mut slot, mut piece) = self.new_run(namespace.clone(), run, *created, None)?;
        let (mut first, mut cause) = (1, Some(cause));
        loop {
            for event in events.by_ref().take(PIECE - piece.len()) {
                slot.run.apply(&event)?;
                slot.watch.replay(&event, slot.run.version());
                piece.push(event);
            }
            let last = events.len() == 0;
            let mut commit = Commit::default();
            let marks = self.add_events(&mut commit, &mut slot, &mut piece, first, (None, &[]))?;
            if let (Some(cause), Some(created)) = (cause.take(), commit.events.first_mut()) {
                created.causation = cause;
            }
            // The run is there with its last piece: who stops before that leaves nothing that could be taken for a run.
            commit.puts.retain(|put| put.kind != rows::RUN);
            if last {
                commit.puts.push(rows::put_run(&slot.row)?);
            }
            first += piece.len() as u64;
            piece.clear();
            let token = self.token();
            slot.last_token = Some(token);
            self.out.push(Output::Commit { token, commit });
            let started = Response::Started(Started { run, existing: false });
            self.pending.push_back(Pending {
                token,
                runs: vec![(run, marks)],
                actions: Vec::new(),
                replies: if last { vec![(ticket, started)] } else { Vec::new() },
                claimed: None,
                report: None,
                asked: true,
                lines: 0,
            });
            if last {
                break;
            }
        }
        self.runs.insert(run, slot);
        self.arrange(run);
        Ok(())
    }
}
